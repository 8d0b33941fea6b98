//! Texts and objects that come from outside, checked once when they are read.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::db::types::JsonObject;

/// The longest product key, in bytes [UC-37].
pub const MAX_KEY_BYTES: usize = 4096;
/// The largest `extra` or `entitlements`, as JSON, in bytes.
const MAX_OBJECT_BYTES: usize = 16_384;

/// A text of 1 to `MAX` bytes without the character U+0000, which PostgreSQL cannot store.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// A sku, a sequence's name, and the like.
pub type Name = Text<255>;

impl<const MAX: usize> Text<MAX> {
    /// Checks a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.is_empty() {
            Err("must not be empty".to_owned())
        } else if text.len() > MAX {
            Err(format!(
                "is {} bytes long; at most {MAX} are allowed",
                text.len()
            ))
        } else if text.contains('\0') {
            Err("must not contain the character U+0000".to_owned())
        } else {
            Ok(Self(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<const MAX: usize> utoipa::__dev::ComposeSchema for Text<MAX> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .min_length(Some(1))
            .max_length(Some(MAX))
            .into()
    }
}

impl<const MAX: usize> utoipa::ToSchema for Text<MAX> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("Text{MAX}"))
    }
}

/// The text of a product key: any UTF-8 of 1 to 4,096 bytes, compared exactly [IPS-2]. Never shown by
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// Checks a key's text.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.is_empty() {
            Err("must not be empty".to_owned())
        } else if text.len() > MAX_KEY_BYTES {
            Err(format!(
                "is {} bytes long; a key has at most {MAX_KEY_BYTES}",
                text.len()
            ))
        } else {
            Ok(Self(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl utoipa::__dev::ComposeSchema for KeyText {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("The text of a product key, compared exactly."))
            .min_length(Some(1))
            .max_length(Some(MAX_KEY_BYTES))
            .into()
    }
}

impl utoipa::ToSchema for KeyText {}

/// A JSON object of the caller's own making, up to 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra(pub JsonObject);

impl Extra {
    /// Checks an object.
    ///
    /// # Errors
    /// That it is too large.
    pub fn checked(object: JsonObject) -> Result<Self, String> {
        let bytes = Value::Object(object.0.clone()).to_string().len();
        if bytes > MAX_OBJECT_BYTES {
            return Err(format!(
                "is {bytes} bytes of JSON; at most {MAX_OBJECT_BYTES} are allowed"
            ));
        }
        Ok(Self(object))
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::<String, Value>::deserialize(deserializer)?;
        Self::checked(JsonObject(map)).map_err(D::Error::custom)
    }
}

impl utoipa::__dev::ComposeSchema for Extra {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .description(Some("Any JSON object of at most 16 KiB."))
            .into()
    }
}

impl utoipa::ToSchema for Extra {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_measured_in_bytes_and_refused_when_empty_too_long_or_with_a_nul() {
        assert!(Text::<4>::parse("чч").is_ok());
        for wrong in ["", "ччч", "a\0b"] {
            assert!(Text::<4>::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_text_of_a_key_is_never_shown() {
        let key = KeyText::parse("SECRET-KEY").unwrap();
        assert!(!format!("{key:?}").contains("SECRET"));
    }
}
