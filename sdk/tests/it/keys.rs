//! Pinning keys.

use countersign_client::{KeyError, PublicKeys, kid, verify_signature};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use serde_json::json;

use crate::support::{TestSigner, claims, encode};

/// The public key of RFC 8037 appendix A.2.
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const HEX: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const KID: &str = "kPrK_qmxVWaYVA9w";
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

fn kids(keys: &PublicKeys) -> Vec<&str> {
    keys.kids().collect()
}

#[test]
fn one_key_has_one_name_however_it_is_pinned() {
    let mut keys = PublicKeys::new();
    assert!(keys.is_empty());

    assert_eq!(keys.pin_pem(PEM), Ok(KID.to_owned()));
    assert_eq!(keys.pin_hex(HEX), Ok(KID.to_owned()));
    assert_eq!(keys.pin_hex(&HEX.to_uppercase()), Ok(KID.to_owned()));
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": X}]}).to_string();

    assert_eq!(kids(&keys), [KID]);
    assert_eq!(PublicKeys::from_jwks(&jwks), Ok(keys));
}

#[test]
fn a_key_that_was_pinned_verifies_the_tokens_it_signed() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    let key = VerifyingKey::from_bytes(&signer.public_key()).unwrap();

    for line_ending in [LineEnding::LF, LineEnding::CRLF] {
        let mut keys = PublicKeys::new();
        let pem = key.to_public_key_pem(line_ending).unwrap();
        assert_eq!(keys.pin_pem(&pem), Ok(signer.kid()));
        assert_eq!(keys.pin_hex(HEX), Ok(KID.to_owned()));
        assert_eq!(verify_signature(&token, &keys), Ok(claims()));
    }
}

#[test]
fn a_name_of_one_s_own_may_be_given() {
    let signer = TestSigner::new(1);
    let mut keys = PublicKeys::new();
    keys.pin("2026", &signer.public_key()).unwrap();

    let mut header = signer.header();
    header["kid"] = json!("2026");
    let token = signer.sign_json(&header, &serde_json::to_value(claims()).unwrap());
    assert_eq!(verify_signature(&token, &keys), Ok(claims()));
    assert!(verify_signature(&signer.sign(&claims()), &keys).is_err());
}

#[test]
fn a_pinned_key_is_never_replaced() {
    let (first, second) = (TestSigner::new(1), TestSigner::new(2));
    let mut keys = PublicKeys::new();
    keys.pin("one", &first.public_key()).unwrap();
    let pinned = keys.clone();

    assert_eq!(keys.pin("one", &first.public_key()), Ok(()));
    assert_eq!(
        keys.pin("one", &second.public_key()),
        Err(KeyError::KidTaken {
            kid: "one".to_owned()
        })
    );
    assert_eq!(keys, pinned);
}

#[test]
fn weak_keys_and_bytes_that_are_no_key_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut not_a_point = [0; 32];
    not_a_point[0] = 2;
    // The points of small order, as every list of them has them (for instance libsodium's).
    let order_eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let mut keys = PublicKeys::new();

    assert_eq!(keys.pin("k", &identity), Err(KeyError::Weak));
    assert_eq!(keys.pin("k", &[0; 32]), Err(KeyError::Weak));
    assert_eq!(keys.pin_hex(order_eight), Err(KeyError::Weak));
    assert_eq!(keys.pin("k", &not_a_point), Err(KeyError::NotAPoint));
    assert_eq!(
        PublicKeys::from_jwks(
            &json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encode(identity)}]}).to_string()
        ),
        Err(KeyError::NoUsableKey)
    );
    assert!(keys.is_empty());
}

#[test]
fn texts_that_are_no_pem_of_a_public_key_are_refused() {
    let private = PEM.replace("PUBLIC", "PRIVATE");
    let cut = PEM.replace("MCow", "");
    let rsa = PEM.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu");
    let mut keys = PublicKeys::new();

    for text in ["", "PUBLIC KEY", HEX, &private, &cut, &rsa] {
        assert_eq!(keys.pin_pem(text), Err(KeyError::Pem), "{text}");
    }
    assert!(keys.is_empty());
}

#[test]
fn a_key_set_yields_its_ed25519_keys_and_nothing_else() {
    let second = TestSigner::new(2);
    let good = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(second.public_key()),
        "kid": "two", "use": "sig", "alg": "EdDSA", "later": {"member": 1}});
    let except = |member: &str, value: &str| {
        let mut entry = good.clone();
        entry["kid"] = json!("never");
        entry[member] = json!(value);
        entry
    };
    let padded = format!("{}=", encode(second.public_key()));
    let set = json!({"keys": [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"},
        {"kty": "EC", "crv": "P-256", "x": X, "y": X, "kid": "ec"},
        except("crv", "X25519"),
        except("kty", "EC"),
        except("use", "enc"),
        except("alg", "HS256"),
        except("x", "AAAA"),
        except("x", &padded),
        {"kty": "OKP", "crv": "Ed25519", "kid": "without x"},
        "no object",
        null,
        good,
        {"kty": "OKP", "crv": "Ed25519", "x": X},
    ], "other": true});

    let keys = PublicKeys::from_jwks(&set.to_string()).unwrap();
    assert_eq!(kids(&keys), [KID, "two"]);
    assert_eq!(format!("{keys:?}"), format!("{{{KID:?}, \"two\"}}"));
}

#[test]
fn a_key_set_without_a_usable_key_is_an_error() {
    for (text, expected) in [
        ("", KeyError::Jwks),
        ("[]", KeyError::Jwks),
        ("{}", KeyError::Jwks),
        (r#"{"keys":{}}"#, KeyError::Jwks),
        (r#"{"keys":[]}"#, KeyError::NoUsableKey),
        (r#"{"keys":[{"kty":"RSA"}]}"#, KeyError::NoUsableKey),
    ] {
        assert_eq!(PublicKeys::from_jwks(text), Err(expected), "{text}");
    }
}

#[test]
fn a_key_set_that_gives_one_name_to_two_keys_is_an_error() {
    let entry = |seed| {
        let x = encode(TestSigner::new(seed).public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k"})
    };

    assert!(PublicKeys::from_jwks(&json!({"keys": [entry(1), entry(1)]}).to_string()).is_ok());
    assert_eq!(
        PublicKeys::from_jwks(&json!({"keys": [entry(1), entry(2)]}).to_string()),
        Err(KeyError::KidTaken {
            kid: "k".to_owned()
        })
    );
}

#[test]
fn the_name_of_a_key_is_sixteen_characters_of_base64url() {
    for seed in 0..50 {
        let kid = kid(&TestSigner::new(seed).public_key());
        assert_eq!(kid.len(), 16);
        assert!(
            kid.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        );
    }
}
