//! What is sent about keys.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::{Ready, ready};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::extract::{filter_of, query_pairs};
use super::given::Given;
use super::object::Object;
use super::problem::ApiError;
use crate::clock::Timestamp;
use crate::db::models::key::{KeyId, KeySource, KeyStatus};
use crate::error::Refusal;
use crate::licensing::key_bulk::{BulkAction, Selection};
use crate::licensing::key_edits::KeyPatch;
use crate::licensing::key_query::KeyQuery;
use crate::licensing::text::{Extra, KeyText, Name};

/// How a query names the conditions on `extra`.
const EXTRA: &str = "extra.";

/// Which keys; all conditions must hold.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyConditions {
    /// Where they stand.
    #[param(inline)]
    #[serde(default, deserialize_with = "condition")]
    status: Option<KeyStatus>,
    /// Where their texts came from.
    #[param(inline)]
    #[serde(default, deserialize_with = "condition")]
    source: Option<KeySource>,
    /// The sku of the product that they are bound to.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "condition")]
    product: Option<Name>,
    /// The name of their sequence.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "condition")]
    sequence: Option<Name>,
    /// The `ref` of their order.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "condition")]
    order: Option<Name>,
    /// The e-mail address or `ref` of their buyer.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "condition")]
    customer: Option<Name>,
    /// A key's number; its version does not matter.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "condition")]
    number: Option<Name>,
    /// Whether they are revoked.
    #[serde(default, deserialize_with = "condition")]
    revoked: Option<bool>,
    /// Whether they have expired.
    #[serde(default, deserialize_with = "condition")]
    expired: Option<bool>,
    /// Whether they are suspended.
    #[serde(default, deserialize_with = "condition")]
    suspended: Option<bool>,
    /// Whether they are terminated.
    #[serde(default, deserialize_with = "condition")]
    terminated: Option<bool>,
    /// Whether they were ever assigned.
    #[serde(default, deserialize_with = "condition")]
    assigned: Option<bool>,
    /// Made at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[param(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "condition")]
    created_since: Option<Timestamp>,
    /// Made before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[param(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "condition")]
    created_until: Option<Timestamp>,
    /// Assigned at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[param(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "condition")]
    assigned_since: Option<Timestamp>,
    /// Assigned before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[param(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "condition")]
    assigned_until: Option<Timestamp>,
    /// Members of `extra`, and what each is as text.
    #[serde(default)]
    #[param(ignore)]
    extra: BTreeMap<String, String>,
}

/// A condition that may be left out. Null is none: a look-up that found nothing must not widen what a
/// filter means.
fn condition<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The conditions in a query, those on `extra` as `extra.NAME=value`.
#[derive(Debug)]
pub(crate) struct KeysWanted(pub KeyQuery);

impl FromRequest for KeysWanted {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            query_pairs(request.query_string())
                .and_then(Self::of)
                .map_err(ApiError::from),
        )
    }
}

impl KeysWanted {
    /// The conditions among the pairs of a query.
    pub(super) fn of(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let (extra, rest): (Vec<_>, Vec<_>) = pairs
            .into_iter()
            .partition(|(name, _)| name.starts_with(EXTRA));
        let mut conditions: KeyConditions = filter_of(rest)?;
        for (name, value) in extra {
            let member = name.strip_prefix(EXTRA).unwrap_or_default().to_owned();
            if conditions.extra.insert(member, value).is_some() {
                return Err(Refusal::wrong(&name, "duplicate", "is given twice"));
            }
        }
        conditions.into_query().map(Self)
    }
}

impl KeyConditions {
    fn into_query(self) -> Result<KeyQuery, Refusal> {
        for (name, value) in &self.extra {
            if name.contains('\0') || value.contains('\0') {
                let detail = "must not contain the character U+0000";
                return Err(Refusal::wrong("extra", "invalid", detail));
            }
        }
        Ok(KeyQuery {
            status: self.status,
            source: self.source,
            product: self.product.map(Name::into_string),
            sequence: self.sequence.map(Name::into_string),
            order: self.order.map(Name::into_string),
            customer: self.customer.map(Name::into_string),
            number: self.number.map(Name::into_string),
            revoked: self.revoked,
            expired: self.expired,
            suspended: self.suspended,
            terminated: self.terminated,
            assigned: self.assigned,
            created_since: self.created_since,
            created_until: self.created_until,
            assigned_since: self.assigned_since,
            assigned_until: self.assigned_until,
            extra: self.extra,
        })
    }
}

/// A key to enter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// Its text.
    #[schema(example = "AAAAA-BBBBB-CCCCC")]
    pub(super) key: KeyText,
    /// The name of its sequence; the product's by default.
    sequence: Option<Name>,
    /// The sku of the only product that may sell it, or that it is for; any of the sequence by default.
    product: Option<Name>,
    /// Where it stands: `active` by default; with an order or a customer `sold` or `delivered`, as the
    /// product says.
    status: Option<KeyStatus>,
    /// When it stops to admit activations; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Days of validity from when it is assigned on; overwrites `expires_at` then.
    valid_for_days: Option<i64>,
    /// How many installations may be active at once; null for any number.
    max_activations: Option<i64>,
    /// The `ref` of the order that gets it.
    order: Option<Name>,
    /// The e-mail address or `ref` of the customer that gets it; the order's by default.
    customer: Option<Name>,
    /// Any JSON object.
    extra: Option<Extra>,
}

impl NewKeyBody {
    pub(super) fn patch(&self, shop: Option<&Name>) -> KeyPatch {
        let text = |name: &Option<Name>| name.clone().map(Name::into_string);
        KeyPatch {
            status: self.status,
            expires_at: Some(self.expires_at),
            valid_for_days: Some(self.valid_for_days),
            max_activations: Some(self.max_activations),
            sequence: text(&self.sequence),
            product: text(&self.product).map(Some),
            order: text(&self.order).map(Some),
            customer: text(&self.customer).map(Some),
            shop: shop.cloned().map(Name::into_string),
            extra: self.extra.clone(),
        }
    }
}

/// The members of a key to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    /// The name of its sequence.
    #[serde(default)]
    sequence: Given<Name>,
    /// The sku of its product; null for any product of the sequence, while nobody has the key.
    #[serde(default)]
    product: Given<Option<Name>>,
    /// Where it stands.
    #[serde(default)]
    status: Given<KeyStatus>,
    /// When it stops to admit activations; null for never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Given<Option<Timestamp>>,
    /// Days of validity from when it is assigned on; null when only `expires_at` counts.
    #[serde(default)]
    valid_for_days: Given<Option<i64>>,
    /// How many installations may be active at once; null for any number.
    #[serde(default)]
    max_activations: Given<Option<i64>>,
    /// The `ref` of its order; null takes the order off.
    #[serde(default)]
    order: Given<Option<Name>>,
    /// The e-mail address or `ref` of its buyer; null for nobody.
    #[serde(default)]
    customer: Given<Option<Name>>,
    /// Any JSON object.
    #[serde(default)]
    extra: Given<Extra>,
}

impl KeyBody {
    pub(super) fn into_patch(self, shop: Option<Name>) -> KeyPatch {
        let text = |name: Given<Option<Name>>| name.0.map(|name| name.map(Name::into_string));
        KeyPatch {
            status: self.status.0,
            expires_at: self.expires_at.0,
            valid_for_days: self.valid_for_days.0,
            max_activations: self.max_activations.0,
            sequence: self.sequence.0.map(Name::into_string),
            product: text(self.product),
            order: text(self.order),
            customer: text(self.customer),
            shop: shop.map(Name::into_string),
            extra: self.extra.0,
        }
    }
}

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    /// For the record.
    pub(super) reason: Option<Name>,
}

/// A new text for a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceBody {
    /// The new text.
    #[schema(example = "AAAAA-BBBBB-DDDDD")]
    pub(super) key: KeyText,
    /// For the record.
    pub(super) reason: Option<Name>,
}

/// An activation to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncrementBody {
    /// The product key.
    pub(super) key: KeyText,
    /// How many; 1 by default.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 1_000_000)]
    pub(super) by: i64,
}

fn one() -> i64 {
    1
}

/// What to do to which keys: `ids` or `filter`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkBody {
    /// These keys, at most 1,000.
    ids: Option<Vec<i64>>,
    /// The keys that match, at most 10,000; at least one condition.
    #[schema(value_type = Option<KeyConditions>)]
    filter: Option<Object<KeyConditions>>,
    /// What to do to each.
    pub(super) action: BulkAction,
    /// For the record.
    pub(super) reason: Option<Name>,
}

impl BulkBody {
    pub(super) fn into_parts(self) -> Result<(Selection, BulkAction, Option<Name>), Refusal> {
        let selection = match (self.ids, self.filter) {
            (Some(ids), None) => Selection::Ids(ids.into_iter().map(KeyId).collect()),
            (None, Some(Object(conditions))) => Selection::Filter(conditions.into_query()?),
            (None, None) => {
                return Err(Refusal::wrong(
                    "ids",
                    "required",
                    "name keys by `ids` or `filter`",
                ));
            }
            (Some(_), Some(_)) => {
                let detail = "names keys a second time: send `ids` or `filter`, not both";
                return Err(Refusal::wrong("filter", "invalid", detail));
            }
        };
        Ok((selection, self.action, self.reason))
    }
}
