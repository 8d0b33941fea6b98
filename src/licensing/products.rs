//! Making, editing and deleting products: what a shop sells and what its keys allow.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::context::Context;
use super::events::{self, Subject};
use super::{generators, number, sequences, stock};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::product::{LimitBasis, Product, ProductColumns, ProductId, ProductStatus};
use crate::db::models::sequence::SequenceId;
use crate::db::types::JsonObject;
use crate::error::{Code, FieldError, Refusal, Result};

/// The largest `entitlements`, as JSON, in bytes: they are in every token, whose length is bounded.
const MAX_ENTITLEMENTS: usize = 8192;

impl ProductColumns {
    /// The defaults of a new product.
    pub(crate) fn new(sku: String, number_prefix: String, now: Timestamp) -> Self {
        Self {
            name: sku.clone(),
            sku,
            status: ProductStatus::Published,
            is_virtual: true,
            downloadable: false,
            sells_keys: true,
            activation_managed: true,
            sequence_id: None,
            delivery_quantity: 1,
            activation_limit_basis: LimitBasis::Key,
            number_prefix,
            renew_by_days: 30,
            grace_days: 0,
            auto_deliver: true,
            self_release: true,
            releases_per_month: None,
            entitlements: JsonObject::default(),
            extra: JsonObject::default(),
            fallback_generator_id: None,
            created_at: now,
            updated_at: now,
        }
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut range = |field: &str, value: i64, allowed: RangeInclusive<i64>| {
            if !allowed.contains(&value) {
                let detail = format!("must be from {} to {}", allowed.start(), allowed.end());
                errors.push(FieldError::new(field, "out_of_range", detail));
            }
        };
        range("delivery_quantity", self.delivery_quantity, 1..=1000);
        range("renew_by_days", self.renew_by_days, 1..=36_500);
        range("grace_days", self.grace_days, 0..=36_500);
        range(
            "releases_per_month",
            self.releases_per_month.unwrap_or(0),
            0..=1_000_000,
        );
        let entitlements = Value::Object(self.entitlements.0.clone()).to_string().len();
        if entitlements > MAX_ENTITLEMENTS {
            let detail = format!(
                "are {entitlements} bytes of JSON; tokens have room for {MAX_ENTITLEMENTS}"
            );
            errors.push(FieldError::new("entitlements", "too_large", detail));
        }
        if !number::is_prefix(&self.number_prefix) {
            let detail = "must be 1 to 16 letters, digits or hyphens";
            errors.push(FieldError::new("number_prefix", "invalid", detail));
        }
        errors
    }
}

/// Checks the members, and puts the sequence in its place when one was named.
fn settle(
    tx: &mut DbConnection,
    before: Option<&ProductColumns>,
    columns: &mut ProductColumns,
    named: Option<Named>,
) -> Result<()> {
    let mut errors = columns.check();
    match named {
        None => {}
        Some(Named::None) => columns.sequence_id = None,
        Some(Named::Found(id)) => columns.sequence_id = Some(id),
        Some(Named::Unknown(name)) => {
            let detail = format!("there is no sequence `{name}`");
            errors.push(FieldError::new("sequence", "unknown_sequence", detail));
        }
    }
    let supply = |columns: &ProductColumns| (columns.sequence_id, columns.fallback_generator_id);
    // A sequence that was deleted is no fault of an edit of something else.
    let is_new = before.is_none_or(|before| supply(before) != supply(columns));
    if let Some(generator) = columns.fallback_generator_id.filter(|_| is_new) {
        generators::lock_named(tx, "fallback_generator", generator)?;
        if errors.is_empty() && columns.sequence_id.is_none() {
            let detail = "needs a sequence: what it makes belongs to one";
            errors.push(FieldError::new("fallback_generator", "required", detail));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(errors).into())
    }
}

/// The sequence that a request names.
enum Named {
    None,
    Found(SequenceId),
    Unknown(String),
}

impl Named {
    /// Looks the sequence up and holds it, so that nobody deletes it meanwhile. Always before the
    /// product is held: everybody locks sequences first.
    fn lock(tx: &mut DbConnection, sequence: Option<Option<String>>) -> Result<Option<Self>> {
        Ok(match sequence {
            None => None,
            Some(None) => Some(Self::None),
            Some(Some(name)) => Some(match sequences::lock_by_name(tx, &name)? {
                Some(sequence) => Self::Found(sequence.id),
                None => Self::Unknown(name),
            }),
        })
    }
}

/// Makes a product and returns its id. `sequence` is the name of its sequence.
///
/// # Errors
/// `already_exists`, or which members are wrong.
pub(crate) fn create_product(
    tx: &mut DbConnection,
    cx: &Context,
    mut columns: ProductColumns,
    sequence: Option<Option<String>>,
) -> Result<ProductId> {
    let named = Named::lock(tx, sequence)?;
    settle(tx, None, &mut columns, named)?;
    let product = Product::insert(tx, &columns)?.ok_or_else(|| sku_is_taken(&columns.sku))?;
    let detail = json!({ "sku": columns.sku });
    events::record(
        tx,
        cx,
        "product.created",
        Subject::Product(product.id),
        detail,
    )?;
    Ok(product.id)
}

/// Edits a product: `change` changes the members; `sequence` is the name of another sequence, or none,
/// when the edit says so. Returns the sku that it has afterwards.
///
/// # Errors
/// `product_not_found`, `already_exists`, or which members are wrong.
pub(crate) fn update_product(
    tx: &mut DbConnection,
    cx: &Context,
    sku: &str,
    sequence: Option<Option<String>>,
    change: &dyn Fn(&mut ProductColumns),
) -> Result<String> {
    let named = Named::lock(tx, sequence)?;
    let before = Product::lock_for_edit(tx, sku)?.ok_or_else(|| not_found(sku))?;
    let mut after = before.clone();
    change(&mut after.columns);
    settle(tx, Some(&before.columns), &mut after.columns, named)?;
    if after == before {
        return Ok(before.columns.sku);
    }
    if after.sku != before.sku && Product::find_by_sku(tx, &after.sku)?.is_some() {
        return Err(sku_is_taken(&after.sku).into());
    }
    after.columns.updated_at = cx.now;
    after.save(tx)?;
    let needs = |product: &Product| {
        let (quantity, basis) = (product.delivery_quantity, product.activation_limit_basis);
        let made_by = product.fallback_generator_id;
        (
            product.sequence_id,
            product.sells_keys,
            quantity,
            basis,
            made_by,
        )
    };
    if needs(&before) != needs(&after) {
        stock::recheck_waiting_orders(tx, after.id, cx.now)?;
    }
    let detail = json!({ "before": recorded(&before), "after": recorded(&after) });
    events::record(
        tx,
        cx,
        "product.updated",
        Subject::Product(after.id),
        detail,
    )?;
    Ok(after.columns.sku)
}

/// Deletes a product that no key and no order refers to.
///
/// # Errors
/// `product_not_found`, `in_use`.
pub(crate) fn delete_product(tx: &mut DbConnection, cx: &Context, sku: &str) -> Result<()> {
    let product = Product::lock_for_deletion(tx, sku)?.ok_or_else(|| not_found(sku))?;
    if product.is_in_use(tx)? {
        let detail =
            format!("Keys or orders refer to `{sku}`; make it a draft to stop selling it.");
        return Err(Refusal::because(Code::InUse, detail).into());
    }
    product.delete(tx)?;
    events::record(
        tx,
        cx,
        "product.deleted",
        Subject::Product(product.id),
        json!({ "sku": sku }),
    )
}

/// `product_not_found`, naming it.
pub(crate) fn not_found(sku: &str) -> Refusal {
    Refusal::because(
        Code::ProductNotFound,
        format!("There is no product `{sku}`."),
    )
}

fn sku_is_taken(sku: &str) -> Refusal {
    Refusal::because(
        Code::AlreadyExists,
        format!("There is a product `{sku}` already."),
    )
}

/// The members that an edit's event keeps.
fn recorded(product: &Product) -> Value {
    json!({
        "sku": product.sku,
        "name": product.name,
        "status": product.status,
        "sells_keys": product.sells_keys,
        "activation_managed": product.activation_managed,
        "sequence_id": product.sequence_id,
        "delivery_quantity": product.delivery_quantity,
        "activation_limit_basis": product.activation_limit_basis,
        "renew_by_days": product.renew_by_days,
        "grace_days": product.grace_days,
        "releases_per_month": product.releases_per_month,
        "fallback_generator": product.fallback_generator_id,
        "entitlements": product.entitlements,
    })
}
