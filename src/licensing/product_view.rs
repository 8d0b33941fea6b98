//! Products as shops and staff see them.

use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Actor, Context};
use super::products::not_found;
use super::stock;
use crate::clock::Timestamp;
use crate::db::models::account::Role;
use crate::db::models::generator::GeneratorId;
use crate::db::models::product::{LimitBasis, Product, ProductId, ProductStatus};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Result};

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
