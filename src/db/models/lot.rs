//! Lots: the keys of one import, published together.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth, each_backend};
use crate::db::models::account::AccountId;
use crate::db::models::import::Import;
use crate::db::models::sequence::SequenceId;
use crate::db::schema::{keys, lots, stock};
use crate::db::types::{row_id, word_enum};

row_id! {
    /// The id of a lot.
    LotId
}

word_enum! {
    /// How the keys of a lot came in.
    pub enum LotKind {
        /// By an import.
        Import = "import",
        /// Entered one at a time.
        Manual = "manual",
        /// Made by a generator.
        Generated = "generated",
    }
}

/// The keys of one import. Nothing of it is seen or sold before `published_at` is set.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = lots, check_for_backend(MultiBackend))]
pub(crate) struct Lot {
    pub id: LotId,
    pub kind: LotKind,
    pub heartbeat_at: Timestamp,
    /// Set when the import was given up; its keys are being deleted.
    pub abandoned_at: Option<Timestamp>,
}

impl Lot {
    /// The lots that are being staged: one of each kind at most.
    pub(crate) fn unpublished(conn: &mut DbConnection) -> QueryResult<Vec<Self>> {
        Self::query()
            .filter(lots::published_at.is_null())
            .order(lots::id)
            .load(conn)
    }

    /// The lot of this kind that is being staged, if any.
    fn unpublished_of(conn: &mut DbConnection, kind: LotKind) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(lots::published_at.is_null().and(lots::kind.eq(kind)))
            .first(conn)
            .optional()
    }

    /// Opens a lot; `None` when another of its kind is open.
    pub(crate) fn open(
        conn: &mut DbConnection,
        kind: LotKind,
        sequence: Option<SequenceId>,
        account: Option<AccountId>,
        now: Timestamp,
    ) -> QueryResult<Option<LotId>> {
        let made = OnBoth(
            diesel::insert_into(lots::table)
                .values((
                    lots::kind.eq(kind),
                    lots::sequence_id.eq(sequence),
                    lots::account_id.eq(account),
                    lots::staged.eq(0i64),
                    lots::created_at.eq(now),
                    lots::heartbeat_at.eq(now),
                ))
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        if made == 0 {
            Ok(None)
        } else {
            Ok(Self::unpublished_of(conn, kind)?.map(|lot| lot.id))
        }
    }

    /// Opens a lot for a key that is entered by hand: visible from the start, and after every lot
    /// before it, so that what came in first is sold first.
    pub(crate) fn insert_published(
        conn: &mut DbConnection,
        sequence: Option<SequenceId>,
        account: Option<AccountId>,
        now: Timestamp,
    ) -> QueryResult<LotId> {
        diesel::insert_into(lots::table)
            .values((
                lots::kind.eq(LotKind::Manual),
                lots::sequence_id.eq(sequence),
                lots::account_id.eq(account),
                lots::staged.eq(1i64),
                lots::created_at.eq(now),
                lots::heartbeat_at.eq(now),
                lots::published_at.eq(now),
            ))
            .returning(lots::id)
            .get_result(conn)
    }

    /// Notes that the import is alive and that it has staged `more` keys; `false` when it was given up
    /// meanwhile.
    pub(crate) fn beat(
        conn: &mut DbConnection,
        id: LotId,
        more: i64,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let updated = diesel::update(lots::table.filter(is_open(id)))
            .set((
                lots::staged.eq(lots::staged + more),
                lots::heartbeat_at.eq(now),
            ))
            .execute(conn)?;
        Ok(updated == 1)
    }

    /// How many keys were staged in the lot.
    pub(crate) fn size(conn: &mut DbConnection, id: LotId) -> QueryResult<i64> {
        lots::table.find(id).select(lots::staged).first(conn)
    }

    /// Makes every key of the lot visible at once; `false` when it was given up meanwhile.
    pub(crate) fn publish(conn: &mut DbConnection, id: LotId, now: Timestamp) -> QueryResult<bool> {
        let updated = diesel::update(lots::table.filter(is_open(id)))
            .set(lots::published_at.eq(now))
            .execute(conn)?;
        Ok(updated == 1)
    }

    /// Gives up a lot that is not published: whoever still works on it is told at its next step.
    /// `false` when it has been published.
    pub(crate) fn abandon(conn: &mut DbConnection, id: LotId, now: Timestamp) -> QueryResult<bool> {
        let unpublished = lots::id.eq(id).and(lots::published_at.is_null());
        let updated = diesel::update(lots::table.filter(unpublished))
            .set(lots::abandoned_at.eq(now))
            .execute(conn)?;
        Import::interrupt_of_lot(conn, id, now)?;
        Ok(updated == 1)
    }

    /// Deletes up to `slice` keys of an abandoned lot, of whatever status they came in with: nobody has
    /// seen them, so nobody holds one. When none is left, the lot itself goes. Returns how many keys
    /// went.
    pub(crate) fn sweep(conn: &mut DbConnection, id: LotId, slice: i64) -> QueryResult<usize> {
        let abandoned = lots::table.filter(lots::id.eq(id).and(lots::abandoned_at.is_not_null()));
        if abandoned
            .select(lots::id)
            .first::<LotId>(conn)
            .optional()?
            .is_none()
        {
            return Ok(0);
        }
        let ids: Vec<i64> = keys::table
            .filter(keys::lot_id.eq(id))
            .order(keys::id)
            .limit(slice)
            .select(keys::id)
            .load(conn)?;
        let in_stock = stock::table.filter(stock::lot_id.eq(id).and(stock::key_id.eq_any(&ids)));
        each_backend!(conn, |inner| diesel::delete(in_stock).execute(inner))?;
        let keys = keys::table.filter(keys::id.eq_any(&ids));
        each_backend!(conn, |inner| diesel::delete(keys).execute(inner))?;
        if ids.is_empty() {
            diesel::delete(lots::table.find(id)).execute(conn)?;
        }
        Ok(ids.len())
    }
}

/// The lot as long as keys can be staged in it.
#[diesel::dsl::auto_type(no_type_alias)]
fn is_open(id: LotId) -> _ {
    lots::id
        .eq(id)
        .and(lots::published_at.is_null())
        .and(lots::abandoned_at.is_null())
}
