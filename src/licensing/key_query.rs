//! Which keys, by the names that people use: for lists, bulk actions and exports.

use std::collections::BTreeMap;

use super::{number, products, sequences};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::customer::Customer;
use crate::db::models::key::{KeySource, KeyStatus};
use crate::db::models::key_filter::KeyFilter;
use crate::db::models::order::Order;
use crate::db::models::product::Product;
use crate::error::Result;

/// Conditions on keys; all that are set must hold [UC-45].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyQuery {
    pub status: Option<KeyStatus>,
    pub source: Option<KeySource>,
    pub product: Option<String>,
    pub sequence: Option<String>,
    pub order: Option<String>,
    pub customer: Option<String>,
    pub number: Option<String>,
    pub revoked: Option<bool>,
    pub expired: Option<bool>,
    pub suspended: Option<bool>,
    pub terminated: Option<bool>,
    pub assigned: Option<bool>,
    pub created_since: Option<Timestamp>,
    pub created_until: Option<Timestamp>,
    pub assigned_since: Option<Timestamp>,
    pub assigned_until: Option<Timestamp>,
    /// Members of `extra` and what they are as text [UC-47].
    pub extra: BTreeMap<String, String>,
}

impl KeyQuery {
    /// Finds what is named; `None` when no key can match.
    ///
    /// # Errors
    /// `product_not_found` or `sequence_not_found` for a name that does not exist.
    pub(crate) fn resolve(&self, conn: &mut DbConnection) -> Result<Option<KeyFilter>> {
        let mut filter = KeyFilter {
            status: self.status,
            source: self.source,
            revoked: self.revoked,
            expired: self.expired,
            suspended: self.suspended,
            terminated: self.terminated,
            assigned: self.assigned,
            created: (self.created_since, self.created_until),
            assigned_within: (self.assigned_since, self.assigned_until),
            extra: self.extra.clone().into_iter().collect(),
            ..KeyFilter::default()
        };
        if let Some(sku) = &self.product {
            let product = Product::find_by_sku(conn, sku)?;
            filter.product = Some(product.ok_or_else(|| products::not_found(sku))?.id);
        }
        if let Some(name) = &self.sequence {
            filter.sequence = Some(sequences::find(conn, name)?.id);
        }
        if let Some(reference) = &self.order {
            filter.orders = Some(Order::ids_of_ref(conn, reference)?);
        }
        if let Some(customer) = &self.customer {
            filter.customers = Some(Customer::matching(conn, customer)?);
        }
        if let Some(number) = &self.number {
            match number::parse(number) {
                Some(id) => filter.id = Some(id),
                None => return Ok(None),
            }
        }
        Ok(Some(filter))
    }
}
