//! Product keys that verify themselves.

use countersign_client::{
    ProductKeyClaims, ProductKeyError, PublicKeys, product_key_body, verify_product_key,
};
use ed25519_dalek::Signer;

use crate::support::{NOW, TestSigner};

const PREFIX: &str = "EDIT-";
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn claims(product: Option<&str>, expires_at: Option<i64>) -> ProductKeyClaims {
    ProductKeyClaims {
        kid: TestSigner::new(1).kid(),
        serial: 17,
        product: product.map(str::to_owned),
        expires_at,
    }
}

/// Signs with the key of this seed, whatever key the claims name.
fn body(seed: u8, claims: &ProductKeyClaims) -> String {
    let key = TestSigner::new(seed).key;
    product_key_body(claims, |message| key.sign(message).to_bytes()).unwrap()
}

fn in_groups(body: &str) -> String {
    let characters: Vec<char> = body.chars().collect();
    let groups: Vec<String> = characters.chunks(5).map(String::from_iter).collect();
    format!("{PREFIX}{}", groups.join("-"))
}

fn verify(text: &str) -> Result<ProductKeyClaims, ProductKeyError> {
    verify_product_key(text, PREFIX, &TestSigner::new(1).pinned(), NOW)
}

#[test]
fn what_is_signed_reads_back() {
    let longest = "é".repeat(127) + "x";
    for product in [None, Some("editor-pro"), Some(longest.as_str())] {
        for expires_at in [None, Some(NOW + 1), Some(i64::MAX)] {
            for serial in [0, 1, u64::MAX] {
                let claims = ProductKeyClaims {
                    serial,
                    ..claims(product, expires_at)
                };
                assert_eq!(verify(&in_groups(&body(1, &claims))), Ok(claims));
            }
        }
    }
}

#[test]
fn the_format_stays_as_it_is() {
    let text = in_groups(&body(1, &claims(Some("editor-pro"), Some(1_900_000_000))));
    assert_eq!(text, KNOWN);
    assert_eq!(in_groups(&body(1, &claims(None, None))).len(), 5 + 138 + 27);
}

/// Serial 17, for `editor-pro`, until 1,900,000,000, signed with the key of seed 1.
const KNOWN: &str = concat!(
    "EDIT-AFIDB-ULY4Z-S5MKS-XAH5H-2AAAA-AAAAA-AACEF-GKZDJ-ORXXE-LLQOJ-XQAAA-AABYT-7MYAP-LJXTG-",
    "5PD3T-OOW27-JJNQ6-YDDDA-HU7R2-UPEGX-7VH5E-4KN22-PSJ5M-PNJWN-75QNE-Q5UQP-QSHXC-LILBM-UBHTR-F4NLR-37Z2G-TCFZJ-ZF6MM-BY",
);

#[test]
fn dashes_blanks_and_case_are_ignored() {
    let claims = claims(Some("editor-pro"), None);
    let body = body(1, &claims);
    let text = in_groups(&body);
    for typed in [
        format!("{PREFIX}{body}"),
        format!("EDIT{body}"),
        text.to_lowercase(),
        text.replace('-', " "),
        text.replace('-', " - "),
        format!("  {text}\r\n"),
        text.replace('-', "-\n"),
    ] {
        assert_eq!(verify(&typed), Ok(claims.clone()), "{typed}");
    }
    let bare = verify_product_key(&body, "", &TestSigner::new(1).pinned(), NOW);
    assert_eq!(bare, Ok(claims));
}

#[test]
fn any_other_character_anywhere_is_refused() {
    let text = in_groups(&body(1, &claims(Some("editor-pro"), Some(NOW + 1))));
    assert!(verify(&text).is_ok());
    for (place, original) in text.char_indices().filter(|(_, c)| *c != '-') {
        for other in ALPHABET.chars().chain("0189=+/_.é".chars()) {
            if other != original {
                let mut changed = text.clone();
                changed.replace_range(place..=place, &other.to_string());
                assert!(verify(&changed).is_err(), "{changed}");
            }
        }
        let mut shorter = text.clone();
        shorter.remove(place);
        assert!(verify(&shorter).is_err(), "{shorter}");
        let mut longer = text.clone();
        longer.insert(place, original);
        assert!(verify(&longer).is_err(), "{longer}");
    }
    for other in ALPHABET.chars() {
        assert!(verify(&format!("{text}{other}")).is_err());
    }
}

#[test]
fn every_shorter_text_and_none_at_all_are_refused() {
    let text = in_groups(&body(1, &claims(None, None)));
    for end in 0..text.len() {
        assert!(verify(&text[..end]).is_err(), "{}", &text[..end]);
    }
    assert_eq!(verify(PREFIX), Err(ProductKeyError::Malformed));
    assert_eq!(verify(""), Err(ProductKeyError::WrongPrefix));
    assert_eq!(
        verify(&text.repeat(100)),
        Err(ProductKeyError::Malformed),
        "too long to be looked at"
    );
}

#[test]
fn another_prefix_is_refused() {
    let body = body(1, &claims(None, None));
    for text in [body.clone(), format!("PLAY-{body}")] {
        assert_eq!(verify(&text), Err(ProductKeyError::WrongPrefix));
    }
}

#[test]
fn a_key_is_valid_until_the_second_it_expires() {
    let expires_at = NOW + 10;
    let text = in_groups(&body(1, &claims(None, Some(expires_at))));
    let verify = |now| verify_product_key(&text, PREFIX, &TestSigner::new(1).pinned(), now);

    assert!(verify(expires_at - 1).is_ok());
    assert_eq!(
        verify(expires_at),
        Err(ProductKeyError::Expired { expires_at })
    );
    let for_ever = in_groups(&body(1, &claims(None, None)));
    let keys = TestSigner::new(1).pinned();
    assert!(verify_product_key(&for_ever, PREFIX, &keys, i64::MAX).is_ok());
}

#[test]
fn a_key_is_for_its_product_or_for_any() {
    let one = claims(Some("editor-pro"), None);
    assert!(one.is_for("editor-pro"));
    assert!(!one.is_for("editor") && !one.is_for(""));
    assert!(claims(None, None).is_for("editor-pro"));
}

/// [UC-13]
#[test]
fn nobody_else_can_make_one() {
    assert_eq!(
        verify(&in_groups(&body(2, &claims(None, None)))),
        Err(ProductKeyError::BadSignature),
        "another key under a pinned name"
    );
    let foreign = ProductKeyClaims {
        kid: TestSigner::new(2).kid(),
        ..claims(None, None)
    };
    assert_eq!(
        verify(&in_groups(&body(2, &foreign))),
        Err(ProductKeyError::UnknownKey { kid: foreign.kid })
    );
    let text = in_groups(&body(1, &claims(None, None)));
    assert!(verify_product_key(&text, PREFIX, &PublicKeys::new(), NOW).is_err());
}

#[test]
fn what_is_signed_begins_with_a_context_of_its_own() {
    let mut message = Vec::new();
    product_key_body(&claims(None, None), |bytes| {
        message = bytes.to_vec();
        [0; 64]
    })
    .unwrap();
    assert!(message.starts_with(b"countersign product key v1\0\x01"));
}

#[test]
fn a_signature_on_the_bare_payload_is_refused() {
    let key = TestSigner::new(1).key;
    let text = product_key_body(&claims(None, None), |message| {
        let context = "countersign product key v1\0".len();
        key.sign(&message[context..]).to_bytes()
    });
    assert_eq!(
        verify(&in_groups(&text.unwrap())),
        Err(ProductKeyError::BadSignature)
    );
}

#[test]
fn what_no_key_can_say_is_not_made() {
    let too_long = claims(Some(&"x".repeat(256)), None);
    let mut no_kid = claims(None, None);
    no_kid.kid = "short".to_owned();
    for claims in [too_long, no_kid] {
        let made = product_key_body(&claims, |_| [0; 64]);
        assert_eq!(made, Err(ProductKeyError::NotEncodable));
    }
}
