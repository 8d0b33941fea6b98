//! Key numbers: short printable names of keys that are no secret, `KEY.00000017.0001`.
//!
//! Prefix, id in at least eight digits, version in four. Look-up goes by the id alone [PLESK-34].

use crate::db::models::key::{Key, KeyId};

/// The number with its version.
pub(crate) fn full(key: &Key) -> String {
    of_parts(key.id, &key.number_prefix, key.number_version)
}

/// As [`full`], of what it is made of.
pub(crate) fn of_parts(id: KeyId, prefix: &str, version: i64) -> String {
    format!("{prefix}.{:08}.{version:04}", id.0)
}

/// The number as the `sub` of tokens has it: it stays when the version rises.
pub(crate) fn without_version(id: KeyId, prefix: &str) -> String {
    format!("{prefix}.{:08}", id.0)
}

/// Whether a text can stand before the dot.
pub(crate) fn is_prefix(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The key that a number names: `PREFIX.ID` or `PREFIX.ID.VERSION`; the prefix and the version may be
/// any.
pub(crate) fn parse(text: &str) -> Option<KeyId> {
    let mut parts = text.split('.');
    let (_prefix, id, version, rest) = (parts.next()?, parts.next()?, parts.next(), parts.next());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if rest.is_some() || !digits(id) || version.is_some_and(|version| !digits(version)) {
        return None;
    }
    id.parse().ok().map(KeyId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_with_any_version_or_none() {
        for text in [
            "PLSK.00000017.0001",
            "PLSK.00000017.0099",
            "PLESK.00000017",
            "KEY.17",
        ] {
            assert_eq!(parse(text), Some(KeyId(17)), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_found() {
        for text in [
            "",
            "17",
            "KEY.",
            "KEY.x",
            "KEY.1.",
            "KEY.1.2.3",
            "KEY.-1",
            "KEY.99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
