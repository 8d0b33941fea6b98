//! Entering a key by hand, and editing one [IPS-4, SHOP-33..44]. Both take the same members.

use serde_json::{Map, Value, json};

use super::context::Context;
use super::events::{self, Subject};
use super::idempotency::{self, Made, Repeatable};
use super::key_actions::{self, Restocked};
use super::key_binding::{self, Binding, wrong};
use super::key_moves::{self, KeyMove};
use super::mint::Terms;
use super::text::{Extra, KeyText};
use super::{number, orders};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::job::{self, Job};
use crate::db::models::key::{Key, KeyId, KeySource, KeyStatus, NewKey};
use crate::db::models::lot::Lot;
use crate::db::models::order_line::OrderLine;
use crate::db::models::product::Product;
use crate::db::{DbConnection, ids};
use crate::error::{Code, Error, Refusal, Result};
use crate::signing::vault::Vault;

/// An edit: what is `None` stays, and has its default on a new key.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyPatch {
    pub status: Option<KeyStatus>,
    pub expires_at: Option<Option<Timestamp>>,
    pub valid_for_days: Option<Option<i64>>,
    pub max_activations: Option<Option<i64>>,
    /// The name of its sequence.
    pub sequence: Option<String>,
    /// The sku of its product; `None` inside for any product of the sequence.
    pub product: Option<Option<String>>,
    /// The `ref` of its order; `None` inside takes the order off.
    pub order: Option<Option<String>>,
    /// The e-mail address or `ref` of its buyer.
    pub customer: Option<Option<String>>,
    /// The name of the shop, where `order` or `customer` is known in several.
    pub shop: Option<String>,
    pub extra: Option<Extra>,
}

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
    let row = row_of(&key, making.vault.seal(id, text.as_str()), hash.to_vec());
    if Key::insert_new(tx, &[row])?.is_empty() {
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

/// Edits a key [SHOP-33..41]. An edit that changes nothing is none.
///
/// # Errors
/// `key_not_found`, `invalid_transition`, `ambiguous`, or which members are wrong.
pub(crate) fn update_key(
    tx: &mut DbConnection,
    cx: &Context,
    id: KeyId,
    patch: &KeyPatch,
) -> Result<Restocked> {
    check(patch)?;
    let (before, binding) = key_binding::bind(tx, cx, patch, Some(id))?;
    let before = before.ok_or_else(|| super::keys::not_found(id))?;
    let mut key = before.clone();
    apply(tx, cx, &mut key, patch, &binding)?;
    let mut restocked = Restocked::new();
    if key == before {
        return Ok(restocked);
    }
    // Notes about it may still be written.
    if key
        != (Key {
            extra: key.extra.clone(),
            ..before.clone()
        })
    {
        key_moves::check_not_terminated(&before, "edited")?;
    }
    let detail = changes(&before, &key);
    key_actions::save(tx, cx, &before, key, &mut restocked)?;
    events::record(tx, cx, "key.updated", Subject::Key(id), detail)?;
    follow_orders(tx, cx, binding)?;
    key_actions::wake(tx, cx, &restocked)?;
    Ok(restocked)
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

/// Writes the patch on a key in memory. Whoever names an order or a customer of a key that nobody has
/// gives it to them; so does, to somebody who is not named, whoever makes it `sold` or `delivered`.
fn apply(
    tx: &mut DbConnection,
    cx: &Context,
    key: &mut Key,
    patch: &KeyPatch,
    binding: &Binding,
) -> Result<()> {
    key.expires_at = patch.expires_at.unwrap_or(key.expires_at);
    key.valid_for_days = patch.valid_for_days.unwrap_or(key.valid_for_days);
    key.max_activations = patch.max_activations.unwrap_or(key.max_activations);
    if let Some(extra) = &patch.extra
        && key.extra.clone().unwrap_or_default() != extra.0
    {
        key.extra = Some(extra.0.clone());
    }
    key.sequence_id = binding.sequence.or(key.sequence_id);
    let (order_before, product_before) = (key.order_id, key.product_id);
    bind_product(key, binding)?;
    if let Some(order) = &binding.order {
        key.order_id = order.as_ref().map(|order| order.id);
    }
    key.customer_id = binding.customer.unwrap_or(key.customer_id);
    let is_given = key.order_id.is_some()
        || key.customer_id.is_some()
        || matches!(patch.status, Some(KeyStatus::Sold | KeyStatus::Delivered));
    if key.assigned_at.is_none() && is_given {
        let product = key.product_id.ok_or_else(|| {
            wrong(
                "product",
                "required",
                "a key that somebody has is for a product: name it",
            )
        })?;
        key_moves::assign(key, &Product::find(tx, product)?, patch.status, cx.now);
    }
    if key.order_id != order_before {
        // What the order before did to it is no business of the new one's, which may do the same.
        key_moves::enable_by_order(key);
        key.disabled_by_order = false;
        let new = binding.order.as_ref().and_then(Option::as_ref);
        if new.is_some_and(|order| order.state.is_void()) {
            key_moves::disable_by_order(key);
        }
    }
    if (key.order_id, key.product_id) != (order_before, product_before) {
        key.order_line_id = match key.order_id {
            Some(order) => OrderLine::of_product(tx, order, key.product_id)?,
            None => None,
        };
    }
    if let Some(status) = patch.status {
        KeyMove::Status(status).make(key, cx.now)?;
    }
    Ok(())
}

fn bind_product(key: &mut Key, binding: &Binding) -> Result<()> {
    match &binding.product {
        Some(Some(product)) => {
            key.product_id = Some(product.id);
            // A number that somebody has been told stays.
            if key.assigned_at.is_none() {
                key.number_prefix.clone_from(&product.number_prefix);
            }
        }
        Some(None) if key.assigned_at.is_some() => {
            let detail = "the key was assigned, and stays with a product; name another one";
            return Err(wrong("product", "required", detail));
        }
        Some(None) => key.product_id = None,
        None => {}
    }
    Ok(())
}

fn follow_orders(tx: &mut DbConnection, cx: &Context, binding: Binding) -> Result<()> {
    for order in binding.orders {
        orders::follow_keys(tx, cx, order)?;
    }
    Ok(())
}

fn check(patch: &KeyPatch) -> Result<()> {
    let terms = Terms {
        expires_at: None,
        valid_for_days: patch.valid_for_days.flatten(),
        max_activations: patch.max_activations.flatten(),
    };
    let errors = terms.check();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(errors).into())
    }
}

fn check_date(key: &Key, now: Timestamp) -> Result<()> {
    if key.expires_at.is_some_and(|at| at <= now) {
        let detail = "lies in the past: nobody could use the key";
        return Err(wrong("expires_at", "in_the_past", detail));
    }
    Ok(())
}

/// A key of which nothing is known but its number.
fn blank(id: KeyId, number_prefix: &str, now: Timestamp) -> Key {
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

fn row_of(key: &Key, text_sealed: Vec<u8>, text_hash: Vec<u8>) -> NewKey {
    NewKey {
        id: key.id.0,
        text_sealed,
        text_hash,
        sequence_id: key.sequence_id,
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
        max_activations: key.max_activations,
        anonymous_activations: key.anonymous_activations,
        expires_at: key.expires_at,
        valid_for_days: key.valid_for_days,
        assigned_at: key.assigned_at,
        delivered_at: key.delivered_at,
        extra: key.extra.clone(),
        created_at: key.created_at,
        updated_at: key.updated_at,
    }
}

/// The members that events keep: nothing that names a person or may hold a secret.
fn recorded(key: &Key) -> Map<String, Value> {
    let recorded = json!({
        "status": key.status,
        "sequence_id": key.sequence_id,
        "product_id": key.product_id,
        "order_id": key.order_id,
        "customer_id": key.customer_id,
        "expires_at": key.expires_at,
        "valid_for_days": key.valid_for_days,
        "max_activations": key.max_activations,
    });
    match recorded {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What stood before and what stands after, of the members that changed.
fn changes(before: &Key, after: &Key) -> Value {
    let (mut old, mut new) = (recorded(before), recorded(after));
    let same: Vec<String> = old
        .iter()
        .filter(|(name, value)| new.get(*name) == Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in same {
        old.remove(&name);
        new.remove(&name);
    }
    json!({
        "number": number::full(after),
        "before": old,
        "after": new,
        "extra_changed": before.extra != after.extra,
    })
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

    /// Edits a key.
    ///
    /// # Errors
    /// As [`update_key`].
    pub(crate) async fn update_key(&self, cx: Context, id: KeyId, patch: KeyPatch) -> Result<()> {
        let restocked = self
            .db
            .write(move |tx| update_key(tx, &cx, id, &patch))
            .await?;
        self.serve_after_publishing(&restocked).await;
        Ok(())
    }
}
