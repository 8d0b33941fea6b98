//! Lots: the keys of one import, published together.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth, each_backend};
use crate::db::models::account::AccountId;
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
    }
}

/// The keys of one import. Nothing of it is seen or sold before `published_at` is set.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = lots, check_for_backend(MultiBackend))]
pub(crate) struct Lot {
    pub id: LotId,
    pub heartbeat_at: Timestamp,
}

impl Lot {
    /// The lot that is being staged, if any.
    pub(crate) fn unpublished(conn: &mut DbConnection) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(lots::published_at.is_null())
            .first(conn)
            .optional()
    }

    /// Opens a lot; `None` when another import has one open.
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
            Ok(Self::unpublished(conn)?.map(|lot| lot.id))
        }
    }

    /// Notes that the import is alive and how many keys it has staged by now; `false` when the lot
    /// was swept away meanwhile.
    pub(crate) fn beat(
        conn: &mut DbConnection,
        id: LotId,
        staged: i64,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let open = lots::table.find(id).filter(lots::published_at.is_null());
        let updated = diesel::update(open)
            .set((
                lots::staged.eq(lots::staged + staged),
                lots::heartbeat_at.eq(now),
            ))
            .execute(conn)?;
        Ok(updated == 1)
    }

    /// Makes every key of the lot visible at once; `false` when it was swept away meanwhile.
    pub(crate) fn publish(conn: &mut DbConnection, id: LotId, now: Timestamp) -> QueryResult<bool> {
        let open = lots::table.find(id).filter(lots::published_at.is_null());
        Ok(diesel::update(open)
            .set(lots::published_at.eq(now))
            .execute(conn)?
            == 1)
    }

    /// Deletes up to `slice` keys of an unpublished lot; when none is left, the lot itself. Returns how
    /// many keys went.
    pub(crate) fn sweep(conn: &mut DbConnection, id: LotId, slice: i64) -> QueryResult<usize> {
        let open = lots::table
            .filter(lots::id.eq(id).and(lots::published_at.is_null()))
            .select(lots::id);
        let open: Option<LotId> = match conn {
            DbConnection::Sqlite(inner) => open.first(inner).optional()?,
            DbConnection::Postgres(inner) => open.for_update().first(inner).optional()?,
        };
        if open.is_none() {
            return Ok(0);
        }
        let ids: Vec<i64> = keys::table
            .filter(keys::lot_id.eq(id))
            .order(keys::id)
            .limit(slice)
            .select(keys::id)
            .load(conn)?;
        each_backend!(conn, |inner| {
            diesel::delete(
                stock::table
                    .filter(stock::lot_id.eq(id))
                    .filter(stock::key_id.eq_any(&ids)),
            )
            .execute(inner)
        })?;
        each_backend!(conn, |inner| {
            diesel::delete(keys::table.filter(keys::id.eq_any(&ids))).execute(inner)
        })?;
        if ids.is_empty() {
            diesel::delete(lots::table.find(id).filter(lots::published_at.is_null()))
                .execute(conn)?;
        }
        Ok(ids.len())
    }
}
