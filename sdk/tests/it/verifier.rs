//! What a verifier checks beyond the signature.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_client::{TokenError, Verifier};

use crate::support::{NOW, TestSigner, claims};

#[test]
fn a_token_is_valid_within_its_exact_times() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    let verifier = Verifier::new(signer.pinned()).leeway_seconds(0);
    let (nbf, exp) = (claims().nbf, claims().exp);

    assert_eq!(
        verifier.verify_at(&token, nbf - 1),
        Err(TokenError::NotYetValid { nbf })
    );
    assert_eq!(verifier.verify_at(&token, nbf), Ok(claims()));
    assert_eq!(verifier.verify_at(&token, exp - 1), Ok(claims()));
    assert_eq!(
        verifier.verify_at(&token, exp),
        Err(TokenError::Expired { exp })
    );
}

#[test]
fn the_leeway_widens_both_ends_and_is_a_minute_unless_set() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    let verifier = Verifier::new(signer.pinned());
    let (nbf, exp) = (claims().nbf, claims().exp);

    for (verifier, leeway) in [
        (verifier.clone(), 60),
        (verifier.clone().leeway_seconds(5), 5),
        (verifier.leeway_seconds(-5), 0),
    ] {
        assert!(verifier.verify_at(&token, nbf - leeway - 1).is_err());
        assert!(verifier.verify_at(&token, nbf - leeway).is_ok());
        assert!(verifier.verify_at(&token, exp + leeway - 1).is_ok());
        assert!(verifier.verify_at(&token, exp + leeway).is_err());
    }
}

#[test]
fn extreme_times_do_not_overflow() {
    let signer = TestSigner::new(1);
    let mut always = claims();
    always.nbf = i64::MIN;
    always.exp = i64::MAX;
    let token = signer.sign(&always);
    let verifier = Verifier::new(signer.pinned());

    assert!(verifier.verify_at(&token, i64::MIN).is_ok());
    assert!(verifier.verify_at(&token, i64::MAX - 1).is_ok());
    assert!(
        verifier
            .leeway_seconds(i64::MAX)
            .verify_at(&token, NOW)
            .is_ok()
    );
}

#[test]
fn the_clock_is_the_system_s() {
    let signer = TestSigner::new(1);
    let verifier = Verifier::new(signer.pinned());
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(elapsed.as_secs()).unwrap();

    let mut current = claims();
    current.nbf = now - 1;
    current.exp = now + 60;
    assert_eq!(verifier.verify(&signer.sign(&current)), Ok(current.clone()));

    current.exp = now - 61;
    assert_eq!(
        verifier.verify(&signer.sign(&current)),
        Err(TokenError::Expired { exp: now - 61 })
    );
}

/// [UC-7]
#[test]
fn issuer_product_and_installation_are_checked_when_set() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    let verifier = Verifier::new(signer.pinned());

    let all = verifier
        .clone()
        .issuer("https://licenses.example.com")
        .product("editor-pro")
        .installation_id("machine-1");
    assert_eq!(all.verify_at(&token, NOW), Ok(claims()));

    for (verifier, expected) in [
        (
            all.clone().issuer("https://other.example"),
            TokenError::WrongIssuer,
        ),
        (all.clone().product("editor"), TokenError::WrongProduct),
        (all.clone().product(""), TokenError::WrongProduct),
        (
            all.installation_id("machine-2"),
            TokenError::WrongInstallation,
        ),
        (
            verifier.installation_id("Machine-1"),
            TokenError::WrongInstallation,
        ),
    ] {
        assert_eq!(verifier.verify_at(&token, NOW), Err(expected));
    }
}

#[test]
fn a_bad_signature_is_reported_before_anything_the_token_says() {
    let signer = TestSigner::new(1);
    let forged =
        TestSigner::new(2).sign_json(&signer.header(), &serde_json::to_value(claims()).unwrap());

    assert_eq!(
        Verifier::new(signer.pinned())
            .product("other")
            .verify_at(&forged, i64::MAX),
        Err(TokenError::BadSignature)
    );
}
