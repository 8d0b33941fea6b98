//! One record of an import, and the checks of its parts.

use crate::clock::Timestamp;
use crate::db::models::key::KeyStatus;
use crate::db::types::JsonObject;
use crate::licensing::text::{KeyText, MAX_KEY_BYTES, Name};

use super::FailedLine;

/// One key that is to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where it begins, counted from 1.
    pub line: u64,
    /// The sequence that the text names for it.
    pub sequence: Option<Name>,
    pub key: KeyText,
    /// When it expires, if its row says so. May lie in the past.
    pub expires_at: Option<Timestamp>,
    /// As its row says; at least 1.
    pub valid_for_days: Option<i64>,
    /// As its row says; at least 1.
    pub max_activations: Option<i64>,
    /// What it was where it came from, if its row says so.
    pub status: Option<KeyStatus>,
    /// Whether its row says nothing of an assignment or an end.
    pub is_stock: bool,
    /// The further columns, as texts [UC-63].
    pub extra: JsonObject,
}

impl Record {
    /// A record of nothing but a key.
    pub(super) fn new(line: u64, key: KeyText) -> Self {
        Self {
            line,
            sequence: None,
            key,
            expires_at: None,
            valid_for_days: None,
            max_activations: None,
            status: None,
            is_stock: true,
            extra: JsonObject::default(),
        }
    }
}

/// Checks the text of a key.
pub(super) fn key(line: u64, text: &str) -> Result<KeyText, FailedLine> {
    if text.is_empty() {
        return Err(FailedLine::new(line, "empty_key", "has no key"));
    }
    KeyText::parse(text).map_err(|_| key_too_long(line, text.len()))
}

/// A key of so many bytes cannot be.
pub(super) fn key_too_long(line: u64, length: usize) -> FailedLine {
    let detail = format!("is {length} bytes long; a key has at most {MAX_KEY_BYTES}");
    FailedLine::new(line, "too_long", detail)
}

/// Checks the name of a sequence.
pub(super) fn sequence(line: u64, text: &str) -> Result<Name, FailedLine> {
    Name::parse(text).map_err(|problem| {
        let code = if text.is_empty() {
            "empty_sequence"
        } else {
            "invalid_sequence"
        };
        FailedLine::new(line, code, format!("the name of the sequence {problem}"))
    })
}
