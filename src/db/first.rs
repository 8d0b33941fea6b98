//! Queries for a single row whose LIMIT is written out.
//!
//! PostgreSQL plans a statement with a placeholder in its LIMIT anew each time it is run, in the hope of a
//! better plan once it knows the number. For the query that takes keys out of stock that took several
//! times as long as carrying it out.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// How the row is locked.
pub(crate) trait Lock: 'static {
    /// What stands at the end of the statement.
    const TEXT: &'static str;
}

/// Not at all: SQLite, where one transaction writes at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoLock {}

/// For this transaction alone, stepping over rows that others hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SkipLocked {}

/// For this transaction alone, waiting for others who hold it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitLocked {}

impl Lock for NoLock {
    const TEXT: &'static str = "";
}
impl Lock for SkipLocked {
    const TEXT: &'static str = " FOR UPDATE SKIP LOCKED";
}
impl Lock for WaitLocked {
    const TEXT: &'static str = " FOR UPDATE";
}

/// The first row of a query, if there is one, locked. Run it on the inner connection (`each_backend!`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct First<Q, L> {
    query: Q,
    lock: PhantomData<L>,
}

impl<Q, L: Lock> First<Q, L> {
    /// `query` has an order, and neither a limit nor a lock.
    pub(crate) fn of(query: Q) -> Self {
        Self {
            query,
            lock: PhantomData,
        }
    }
}

impl<DB: Backend, Q: QueryFragment<DB>, L: Lock> QueryFragment<DB> for First<Q, L> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.query.walk_ast(pass.reborrow())?;
        pass.push_sql(" LIMIT 1");
        pass.push_sql(L::TEXT);
        Ok(())
    }
}

impl<Q: QueryId, L: Lock> QueryId for First<Q, L> {
    type QueryId = First<Q::QueryId, L>;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query, L> Query for First<Q, L> {
    type SqlType = Q::SqlType;
}

impl<Q, L, Conn> RunQueryDsl<Conn> for First<Q, L> {}
