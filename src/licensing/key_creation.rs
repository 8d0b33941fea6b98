//! Entering a key by hand [IPS-4].

use super::context::Context;
use super::events::{self, Subject};
use super::idempotency::{self, Made, Repeatable};
use super::key_actions::{self, Restocked};
use super::key_binding::{self};
use super::key_edits::{KeyPatch, apply, check, follow_orders, recorded};
use super::text::KeyText;
use super::{key_moves, number};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::job::{self, Job};
use crate::db::models::key::{Key, KeyId, KeySource, KeyStatus};
use crate::db::models::lot::Lot;
use crate::db::models::new_key::{NewKey, NewKeysShare};
use crate::db::{DbConnection, ids};
use crate::error::{Code, Error, Refusal, Result};
use crate::signing::vault::Vault;

/// What a new key is sealed and numbered with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making<'a> {
    pub vault: &'a Vault,
    /// The prefix of the number of a key that is for no product yet.
    pub number_prefix: &'a str,
}

/// Enters a key [IPS-4]. It is a lot of its own, so that it is sold after what came in before it.
///
/// # Errors
/// `already_exists` for a text that a key has or ever had, `invalid_transition` for a status that does
/// not go with the rest, `ambiguous`, or which members are wrong.
pub(crate) fn create_key(
    tx: &mut DbConnection,
    cx: &Context,
    making: Making<'_>,
    text: &KeyText,
    patch: &KeyPatch,
) -> Result<(KeyId, Restocked)> {
    check(patch)?;
    let (_, binding) = key_binding::bind(tx, cx, patch, None)?;
    let hash = making.vault.hash(text.as_str());
    free_text(tx, &hash)?;
    let id = ids::take_key_ids(tx, 1)?
        .first()
        .copied()
        .unwrap_or_default();
    let mut key = blank(KeyId(id), making.number_prefix, cx.now);
    apply(tx, cx, &mut key, patch, &binding)?;
    if key.assigned_at.is_none() {
        if patch.status.is_none() {
            key.status = KeyStatus::Active;
        }
        check_date(&key, cx.now)?;
        let account = cx.actor.account();
        key.lot_id = Some(Lot::insert_published(tx, key.sequence_id, account, cx.now)?);
    }
    if !key_moves::is_consistent(&key) {
        return Err(Error::internal("a new key would stand where no key may"));
    }
    let row = NewKey {
        id,
        text_sealed: making.vault.seal(id, text.as_str()),
        text_hash: hash,
        sequence_id: key.sequence_id,
        max_activations: key.max_activations,
        expires_at: key.expires_at,
        valid_for_days: key.valid_for_days,
        extra: key.extra.clone(),
    };
    if share_of(&key).insert_new(tx, &[row])?.is_empty() {
        return Err(text_is_taken().into());
    }
    let mut restocked = Restocked::new();
    key_actions::put_into_stock(tx, cx, &key, &mut restocked)?;
    let mut detail = recorded(&key);
    detail.insert("number".to_owned(), number::full(&key).into());
    events::record(tx, cx, "key.created", Subject::Key(key.id), detail.into())?;
    follow_orders(tx, cx, binding)?;
    key_actions::wake(tx, cx, &restocked)?;
    Ok((key.id, restocked))
}

/// Makes the text of a key that goes away with a deleted sequence usable again.
///
/// # Errors
/// The database's.
pub(crate) fn free_text(tx: &mut DbConnection, text_hash: &[u8]) -> Result<()> {
    if Job::is_pending(tx, job::DELETE_KEYS)? {
        Key::delete_doomed(tx, &[text_hash])?;
    }
    Ok(())
}

/// The refusal of a text that a key has, or ever had. It does not say which.
pub(crate) fn text_is_taken() -> Refusal {
    let detail = "A key has this text already, or had it once; every text is used once only.";
    Refusal::because(Code::AlreadyExists, detail)
}

fn check_date(key: &Key, now: Timestamp) -> Result<()> {
    if key.expires_at.is_some_and(|at| at <= now) {
        let detail = "lies in the past: nobody could use the key";
        return Err(Refusal::wrong("expires_at", "in_the_past", detail).into());
    }
    Ok(())
}

/// A key of which nothing is known but its number.
pub(super) fn blank(id: KeyId, number_prefix: &str, now: Timestamp) -> Key {
    Key {
        id,
        text_sealed: None,
        sequence_id: None,
        product_id: None,
        lot_id: None,
        order_id: None,
        order_line_id: None,
        customer_id: None,
        parent_key: None,
        number_prefix: number_prefix.to_owned(),
        number_version: 1,
        source: KeySource::Manual,
        status: KeyStatus::Inactive,
        status_before: None,
        disabled_by_order: false,
        max_activations: None,
        anonymous_activations: 0,
        expires_at: None,
        valid_for_days: None,
        assigned_at: None,
        delivered_at: None,
        revoked_at: None,
        suspended_at: None,
        terminated_at: None,
        extra: None,
        created_at: now,
        updated_at: now,
    }
}

fn share_of(key: &Key) -> NewKeysShare {
    NewKeysShare {
        product_id: key.product_id,
        lot_id: key.lot_id,
        generator_id: None,
        order_id: key.order_id,
        order_line_id: key.order_line_id,
        customer_id: key.customer_id,
        number_prefix: key.number_prefix.clone(),
        number_version: key.number_version,
        source: key.source,
        status: key.status,
        status_before: key.status_before,
        disabled_by_order: key.disabled_by_order,
        anonymous_activations: key.anonymous_activations,
        assigned_at: key.assigned_at,
        delivered_at: key.delivered_at,
        created_at: key.created_at,
        updated_at: key.updated_at,
    }
}

impl App {
    /// Enters a key.
    ///
    /// # Errors
    /// As [`create_key`].
    pub(crate) async fn create_key(
        &self,
        cx: Context,
        text: KeyText,
        patch: KeyPatch,
        call: Option<Repeatable>,
    ) -> Result<Made<Restocked>> {
        let vault = std::sync::Arc::clone(&self.vault);
        let number_prefix = self.config.products.number_prefix.clone();
        let made = self
            .db
            .write(move |tx| {
                idempotency::once(tx, &cx, call.as_ref(), |tx| {
                    let making = Making {
                        vault: &vault,
                        number_prefix: &number_prefix,
                    };
                    let (id, restocked) = create_key(tx, &cx, making, &text, &patch)?;
                    Ok((id.0, restocked))
                })
            })
            .await?;
        if let Some(restocked) = &made.now {
            self.serve_after_publishing(restocked).await;
        }
        Ok(made)
    }
}
