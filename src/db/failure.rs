//! What a database error means for the connection and for trying again.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::Error;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Not the database's fault, or a constraint said no: the transaction rolls back, the connection is good.
    Statement,
    /// The server chose this transaction to fail so that others can go on; running it again may work.
    TryAgain,
    /// The connection cannot be trusted: disk full, server gone, protocol error.
    Connection,
}

/// Judges the error of a use case.
pub(super) fn severity(error: &Error) -> Severity {
    match error {
        Error::Database(error) => of_diesel(error),
        Error::Refused(_) | Error::Unavailable(_) | Error::Internal(_) => Severity::Statement,
    }
}

/// Judges an error of Diesel's.
pub(super) fn of_diesel(error: &DieselError) -> Severity {
    match error {
        DieselError::DatabaseError(kind, info) => match kind {
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation => Severity::Statement,
            DatabaseErrorKind::SerializationFailure => Severity::TryAgain,
            // PostgreSQL's 40P01 has no kind of its own.
            _ if info.message().contains("deadlock detected") => Severity::TryAgain,
            _ => Severity::Connection,
        },
        DieselError::NotFound
        | DieselError::RollbackTransaction
        | DieselError::QueryBuilderError(_)
        | DieselError::SerializationError(_)
        | DieselError::DeserializationError(_) => Severity::Statement,
        _ => Severity::Connection,
    }
}

/// For a transaction that looked at something, then locked it, and found that somebody had changed it in
/// between: it is run again. `what` is for the log. (On SQLite, where one transaction writes at a time,
/// this does not happen.)
pub(crate) fn run_again(what: &str) -> Error {
    let kind = DatabaseErrorKind::SerializationFailure;
    Error::Database(DieselError::DatabaseError(kind, Box::new(what.to_owned())))
}
