//! Product keys.

use std::collections::HashSet;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, each_backend};
use crate::db::models::Columns;
use crate::db::models::customer::CustomerId;
use crate::db::models::lot::LotId;
use crate::db::models::order::OrderId;
use crate::db::models::order_line::OrderLineId;
use crate::db::models::product::ProductId;
use crate::db::models::retired_text::RetiredText;
use crate::db::models::sequence::SequenceId;
use crate::db::schema::{keys, lots, sequences, stock};
use crate::db::types::{JsonObject, row_id, word_enum};
use crate::db::update::update;

row_id! {
    /// The id of a key; the middle part of its number.
    KeyId
}

word_enum! {
    /// Where a key stands. (Revoked, suspended, terminated and expired are separate facts.)
    pub enum KeyStatus {
        /// In stock, for sale.
        Active = "active",
        /// In stock, not for sale.
        Inactive = "inactive",
        /// Assigned, not handed over yet.
        Sold = "sold",
        /// Handed over to its buyer.
        Delivered = "delivered",
        /// Out of use.
        Disabled = "disabled",
    }
}

word_enum! {
    /// Where a key's text came from.
    pub enum KeySource {
        /// An import.
        Import = "import",
        /// Entered one at a time.
        Manual = "manual",
        /// A generator.
        Generator = "generator",
    }
}

/// One product key. Its text is sealed; `licensing` opens it through the vault.
#[derive(Clone, Debug, PartialEq, HasQuery, Identifiable)]
#[diesel(table_name = keys, check_for_backend(MultiBackend))]
pub(crate) struct Key {
    pub id: KeyId,
    pub text_sealed: Option<Vec<u8>>,
    pub sequence_id: Option<SequenceId>,
    pub product_id: Option<ProductId>,
    pub lot_id: Option<LotId>,
    pub order_id: Option<OrderId>,
    pub order_line_id: Option<OrderLineId>,
    pub customer_id: Option<CustomerId>,
    pub parent_key: Option<KeyId>,
    pub number_prefix: String,
    pub number_version: i64,
    pub source: KeySource,
    pub status: KeyStatus,
    pub status_before: Option<KeyStatus>,
    pub disabled_by_order: bool,
    pub max_activations: Option<i64>,
    pub anonymous_activations: i64,
    pub expires_at: Option<Timestamp>,
    pub valid_for_days: Option<i64>,
    pub assigned_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub suspended_at: Option<Timestamp>,
    pub terminated_at: Option<Timestamp>,
    pub extra: Option<JsonObject>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What issuing writes on a key.
#[derive(Debug, PartialEq, AsChangeset)]
#[diesel(table_name = keys, treat_none_as_null = true)]
pub(crate) struct Assignment {
    pub product_id: ProductId,
    pub order_id: OrderId,
    pub order_line_id: OrderLineId,
    pub customer_id: Option<CustomerId>,
    pub number_prefix: String,
    pub status: KeyStatus,
    pub max_activations: Option<i64>,
    pub expires_at: Option<Timestamp>,
    pub assigned_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

impl Key {
    pub(crate) fn find(conn: &mut DbConnection, id: KeyId) -> QueryResult<Option<Self>> {
        each_backend!(conn, |inner| Self::published()
            .filter(keys::id.eq(id))
            .select(Self::columns())
            .first(inner)
            .optional())
    }

    /// The keys of these ids, in the order of the ids.
    pub(crate) fn find_many(conn: &mut DbConnection, ids: &[KeyId]) -> QueryResult<Vec<Self>> {
        match ids {
            [] => return Ok(Vec::new()),
            [one] => return Ok(Self::find(conn, *one)?.into_iter().collect()),
            _ => {}
        }
        Self::published()
            .filter(keys::id.eq_any(ids))
            .order(keys::id)
            .select(Self::columns())
            .load(conn)
    }

    /// The prefixes and versions that the numbers of these keys have.
    pub(crate) fn number_parts(
        conn: &mut DbConnection,
        ids: &[KeyId],
    ) -> QueryResult<Vec<(KeyId, String, i64)>> {
        keys::table
            .filter(keys::id.eq_any(ids))
            .select((keys::id, keys::number_prefix, keys::number_version))
            .load(conn)
    }

    /// As [`Key::find_many`], locked one after the other in the order of their ids.
    pub(crate) fn lock_many(conn: &mut DbConnection, ids: &[KeyId]) -> QueryResult<Vec<Self>> {
        if let DbConnection::Postgres(inner) = conn
            && !ids.is_empty()
        {
            let locked = keys::table
                .filter(keys::id.eq_any(ids))
                .order(keys::id)
                .select(keys::id);
            locked.for_no_key_update().load::<KeyId>(inner)?;
        }
        Self::find_many(conn, ids)
    }

    /// The key with this text's hash. What an import has staged and not published is not there.
    pub(crate) fn find_by_hash(
        conn: &mut DbConnection,
        text_hash: &[u8],
    ) -> QueryResult<Option<Self>> {
        Self::published()
            .filter(keys::text_hash.eq(text_hash))
            .select(Self::columns())
            .first(conn)
            .optional()
    }

    /// The keys of an order, in the order in which they were issued.
    pub(crate) fn of_orders(conn: &mut DbConnection, orders: &[OrderId]) -> QueryResult<Vec<Self>> {
        each_backend!(conn, |inner| {
            let in_order = Self::published().order(keys::id).select(Self::columns());
            match orders {
                [] => Ok(Vec::new()),
                [one] => in_order.filter(keys::order_id.eq(one)).load(inner),
                many => in_order
                    .filter(keys::order_id.eq_any(many.iter().map(|id| Some(*id))))
                    .load(inner),
            }
        })
    }

    /// The highest id of a key; 0 when there is none.
    pub(crate) fn newest_id(conn: &mut DbConnection) -> QueryResult<KeyId> {
        let newest = keys::table.select(diesel::dsl::max(keys::id));
        Ok(newest.first::<Option<KeyId>>(conn)?.unwrap_or(KeyId(0)))
    }

    /// Those of the hashes that belong to a key, or once did.
    pub(crate) fn taken_texts(
        conn: &mut DbConnection,
        hashes: &[[u8; 32]],
    ) -> QueryResult<HashSet<Vec<u8>>> {
        let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
        let mut taken = RetiredText::among(conn, &hashes)?;
        for slice in hashes.chunks(500) {
            let some: Vec<Vec<u8>> = Self::published()
                .filter(keys::text_hash.eq_any(slice.iter().map(|hash| Some(*hash))))
                .select(keys::text_hash.assume_not_null())
                .load(conn)?;
            taken.extend(some);
        }
        Ok(taken)
    }

    /// Assigns keys that were never assigned, all in the same way; `false` when one was.
    pub(crate) fn assign(
        conn: &mut DbConnection,
        ids: &[KeyId],
        assignment: &Assignment,
    ) -> QueryResult<bool> {
        let is_free = || {
            keys::assigned_at
                .is_null()
                .and(keys::status.eq(KeyStatus::Active))
        };
        let assigned = if let [one] = ids {
            let assigning = update(keys::table, assignment, keys::id.eq(one).and(is_free()));
            each_backend!(conn, |inner| assigning.execute(inner))?
        } else {
            let keys = keys::table.filter(keys::id.eq_any(ids)).filter(is_free());
            diesel::update(keys).set(assignment).execute(conn)?
        };
        Ok(assigned == ids.len())
    }

    /// Deletes up to `slice` keys of a sequence that were never assigned; returns how many went.
    pub(crate) fn delete_unassigned(
        conn: &mut DbConnection,
        sequence: SequenceId,
        slice: i64,
    ) -> QueryResult<usize> {
        let ids: Vec<i64> = keys::table
            .filter(
                keys::sequence_id
                    .eq(sequence)
                    .and(keys::assigned_at.is_null()),
            )
            .order(keys::id)
            .limit(slice)
            .select(keys::id)
            .load(conn)?;
        // Out of stock first: what is taken there in the same moment has been assigned and stays.
        let mine = stock::table
            .filter(stock::sequence_id.eq(sequence))
            .filter(stock::key_id.eq_any(&ids));
        each_backend!(conn, |inner| diesel::delete(mine).execute(inner))?;
        diesel::delete(
            keys::table
                .filter(keys::id.eq_any(&ids))
                .filter(keys::assigned_at.is_null()),
        )
        .execute(conn)?;
        Ok(ids.len())
    }

    /// Deletes the keys with these texts that are on their way out with a deleted sequence, so that
    /// the texts are free.
    pub(crate) fn delete_doomed(conn: &mut DbConnection, text_hashes: &[&[u8]]) -> QueryResult<()> {
        let deleted: Vec<Option<SequenceId>> = sequences::table
            .filter(sequences::deleted_at.is_not_null())
            .select(sequences::id.nullable())
            .load(conn)?;
        // Still so when it is deleted: staff may have moved the key elsewhere, or given it to somebody.
        let doomed = || {
            keys::assigned_at
                .is_null()
                .and(keys::sequence_id.eq_any(&deleted))
        };
        // Not those of an import under way, whose sequence may count as deleted until it is published.
        let ids: Vec<i64> = Self::published()
            .filter(keys::text_hash.eq_any(text_hashes.iter().map(|hash| Some(*hash))))
            .filter(doomed())
            .select(keys::id)
            .load(conn)?;
        let in_stock = stock::table
            .filter(stock::key_id.eq_any(&ids))
            .filter(stock::sequence_id.eq_any(deleted.iter().flatten()));
        if !ids.is_empty() {
            each_backend!(conn, |inner| diesel::delete(in_stock).execute(inner))?;
            let gone = keys::table.filter(keys::id.eq_any(&ids)).filter(doomed());
            each_backend!(conn, |inner| diesel::delete(gone).execute(inner))?;
        }
        Ok(())
    }

    /// Keys of lots that are published, or of no lot.
    #[diesel::dsl::auto_type(no_type_alias)]
    pub(super) fn published() -> _ {
        let unpublished = lots::table
            .filter(lots::published_at.is_null())
            .select(lots::id);
        keys::table.filter(
            keys::lot_id
                .is_null()
                .or(keys::lot_id.assume_not_null().ne_all(unpublished)),
        )
    }
}
