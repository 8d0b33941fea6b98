//! The public id of an activation: its key's id and its random serial in Crockford's base32.
//!
//! The id finds the activation's row by its key, so no further index is needed; the serial makes it
//! unique and never reused, also when the same installation is activated again.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

use crate::db::models::key::KeyId;

static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    spec.encoding()
        .expect("32 distinct symbols are an encoding")
});

/// A new serial.
pub(crate) fn new_serial() -> i64 {
    rand::random()
}

/// The text of an activation's id.
pub(crate) fn encode(key: KeyId, serial: i64) -> String {
    let mut bytes = serial.to_be_bytes().to_vec();
    bytes.extend(key.0.to_be_bytes().iter().skip_while(|byte| **byte == 0));
    BASE32.encode(&bytes)
}

/// The key and the serial of an id; `None` for a text that [`encode`] does not make.
pub(crate) fn decode(text: &str) -> Option<(KeyId, i64)> {
    let bytes = BASE32.decode(text.as_bytes()).ok()?;
    let (serial, key) = bytes.split_first_chunk::<8>()?;
    if key.is_empty() || key.len() > 8 || key.first() == Some(&0) {
        return None;
    }
    let mut id = [0; 8];
    id[8 - key.len()..].copy_from_slice(key);
    Some((KeyId(i64::from_be_bytes(id)), i64::from_be_bytes(*serial)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_leads_back_to_its_key_and_serial(key in 1..i64::MAX, serial: i64) {
            prop_assert_eq!(decode(&encode(KeyId(key), serial)), Some((KeyId(key), serial)));
        }

        #[test]
        fn any_other_text_is_no_id(text in ".{0,40}") {
            if let Some((key, serial)) = decode(&text) {
                prop_assert_eq!(encode(key, serial), text);
            }
        }
    }
}
