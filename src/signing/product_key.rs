//! How a self-verifying product key is written [UC-13]. What it says and how that is signed is the
//! client library's `product_key`, with which shipped software reads it.

/// Puts a prefix before the body of a signed key, and `separator` between every `chunk_length`
/// characters of it; none with a `chunk_length` of 0.
///
/// The client library ignores dashes and blanks, and nothing else: other separators make a key that
/// it cannot read.
pub(crate) fn format_signed_key(
    prefix: &str,
    body: &str,
    chunk_length: usize,
    separator: &str,
) -> String {
    let mut text = String::with_capacity(prefix.len() + body.len() * 2);
    text.push_str(prefix);
    for (place, character) in body.chars().enumerate() {
        if place > 0 && chunk_length > 0 && place.is_multiple_of(chunk_length) {
            text.push_str(separator);
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use countersign_client::{ProductKeyError, PublicKeys, TokenError, verify_product_key};

    use super::*;
    use crate::clock::Timestamp;
    use crate::db::models::instance::{SigningKeyRow, SigningKeyState};
    use crate::signing::key_file::KeyFolder;
    use crate::signing::keyring::Keyring;
    use crate::signing::set_up::NewKey;

    const NOW: i64 = 1_800_000_000;

    /// A keyring of new keys in these states, and what belongs to it.
    fn keyring(states: &[SigningKeyState]) -> (Keyring, Vec<SigningKeyRow>, tempfile::TempDir) {
        let place = tempfile::tempdir().unwrap();
        let folder = KeyFolder::new(place.path(), false);
        let now = Timestamp::from_micros(0);
        let rows: Vec<_> = states
            .iter()
            .map(|state| NewKey::create(&folder).unwrap().into_row(*state, now))
            .collect();
        let keyring = Keyring::load(folder, rows.clone()).unwrap();
        (keyring, rows, place)
    }

    fn published(keyring: &Keyring) -> PublicKeys {
        PublicKeys::from_jwks(&serde_json::to_string(&keyring.jwks()).unwrap()).unwrap()
    }

    #[test]
    fn a_signed_key_is_written_with_prefix_and_groups() {
        assert_eq!(format_signed_key("E-", "ABCDEFGH", 3, "-"), "E-ABC-DEF-GH");
        assert_eq!(format_signed_key("", "ABCDEF", 3, "-"), "ABC-DEF");
        assert_eq!(format_signed_key("E", "ABCDEF", 99, "-"), "EABCDEF");
        assert_eq!(format_signed_key("E", "ABCDEF", 2, ""), "EABCDEF");
        assert_eq!(format_signed_key("E", "ABCDEF", 0, "-"), "EABCDEF");
    }

    #[test]
    fn what_the_keyring_signs_is_verified_with_the_published_keys_alone() {
        let (keyring, rows, _place) = keyring(&[SigningKeyState::Signing, SigningKeyState::Next]);
        let end = Timestamp::from_micros(NOW * 1_000_000 + 999_999);
        for (product, expires_at) in [(None, None), (Some("editor-pro"), Some(end))] {
            let body = keyring.sign_product_key(17, product, expires_at).unwrap();
            for (length, separator) in [(5, "-"), (8, " "), (0, "")] {
                let text = format_signed_key("EDIT-", &body, length, separator);
                let claims =
                    verify_product_key(&text, "EDIT-", &published(&keyring), NOW - 1).unwrap();
                assert_eq!(
                    (claims.kid.as_str(), claims.serial),
                    (rows[0].kid.as_str(), 17)
                );
                assert_eq!(claims.product.as_deref(), product);
                assert_eq!(claims.expires_at, expires_at.map(|_| NOW));
            }
        }
        let too_long = keyring.sign_product_key(1, Some(&"x".repeat(256)), None);
        assert_eq!(too_long, Err(ProductKeyError::NotEncodable));
    }

    #[test]
    fn keys_of_a_retired_signing_key_verify_and_those_of_a_revoked_one_do_not() {
        let states = [SigningKeyState::Signing, SigningKeyState::Next];
        let (keyring, mut rows, _place) = keyring(&states);
        let text = keyring.sign_product_key(1, None, None).unwrap();

        rows[0].state = SigningKeyState::Retired;
        rows[1].state = SigningKeyState::Signing;
        keyring.refresh(rows.clone()).unwrap();
        assert!(verify_product_key(&text, "", &published(&keyring), NOW).is_ok());
        let later = keyring.sign_product_key(2, None, None).unwrap();
        let claims = verify_product_key(&later, "", &published(&keyring), NOW).unwrap();
        assert_eq!(claims.kid, rows[1].kid);

        rows[0].state = SigningKeyState::Revoked;
        keyring.refresh(rows.clone()).unwrap();
        let kid = rows[0].kid.clone();
        assert_eq!(
            verify_product_key(&text, "", &published(&keyring), NOW),
            Err(ProductKeyError::UnknownKey { kid })
        );
    }

    #[test]
    fn a_product_key_is_no_token() {
        let (keyring, _, _place) = keyring(&[SigningKeyState::Signing]);
        let text = keyring.sign_product_key(1, None, None).unwrap();
        assert_eq!(keyring.verify(&text), Err(TokenError::Malformed));
    }
}
