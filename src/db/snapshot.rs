//! Reading: all statements of one read see the same state.

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;

use super::connection::DbConnection;
use super::failure::{Severity, severity};
use crate::error::{Error, Result};

type Transactions = <DbConnection as Connection>::TransactionManager;

/// What became of a read.
pub(super) enum Read<T> {
    /// The closure's result, on a connection that is still good.
    Done(Result<T>),
    /// The connection is not, so nothing is known.
    ConnectionLost(Error),
}

/// Runs `run` in a transaction that shows it one state of the database.
pub(super) fn read<T>(
    conn: &mut DbConnection,
    run: impl Fn(&mut DbConnection) -> Result<T>,
) -> Read<T> {
    if let Err(error) = begin(conn) {
        return Read::ConnectionLost(error.into());
    }
    let result = run(conn);
    // Nothing was written, so there is nothing to keep.
    match <Transactions as TransactionManager<DbConnection>>::rollback_transaction(conn) {
        Ok(()) => Read::Done(result),
        Err(error) => Read::ConnectionLost(result.err().unwrap_or(error.into())),
    }
}

/// Runs `run`, which is one statement, without a transaction around it.
pub(super) fn read_one<T>(
    conn: &mut DbConnection,
    run: impl Fn(&mut DbConnection) -> Result<T>,
) -> Read<T> {
    match run(conn) {
        Err(error) if severity(&error) != Severity::Statement => Read::ConnectionLost(error),
        result => Read::Done(result),
    }
}

fn begin(conn: &mut DbConnection) -> QueryResult<()> {
    match conn {
        DbConnection::Sqlite(inner) => {
            AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN DEFERRED")
        }
        DbConnection::Postgres(inner) => AnsiTransactionManager::begin_transaction_sql(
            inner,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        ),
    }
}
