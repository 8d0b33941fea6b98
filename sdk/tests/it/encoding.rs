//! The spelling of a token: there is one, and every other is refused.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use countersign_client::{MAX_TOKEN_LENGTH, TokenError, verify_signature};
use serde_json::json;

use crate::support::{TestSigner, claims, encode};

/// [UC-7]
#[test]
fn every_single_flipped_bit_is_refused() {
    let signer = TestSigner::new(1);
    let keys = signer.pinned();
    let mut short = claims();
    short.entitlements.clear();
    short.attached.clear();
    let token = signer.sign(&short).into_bytes();

    for position in 0..token.len() {
        for bit in 0..8 {
            let mut flipped = token.clone();
            flipped[position] ^= 1 << bit;
            // What is not UTF-8 any more cannot even be passed.
            if let Ok(flipped) = str::from_utf8(&flipped) {
                assert!(
                    verify_signature(flipped, &keys).is_err(),
                    "bit {bit} of character {position}"
                );
            }
        }
    }
}

#[test]
fn every_single_flipped_bit_of_the_decoded_parts_is_refused() {
    let signer = TestSigner::new(1);
    let keys = signer.pinned();
    let token = signer.sign(&claims());
    let parts: Vec<&str> = token.split('.').collect();

    for part in 0..3 {
        let decoded = URL_SAFE_NO_PAD.decode(parts[part]).unwrap();
        for bit in 0..decoded.len() * 8 {
            let mut flipped = decoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = encode(flipped);
            let mut parts = parts.clone();
            parts[part] = &flipped;
            assert!(
                verify_signature(&parts.join("."), &keys).is_err(),
                "bit {bit} of part {part}"
            );
        }
    }
}

#[test]
fn every_cut_token_is_refused() {
    let signer = TestSigner::new(1);
    let keys = signer.pinned();
    let token = signer.sign(&claims());

    for length in 0..token.len() {
        assert!(verify_signature(&token[..length], &keys).is_err());
        assert!(verify_signature(&token[token.len() - length..], &keys).is_err());
    }
}

#[test]
fn padding_is_refused() {
    let signer = TestSigner::new(1);
    let payload = encode(json!(claims()).to_string());
    // Two of three lengths call for padding.
    let padded: Vec<String> = (0..3)
        .map(|blanks| URL_SAFE.encode(format!("{}{}", signer.header(), " ".repeat(blanks))))
        .filter(|header| header.ends_with('='))
        .collect();
    assert_eq!(padded.len(), 2);
    for header in padded {
        let token = signer.sign_parts(&header, &payload);
        assert_eq!(
            verify_signature(&token, &signer.pinned()),
            Err(TokenError::Malformed)
        );
        let token = signer.sign_parts(header.trim_end_matches('='), &payload);
        assert!(verify_signature(&token, &signer.pinned()).is_ok());
    }

    let token = signer.sign(&claims());
    assert_eq!(
        verify_signature(&format!("{token}=="), &signer.pinned()),
        Err(TokenError::Malformed)
    );
}

#[test]
fn bits_behind_the_end_of_a_part_are_refused() {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    // 64 bytes are 86 characters, of which the last carries two bits.
    let last = token.chars().last().unwrap();
    let value = ALPHABET.find(last).unwrap();
    assert_eq!(value % 16, 0);

    for bits in 1..16 {
        let other = ALPHABET.chars().nth(value + bits).unwrap();
        let respelled = format!("{}{other}", &token[..token.len() - 1]);
        assert_eq!(
            verify_signature(&respelled, &signer.pinned()),
            Err(TokenError::Malformed)
        );
    }
}

#[test]
fn other_alphabets_and_blanks_are_refused() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();

    for respelled in [
        format!(" {token}"),
        format!("{token}\n"),
        format!("{signed}. {signature}"),
        format!("{signed}.{}+", &signature[1..]),
        format!("{signed}.{}/", &signature[1..]),
        format!("{signed}.{}", encode([0; 63])),
        format!("{signed}.{}", encode([0; 65])),
    ] {
        assert_eq!(
            verify_signature(&respelled, &signer.pinned()),
            Err(TokenError::Malformed),
            "{respelled}"
        );
    }
}

#[test]
fn anything_but_three_parts_is_refused() {
    let signer = TestSigner::new(1);
    let token = signer.sign(&claims());
    let (header, rest) = token.split_once('.').unwrap();

    for parts in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        rest.to_owned(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{header}"),
        format!("{header}..{rest}"),
    ] {
        assert_eq!(
            verify_signature(&parts, &signer.pinned()),
            Err(TokenError::Malformed),
            "{parts}"
        );
    }
}

#[test]
fn a_token_is_read_up_to_its_longest_length() {
    let signer = TestSigner::new(1);
    let sign_with_filler = |length: usize| {
        let mut claims = claims();
        claims
            .entitlements
            .insert("filler".to_owned(), json!("x".repeat(length)));
        signer.sign(&claims)
    };
    let token = (0..MAX_TOKEN_LENGTH)
        .map(|shorter| sign_with_filler(MAX_TOKEN_LENGTH * 3 / 4 - shorter))
        .find(|token| token.len() <= MAX_TOKEN_LENGTH)
        .unwrap();
    assert!(token.len() > MAX_TOKEN_LENGTH - 4);
    assert!(verify_signature(&token, &signer.pinned()).is_ok());

    let too_long = sign_with_filler(MAX_TOKEN_LENGTH * 3 / 4);
    assert!(too_long.len() > MAX_TOKEN_LENGTH);
    assert_eq!(
        verify_signature(&too_long, &signer.pinned()),
        Err(TokenError::Malformed)
    );
}
