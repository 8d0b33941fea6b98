//! E-mail addresses of people who sign in.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

/// The longest address, in bytes (RFC 5321 with its erratum 1690).
const MAX_BYTES: usize = 254;

/// An e-mail address: something on both sides of an `@`, and nothing that an address cannot have. Whether
/// mail arrives there is for a mail to find out. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Checks an address.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let parts = text.rsplit_once('@');
        if text.len() > MAX_BYTES {
            Err(format!("is longer than {MAX_BYTES} bytes"))
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Err("must not contain blanks".to_owned())
        } else if parts.is_none_or(|(local, domain)| local.is_empty() || domain.is_empty()) {
            Err("must be an e-mail address such as ada@example.com".to_owned())
        } else {
            Ok(Self(text))
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl utoipa::__dev::ComposeSchema for Email {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("An e-mail address."))
            .min_length(Some(3))
            .max_length(Some(MAX_BYTES))
            .into()
    }
}

impl utoipa::ToSchema for Email {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Email")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_something_on_both_sides_of_an_at_sign_and_no_blanks() {
        for good in [
            "a@b",
            "ada@example.com",
            "\"a@b\"@example.com",
            "ж@пример.рф",
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(MAX_BYTES));
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a da@b",
            "a@b\n",
            "a\0@b",
            &long,
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_never_shown_by_debug_or_repeated_in_a_complaint() {
        let email = Email::parse("ada@example.com").unwrap();
        assert_eq!(format!("{email:?}"), "Email(…)");
        assert!(
            !Email::parse("ada example.com")
                .unwrap_err()
                .contains("ada ")
        );
    }
}
