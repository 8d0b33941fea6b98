//! Rotating the keys that sign tokens.

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use crate::db::DbConnection;
use crate::db::models::instance::{SigningKeyRow, SigningKeyState};
use crate::error::{Code, Refusal, Result};
use crate::signing::set_up::{self, NewKey};

/// Software that pins keys should have had this long to learn of the next one.
const PUBLISHED_DAYS: i64 = 7;

/// Moves the signing keys along: the one that signs retires and still verifies, the next one signs, a
/// `new` is published as the next one. Returns what to beware of, if anything.
///
/// # Errors
/// `not_found` before the first start.
pub(crate) fn rotate_keys(
    tx: &mut DbConnection,
    cx: &Context,
    new: &NewKey,
) -> Result<Option<String>> {
    let next = SigningKeyRow::all(tx)?
        .into_iter()
        .find(|row| row.state == SigningKeyState::Next);
    let rows = set_up::rotate(tx, new, cx.now)?;
    if rows.is_empty() {
        let detail = "There are no signing keys yet; start the server once, which makes them.";
        return Err(Refusal::because(Code::NotFound, detail).into());
    }
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
