//! Bringing a database to this program's schema, and refusing one that is newer.

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::DbConnection;
use super::inspect;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The lock that makes processes which start together on one PostgreSQL migrate one after the other.
const ADVISORY_LOCK: i64 = 0x434f_554e_5445_5253;

/// Why a database could not be brought to this program's schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program has been here.
    #[error(
        "the database has migration {0}, which this program does not know: it was made by a newer version; \
         start that version, or restore a backup from before the upgrade"
    )]
    TooNew(String),
    /// A migration failed; nothing of it is left.
    #[error("a migration failed and was undone: {0}")]
    Failed(String),
    /// References point to nothing after the migrations (SQLite).
    #[error(
        "after migrating, {0} references in the database point to nothing; restore a backup and report this"
    )]
    ForeignKeys(usize),
    /// The database itself failed.
    #[error("the database failed while migrating: {0}")]
    Database(#[from] diesel::result::Error),
}

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    /// The versions applied now, oldest first.
    pub applied: Vec<String>,
}

/// Applies what is pending.
///
/// # Errors
/// [`MigrateError`]; nothing is applied to a database that is too new.
pub fn migrate(conn: &mut DbConnection) -> Result<Migrations, MigrateError> {
    locked(conn, |conn| {
        refuse_newer(conn)?;
        let applied = match conn {
            DbConnection::Sqlite(inner) => inner.run_pending_migrations(SQLITE),
            DbConnection::Postgres(inner) => inner.run_pending_migrations(POSTGRES),
        }
        .map_err(|error| MigrateError::Failed(error.to_string()))?;
        Ok(Migrations {
            applied: applied.iter().map(ToString::to_string).collect(),
        })
    })
}

/// Takes back the newest migration and names it; `None` when there is none.
///
/// # Errors
/// [`MigrateError`]; a database that is too new is left alone.
pub fn revert_newest(conn: &mut DbConnection) -> Result<Option<String>, MigrateError> {
    locked(conn, |conn| {
        refuse_newer(conn)?;
        if applied(conn)?.is_empty() {
            return Ok(None);
        }
        match conn {
            DbConnection::Sqlite(inner) => inner.revert_last_migration(SQLITE),
            DbConnection::Postgres(inner) => inner.revert_last_migration(POSTGRES),
        }
        .map(|version| Some(version.to_string()))
        .map_err(|error| MigrateError::Failed(error.to_string()))
    })
}

/// How the schema of a database compares with this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest migration that the database has; `None` for an empty database.
    pub newest: Option<String>,
    /// What this program has and the database has not, oldest first.
    pub pending: Vec<String>,
    /// What the database has and this program does not know.
    pub unknown: Vec<String>,
}

/// Compares the schema of a database with this program's, and changes nothing.
///
/// # Errors
/// The database's.
pub fn schema_state(conn: &mut DbConnection) -> Result<SchemaState, MigrateError> {
    let mut known = known(conn)?;
    known.sort();
    let applied = inspect::applied_migrations(conn)?;
    let missing = |from: &[String], in_: &[String]| {
        let absent = from.iter().filter(|version| !in_.contains(version));
        absent.cloned().collect()
    };
    Ok(SchemaState {
        pending: missing(&known, &applied),
        unknown: missing(&applied, &known),
        newest: applied.into_iter().max(),
    })
}

fn refuse_newer(conn: &mut DbConnection) -> Result<(), MigrateError> {
    let known = known(conn)?;
    let unknown = applied(conn)?
        .into_iter()
        .filter(|version| !known.contains(version))
        .max();
    unknown.map_or(Ok(()), |version| Err(MigrateError::TooNew(version)))
}

fn known(conn: &DbConnection) -> Result<Vec<String>, MigrateError> {
    fn names<DB: diesel::backend::Backend>(
        migrations: Result<Vec<Box<dyn Migration<DB>>>, Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Vec<String>, MigrateError> {
        Ok(migrations
            .map_err(|error| MigrateError::Failed(error.to_string()))?
            .iter()
            .map(|migration| migration.name().version().to_string())
            .collect())
    }
    match conn {
        DbConnection::Sqlite(_) => names::<diesel::sqlite::Sqlite>(SQLITE.migrations()),
        DbConnection::Postgres(_) => names::<diesel::pg::Pg>(POSTGRES.migrations()),
    }
}

fn applied(conn: &mut DbConnection) -> Result<Vec<String>, MigrateError> {
    let versions: Result<Vec<MigrationVersion<'_>>, _> = match conn {
        DbConnection::Sqlite(inner) => inner.applied_migrations(),
        DbConnection::Postgres(inner) => inner.applied_migrations(),
    };
    Ok(versions
        .map_err(|error| MigrateError::Failed(error.to_string()))?
        .iter()
        .map(ToString::to_string)
        .collect())
}

/// Keeps other processes out meanwhile, and on SQLite checks the references if something changed.
fn locked<T>(
    conn: &mut DbConnection,
    work: impl FnOnce(&mut DbConnection) -> Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    match conn {
        DbConnection::Sqlite(inner) => inner.batch_execute("PRAGMA foreign_keys = OFF")?,
        DbConnection::Postgres(inner) => {
            inner.batch_execute(&format!("SELECT pg_advisory_lock({ADVISORY_LOCK})"))?;
        }
    }
    let before = applied(conn)?;
    let outcome = work(conn);
    let changed = applied(conn)? != before;
    match conn {
        DbConnection::Sqlite(inner) => {
            inner.batch_execute("PRAGMA foreign_keys = ON")?;
            if changed {
                let broken = diesel::sql_query("PRAGMA foreign_key_check").load::<Broken>(inner)?;
                if outcome.is_ok() && !broken.is_empty() {
                    return Err(MigrateError::ForeignKeys(broken.len()));
                }
            }
        }
        DbConnection::Postgres(inner) => {
            inner.batch_execute(&format!("SELECT pg_advisory_unlock({ADVISORY_LOCK})"))?;
        }
    }
    outcome
}

#[derive(QueryableByName)]
struct Broken {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "table")]
    _table: String,
}
