//! Whether this process can serve: its database answers, and their clocks agree.

use diesel::prelude::*;

use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::error::{Error, Result};

/// How far this process's clock may be from the database's, in seconds: processes that share a database
/// must agree on when a key expires.
pub(crate) const MAX_SKEW_SECONDS: i64 = 1;

#[derive(QueryableByName)]
struct Micros {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    micros: i64,
}

impl App {
    /// Asks the database, and compares clocks with it where it has its own.
    ///
    /// # Errors
    /// What is not ready.
    pub(crate) async fn check_ready(&self) -> Result<()> {
        let before = self.now();
        let theirs = self.db.read(|conn| Ok(database_clock(conn)?)).await?;
        let after = self.now();
        let Some(theirs) = theirs else { return Ok(()) };
        let in_time = theirs >= before.plus_seconds(-MAX_SKEW_SECONDS)
            && theirs <= after.plus_seconds(MAX_SKEW_SECONDS);
        if in_time {
            Ok(())
        } else {
            Err(Error::internal(format!(
                "the database's clock says {theirs} and this one {after}"
            )))
        }
    }
}

/// The database server's time; an embedded database has none of its own, but must answer all the same.
pub(crate) fn database_clock(conn: &mut DbConnection) -> QueryResult<Option<Timestamp>> {
    match conn {
        DbConnection::Sqlite(inner) => {
            diesel::sql_query("SELECT COUNT(*) AS micros FROM instance")
                .get_result::<Micros>(inner)?;
            Ok(None)
        }
        DbConnection::Postgres(inner) => {
            let now = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT AS micros";
            let row = diesel::sql_query(now).get_result::<Micros>(inner)?;
            Ok(Some(Timestamp::from_micros(row.micros)))
        }
    }
}
