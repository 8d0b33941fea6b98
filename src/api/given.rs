//! Members of an edit: absent and null are not the same.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use utoipa::openapi::{RefOr, Schema};

use crate::error::Refusal;

/// A member that may be left out. `Given<Option<T>>` tells null from absent; for `Given<T>` null is
/// refused as the wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T>(pub Option<T>);

impl<T> Given<T> {
    /// The value, of a member that what is made must have.
    pub(crate) fn required(self, field: &str) -> Result<T, Refusal> {
        self.0
            .ok_or_else(|| Refusal::wrong(field, "required", "is required"))
    }

    /// Puts the value, if there is one, into its place.
    pub(crate) fn put_into(self, place: &mut T) {
        if let Some(value) = self.0 {
            *place = value;
        }
    }

    /// As [`Given::put_into`], for a place of another type.
    pub(crate) fn put_as<U>(self, place: &mut U, convert: impl FnOnce(T) -> U) {
        if let Some(value) = self.0 {
            *place = convert(value);
        }
    }
}

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl<T: utoipa::__dev::ComposeSchema> utoipa::__dev::ComposeSchema for Given<T> {
    fn compose(schemas: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        T::compose(schemas)
    }
}

impl<T: utoipa::ToSchema + utoipa::__dev::ComposeSchema> utoipa::ToSchema for Given<T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}
