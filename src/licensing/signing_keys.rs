//! Rotating the keys that sign tokens.

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use crate::db::DbConnection;
use crate::db::models::instance::{SigningKeyRow, SigningKeyState};
use crate::error::{Error, Result};
use crate::signing::key_file::{KeyFileError, KeyFolder};
use crate::signing::set_up;

/// Software that pins keys should have had this long to learn of the next one.
const PUBLISHED_DAYS: i64 = 7;

/// Moves the signing keys along: the one that signs retires and still verifies, the next one signs, a
/// new next one is published. Returns what to beware of, if anything.
///
/// # Errors
/// The database's, or a key file that cannot be written.
pub(crate) fn rotate_keys(
    tx: &mut DbConnection,
    cx: &Context,
    folder: &KeyFolder,
) -> Result<Option<String>> {
    let next = SigningKeyRow::all(tx)?
        .into_iter()
        .find(|row| row.state == SigningKeyState::Next);
    let rows = set_up::rotate(tx, folder, cx.now).map_err(|error| match error {
        KeyFileError::Database(error) => Error::Database(error),
        other => Error::internal(other.to_string()),
    })?;
    let states: Vec<_> = rows
        .iter()
        .map(|row| json!({ "kid": row.kid, "state": row.state }))
        .collect();
    events::record(
        tx,
        cx,
        "signing_keys.rotated",
        Subject::SigningKeys,
        json!({ "keys": states }),
    )?;
    Ok(next.filter(|row| row.created_at.plus_days(PUBLISHED_DAYS) > cx.now).map(|row| {
        format!(
            "the key {} signs from now on and was published only at {}: software that pins its keys may not know it yet",
            row.kid, row.created_at
        )
    }))
}
