//! Which keys: the conditions of a list, of a bulk action and of an export.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend};
use crate::db::models::Columns;
use crate::db::models::customer::CustomerId;
use crate::db::models::key::{Key, KeyId, KeySource, KeyStatus};
use crate::db::models::order::OrderId;
use crate::db::models::product::ProductId;
use crate::db::models::sequence::SequenceId;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::keys;

/// Conditions on keys; every one that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFilter {
    pub id: Option<KeyId>,
    pub status: Option<KeyStatus>,
    pub source: Option<KeySource>,
    pub product: Option<ProductId>,
    pub sequence: Option<SequenceId>,
    pub orders: Option<Vec<OrderId>>,
    pub customers: Option<Vec<CustomerId>>,
    pub revoked: Option<bool>,
    pub expired: Option<bool>,
    pub suspended: Option<bool>,
    pub terminated: Option<bool>,
    pub assigned: Option<bool>,
    /// From then on, and before.
    pub created: (Option<Timestamp>, Option<Timestamp>),
    /// As `created`.
    pub assigned_within: (Option<Timestamp>, Option<Timestamp>),
    /// Members of `extra` and what they are as text.
    pub extra: Vec<(String, String)>,
}

type Query = keys::BoxedQuery<'static, MultiBackend>;

/// A fact is a time that is set.
macro_rules! fact {
    ($query:ident, $filter:expr, $column:expr) => {
        $query = match $filter {
            Some(true) => $query.filter($column.is_not_null()),
            Some(false) => $query.filter($column.is_null()),
            None => $query,
        };
    };
}

impl Key {
    /// A page of the keys that match, by id.
    pub(crate) fn list(
        conn: &mut DbConnection,
        filter: &KeyFilter,
        now: Timestamp,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let rows = filter
            .query(conn, now)
            .filter(keys::id.gt(page.after_id()))
            .order(keys::id)
            .limit(page.fetch())
            .select(Self::columns())
            .load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }

    /// The ids of the first keys that match.
    pub(crate) fn ids(
        conn: &mut DbConnection,
        filter: &KeyFilter,
        now: Timestamp,
        limit: i64,
    ) -> QueryResult<Vec<KeyId>> {
        filter
            .query(conn, now)
            .order(keys::id)
            .limit(limit)
            .select(keys::id)
            .load(conn)
    }

    /// Those of the keys that match.
    pub(crate) fn matching(
        conn: &mut DbConnection,
        filter: &KeyFilter,
        now: Timestamp,
        among: &[KeyId],
    ) -> QueryResult<Vec<KeyId>> {
        filter
            .query(conn, now)
            .filter(keys::id.eq_any(among.to_vec()))
            .select(keys::id)
            .load(conn)
    }
}

impl KeyFilter {
    fn query(&self, conn: &DbConnection, now: Timestamp) -> Query {
        let mut query = self.belonging();
        fact!(query, self.revoked, keys::revoked_at);
        fact!(query, self.suspended, keys::suspended_at);
        fact!(query, self.terminated, keys::terminated_at);
        fact!(query, self.assigned, keys::assigned_at);
        query = match self.expired {
            Some(true) => query.filter(keys::expires_at.le(now)),
            Some(false) => query.filter(keys::expires_at.is_null().or(keys::expires_at.gt(now))),
            None => query,
        };
        if let Some(since) = self.created.0 {
            query = query.filter(keys::created_at.ge(since));
        }
        if let Some(until) = self.created.1 {
            query = query.filter(keys::created_at.lt(until));
        }
        if let Some(since) = self.assigned_within.0 {
            query = query.filter(keys::assigned_at.ge(since));
        }
        if let Some(until) = self.assigned_within.1 {
            query = query.filter(keys::assigned_at.lt(until));
        }
        for (name, value) in &self.extra {
            let (before, between, after) = member_is(conn);
            query = query.filter(
                sql::<Bool>(before)
                    .bind::<Text, _>(name.clone())
                    .sql(between)
                    .bind::<Text, _>(value.clone())
                    .sql(after),
            );
        }
        query
    }

    /// The conditions on what the key is and belongs to.
    fn belonging(&self) -> Query {
        let mut query = Key::published().into_boxed();
        if let Some(id) = self.id {
            query = query.filter(keys::id.eq(id));
        }
        if let Some(status) = self.status {
            query = query.filter(keys::status.eq(status));
        }
        if let Some(source) = self.source {
            query = query.filter(keys::source.eq(source));
        }
        if let Some(product) = self.product {
            query = query.filter(keys::product_id.eq(product));
        }
        if let Some(sequence) = self.sequence {
            query = query.filter(keys::sequence_id.eq(sequence));
        }
        if let Some(orders) = &self.orders {
            let orders: Vec<_> = orders.iter().map(|id| Some(*id)).collect();
            query = query.filter(keys::order_id.eq_any(orders));
        }
        if let Some(customers) = &self.customers {
            let customers: Vec<_> = customers.iter().map(|id| Some(*id)).collect();
            query = query.filter(keys::customer_id.eq_any(customers));
        }
        query
    }
}

/// The SQL around a name and a value for "the member of `extra` of this name is this, as text", whatever
/// characters the name has.
fn member_is(conn: &DbConnection) -> (&'static str, &'static str, &'static str) {
    match conn {
        DbConnection::Sqlite(_) => (
            "EXISTS (SELECT 1 FROM json_each(keys.extra) AS member WHERE member.key = ",
            " AND CASE member.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' \
             ELSE CAST(member.value AS TEXT) END = ",
            ")",
        ),
        // PostgreSQL refuses to read JSON that has U+0000 in it anywhere.
        DbConnection::Postgres(_) => (
            "replace(keys.extra, '\\u0000', '\\ufffd')::json ->> ",
            " = ",
            "",
        ),
    }
}
