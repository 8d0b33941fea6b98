//! Imports under way and what they came to. The keys themselves are a lot.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend};
use crate::db::models::account::AccountId;
use crate::db::models::lot::LotId;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::imports;
use crate::db::types::{JsonObject, row_id, word_enum};

row_id! {
    /// The id of an import.
    ImportId
}

word_enum! {
    /// Where an import stands.
    pub enum ImportState {
        /// Its keys are being staged.
        Running = "running",
        /// Its keys are there.
        Done = "done",
        /// Lines were wrong; nothing was imported.
        Refused = "refused",
        /// It ended before its end, with its client, its server or an error; nothing was imported.
        Interrupted = "interrupted",
    }
}

/// An import.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = imports, check_for_backend(MultiBackend))]
pub(crate) struct Import {
    pub id: ImportId,
    pub state: ImportState,
    pub lines: i64,
    pub added: i64,
    pub duplicates: i64,
    /// Why it was refused: code, detail, failed lines.
    pub problem: Option<JsonObject>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// What became of keys of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Staged {
    /// Keys that are new.
    pub added: i64,
    /// Texts that exist already.
    pub duplicates: i64,
}

impl Staged {
    /// `added` of `keys` are new.
    pub(crate) fn of(keys: usize, added: usize) -> Self {
        let count = |keys: usize| i64::try_from(keys).unwrap_or(i64::MAX);
        Self {
            added: count(added),
            duplicates: count(keys.saturating_sub(added)),
        }
    }
}

impl std::ops::Add for Staged {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            added: self.added + more.added,
            duplicates: self.duplicates + more.duplicates,
        }
    }
}

impl Import {
    pub(crate) fn start(
        conn: &mut DbConnection,
        account: Option<AccountId>,
        lot: LotId,
        now: Timestamp,
    ) -> QueryResult<ImportId> {
        diesel::insert_into(imports::table)
            .values((
                imports::account_id.eq(account),
                imports::lot_id.eq(lot),
                imports::state.eq(ImportState::Running),
                imports::lines.eq(0i64),
                imports::added.eq(0i64),
                imports::duplicates.eq(0i64),
                imports::created_at.eq(now),
                imports::updated_at.eq(now),
            ))
            .returning(imports::id)
            .get_result(conn)
    }

    /// Notes how many lines have been read, and what became of some more.
    pub(crate) fn note(
        conn: &mut DbConnection,
        id: ImportId,
        lines: i64,
        more: Staged,
        now: Timestamp,
    ) -> QueryResult<()> {
        diesel::update(imports::table.find(id))
            .set((
                imports::lines.eq(lines),
                imports::added.eq(imports::added + more.added),
                imports::duplicates.eq(imports::duplicates + more.duplicates),
                imports::updated_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }

    /// Writes how it ended, unless it had ended before.
    pub(crate) fn end(
        conn: &mut DbConnection,
        id: ImportId,
        state: ImportState,
        problem: Option<&JsonObject>,
        now: Timestamp,
    ) -> QueryResult<()> {
        let running = imports::table
            .find(id)
            .filter(imports::state.eq(ImportState::Running));
        diesel::update(running)
            .set((
                imports::state.eq(state),
                imports::problem.eq(problem),
                imports::updated_at.eq(now),
                imports::finished_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }

    /// Notes that the import whose lot was given up has ended.
    pub(crate) fn interrupt_of_lot(
        conn: &mut DbConnection,
        lot: LotId,
        now: Timestamp,
    ) -> QueryResult<()> {
        let running = imports::table
            .filter(imports::lot_id.eq(lot))
            .filter(imports::state.eq(ImportState::Running));
        diesel::update(running)
            .set((
                imports::state.eq(ImportState::Interrupted),
                imports::updated_at.eq(now),
                imports::finished_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }

    /// The import of this id; of one account, if one is given.
    pub(crate) fn find(
        conn: &mut DbConnection,
        id: ImportId,
        account: Option<AccountId>,
    ) -> QueryResult<Option<Self>> {
        let mut query = Self::query().filter(imports::id.eq(id)).into_boxed();
        if let Some(account) = account {
            query = query.filter(imports::account_id.eq(account));
        }
        query.first(conn).optional()
    }

    /// The imports, or those of one account; oldest first.
    pub(crate) fn list(
        conn: &mut DbConnection,
        account: Option<AccountId>,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let mut query = Self::query()
            .filter(imports::id.gt(page.after_id()))
            .into_boxed();
        if let Some(account) = account {
            query = query.filter(imports::account_id.eq(account));
        }
        let rows = query.order(imports::id).limit(page.fetch()).load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }
}
