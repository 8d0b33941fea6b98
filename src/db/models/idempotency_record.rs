//! What calls with an `Idempotency-Key` have made: its id, never the answer.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::models::account::AccountId;
use crate::db::schema::idempotency_records;

/// A call that may be repeated, by its key.
#[derive(Clone, Debug, HasQuery, Insertable)]
#[diesel(table_name = idempotency_records, check_for_backend(MultiBackend), treat_none_as_default_value = false)]
pub(crate) struct IdempotencyRecord {
    pub account_id: AccountId,
    pub method: String,
    pub path: String,
    pub key: String,
    pub request_hash: Vec<u8>,
    /// The id of what was made; `None` while it is being made.
    pub made: Option<i64>,
    /// Until when work of several steps has the key to itself.
    pub lease_until: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl IdempotencyRecord {
    /// Stores the record; `false` when the key is taken. Waits for whoever is storing the same one.
    pub(crate) fn insert(&self, conn: &mut DbConnection) -> QueryResult<bool> {
        let stored = OnBoth(
            diesel::insert_into(idempotency_records::table)
                .values(self)
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        Ok(stored == 1)
    }

    /// What is stored under this record's key.
    pub(crate) fn stored(&self, conn: &mut DbConnection) -> QueryResult<Option<Self>> {
        Self::query().find(self.place()).first(conn).optional()
    }

    /// Takes the place of a record that counts no more: one from before `forgotten`, or one whose work
    /// died with its lease; `false` when there is none such.
    pub(crate) fn replace_lapsed(
        &self,
        conn: &mut DbConnection,
        forgotten: Timestamp,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let lapsed = idempotency_records::table.find(self.place()).filter(
            idempotency_records::created_at
                .le(forgotten)
                .or(idempotency_records::made.is_null().and(
                    idempotency_records::lease_until
                        .is_not_null()
                        .and(idempotency_records::lease_until.assume_not_null().le(now)),
                )),
        );
        let replaced = diesel::update(lapsed)
            .set((
                idempotency_records::request_hash.eq(&self.request_hash),
                idempotency_records::made.eq(self.made),
                idempotency_records::lease_until.eq(self.lease_until),
                idempotency_records::created_at.eq(self.created_at),
            ))
            .execute(conn)?;
        Ok(replaced == 1)
    }

    /// Notes what was made; `false` when the place is somebody else's by now.
    pub(crate) fn finish(&self, conn: &mut DbConnection, made: i64) -> QueryResult<bool> {
        let mine = idempotency_records::table.find(self.place()).filter(
            idempotency_records::created_at
                .eq(self.created_at)
                .and(idempotency_records::made.is_null()),
        );
        let noted = diesel::update(mine)
            .set((
                idempotency_records::made.eq(made),
                idempotency_records::lease_until.eq(None::<Timestamp>),
            ))
            .execute(conn)?;
        Ok(noted == 1)
    }

    /// Keeps the place longer; `false` when it is somebody else's by now.
    pub(crate) fn extend(
        &self,
        conn: &mut DbConnection,
        lease_until: Timestamp,
    ) -> QueryResult<bool> {
        let mine = idempotency_records::table.find(self.place()).filter(
            idempotency_records::created_at
                .eq(self.created_at)
                .and(idempotency_records::made.is_null()),
        );
        let extended = diesel::update(mine)
            .set(idempotency_records::lease_until.eq(lease_until))
            .execute(conn)?;
        Ok(extended == 1)
    }

    /// Lets go of a place under which nothing was made.
    pub(crate) fn give_up(&self, conn: &mut DbConnection) -> QueryResult<()> {
        let mine = idempotency_records::table.find(self.place()).filter(
            idempotency_records::created_at
                .eq(self.created_at)
                .and(idempotency_records::made.is_null()),
        );
        diesel::delete(mine).execute(conn).map(drop)
    }

    /// Deletes about `slice` of the records from before `forgotten`, oldest first; returns how many.
    pub(crate) fn prune(
        conn: &mut DbConnection,
        forgotten: Timestamp,
        slice: i64,
    ) -> QueryResult<usize> {
        let oldest: Vec<Timestamp> = idempotency_records::table
            .filter(idempotency_records::created_at.le(forgotten))
            .order(idempotency_records::created_at)
            .limit(slice)
            .select(idempotency_records::created_at)
            .load(conn)?;
        let Some(last) = oldest.last() else {
            return Ok(0);
        };
        diesel::delete(idempotency_records::table.filter(idempotency_records::created_at.le(*last)))
            .execute(conn)
    }

    fn place(&self) -> (AccountId, &str, &str, &str) {
        (self.account_id, &self.method, &self.path, &self.key)
    }
}
