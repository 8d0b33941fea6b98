//! The token format: what has a good signature, and everything that has not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_client::{PublicKeys, TOKEN_TYPE, TokenError, verify_signature};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::{Value, json};

use crate::support::{TestSigner, claims, encode};

fn payload() -> Value {
    serde_json::to_value(claims()).unwrap()
}

/// What becomes of a token with this header, signed with the pinned key.
fn with_header(header: &Value) -> Result<(), TokenError> {
    let signer = TestSigner::new(1);
    let token = signer.sign_json(header, &payload());
    verify_signature(&token, &signer.pinned()).map(drop)
}

/// What becomes of a token with this payload, signed with the pinned key.
fn with_payload(payload: &str) -> Result<(), TokenError> {
    let signer = TestSigner::new(1);
    let token = signer.sign_parts(&encode(signer.header().to_string()), &encode(payload));
    verify_signature(&token, &signer.pinned()).map(drop)
}

#[test]
fn a_good_token_yields_its_claims() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());

    assert_eq!(verify_signature(&token, &signer.pinned()), Ok(claims()));
}

#[test]
fn the_signature_is_good_whatever_the_time() {
    let signer = TestSigner::new(1);
    let mut expired = claims();
    expired.nbf = 0;
    expired.exp = 1;

    let token = signer.sign(&expired);
    assert_eq!(verify_signature(&token, &signer.pinned()), Ok(expired));
}

#[test]
fn the_claims_have_the_names_of_the_contract() {
    let written = serde_json::to_string(&claims()).unwrap();

    assert_eq!(
        written,
        concat!(
            r#"{"iss":"https://licenses.example.com","sub":"PLSK.00000017","aud":"editor-pro","#,
            r#""jti":"01J9ZX4T7R","iat":1800000000,"nbf":1799999700,"exp":1802592000,"#,
            r#""activation_id":"01J9ZX4T7Q","installation_id":"machine-1","key_expires_at":null,"#,
            r#""entitlements":{"seats":3},"attached":[{"number":"EXT.00000018","#,
            r#""product":"editor-spell","expires_at":"2027-11-22T10:00:00Z"}]}"#
        )
    );
}

#[test]
fn claims_that_are_not_known_are_ignored() {
    let mut payload = payload();
    payload["in_grace"] = json!(true);

    assert_eq!(with_payload(&payload.to_string()), Ok(()));
}

#[test]
fn no_other_algorithm_is_accepted() {
    let mut header = TestSigner::new(1).header();
    for algorithm in [
        "none", "None", "", "HS256", "HS512", "RS256", "ES256", "PS256", "Ed25519", "EdDSA ",
        "eddsa", "EDDSA",
    ] {
        header["alg"] = json!(algorithm);
        assert_eq!(
            with_header(&header),
            Err(TokenError::WrongAlgorithm),
            "{algorithm}"
        );
    }
    for algorithm in [json!(null), json!(["EdDSA"]), json!(0)] {
        header["alg"] = algorithm;
        assert_eq!(with_header(&header), Err(TokenError::Malformed));
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    let signer = TestSigner::new(1);
    let mut header = signer.header();
    let payload = encode(payload().to_string());

    let unsigned = format!("{}.{payload}.", encode(header.to_string()));
    assert_eq!(
        verify_signature(&unsigned, &signer.pinned()),
        Err(TokenError::Malformed)
    );
    header["alg"] = json!("none");
    let unsigned = format!("{}.{payload}.", encode(header.to_string()));
    assert_eq!(
        verify_signature(&unsigned, &signer.pinned()),
        Err(TokenError::WrongAlgorithm)
    );
}

#[test]
fn no_other_type_is_accepted() {
    let mut header = TestSigner::new(1).header();
    for other in [
        json!("JWT"),
        json!("validation+jwt"),
        json!("application/activation+jwt"),
        json!("Activation+JWT"),
        json!(""),
        json!(null),
    ] {
        header["typ"] = other.clone();
        assert_eq!(with_header(&header), Err(TokenError::WrongType), "{other}");
    }
    header.as_object_mut().unwrap().remove("typ");
    assert_eq!(with_header(&header), Err(TokenError::WrongType));

    header["typ"] = json!(TOKEN_TYPE);
    assert_eq!(with_header(&header), Ok(()));
}

#[test]
fn a_critical_extension_is_refused_whatever_it_says() {
    let mut header = TestSigner::new(1).header();
    for critical in [json!(["exp"]), json!([]), json!(null), json!("b64")] {
        header["crit"] = critical;
        assert_eq!(with_header(&header), Err(TokenError::Malformed));
    }
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let ours = TestSigner::new(1);
    let foreign = TestSigner::new(2);
    let mut header = foreign.header();
    header["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(foreign.public_key())});
    header["jku"] = json!("https://attacker.example/jwks.json");
    let token = foreign.sign_json(&header, &payload());

    assert_eq!(
        verify_signature(&token, &ours.pinned()),
        Err(TokenError::UnknownKey { kid: foreign.kid() })
    );
}

#[test]
fn another_key_under_a_pinned_name_is_refused() {
    let ours = TestSigner::new(1);
    let forged = TestSigner::new(2).sign_json(&ours.header(), &payload());

    assert_eq!(
        verify_signature(&forged, &ours.pinned()),
        Err(TokenError::BadSignature)
    );
}

#[test]
fn a_signature_that_only_lenient_rules_accept_is_refused() {
    let signer = TestSigner::new(1);
    // Its first half is the neutral point, which has small order. Computed from the private key of
    // this signer, the formula of RFC 8032 section 5.1.7 holds all the same.
    let token = concat!(
        "eyJhbGciOiJFZERTQSIsInR5cCI6ImFjdGl2YXRpb24rand0Iiwia2lkIjoiVUREUmVPWmwxaXBYQWZwOSJ9.e30.",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACokj3d2M9uXHq9Te-IuV_aPSoDu1VyKZKrJocMeORLAA"
    );
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    VerifyingKey::from_bytes(&signer.public_key())
        .unwrap()
        .verify(
            signed.as_bytes(),
            &Signature::from_slice(&signature).unwrap(),
        )
        .expect("accepted by lenient rules");

    assert_eq!(
        verify_signature(token, &signer.pinned()),
        Err(TokenError::BadSignature)
    );
}

#[test]
fn a_token_without_a_pinned_name_is_refused() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());

    assert_eq!(
        verify_signature(&token, &PublicKeys::new()),
        Err(TokenError::UnknownKey { kid: signer.kid() })
    );
    assert_eq!(
        with_header(&json!({"alg": "EdDSA", "typ": TOKEN_TYPE})),
        Err(TokenError::Malformed)
    );
}

#[test]
fn control_characters_of_an_unknown_name_do_not_reach_a_log() {
    let error = TokenError::UnknownKey {
        kid: "\u{1b}[2J\n".to_owned(),
    };

    assert!(!error.to_string().contains(char::is_control));
}

#[test]
fn a_payload_that_is_no_claims_is_refused_even_when_signed() {
    let mut without_installation = payload();
    without_installation
        .as_object_mut()
        .unwrap()
        .remove("installation_id");
    let mut fraction = payload();
    fraction["exp"] = json!(1.5);
    let twice = payload()
        .to_string()
        .replacen('{', r#"{"installation_id":"x","#, 1);
    let in_order = [
        "iss",
        "sub",
        "aud",
        "jti",
        "iat",
        "nbf",
        "exp",
        "activation_id",
        "installation_id",
        "key_expires_at",
        "entitlements",
        "attached",
    ];
    let list = in_order.map(|claim| payload()[claim].clone());

    for wrong in [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        json!(list).to_string(),
        without_installation.to_string(),
        fraction.to_string(),
        twice,
    ] {
        assert_eq!(with_payload(&wrong), Err(TokenError::Malformed), "{wrong}");
    }
}
