//! Generators: the patterns from which keys are made.

use std::collections::HashMap;
use std::ops::Deref;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::models::column_by_id;
use crate::db::models::sequence::{SequenceId, SequenceSource};
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{generators, keys, products, sequences};
use crate::db::types::{row_id, word_enum};

row_id! {
    /// The id of a generator.
    GeneratorId
}

word_enum! {
    /// What kind of texts a generator makes.
    pub enum GeneratorKind {
        /// Random characters in chunks.
        Pattern = "pattern",
        /// Texts that prove themselves by a signature, without a server.
        Signed = "signed",
    }
}

/// A set of rules for making keys [SHOP-6].
#[derive(Clone, Debug, PartialEq, HasQuery, Identifiable)]
#[diesel(table_name = generators, check_for_backend(MultiBackend))]
pub(crate) struct Generator {
    pub id: GeneratorId,
    #[diesel(embed)]
    pub columns: GeneratorColumns,
}

/// What a generator is made with and what an edit may change. `licensing/generators.rs` says what each
/// means.
#[derive(Clone, Debug, PartialEq, Selectable, Queryable, Insertable, AsChangeset)]
#[diesel(table_name = generators, check_for_backend(MultiBackend))]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
pub(crate) struct GeneratorColumns {
    pub name: String,
    pub kind: GeneratorKind,
    pub charset: String,
    pub chunks: i64,
    pub chunk_length: i64,
    pub separator: String,
    pub prefix: String,
    pub suffix: String,
    pub max_activations: Option<i64>,
    pub expires_in_days: Option<i64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Deref for Generator {
    type Target = GeneratorColumns;

    fn deref(&self) -> &GeneratorColumns {
        &self.columns
    }
}

impl Generator {
    pub(crate) fn find(conn: &mut DbConnection, id: GeneratorId) -> QueryResult<Option<Self>> {
        Self::query().find(id).first(conn).optional()
    }

    /// The names of the generators.
    pub(crate) fn names(
        conn: &mut DbConnection,
        ids: &[GeneratorId],
    ) -> QueryResult<HashMap<GeneratorId, String>> {
        column_by_id!(conn, generators.name, ids)
    }

    pub(crate) fn find_by_name(conn: &mut DbConnection, name: &str) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(generators::name.eq(name))
            .first(conn)
            .optional()
    }

    /// The generator, held until this transaction ends against edits and deletion.
    pub(crate) fn lock(conn: &mut DbConnection, id: GeneratorId) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            let row = generators::table.find(id).select(generators::id);
            row.for_update().first::<GeneratorId>(inner).optional()?;
        }
        Self::find(conn, id)
    }

    /// Makes the generator; `None` when the name is taken.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        new: &GeneratorColumns,
    ) -> QueryResult<Option<Self>> {
        let made = OnBoth(
            diesel::insert_into(generators::table)
                .values(new)
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        if made == 0 {
            Ok(None)
        } else {
            Self::find_by_name(conn, &new.name)
        }
    }

    /// Writes every column.
    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(generators::table.find(self.id))
            .set(&self.columns)
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn delete(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::delete(generators::table.find(self.id))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn list(conn: &mut DbConnection, page: &PageRequest) -> QueryResult<Paged<Self>> {
        let rows = Self::query()
            .filter(generators::id.gt(page.after_id()))
            .order(generators::id)
            .limit(page.fetch())
            .load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }

    /// How many keys it has made that are still there.
    pub(crate) fn made(&self, conn: &mut DbConnection) -> QueryResult<i64> {
        keys::table
            .filter(keys::generator_id.eq(self.id))
            .count()
            .get_result(conn)
    }

    /// The sequences whose orders it may serve: those that it feeds, and those of products that fall
    /// back on it.
    pub(crate) fn serves(&self, conn: &mut DbConnection) -> QueryResult<Vec<SequenceId>> {
        let mut fed: Vec<SequenceId> = sequences::table
            .filter(sequences::generator_id.eq(self.id))
            .select(sequences::id)
            .load(conn)?;
        let fallen_back: Vec<SequenceId> = products::table
            .filter(products::fallback_generator_id.eq(self.id))
            .filter(products::sequence_id.is_not_null())
            .select(products::sequence_id.assume_not_null())
            .load(conn)?;
        fed.extend(fallen_back);
        fed.sort_unstable();
        fed.dedup();
        Ok(fed)
    }

    /// The generators that may make keys for orders of a sequence: its own, and those that products
    /// which use it fall back on.
    pub(crate) fn feeding(conn: &mut DbConnection, sequence: SequenceId) -> QueryResult<Vec<Self>> {
        let own = sequences::table
            .filter(sequences::id.eq(sequence))
            .filter(sequences::source.eq(SequenceSource::Generator))
            .select(sequences::generator_id);
        let fallbacks = products::table
            .filter(products::sequence_id.eq(sequence))
            .select(products::fallback_generator_id);
        Self::query()
            .filter(
                generators::id
                    .nullable()
                    .eq_any(own)
                    .or(generators::id.nullable().eq_any(fallbacks)),
            )
            .order(generators::id)
            .load(conn)
    }

    /// Whether a sequence or a product refers to it.
    pub(crate) fn is_in_use(&self, conn: &mut DbConnection) -> QueryResult<bool> {
        let by_sequence = sequences::table.filter(sequences::generator_id.eq(self.id));
        let by_product = products::table.filter(products::fallback_generator_id.eq(self.id));
        Ok(
            diesel::select(diesel::dsl::exists(by_sequence)).get_result(conn)?
                || diesel::select(diesel::dsl::exists(by_product)).get_result(conn)?,
        )
    }
}
