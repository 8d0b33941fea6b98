//! Products: what a shop sells and what its keys allow.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::context::{Actor, Context};
use super::events::{self, Subject};
use super::{generators, number, sequences, stock};
use crate::clock::Timestamp;
use crate::db::models::account::Role;
use crate::db::models::generator::GeneratorId;
use crate::db::models::product::{LimitBasis, Product, ProductColumns, ProductId, ProductStatus};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, FieldError, Refusal, Result};

/// The largest `entitlements`, as JSON, in bytes: they are in every token, whose length is bounded.
const MAX_ENTITLEMENTS: usize = 8192;

/// A product as shops and staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProductView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: ProductId,
    /// Its unique name in shops.
    #[schema(example = "editor-pro")]
    pub sku: String,
    /// Its name for people.
    #[schema(example = "Editor Pro")]
    pub name: String,
    /// Drafts cannot be bought.
    pub status: ProductStatus,
    /// Needs no shipping.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// Can be downloaded.
    pub downloadable: bool,
    /// Whether buying it issues keys.
    pub sells_keys: bool,
    /// Whether its keys are activated here; otherwise they are mere codes.
    pub activation_managed: bool,
    /// The sequence whose keys unlock it.
    pub sequence: Option<String>,
    /// Keys delivered for each piece bought.
    pub delivery_quantity: i64,
    /// What the bought quantity means for activations.
    pub activation_limit_basis: LimitBasis,
    /// The prefix of its keys' numbers.
    #[schema(example = "KEY")]
    pub number_prefix: String,
    /// How long a token lasts, in days.
    pub renew_by_days: i64,
    /// How many days past a key's expiry renewals go on.
    pub grace_days: i64,
    /// Whether issued keys count as handed over at once.
    pub auto_deliver: bool,
    /// Whether installations may be released by themselves and by the buyer.
    pub self_release: bool,
    /// Releases of a key allowed in a calendar month; null for any number.
    pub releases_per_month: Option<i64>,
    /// Copied into every token.
    #[schema(value_type = Object)]
    pub entitlements: JsonObject,
    /// Any JSON object.
    #[schema(value_type = Object)]
    pub extra: JsonObject,
    /// The id of the generator that makes keys when its sequence has none left; null for no such help.
    #[schema(value_type = Option<i64>)]
    pub fallback_generator: Option<GeneratorId>,
    /// Keys that can be sold now; null when it sells none, or when keys are made as they are bought.
    pub available: Option<i64>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

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

/// One product. To a shop a draft is unknown.
///
/// # Errors
/// `product_not_found`.
pub(crate) fn show_product(
    conn: &mut DbConnection,
    cx: &Context,
    sku: &str,
) -> Result<ProductView> {
    let only = cx.actor.sees_only();
    let product = Product::find_by_sku(conn, sku)?
        .filter(|product| only.is_none_or(|status| product.status == status))
        .ok_or_else(|| not_found(sku))?;
    view(conn, product, cx.now)
}

/// The product of this id, as it is now.
///
/// # Errors
/// `product_not_found` for one that was deleted.
pub(crate) fn show_product_by_id(
    conn: &mut DbConnection,
    cx: &Context,
    id: ProductId,
) -> Result<ProductView> {
    let sku = Product::skus(conn, &[id])?
        .remove(&id)
        .ok_or(Code::ProductNotFound)?;
    show_product(conn, cx, &sku)
}

/// The products that the caller may see: a shop sees what can be sold.
///
/// # Errors
/// The database's.
pub(crate) fn list_products(
    conn: &mut DbConnection,
    cx: &Context,
    page: &PageRequest,
) -> Result<Paged<ProductView>> {
    let Paged { items, next } = Product::list(conn, cx.actor.sees_only(), page)?;
    let items = items
        .into_iter()
        .map(|product| view(conn, product, cx.now))
        .collect::<Result<_>>()?;
    Ok(Paged { items, next })
}

impl Actor {
    /// The status of the only products that the actor sees; `None` for all.
    fn sees_only(&self) -> Option<ProductStatus> {
        match self {
            Self::Account {
                role: Role::Shop, ..
            } => Some(ProductStatus::Published),
            _ => None,
        }
    }
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

fn sequence_name(conn: &mut DbConnection, id: Option<SequenceId>) -> Result<Option<String>> {
    Ok(match id {
        Some(id) => Some(Sequence::find(conn, id)?.name),
        None => None,
    })
}

fn view(conn: &mut DbConnection, product: Product, now: Timestamp) -> Result<ProductView> {
    let sequence = sequence_name(conn, product.sequence_id)?;
    let available = stock::available(conn, &product, now)?;
    let Product { id, columns } = product;
    Ok(ProductView {
        id,
        sku: columns.sku,
        name: columns.name,
        status: columns.status,
        is_virtual: columns.is_virtual,
        downloadable: columns.downloadable,
        sells_keys: columns.sells_keys,
        activation_managed: columns.activation_managed,
        sequence,
        delivery_quantity: columns.delivery_quantity,
        activation_limit_basis: columns.activation_limit_basis,
        number_prefix: columns.number_prefix,
        renew_by_days: columns.renew_by_days,
        grace_days: columns.grace_days,
        auto_deliver: columns.auto_deliver,
        self_release: columns.self_release,
        releases_per_month: columns.releases_per_month,
        entitlements: columns.entitlements,
        extra: columns.extra,
        fallback_generator: columns.fallback_generator_id,
        available,
        created_at: columns.created_at,
        updated_at: columns.updated_at,
    })
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
