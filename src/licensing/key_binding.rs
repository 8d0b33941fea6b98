//! What an edit ties a key to: product, sequence, order and customer, found by their names and held in
//! the order in which everybody locks.

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use super::key_actions::{self, Restocked};
use super::key_edits::KeyPatch;
use super::orders::{self, OrderName};
use super::sequences::{self, NewSequence};
use super::text::{Extra, Name};
use super::{keys, stock};
use crate::db::models::account::AccountId;
use crate::db::models::customer::{Customer, CustomerId};
use crate::db::models::key::{Key, KeyId};
use crate::db::models::order::{Order, OrderId};
use crate::db::models::product::Product;
use crate::db::models::sequence::{Sequence, SequenceId, SequenceSource};
use crate::db::{DbConnection, run_again};
use crate::error::{Code, Error, Refusal, Result};

/// What an edit names, found; what is `None` stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    pub product: Option<Option<Product>>,
    pub sequence: Option<SequenceId>,
    pub order: Option<Option<Order>>,
    pub customer: Option<Option<CustomerId>>,
    /// Every order that gets or loses the key, held.
    pub orders: Vec<Order>,
}

/// Finds what a patch names and holds it, and the key (`None` for one that is still to be made).
///
/// # Errors
/// `key_not_found`, `ambiguous`, or which member names nothing.
pub(crate) fn bind(
    tx: &mut DbConnection,
    cx: &Context,
    patch: &KeyPatch,
    id: Option<KeyId>,
) -> Result<(Option<Key>, Binding)> {
    let seen = match id {
        Some(id) => Some(Key::find(tx, id)?.ok_or_else(|| keys::not_found(id))?),
        None => None,
    };
    let mut binding = Binding::default();
    bind_order(tx, patch, seen.as_ref(), &mut binding)?;
    bind_customer(tx, patch, seen.as_ref(), &mut binding)?;
    let place = find_place(tx, patch, seen.as_ref())?;
    let also: Restocked = place.sequence.iter().map(|sequence| sequence.id).collect();
    let ids: Vec<KeyId> = id.into_iter().collect();
    // Sequences and the key, unless a sequence has to be made first.
    let key = match &place {
        Place {
            product: Some(Some(product)),
            sequence: None,
            moves: true,
        } => {
            let held: Restocked = seen.iter().filter_map(|key| key.sequence_id).collect();
            for sequence in held {
                Sequence::lock(tx, sequence)?;
            }
            let made = make_sequence(tx, cx, product)?;
            binding.sequence = Some(made);
            key_actions::hold(tx, &ids, &Restocked::from([made]))?.pop()
        }
        _ => {
            binding.sequence = place.sequence.map(|sequence| sequence.id);
            key_actions::hold(tx, &ids, &also)?.pop()
        }
    };
    binding.product = place.product;
    for sequence in &also {
        if Sequence::find(tx, *sequence)?.deleted_at.is_some() {
            return Err(run_again("a sequence was deleted meanwhile"));
        }
    }
    match (id, &seen, &key) {
        (Some(id), _, None) => Err(keys::not_found(id).into()),
        (_, Some(seen), Some(key)) if standing(seen) != standing(key) => {
            Err(run_again("a key was assigned or moved meanwhile"))
        }
        _ => Ok((key, binding)),
    }
}

/// What the choice of locks was made by.
fn standing(key: &Key) -> (bool, Option<OrderId>, Option<SequenceId>) {
    (key.assigned_at.is_some(), key.order_id, key.sequence_id)
}

fn bind_order(
    tx: &mut DbConnection,
    patch: &KeyPatch,
    seen: Option<&Key>,
    binding: &mut Binding,
) -> Result<()> {
    let Some(wanted) = &patch.order else {
        return Ok(());
    };
    let shop = shop(tx, patch)?;
    let new = match wanted {
        None => None,
        Some(reference) => {
            let name = OrderName {
                reference: reference.clone(),
                account: shop,
            };
            Some(
                orders::find(tx, &name)
                    .map_err(|error| unknown_order(error, reference))?
                    .id,
            )
        }
    };
    let old = seen.and_then(|key| key.order_id);
    let mut ids: Vec<OrderId> = [old, new].into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        if let Some(order) = Order::lock(tx, id)? {
            binding.orders.push(order);
        }
    }
    let order = new.and_then(|id| binding.orders.iter().find(|order| order.id == id).cloned());
    if order.is_none() && new.is_some() {
        return Err(run_again("an order was deleted meanwhile"));
    }
    binding.order = Some(order);
    Ok(())
}

fn unknown_order(error: Error, reference: &str) -> Error {
    match error {
        Error::Refused(refusal) if refusal.code == Code::OrderNotFound => Refusal::wrong(
            "order",
            "unknown_order",
            format!("there is no order `{reference}`"),
        )
        .into(),
        error => error,
    }
}

/// The customer is one of the shop whose order the key has, or of the shop that was named, or of any.
/// An order brings its own.
fn bind_customer(
    tx: &mut DbConnection,
    patch: &KeyPatch,
    seen: Option<&Key>,
    binding: &mut Binding,
) -> Result<()> {
    let text = match (&patch.customer, &binding.order) {
        (Some(Some(text)), _) => text,
        (Some(None), _) => {
            binding.customer = Some(None);
            return Ok(());
        }
        (None, Some(Some(order))) if seen.and_then(|key| key.order_id) != Some(order.id) => {
            binding.customer = order.customer_id.map(Some);
            return Ok(());
        }
        (None, _) => return Ok(()),
    };
    let account = match (&binding.order, seen.and_then(|key| key.order_id)) {
        (Some(Some(order)), _) => Some(order.account_id),
        (None, Some(order)) => Order::find_many(tx, &[order])?
            .pop()
            .map(|order| order.account_id),
        _ => shop(tx, patch)?,
    };
    let mut found = Customer::named(tx, account, text)?;
    if found.len() > 1 {
        found.retain(|customer| customer.reference.as_ref() == Some(text));
        if found.len() != 1 {
            let detail = "More than one customer matches; name the shop with ?shop=, or the `ref`.";
            return Err(Refusal::because(Code::Ambiguous, detail).into());
        }
    }
    let customer = found.pop().ok_or_else(|| {
        let detail = "there is no such customer; one is known once an order names it";
        Refusal::wrong("customer", "unknown_customer", detail)
    })?;
    binding.customer = Some(Some(customer.id));
    Ok(())
}

fn shop(tx: &mut DbConnection, patch: &KeyPatch) -> Result<Option<AccountId>> {
    patch
        .shop
        .as_deref()
        .map(|shop| orders::shop(tx, shop))
        .transpose()
}

/// Where a patch puts the key.
struct Place {
    product: Option<Option<Product>>,
    sequence: Option<Sequence>,
    /// Whether the key follows its product into the product's sequence: as long as nobody has it.
    moves: bool,
}

fn find_place(tx: &mut DbConnection, patch: &KeyPatch, seen: Option<&Key>) -> Result<Place> {
    let moves = seen.is_none_or(|key| key.assigned_at.is_none());
    let named = match &patch.sequence {
        None => None,
        Some(name) => Some(Sequence::find_by_name(tx, name)?.ok_or_else(|| {
            Refusal::wrong(
                "sequence",
                "unknown_sequence",
                format!("there is no sequence `{name}`"),
            )
        })?),
    };
    let product = match &patch.product {
        None => None,
        Some(None) => Some(None),
        Some(Some(sku)) => Some(Some(Product::find_by_sku(tx, sku)?.ok_or_else(|| {
            Refusal::wrong(
                "product",
                "unknown_product",
                format!("there is no product `{sku}`"),
            )
        })?)),
    };
    if !moves {
        return Ok(Place {
            product,
            sequence: named,
            moves,
        });
    }
    let kept_for = match (&product, seen.and_then(|key| key.product_id)) {
        (Some(product), _) => product.clone(),
        (None, Some(id)) => Some(Product::find(tx, id)?),
        (None, None) => None,
    };
    let of_product = kept_for.as_ref().and_then(|product| product.sequence_id);
    match (&named, &kept_for) {
        (Some(named), Some(product)) if of_product != Some(named.id) => {
            let detail = format!(
                "the product `{}` does not use the sequence `{}`",
                product.sku, named.name
            );
            return Err(Refusal::wrong("sequence", "other_sequence", detail).into());
        }
        (None, None) if seen.is_none() => {
            let detail = "name the sequence or the product that the key is for";
            return Err(Refusal::wrong("sequence", "required", detail).into());
        }
        _ => {}
    }
    let sequence = match (named, &product, of_product) {
        (Some(named), _, _) => Some(named),
        (None, Some(Some(_)), Some(id)) => Some(Sequence::find(tx, id)?),
        _ => None,
    };
    Ok(Place {
        product,
        sequence,
        moves,
    })
}

/// Makes the sequence of a product that has none, named after it.
fn make_sequence(tx: &mut DbConnection, cx: &Context, product: &Product) -> Result<SequenceId> {
    let name = Name::parse(product.sku.as_str()).map_err(Error::internal)?;
    let new = NewSequence {
        name,
        source: SequenceSource::Pool,
        generator: None,
        low_stock_threshold: None,
        extra: Extra::default(),
    };
    let made = match sequences::create_sequence(tx, cx, &new) {
        Ok(made) => made.id,
        Err(Error::Refused(refusal)) if refusal.code == Code::AlreadyExists => {
            // Whoever was faster may have made it for this product.
            if Product::find(tx, product.id)?.sequence_id.is_some() {
                return Err(run_again("a product was given a sequence meanwhile"));
            }
            let detail = format!(
                "the product `{0}` has no sequence, and another one is named `{0}`; give the product its sequence first",
                product.sku
            );
            return Err(Refusal::wrong("product", "no_sequence", detail).into());
        }
        Err(error) => return Err(error),
    };
    let mut product = Product::lock_for_edit(tx, &product.sku)?
        .filter(|now| now.id == product.id && now.sequence_id.is_none())
        .ok_or_else(|| run_again("a product was edited meanwhile"))?;
    product.columns.sequence_id = Some(made);
    product.columns.updated_at = cx.now;
    product.save(tx)?;
    stock::recheck_waiting_orders(tx, product.id, cx.now)?;
    let detail = json!({ "before": { "sequence_id": null }, "after": { "sequence_id": made } });
    events::record(
        tx,
        cx,
        "product.updated",
        Subject::Product(product.id),
        detail,
    )?;
    Ok(made)
}
