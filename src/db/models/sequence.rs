//! Sequences: named collections of keys.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::models::column_by_id;
use crate::db::models::generator::GeneratorId;
use crate::db::models::key::KeyStatus;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{keys, lots, sequences};
use crate::db::types::{JsonObject, row_id, word_enum};

row_id! {
    /// The id of a sequence.
    SequenceId
}

word_enum! {
    /// Where the keys of a sequence come from.
    pub enum SequenceSource {
        /// They were imported or entered beforehand.
        Pool = "pool",
        /// A generator makes them when the stock is used up.
        Generator = "generator",
    }
}

/// A named collection of keys, any of which unlocks the products that use it.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = sequences, check_for_backend(MultiBackend))]
pub(crate) struct Sequence {
    pub id: SequenceId,
    pub name: String,
    pub source: SequenceSource,
    pub generator_id: Option<GeneratorId>,
    pub low_stock_threshold: Option<i64>,
    pub extra: JsonObject,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Set when it was deleted: the row stays so that assigned keys keep the name.
    pub deleted_at: Option<Timestamp>,
}

/// A sequence about to be stored.
#[derive(Debug, Insertable)]
#[diesel(table_name = sequences, treat_none_as_default_value = false)]
pub(crate) struct NewSequenceRow<'a> {
    pub name: &'a str,
    pub source: SequenceSource,
    pub generator_id: Option<GeneratorId>,
    pub low_stock_threshold: Option<i64>,
    pub extra: &'a JsonObject,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Set for one that nobody sees yet: an import makes it and publishes it with its keys.
    pub deleted_at: Option<Timestamp>,
}

/// How many keys of a sequence have each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct KeyCounts {
    /// In stock, for sale.
    pub active: i64,
    /// In stock, not for sale.
    pub inactive: i64,
    /// Assigned, not handed over yet.
    pub sold: i64,
    /// Handed over.
    pub delivered: i64,
    /// Out of use.
    pub disabled: i64,
}

impl Sequence {
    pub(crate) fn find(conn: &mut DbConnection, id: SequenceId) -> QueryResult<Self> {
        Self::query().find(id).first(conn)
    }

    /// The names of the sequences, deleted ones included.
    pub(crate) fn names(
        conn: &mut DbConnection,
        ids: &[SequenceId],
    ) -> QueryResult<HashMap<SequenceId, String>> {
        column_by_id!(conn, sequences.name, ids)
    }

    /// The live ones of these names.
    pub(crate) fn ids_of_names(
        conn: &mut DbConnection,
        names: &[String],
    ) -> QueryResult<HashMap<String, SequenceId>> {
        let rows: Vec<(String, SequenceId)> = sequences::table
            .filter(
                sequences::name
                    .eq_any(names)
                    .and(sequences::deleted_at.is_null()),
            )
            .select((sequences::name, sequences::id))
            .load(conn)?;
        Ok(rows.into_iter().collect())
    }

    /// The live sequence of this name.
    pub(crate) fn find_by_name(conn: &mut DbConnection, name: &str) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(
                sequences::name
                    .eq(name)
                    .and(sequences::deleted_at.is_null()),
            )
            .first(conn)
            .optional()
    }

    /// The sequence, locked until the transaction ends where the database locks rows. Keys may go on to
    /// be stored in it meanwhile: the row itself is never deleted.
    pub(crate) fn lock(conn: &mut DbConnection, id: SequenceId) -> QueryResult<Self> {
        if let DbConnection::Postgres(inner) = conn {
            sequences::table
                .find(id)
                .select(sequences::id)
                .for_no_key_update()
                .first::<SequenceId>(inner)?;
        }
        Self::find(conn, id)
    }

    /// Makes the sequence; `None` when the name is taken.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        new: &NewSequenceRow<'_>,
    ) -> QueryResult<Option<Self>> {
        let made = OnBoth(
            diesel::insert_into(sequences::table)
                .values(new)
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        if made == 0 {
            Ok(None)
        } else {
            Self::find_by_name(conn, new.name)
        }
    }

    /// Makes a sequence that is marked as deleted, so that its name does not matter yet.
    pub(crate) fn insert_hidden(
        conn: &mut DbConnection,
        new: &NewSequenceRow<'_>,
    ) -> QueryResult<SequenceId> {
        diesel::insert_into(sequences::table)
            .values(new)
            .returning(sequences::id)
            .get_result(conn)
    }

    /// Writes what an edit may change.
    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(sequences::table.find(self.id))
            .set((
                sequences::name.eq(&self.name),
                sequences::source.eq(self.source),
                sequences::generator_id.eq(self.generator_id),
                sequences::low_stock_threshold.eq(self.low_stock_threshold),
                sequences::extra.eq(&self.extra),
                sequences::updated_at.eq(self.updated_at),
                sequences::deleted_at.eq(self.deleted_at),
            ))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn list(conn: &mut DbConnection, page: &PageRequest) -> QueryResult<Paged<Self>> {
        let rows = Self::query()
            .filter(sequences::id.gt(page.after_id()))
            .filter(sequences::deleted_at.is_null())
            .order(sequences::id)
            .limit(page.fetch())
            .load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }

    /// The names of the first live sequences.
    pub(crate) fn oldest_names(
        conn: &mut DbConnection,
        limit: i64,
    ) -> QueryResult<Vec<(SequenceId, String)>> {
        sequences::table
            .filter(sequences::deleted_at.is_null())
            .order(sequences::id)
            .limit(limit)
            .select((sequences::id, sequences::name))
            .load(conn)
    }

    /// Counts the keys of published lots by status.
    pub(crate) fn key_counts(&self, conn: &mut DbConnection) -> QueryResult<KeyCounts> {
        let unpublished = lots::table
            .filter(lots::published_at.is_null())
            .select(lots::id);
        let rows: Vec<(KeyStatus, i64)> = keys::table
            .filter(keys::sequence_id.eq(self.id))
            .filter(
                keys::lot_id
                    .is_null()
                    .or(keys::lot_id.assume_not_null().ne_all(unpublished)),
            )
            .group_by(keys::status)
            .select((keys::status, diesel::dsl::count_star()))
            .load(conn)?;
        let mut counts = KeyCounts::default();
        for (status, count) in rows {
            *match status {
                KeyStatus::Active => &mut counts.active,
                KeyStatus::Inactive => &mut counts.inactive,
                KeyStatus::Sold => &mut counts.sold,
                KeyStatus::Delivered => &mut counts.delivered,
                KeyStatus::Disabled => &mut counts.disabled,
            } = count;
        }
        Ok(counts)
    }
}
