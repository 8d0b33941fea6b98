//! Editing a key [SHOP-33..44]. The members are those with which one is entered.

use serde_json::{Map, Value, json};

use super::context::Context;
use super::events::{self, Subject};
use super::key_actions::{self, Restocked};
use super::key_binding::{self, Binding};
use super::key_moves::{self, KeyMove};
use super::mint::Terms;
use super::text::Extra;
use super::{number, orders};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::key::{Key, KeyId, KeyStatus};
use crate::db::models::order_line::OrderLine;
use crate::db::models::product::Product;
use crate::error::{Refusal, Result};

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

/// Writes the patch on a key in memory. Whoever names an order or a customer of a key that nobody has
/// gives it to them; so does, to somebody who is not named, whoever makes it `sold` or `delivered`.
pub(super) fn apply(
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
            Refusal::wrong(
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
            return Err(Refusal::wrong("product", "required", detail).into());
        }
        Some(None) => key.product_id = None,
        None => {}
    }
    Ok(())
}

pub(super) fn follow_orders(tx: &mut DbConnection, cx: &Context, binding: Binding) -> Result<()> {
    for order in binding.orders {
        orders::follow_keys(tx, cx, order)?;
    }
    Ok(())
}

pub(super) fn check(patch: &KeyPatch) -> Result<()> {
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

/// The members that events keep: nothing that names a person or may hold a secret.
pub(super) fn recorded(key: &Key) -> Map<String, Value> {
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
