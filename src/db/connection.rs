//! One connection type over both databases, and how one is opened.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::url::{DatabaseUrl, OpenError, PageMemory};

/// A connection to either database. Queries in the common subset run on it directly; the few others
/// go through `each_backend!` or [`OnBoth`].
#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    /// The embedded database.
    Sqlite(SqliteConnection),
    /// A PostgreSQL server.
    Postgres(PgConnection),
}

impl std::fmt::Debug for DbConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "DbConnection::Sqlite",
            Self::Postgres(_) => "DbConnection::Postgres",
        })
    }
}

/// Runs one expression with the inner connection of whichever database this is: for what
/// `MultiConnection` cannot express (`ON CONFLICT`, batch inserts, `FOR UPDATE`), and for statements that
/// are run all the time, as the way through both backends writes their text at each of its steps.
macro_rules! each_backend {
    ($conn:expr, |$inner:ident| $body:expr) => {
        match $conn {
            $crate::db::DbConnection::Sqlite($inner) => $body,
            $crate::db::DbConnection::Postgres($inner) => $body,
        }
    };
}
pub(crate) use each_backend;

/// A statement whose text is the same on both databases although the enum's own backend refuses it
/// (`INSERT … ON CONFLICT …`).
#[derive(Debug, Clone, Copy)]
pub struct OnBoth<Q>(pub Q);

impl<Q> QueryFragment<MultiBackend> for OnBoth<Q>
where
    Q: QueryFragment<diesel::sqlite::Sqlite> + QueryFragment<diesel::pg::Pg>,
{
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        MultiBackend::walk_variant_ast(&self.0, pass)
    }
}

impl<Q: QueryId> QueryId for OnBoth<Q> {
    type QueryId = Q::QueryId;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query> Query for OnBoth<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> RunQueryDsl<DbConnection> for OnBoth<Q> {}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; a stray write fails.
    Read,
    /// As `Read`, for the statements of [`Db::look_up`](super::Db), which read from a mapped file.
    LookUp,
    /// Reads and writes.
    Write,
}

/// How long a SQLite connection waits for another process that holds the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a connection.
///
/// # Errors
/// [`OpenError`], in one line that says what to do about it.
pub fn open(url: &DatabaseUrl, access: Access) -> Result<DbConnection, OpenError> {
    match url {
        DatabaseUrl::Sqlite {
            path,
            max_pages,
            memory,
        } => {
            let path_text = path
                .to_str()
                .ok_or_else(|| OpenError::path_is_not_text(path))?;
            if access == Access::Write {
                create_private(path).map_err(|error| OpenError::file(path, &error))?;
            }
            let mut conn = SqliteConnection::establish(path_text)
                .map_err(|error| OpenError::sqlite(path, &error))?;
            prepare_sqlite(&mut conn, access, *max_pages, *memory)
                .map_err(|error| OpenError::sqlite_file(path, &error))?;
            Ok(DbConnection::Sqlite(conn))
        }
        DatabaseUrl::Postgres { url, .. } => {
            let mut conn =
                PgConnection::establish(url).map_err(|error| OpenError::postgres(url, &error))?;
            prepare_postgres(&mut conn, access)
                .map_err(|error| OpenError::postgres_session(url, &error))?;
            Ok(DbConnection::Postgres(conn))
        }
    }
}

/// Opens a database only to look at it: nothing is made where nothing is, and the file stays as it is.
///
/// # Errors
/// As [`open`].
pub fn open_to_look(url: &DatabaseUrl) -> Result<DbConnection, OpenError> {
    let DatabaseUrl::Sqlite { path, .. } = url else {
        return open(url, Access::Read);
    };
    let real = path
        .canonicalize()
        .map_err(|error| OpenError::file(path, &error))?;
    let text = real
        .to_str()
        .ok_or_else(|| OpenError::path_is_not_text(path))?;
    // What a server that died left in the file beside would be moved into the database by the last one
    // who closes it, unless that one may only read. Without such a file there is nothing to move, and
    // someone who may only read would leave an empty one behind.
    let mut wal = real.as_os_str().to_owned();
    wal.push("-wal");
    let mode = if Path::new(&wal).exists() { "ro" } else { "rw" };
    let name = utf8_percent_encode(text, IN_A_URI);
    let mut conn = SqliteConnection::establish(&format!("file:{name}?mode={mode}"))
        .map_err(|error| OpenError::sqlite(path, &error))?;
    prepare_sqlite(&mut conn, Access::Read, None, PageMemory::default())
        .map_err(|error| OpenError::sqlite_file(path, &error))?;
    Ok(DbConnection::Sqlite(conn))
}

/// What stands for itself in the path of a `file:` URI.
const IN_A_URI: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// Makes the file, for its owner alone, if it is not there; what SQLite puts beside it has the same mode.
pub(super) fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn prepare_sqlite(
    conn: &mut SqliteConnection,
    access: Access,
    max_pages: Option<u32>,
    memory: PageMemory,
) -> QueryResult<()> {
    set_busy_timeout(conn, BUSY_TIMEOUT)?;
    match access {
        // An answer means it is on disk: FULL makes WAL mode sync at every commit.
        Access::Write => {
            conn.batch_execute(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA temp_store = MEMORY",
            )?;
            set_cache(conn, u64::from(memory.cache_mib) * 1024)?;
            if let Some(pages) = max_pages {
                conn.batch_execute(&format!("PRAGMA max_page_count = {pages}"))?;
            }
            Ok(())
        }
        Access::Read | Access::LookUp => {
            conn.batch_execute("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY")?;
            // Every commit has a reader forget the pages in its cache; those of a mapped file it finds
            // again for nothing.
            if access == Access::LookUp {
                let bytes = u64::from(memory.map_mib) << 20;
                conn.batch_execute(&format!("PRAGMA mmap_size = {bytes}"))?;
            }
            set_cache(conn, READER_CACHE_KIB)
        }
    }
}

/// Sets how long a SQLite connection waits for another process that holds the file.
pub(super) fn set_busy_timeout(
    conn: &mut impl SimpleConnection,
    so_long: Duration,
) -> QueryResult<()> {
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}", so_long.as_millis()))
}

/// How many look-ups an embedded database is asked at the same time: as many as there are threads that
/// serve requests.
pub(super) fn look_ups_at_once() -> u32 {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(threads).unwrap_or(1)
}

/// Memory for the pages of a connection that is not asked all the time.
const READER_CACHE_KIB: u64 = 2048;

/// SQLite takes a negative number as KiB, and fills what it may as it reads.
fn set_cache(conn: &mut SqliteConnection, kib: u64) -> QueryResult<()> {
    conn.batch_execute(&format!(
        "PRAGMA cache_size = -{}",
        kib.max(READER_CACHE_KIB)
    ))
}

fn prepare_postgres(conn: &mut PgConnection, access: Access) -> QueryResult<()> {
    // Whatever the role or the database has by default: a statement after one that locked must see what
    // was committed before the lock, or a limit would be counted in the past.
    conn.batch_execute(
        "SET client_min_messages = warning; SET synchronous_commit = on; \
         SET default_transaction_isolation = 'read committed'",
    )?;
    match access {
        Access::Write => Ok(()),
        Access::Read | Access::LookUp => {
            conn.batch_execute("SET default_transaction_read_only = on")
        }
    }
}
