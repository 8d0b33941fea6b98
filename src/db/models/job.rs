//! The durable queue: work written in the transaction that caused it, claimed with a lease.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::models::Columns;
use crate::db::schema::jobs;
use crate::db::types::{JsonObject, word_enum};

/// Serves the orders that wait for keys of a sequence (`sequence`: its id).
pub(crate) const SERVE_WAITING_ORDERS: &str = "serve_waiting_orders";
/// Looks again at the orders that wait for keys of a product (`product`: its id): what they need, or
/// where it comes from, has changed.
pub(crate) const RECHECK_WAITING_ORDERS: &str = "recheck_waiting_orders";
/// Deletes the unassigned keys of a deleted sequence (`sequence`: its id).
pub(crate) const DELETE_KEYS: &str = "delete_keys";
/// Erases what is noted about a customer beside their own row (`customer`: its id).
pub(crate) const ERASE_CUSTOMER: &str = "erase_customer";

word_enum! {
    /// Where a job stands. A job that is done is gone.
    pub enum JobState {
        /// Waits for `run_at`.
        Queued = "queued",
        /// A worker has it until its lease ends.
        Running = "running",
        /// Given up after too many attempts.
        Dead = "dead",
    }
}

/// One piece of work.
#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = jobs, check_for_backend(MultiBackend))]
pub(crate) struct Job {
    pub id: i64,
    pub kind: String,
    pub payload: JsonObject,
    pub attempts: i64,
}

impl Job {
    /// Queues work. While one with the same `dedupe` waits, another is the same work: that one is held
    /// until this transaction ends, so that nobody begins it before what this one changed can be seen.
    pub(crate) fn enqueue(
        conn: &mut DbConnection,
        kind: &str,
        dedupe: &str,
        payload: &JsonObject,
        now: Timestamp,
    ) -> QueryResult<()> {
        OnBoth(
            diesel::insert_into(jobs::table)
                .values((
                    jobs::kind.eq(kind),
                    jobs::dedupe.eq(dedupe),
                    jobs::payload.eq(payload),
                    jobs::state.eq(JobState::Queued),
                    jobs::run_at.eq(now),
                    jobs::attempts.eq(0i64),
                    jobs::created_at.eq(now),
                ))
                .on_conflict(jobs::dedupe)
                .do_update()
                .set(jobs::run_at.eq(diesel::upsert::excluded(jobs::run_at))),
        )
        .execute(conn)
        .map(drop)
    }

    /// Puts every running job back: when a process begins that has the database for itself, whoever
    /// had them is gone.
    pub(crate) fn take_back_all(conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(jobs::table.filter(jobs::state.eq(JobState::Running)))
            .set((
                jobs::state.eq(JobState::Queued),
                jobs::lease_until.eq(None::<Timestamp>),
            ))
            .execute(conn)
            .map(drop)
    }

    /// Whether work of this kind is not done yet, given up or not.
    pub(crate) fn is_pending(conn: &mut DbConnection, kind: &str) -> QueryResult<bool> {
        let pending = jobs::table.filter(jobs::kind.eq(kind));
        diesel::select(diesel::dsl::exists(pending)).get_result(conn)
    }

    /// How many jobs there are in each state, none included.
    pub(crate) fn count_by_state(conn: &mut DbConnection) -> QueryResult<Vec<(JobState, i64)>> {
        let counts: Vec<(JobState, i64)> = jobs::table
            .group_by(jobs::state)
            .select((jobs::state, diesel::dsl::count_star()))
            .load(conn)?;
        let count = |state: &JobState| {
            let mut counts = counts.iter();
            let found = counts.find(|(counted, _)| counted == state);
            (*state, found.map_or(0, |(_, count)| *count))
        };
        Ok(JobState::ALL.iter().map(count).collect())
    }

    /// Whether [`Job::claim`] would find something.
    pub(crate) fn any_due(conn: &mut DbConnection, now: Timestamp) -> QueryResult<bool> {
        diesel::select(diesel::dsl::exists(due(now))).get_result(conn)
    }

    /// Takes up to `limit` due jobs, also those whose worker let its lease end, until `lease_until`.
    pub(crate) fn claim(
        conn: &mut DbConnection,
        now: Timestamp,
        lease_until: Timestamp,
        limit: i64,
    ) -> QueryResult<Vec<Self>> {
        let ids = due(now).order(jobs::run_at).limit(limit).select(jobs::id);
        let ids: Vec<i64> = match conn {
            DbConnection::Sqlite(inner) => ids.load(inner)?,
            DbConnection::Postgres(inner) => ids.for_update().skip_locked().load(inner)?,
        };
        // Freed so that the same work can be queued again while this runs: it may have begun too early
        // to see what the new one is about.
        diesel::update(jobs::table.filter(jobs::id.eq_any(ids)))
            .set((
                jobs::state.eq(JobState::Running),
                jobs::dedupe.eq(None::<String>),
                jobs::lease_until.eq(lease_until),
                jobs::attempts.eq(jobs::attempts + 1),
            ))
            .returning(Self::columns())
            .get_results(conn)
    }

    /// Keeps a running job longer; `false` when another worker has it by now.
    pub(crate) fn extend(
        &self,
        conn: &mut DbConnection,
        lease_until: Timestamp,
    ) -> QueryResult<bool> {
        Ok(diesel::update(self.held())
            .set(jobs::lease_until.eq(lease_until))
            .execute(conn)?
            == 1)
    }

    pub(crate) fn done(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::delete(self.held()).execute(conn).map(drop)
    }

    /// Puts the job back to be tried at `run_at`, or gives it up.
    pub(crate) fn failed(
        &self,
        conn: &mut DbConnection,
        error: &str,
        run_at: Option<Timestamp>,
    ) -> QueryResult<()> {
        let state = if run_at.is_some() {
            JobState::Queued
        } else {
            JobState::Dead
        };
        diesel::update(self.held())
            .set((
                jobs::state.eq(state),
                jobs::lease_until.eq(None::<Timestamp>),
                jobs::last_error.eq(error),
                run_at.map(|at| jobs::run_at.eq(at)),
            ))
            .execute(conn)
            .map(drop)
    }

    /// This job as long as this worker has it: a take-over counts another attempt.
    #[diesel::dsl::auto_type(no_type_alias)]
    fn held(&self) -> _ {
        let (id, attempts, running): (i64, i64, JobState) =
            (self.id, self.attempts, JobState::Running);
        jobs::table.filter(
            jobs::id
                .eq(id)
                .and(jobs::attempts.eq(attempts))
                .and(jobs::state.eq(running)),
        )
    }
}

#[diesel::dsl::auto_type(no_type_alias)]
fn due(now: Timestamp) -> _ {
    let (queued, running): (JobState, JobState) = (JobState::Queued, JobState::Running);
    let queued = jobs::state.eq(queued).and(jobs::run_at.le(now));
    let abandoned = jobs::state
        .eq(running)
        .and(jobs::lease_until.assume_not_null().le(now));
    jobs::table.filter(queued.or(abandoned))
}
