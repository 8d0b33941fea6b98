//! Savepoints of the SQLite writer: one for each job of a batch, so that a job can be undone alone.
//!
//! They are prepared statements. Diesel's nested transactions have SQLite parse their text each time,
//! which was a fifth of what an activation costs the writer; and after a caught panic Diesel may be a
//! level off.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sqlite::Sqlite;

use super::connection::DbConnection;

/// What to do with the savepoint of the job at hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Savepoint {
    /// Before the job.
    Set,
    /// Keep what the job wrote.
    Keep,
    /// Undo what the job wrote.
    Undo,
}

impl Savepoint {
    /// Carries it out. It fails when SQLite has ended the transaction by itself, as on a full disk.
    pub(super) fn run(self, conn: &mut DbConnection) -> QueryResult<()> {
        let DbConnection::Sqlite(inner) = conn else {
            let message = "savepoints are the SQLite writer's";
            return Err(diesel::result::Error::QueryBuilderError(message.into()));
        };
        match self {
            Self::Set => Statement::<Set>::run(inner),
            Self::Keep => Statement::<Release>::run(inner),
            Self::Undo => {
                Statement::<RollBack>::run(inner)?;
                Statement::<Release>::run(inner)
            }
        }
    }
}

trait Text: 'static {
    const TEXT: &'static str;
}

struct Set;
struct Release;
struct RollBack;

impl Text for Set {
    const TEXT: &'static str = "SAVEPOINT job";
}
impl Text for Release {
    const TEXT: &'static str = "RELEASE job";
}
impl Text for RollBack {
    const TEXT: &'static str = "ROLLBACK TO job";
}

struct Statement<T>(std::marker::PhantomData<T>);

impl<T: Text> Statement<T> {
    fn run(conn: &mut SqliteConnection) -> QueryResult<()> {
        Self(std::marker::PhantomData).execute(conn).map(drop)
    }
}

impl<T: Text> QueryFragment<Sqlite> for Statement<T> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        pass.push_sql(T::TEXT);
        Ok(())
    }
}

impl<T: Text> QueryId for Statement<T> {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T> RunQueryDsl<SqliteConnection> for Statement<T> {}
