//! Looking at a database without changing anything: what it is, how it is set, whether it is whole.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::connection::{DbConnection, each_backend};

/// What an embedded database says of itself.
#[derive(Clone, Debug)]
pub(crate) struct SqliteFacts {
    /// The library's version.
    pub version: String,
    /// How it was compiled, such as `THREADSAFE=1`.
    pub compile_options: Vec<String>,
    /// `wal` once a server has used the file.
    pub journal_mode: String,
    /// What is damaged; nothing in a whole database.
    pub damage: Vec<String>,
}

/// What a PostgreSQL server says of itself, in this program's session.
#[derive(Clone, Debug, QueryableByName)]
pub(crate) struct PostgresFacts {
    #[diesel(sql_type = Text)]
    pub version: String,
    #[diesel(sql_type = BigInt)]
    pub version_number: i64,
    #[diesel(sql_type = Text)]
    pub encoding: String,
    #[diesel(sql_type = Text)]
    pub synchronous_commit: String,
    #[diesel(sql_type = Text)]
    pub fsync: String,
    #[diesel(sql_type = Text)]
    pub full_page_writes: String,
    /// Connections that a role without privileges can have.
    #[diesel(sql_type = BigInt)]
    pub max_connections: i64,
    /// Connections there are now, this one included.
    #[diesel(sql_type = BigInt)]
    pub connections: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The migrations that the database says it has; none where none ever ran.
pub(super) fn applied_migrations(conn: &mut DbConnection) -> QueryResult<Vec<String>> {
    let there = match conn {
        DbConnection::Sqlite(_) => {
            "SELECT COUNT(*) AS number FROM sqlite_master WHERE name = '__diesel_schema_migrations'"
        }
        DbConnection::Postgres(_) => {
            "SELECT COUNT(to_regclass('__diesel_schema_migrations')) AS number"
        }
    };
    let there = each_backend!(conn, |inner| diesel::sql_query(there)
        .get_result::<Count>(inner))?;
    if there.number == 0 {
        return Ok(Vec::new());
    }
    texts(
        conn,
        "SELECT version AS text FROM __diesel_schema_migrations ORDER BY version",
    )
}

/// Looks through an embedded database: reads every page once, the content of indexes it does not compare.
pub(crate) fn sqlite_facts(conn: &mut DbConnection) -> QueryResult<SqliteFacts> {
    let mut one = |query| {
        let rows = texts(conn, query)?;
        rows.into_iter()
            .next()
            .ok_or(diesel::result::Error::NotFound)
    };
    Ok(SqliteFacts {
        version: one("SELECT sqlite_version() AS text")?,
        journal_mode: one("SELECT journal_mode AS text FROM pragma_journal_mode")?,
        compile_options: texts(
            conn,
            "SELECT compile_options AS text FROM pragma_compile_options",
        )?,
        damage: damage(conn)?,
    })
}

/// What is damaged in an embedded database, at most ten things; nothing in a whole one.
pub(crate) fn damage(conn: &mut DbConnection) -> QueryResult<Vec<String>> {
    let mut damage = texts(conn, "SELECT quick_check AS text FROM pragma_quick_check")?;
    damage.retain(|line| line != "ok");
    damage.truncate(10);
    Ok(damage)
}

/// Asks a PostgreSQL server.
pub(crate) fn postgres_facts(conn: &mut PgConnection) -> QueryResult<PostgresFacts> {
    diesel::sql_query(
        "SELECT current_setting('server_version') AS version,
            current_setting('server_version_num')::BIGINT AS version_number,
            current_setting('server_encoding') AS encoding,
            current_setting('synchronous_commit') AS synchronous_commit,
            current_setting('fsync') AS fsync,
            current_setting('full_page_writes') AS full_page_writes,
            current_setting('max_connections')::BIGINT
                - current_setting('superuser_reserved_connections')::BIGINT AS max_connections,
            (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections",
    )
    .get_result(conn)
}

fn texts(conn: &mut DbConnection, query: &str) -> QueryResult<Vec<String>> {
    let rows = each_backend!(conn, |inner| diesel::sql_query(query).load::<Row>(inner))?;
    Ok(rows.into_iter().map(|row| row.text).collect())
}
