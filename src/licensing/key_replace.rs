//! Replacing the text of a key that leaked: the key, its activations and its buyer stay; the old text is
//! never usable again [IPS-11].

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use super::key_creation::{free_text, text_is_taken};
use super::text::KeyText;
use super::{key_actions, key_moves, number};
use crate::app::App;
use crate::db::DbConnection;
use crate::db::models::key::{Key, KeyId};
use crate::db::models::retired_text::RetiredText;
use crate::error::Result;

/// A new text, sealed for its key.
#[derive(Clone, Debug)]
pub(crate) struct NewText {
    pub sealed: Vec<u8>,
    pub hash: [u8; 32],
}

/// Replaces a key's text and raises the version of its number, as software learns from that that the key
/// is another one. The text that it has already changes nothing.
///
/// # Errors
/// `key_not_found`, `already_exists` for a text that another key has or that any key ever had,
/// `invalid_transition` for a terminated key.
pub(crate) fn replace_key_text(
    tx: &mut DbConnection,
    cx: &Context,
    id: KeyId,
    text: &NewText,
    reason: Option<&str>,
) -> Result<()> {
    let mut key = key_actions::hold_one(tx, id)?;
    key_moves::check_not_terminated(&key, "replaced")?;
    let old = Key::text_hash(tx, id)?;
    if old.as_deref() == Some(&text.hash[..]) {
        return Ok(());
    }
    free_text(tx, &text.hash)?;
    // Two at it in the same moment: the unique index refuses the second, which then runs again.
    if Key::has_text(tx, &text.hash)? {
        return Err(text_is_taken().into());
    }
    key.replace_text(tx, &text.sealed, &text.hash, cx.now)?;
    // Afterwards, as for new keys: a text that was being replaced a moment ago is retired by now.
    if !RetiredText::among(tx, &[&text.hash])?.is_empty() {
        return Err(text_is_taken().into());
    }
    if let Some(text_hash) = &old {
        let retired = RetiredText {
            text_hash,
            key_id: id,
            retired_at: cx.now,
        };
        retired.insert(tx)?;
    }
    let detail = json!({ "number": number::full(&key), "reason": reason });
    events::record(tx, cx, "key.replaced", Subject::Key(id), detail)
}

impl App {
    /// Replaces a key's text.
    ///
    /// # Errors
    /// As [`replace_key_text`].
    pub(crate) async fn replace_key_text(
        &self,
        cx: Context,
        id: KeyId,
        text: &KeyText,
        reason: Option<String>,
    ) -> Result<()> {
        let text = NewText {
            sealed: self.vault.seal(id.0, text.as_str()),
            hash: self.vault.hash(text.as_str()),
        };
        self.db
            .write(move |tx| replace_key_text(tx, &cx, id, &text, reason.as_deref()))
            .await
    }
}
