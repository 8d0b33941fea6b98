//! Keys as staff see them.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::activations::{self, InstallationView};
use super::key_query::KeyQuery;
use super::number;
use crate::clock::Timestamp;
use crate::db::models::activation::open_counts;
use crate::db::models::customer::{Customer, CustomerId};
use crate::db::models::key::{Key, KeyId, KeySource, KeyStatus};
use crate::db::models::order::{Order, OrderId};
use crate::db::models::product::{Product, ProductId};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Error, Refusal, Result};
use crate::signing::vault::Vault;

/// A key.
#[derive(Clone, Serialize, ToSchema)]
pub struct KeyView {
    /// Its id.
    pub id: i64,
    /// Its number, which is no secret.
    #[schema(example = "KEY.00000017.0001")]
    pub number: String,
    /// Its text; null for a key that has none of its own.
    #[schema(example = "AAAAA-BBBBB-CCCCC")]
    pub key: Option<String>,
    /// The name of its sequence.
    pub sequence: Option<String>,
    /// The sku of the product that it is bound to.
    pub product: Option<String>,
    /// Where it stands.
    pub status: KeyStatus,
    /// Where its text came from.
    pub source: KeySource,
    /// When it stops to admit activations; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Days that it is valid from its purchase on; null when only `expires_at` counts.
    pub valid_for_days: Option<i64>,
    /// How many installations may be active at once; null for any number.
    pub max_activations: Option<i64>,
    /// How many are.
    pub activations: i64,
    /// The `ref` of its order.
    pub order: Option<String>,
    /// The e-mail address or `ref` of its buyer.
    pub customer: Option<String>,
    /// The key that it is attached to.
    pub parent_key: Option<i64>,
    /// Any JSON object.
    #[schema(value_type = Object)]
    pub extra: JsonObject,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// Whether it is suspended.
    pub suspended: bool,
    /// When it was terminated.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub terminated_at: Option<Timestamp>,
    /// When it was assigned.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub assigned_at: Option<Timestamp>,
    /// When it was handed over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for KeyView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyView({}, {})", self.number, self.status)
    }
}

/// A key found by its text, with its open activations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LookupView {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// Its open activations, the first 500.
    pub installations: Vec<InstallationView>,
}

/// Opens the text of a key.
///
/// # Errors
/// Internal, when the vault is not the one that sealed it.
pub(crate) fn open_text(key: &Key, vault: &Vault) -> Result<Option<String>> {
    key.text_sealed
        .as_deref()
        .map(|sealed| vault.open(key.id.0, sealed).map_err(Error::Internal))
        .transpose()
}

/// One key.
///
/// # Errors
/// `key_not_found`.
pub(crate) fn show_key(conn: &mut DbConnection, vault: &Vault, id: KeyId) -> Result<KeyView> {
    let key = Key::find(conn, id)?.ok_or_else(|| not_found(id))?;
    view(conn, vault, key)
}

/// The key of this text [UC-74].
///
/// # Errors
/// `key_not_found`.
pub(crate) fn look_up_key(
    conn: &mut DbConnection,
    vault: &Vault,
    text_hash: &[u8],
) -> Result<LookupView> {
    let key = Key::find_by_hash(conn, text_hash)?
        .ok_or_else(|| Refusal::because(Code::KeyNotFound, "No key has this text."))?;
    let page = PageRequest {
        limit: PageRequest::MAX,
        after: None,
    };
    let query = activations::ActivationQuery {
        key: Some(key.id),
        product: None,
        open: true,
    };
    let installations = activations::list_activations(conn, &query, &page)?.items;
    Ok(LookupView {
        key: view(conn, vault, key)?,
        installations,
    })
}

/// The keys that match [UC-45].
///
/// # Errors
/// `product_not_found` or `sequence_not_found` for a name that does not exist.
pub(crate) fn list_keys(
    conn: &mut DbConnection,
    vault: &Vault,
    query: &KeyQuery,
    now: Timestamp,
    page: &PageRequest,
) -> Result<Paged<KeyView>> {
    let Some(filter) = query.resolve(conn)? else {
        return Ok(Paged {
            items: Vec::new(),
            next: None,
        });
    };
    let Paged { items, next } = Key::list(conn, &filter, now, page)?;
    Ok(Paged {
        items: views(conn, vault, items)?,
        next,
    })
}

/// `key_not_found`, naming it.
pub(crate) fn not_found(id: KeyId) -> Refusal {
    Refusal::because(
        Code::KeyNotFound,
        format!("There is no key with the id {id}."),
    )
}

fn view(conn: &mut DbConnection, vault: &Vault, key: Key) -> Result<KeyView> {
    let mut views = views(conn, vault, vec![key])?;
    views
        .pop()
        .ok_or_else(|| Error::internal("a key has no view"))
}

/// As staff see the keys: what they belong to is read once for all of them.
///
/// # Errors
/// The database's, or a key text that does not open.
pub(crate) fn views(
    conn: &mut DbConnection,
    vault: &Vault,
    keys: Vec<Key>,
) -> Result<Vec<KeyView>> {
    let around = Around::load(conn, &keys)?;
    keys.into_iter()
        .map(|key| around.view(vault, key))
        .collect()
}

/// The names of what keys belong to, and their open activations.
struct Around {
    sequences: HashMap<SequenceId, String>,
    products: HashMap<ProductId, String>,
    orders: HashMap<OrderId, String>,
    customers: HashMap<CustomerId, Option<String>>,
    open: HashMap<KeyId, i64>,
}

impl Around {
    fn load(conn: &mut DbConnection, keys: &[Key]) -> Result<Self> {
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
        let orders = Order::find_many(conn, &distinct(keys, |key| key.order_id))?;
        let customers = Customer::find_many(conn, &distinct(keys, |key| key.customer_id))?;
        let named = |customer: Customer| customer.email.or(customer.reference);
        Ok(Self {
            sequences: Sequence::names(conn, &distinct(keys, |key| key.sequence_id))?,
            products: Product::skus(conn, &distinct(keys, |key| key.product_id))?,
            orders: orders
                .into_iter()
                .map(|order| (order.id, order.reference))
                .collect(),
            customers: customers
                .into_iter()
                .map(|customer| (customer.id, named(customer)))
                .collect(),
            open: open_counts(conn, &ids)?,
        })
    }

    fn view(&self, vault: &Vault, key: Key) -> Result<KeyView> {
        let open = self.open.get(&key.id).copied().unwrap_or_default();
        let customer = key.customer_id.and_then(|id| self.customers.get(&id));
        Ok(KeyView {
            id: key.id.0,
            number: number::full(&key),
            key: open_text(&key, vault)?,
            sequence: key
                .sequence_id
                .and_then(|id| self.sequences.get(&id).cloned()),
            product: key
                .product_id
                .and_then(|id| self.products.get(&id).cloned()),
            status: key.status,
            source: key.source,
            expires_at: key.expires_at,
            valid_for_days: key.valid_for_days,
            max_activations: key.max_activations,
            activations: open + key.anonymous_activations,
            order: key.order_id.and_then(|id| self.orders.get(&id).cloned()),
            customer: customer.cloned().flatten(),
            parent_key: key.parent_key.map(|id| id.0),
            extra: key.extra.unwrap_or_default(),
            revoked_at: key.revoked_at,
            suspended: key.suspended_at.is_some(),
            terminated_at: key.terminated_at,
            assigned_at: key.assigned_at,
            delivered_at: key.delivered_at,
            created_at: key.created_at,
            updated_at: key.updated_at,
        })
    }
}

/// The ids that the keys have of one kind, each once.
fn distinct<T: Ord>(keys: &[Key], id: impl Fn(&Key) -> Option<T>) -> Vec<T> {
    let ids: BTreeSet<T> = keys.iter().filter_map(id).collect();
    ids.into_iter().collect()
}
