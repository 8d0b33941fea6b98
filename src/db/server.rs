//! Writing to PostgreSQL: a transaction on a pooled connection, run again when the server asks for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use diesel::connection::TransactionManager;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::ATTEMPTS;
use super::connection::DbConnection;
use super::failure::{Severity, of_diesel, severity};
use super::metrics::DbMetrics;
use super::patience::Patience;
use super::pool::{Pool, Pooled};
use crate::error::{Error, Result};

type Transactions = <DbConnection as Connection>::TransactionManager;

/// What one attempt came to.
enum Attempt<T> {
    Done(Result<T>),
    /// Nothing was committed; the closure may run again.
    Again(Error),
}

/// Runs `run` in a transaction and commits it.
///
/// # Errors
/// The closure's own, or [`Error::Unavailable`] when there is no connection in time.
pub(super) fn write<T>(
    pool: &Pool,
    mut patience: Patience,
    metrics: &DbMetrics,
    run: impl Fn(&mut DbConnection) -> Result<T>,
) -> Result<T> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let mut pooled = patience.connection(pool)?;
        let begun = Instant::now();
        let attempt = attempt(&mut pooled, &run);
        metrics.transaction(begun.elapsed());
        match attempt {
            Attempt::Done(result) => return result,
            Attempt::Again(error) => {
                metrics.retries.inc();
                tracing::debug!(%error, "a transaction is run again");
                last = Some(error);
            }
        }
    }
    tracing::error!(error = ?last, "a transaction failed {ATTEMPTS} times");
    match last {
        // It is there every time: a mistake of ours, not of the moment.
        Some(error) if is_conflict(&error) => Err(error),
        _ => Err(Error::Unavailable(
            "the database did not complete the transaction",
        )),
    }
}

fn attempt<T>(pooled: &mut Pooled, run: impl Fn(&mut DbConnection) -> Result<T>) -> Attempt<T> {
    // Whatever unwinds past here leaves a connection that must not be used again.
    pooled.broken = true;
    let conn = &mut pooled.conn;
    if let Err(error) = <Transactions as TransactionManager<DbConnection>>::begin_transaction(conn)
    {
        return Attempt::Again(error.into());
    }
    let Ok(result) = catch_unwind(AssertUnwindSafe(|| run(conn))) else {
        return Attempt::Done(Err(Error::internal("a write job panicked")));
    };
    match result {
        Ok(value) => {
            match <Transactions as TransactionManager<DbConnection>>::commit_transaction(conn) {
                Ok(()) => {
                    pooled.broken = false;
                    Attempt::Done(Ok(value))
                }
                // The commit itself was refused, so nothing was written.
                Err(error) if of_diesel(&error) == Severity::TryAgain => {
                    Attempt::Again(error.into())
                }
                // The answer to the commit was lost: it may have happened, so it must not be repeated here.
                Err(error) => {
                    tracing::error!(%error, "a commit got no answer");
                    Attempt::Done(Err(Error::Unavailable(
                        "the database did not confirm the change",
                    )))
                }
            }
        }
        Err(error) => {
            let severity = severity(&error);
            let rolled_back =
                <Transactions as TransactionManager<DbConnection>>::rollback_transaction(conn);
            pooled.broken = rolled_back.is_err();
            match severity {
                Severity::Connection if is_disk_full(&error) => {
                    tracing::error!(%error, "the database cannot write");
                    Attempt::Done(Err(Error::Unavailable("the database cannot write")))
                }
                // A connection that can still roll back is good; running it again would fail again.
                Severity::Connection if !pooled.broken => Attempt::Done(Err(error)),
                // Two transactions made the same thing at once: run again, this one finds it there.
                Severity::Statement if is_conflict(&error) => Attempt::Again(error),
                Severity::Statement => Attempt::Done(Err(error)),
                Severity::TryAgain | Severity::Connection => Attempt::Again(error),
            }
        }
    }
}

fn is_disk_full(error: &Error) -> bool {
    matches!(error, Error::Database(DieselError::DatabaseError(_, info))
        if info.message().contains("No space left on device"))
}

fn is_conflict(error: &Error) -> bool {
    matches!(
        error,
        Error::Database(DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::ForeignKeyViolation,
            _
        ))
    )
}
