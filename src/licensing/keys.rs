//! Keys as staff see them, and what staff do with them.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::activations::{self, InstallationView};
use super::context::Context;
use super::events::{self, Subject};
use super::number;
use crate::clock::Timestamp;
use crate::db::models::activation::open_count;
use crate::db::models::customer::Customer;
use crate::db::models::key::{Key, KeyFilter, KeyId, KeySource, KeyStatus};
use crate::db::models::order::Order;
use crate::db::models::product::Product;
use crate::db::models::sequence::Sequence;
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

/// Which keys a list shows, by the names that people use.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyQuery {
    pub status: Option<KeyStatus>,
    pub product: Option<String>,
    pub sequence: Option<String>,
    pub order: Option<String>,
    pub customer: Option<String>,
    pub number: Option<String>,
    pub revoked: Option<bool>,
    pub expired: Option<bool>,
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
    let found = Key::find_by_hash(conn, text_hash)?.map(|(key, _)| key.id);
    // Once more by id, which leaves out what an import has not published yet.
    let key = match found {
        Some(id) => Key::find(conn, id)?,
        None => None,
    };
    let key = key.ok_or_else(|| Refusal::because(Code::KeyNotFound, "No key has this text."))?;
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
    let nothing = Paged {
        items: Vec::new(),
        next: None,
    };
    let mut filter = KeyFilter {
        status: query.status,
        revoked: query.revoked,
        expired: query.expired,
        ..KeyFilter::default()
    };
    if let Some(sku) = &query.product {
        filter.product = Some(
            Product::find_by_sku(conn, sku)?
                .ok_or_else(|| super::products::not_found(sku))?
                .id,
        );
    }
    if let Some(name) = &query.sequence {
        filter.sequence = Some(super::sequences::find(conn, name)?.id);
    }
    if let Some(reference) = &query.order {
        filter.orders = Some(Order::ids_of_ref(conn, reference)?);
    }
    if let Some(number) = &query.number {
        match number::parse(number) {
            Some(id) => filter.id = Some(id),
            None => return Ok(nothing),
        }
    }
    if let Some(customer) = &query.customer {
        filter.customers = Some(Customer::matching(conn, customer)?);
    }
    let Paged { items, next } = Key::list(conn, &filter, now, page)?;
    let items = items
        .into_iter()
        .map(|key| view(conn, vault, key))
        .collect::<Result<_>>()?;
    Ok(Paged { items, next })
}

/// Revokes a key: it admits no installation and renews no token from now on; tokens that are out stay
/// good until they expire [UC-5, 6, 40]. Repeating it changes nothing.
///
/// # Errors
/// `key_not_found`, or `invalid_transition` for a key that was never assigned.
pub(crate) fn revoke_key(
    tx: &mut DbConnection,
    cx: &Context,
    id: KeyId,
    reason: Option<&str>,
) -> Result<()> {
    let key = lock_assigned(tx, id, "revoked")?;
    if key.revoked_at.is_some() {
        return Ok(());
    }
    save(
        tx,
        cx,
        Key {
            revoked_at: Some(cx.now),
            ..key
        },
        "key.revoked",
        reason,
    )
}

/// Takes a revocation back [UC-40]. Repeating it changes nothing.
///
/// # Errors
/// As [`revoke_key`].
pub(crate) fn unrevoke_key(
    tx: &mut DbConnection,
    cx: &Context,
    id: KeyId,
    reason: Option<&str>,
) -> Result<()> {
    let key = lock_assigned(tx, id, "unrevoked")?;
    if key.revoked_at.is_none() {
        return Ok(());
    }
    save(
        tx,
        cx,
        Key {
            revoked_at: None,
            ..key
        },
        "key.unrevoked",
        reason,
    )
}

fn lock_assigned(tx: &mut DbConnection, id: KeyId, to: &str) -> Result<Key> {
    let key = Key::lock(tx, id)?.ok_or_else(|| not_found(id))?;
    if key.assigned_at.is_none() {
        let detail = format!(
            "The key is {} and was never assigned; only assigned keys can be {to}.",
            key.status
        );
        let refusal = Refusal::because(Code::InvalidTransition, detail);
        return Err(refusal
            .with("from", key.status.as_str())
            .with("to", to)
            .into());
    }
    Ok(key)
}

fn save(
    tx: &mut DbConnection,
    cx: &Context,
    key: Key,
    action: &str,
    reason: Option<&str>,
) -> Result<()> {
    let key = Key {
        updated_at: cx.now,
        ..key
    };
    key.save_standing(tx)?;
    events::record(
        tx,
        cx,
        action,
        Subject::Key(key.id),
        json!({ "number": number::full(&key), "reason": reason }),
    )
}

fn not_found(id: KeyId) -> Refusal {
    Refusal::because(
        Code::KeyNotFound,
        format!("There is no key with the id {id}."),
    )
}

fn view(conn: &mut DbConnection, vault: &Vault, key: Key) -> Result<KeyView> {
    let text = open_text(&key, vault)?;
    let sequence = key
        .sequence_id
        .map(|id| Sequence::find(conn, id))
        .transpose()?;
    let product = key
        .product_id
        .map(|id| Product::find(conn, id))
        .transpose()?;
    let order = match key.order_id {
        Some(id) => Order::find_many(conn, &[id])?.pop(),
        None => None,
    };
    let customer = match key.customer_id {
        Some(id) => Customer::find_many(conn, &[id])?.pop(),
        None => None,
    };
    let activations = open_count(conn, key.id)? + key.anonymous_activations;
    Ok(KeyView {
        id: key.id.0,
        number: number::full(&key),
        key: text,
        sequence: sequence.map(|sequence| sequence.name),
        product: product.map(|product| product.columns.sku),
        status: key.status,
        source: key.source,
        expires_at: key.expires_at,
        valid_for_days: key.valid_for_days,
        max_activations: key.max_activations,
        activations,
        order: order.map(|order| order.reference),
        customer: customer.and_then(|customer| customer.email.or(customer.reference)),
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
