//! Keys about to be stored: a million of an import, or one.
//!
//! What the keys of one making have in common is sent once for many rows, and each statement has one fixed
//! text, so that it is prepared once: on SQLite for a group of rows, on PostgreSQL for any number of them.

use std::collections::HashSet;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel::sqlite::Sqlite;

use crate::clock::Timestamp;
use crate::db::connection::DbConnection;
use crate::db::models::customer::CustomerId;
use crate::db::models::generator::GeneratorId;
use crate::db::models::key::{KeySource, KeyStatus};
use crate::db::models::lot::LotId;
use crate::db::models::order::OrderId;
use crate::db::models::order_line::OrderLineId;
use crate::db::models::product::ProductId;
use crate::db::models::retired_text::RetiredText;
use crate::db::models::sequence::SequenceId;
use crate::db::schema::keys;
use crate::db::types::JsonObject;

/// Rows that one statement stores on SQLite. More of them gain nothing there.
const GROUP: usize = 20;

/// What a key about to be stored has of its own.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub id: i64,
    pub text_sealed: Vec<u8>,
    pub text_hash: [u8; 32],
    pub sequence_id: Option<SequenceId>,
    pub max_activations: Option<i64>,
    pub expires_at: Option<Timestamp>,
    pub valid_for_days: Option<i64>,
    pub extra: Option<JsonObject>,
}

/// What keys that are stored together have in common.
#[derive(Clone, Debug)]
pub(crate) struct NewKeysShare {
    pub product_id: Option<ProductId>,
    pub lot_id: Option<LotId>,
    pub generator_id: Option<GeneratorId>,
    pub order_id: Option<OrderId>,
    pub order_line_id: Option<OrderLineId>,
    pub customer_id: Option<CustomerId>,
    pub number_prefix: String,
    pub number_version: i64,
    pub source: KeySource,
    pub status: KeyStatus,
    pub status_before: Option<KeyStatus>,
    pub disabled_by_order: bool,
    pub anonymous_activations: i64,
    pub assigned_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl NewKeysShare {
    /// Stores the keys whose texts are new; returns the ids of those stored, in no certain order. Of two
    /// with one text the first is stored.
    pub(crate) fn insert_new(
        &self,
        conn: &mut DbConnection,
        rows: &[NewKey],
    ) -> QueryResult<Vec<i64>> {
        let mut stored = match conn {
            DbConnection::Sqlite(inner) => self.insert_in_groups(inner, rows)?,
            DbConnection::Postgres(inner) => InsertAll::of(self, rows).load(inner)?,
        };
        take_back_retired(conn, rows, &mut stored)?;
        Ok(stored)
    }

    fn insert_in_groups(
        &self,
        conn: &mut SqliteConnection,
        rows: &[NewKey],
    ) -> QueryResult<Vec<i64>> {
        let mut stored = Vec::with_capacity(rows.len());
        let mut doubtful = Vec::new();
        let (groups, rest) = rows.as_chunks::<GROUP>();
        for rows in groups {
            let ids = rows.iter().map(|row| row.id);
            match (InsertGroup { share: self, rows }).execute(conn)? {
                0 => {}
                GROUP => stored.extend(ids),
                _ => doubtful.extend(ids),
            }
        }
        for row in rest {
            let rows = std::array::from_ref(row);
            if (InsertGroup { share: self, rows }).execute(conn)? == 1 {
                stored.push(row.id);
            }
        }
        // The ids are new: what is there under them has just been stored.
        for ids in doubtful.chunks(500) {
            let there = keys::table.filter(keys::id.eq_any(ids)).select(keys::id);
            stored.extend(there.load::<i64>(conn)?);
        }
        Ok(stored)
    }
}

/// Takes away again what was stored under a retired text. Afterwards, not before: a text that is
/// being replaced in the same moment is in one of the two tables at any time, and the unique index
/// made this transaction wait for the other.
fn take_back_retired(
    conn: &mut DbConnection,
    rows: &[NewKey],
    stored: &mut Vec<i64>,
) -> QueryResult<()> {
    if stored.is_empty() || !RetiredText::is_any(conn)? {
        return Ok(());
    }
    let hashes: Vec<&[u8]> = rows.iter().map(|row| row.text_hash.as_slice()).collect();
    let retired = RetiredText::among(conn, &hashes)?;
    let ids: HashSet<i64> = rows
        .iter()
        .filter(|row| retired.contains(row.text_hash.as_slice()))
        .map(|row| row.id)
        .collect();
    for id in &ids {
        diesel::delete(keys::table.find(id)).execute(conn)?;
    }
    stored.retain(|id| !ids.contains(id));
    Ok(())
}

/// What every statement begins with: the columns of [`NewKey`], and those of [`NewKeysShare`].
const INTO: &str = "INSERT INTO keys (id, text_sealed, text_hash, sequence_id, max_activations, \
    expires_at, valid_for_days, extra, \
    product_id, lot_id, generator_id, order_id, order_line_id, customer_id, number_prefix, \
    number_version, source, status, status_before, disabled_by_order, anonymous_activations, \
    assigned_at, delivered_at, created_at, updated_at) ";

/// The statement for `N` keys (SQLite).
#[derive(Debug)]
struct InsertGroup<'a, const N: usize> {
    share: &'a NewKeysShare,
    rows: &'a [NewKey; N],
}

impl<const N: usize> QueryFragment<Sqlite> for InsertGroup<'_, N> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        pass.push_sql(INTO);
        pass.push_sql("VALUES (");
        for (place, row) in self.rows.iter().enumerate() {
            if place > 0 {
                pass.push_sql("), (");
            }
            pass.push_bind_param::<BigInt, _>(&row.id)?;
            pass.push_sql(", ");
            pass.push_bind_param::<Binary, _>(&row.text_sealed)?;
            pass.push_sql(", ");
            pass.push_bind_param::<Binary, _>(row.text_hash.as_slice())?;
            pass.push_sql(", ");
            pass.push_bind_param::<Nullable<BigInt>, _>(&row.sequence_id)?;
            pass.push_sql(", ");
            pass.push_bind_param::<Nullable<BigInt>, _>(&row.max_activations)?;
            pass.push_sql(", ");
            pass.push_bind_param::<Nullable<BigInt>, _>(&row.expires_at)?;
            pass.push_sql(", ");
            pass.push_bind_param::<Nullable<BigInt>, _>(&row.valid_for_days)?;
            pass.push_sql(", ");
            pass.push_bind_param::<Nullable<Text>, _>(&row.extra)?;
            pass.push_sql(", ");
            if place == 0 {
                push_share(self.share, &mut pass)?;
            } else {
                // What was bound for the first row: its own columns are the parameters 1 to 8. Whatever
                // comes behind them is numbered on.
                pass.push_sql(
                    "?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25",
                );
            }
        }
        pass.push_sql(") ON CONFLICT DO NOTHING");
        Ok(())
    }
}

impl<const N: usize> QueryId for InsertGroup<'_, N> {
    type QueryId = InsertGroup<'static, N>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const N: usize> RunQueryDsl<SqliteConnection> for InsertGroup<'_, N> {}

/// The statement for any number of keys (PostgreSQL): arrays in, so that its text is always the same.
#[derive(Debug)]
struct InsertAll<'a> {
    share: &'a NewKeysShare,
    ids: Vec<i64>,
    texts_sealed: Vec<&'a [u8]>,
    text_hashes: Vec<&'a [u8]>,
    sequences: Vec<Option<SequenceId>>,
    max_activations: Vec<Option<i64>>,
    expiries: Vec<Option<Timestamp>>,
    validities: Vec<Option<i64>>,
    extras: Vec<Option<&'a JsonObject>>,
}

impl<'a> InsertAll<'a> {
    fn of(share: &'a NewKeysShare, rows: &'a [NewKey]) -> Self {
        let rows = || rows.iter();
        Self {
            share,
            ids: rows().map(|row| row.id).collect(),
            texts_sealed: rows().map(|row| row.text_sealed.as_slice()).collect(),
            text_hashes: rows().map(|row| row.text_hash.as_slice()).collect(),
            sequences: rows().map(|row| row.sequence_id).collect(),
            max_activations: rows().map(|row| row.max_activations).collect(),
            expiries: rows().map(|row| row.expires_at).collect(),
            validities: rows().map(|row| row.valid_for_days).collect(),
            extras: rows().map(|row| row.extra.as_ref()).collect(),
        }
    }
}

impl QueryFragment<Pg> for InsertAll<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql(INTO);
        pass.push_sql("SELECT n.*, ");
        push_share(self.share, &mut pass)?;
        pass.push_sql(" FROM unnest(");
        pass.push_bind_param::<Array<BigInt>, _>(&self.ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Binary>, _>(&self.texts_sealed)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Binary>, _>(&self.text_hashes)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.sequences)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.max_activations)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.expiries)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.validities)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.extras)?;
        pass.push_sql(") AS n ON CONFLICT DO NOTHING RETURNING id");
        Ok(())
    }
}

impl QueryId for InsertAll<'_> {
    type QueryId = InsertAll<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for InsertAll<'_> {
    type SqlType = BigInt;
}

impl RunQueryDsl<PgConnection> for InsertAll<'_> {}

/// Binds the columns that all rows have in common, in the order of [`INTO`].
fn push_share<'b, DB>(share: &'b NewKeysShare, pass: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>
where
    DB: diesel::backend::Backend + diesel::sql_types::HasSqlType<Bool>,
    i64: diesel::serialize::ToSql<BigInt, DB>,
    bool: diesel::serialize::ToSql<Bool, DB>,
    str: diesel::serialize::ToSql<Text, DB>,
    String: diesel::serialize::ToSql<Text, DB>,
{
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.product_id)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.lot_id)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.generator_id)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.order_id)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.order_line_id)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.customer_id)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Text, _>(&share.number_prefix)?;
    pass.push_sql(", ");
    pass.push_bind_param::<BigInt, _>(&share.number_version)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Text, _>(&share.source)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Text, _>(&share.status)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<Text>, _>(&share.status_before)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Bool, _>(&share.disabled_by_order)?;
    pass.push_sql(", ");
    pass.push_bind_param::<BigInt, _>(&share.anonymous_activations)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.assigned_at)?;
    pass.push_sql(", ");
    pass.push_bind_param::<Nullable<BigInt>, _>(&share.delivered_at)?;
    pass.push_sql(", ");
    pass.push_bind_param::<BigInt, _>(&share.created_at)?;
    pass.push_sql(", ");
    pass.push_bind_param::<BigInt, _>(&share.updated_at)
}
