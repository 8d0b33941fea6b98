//! A database for one test: a file in a folder of its own, or a copy of a migrated template.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

use countersign::db::{self, Access, DatabaseUrl, DbConnection};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

/// The lock under which tests make the template and copies of it.
const LOCK: i64 = 0x7465_6d70;

/// A fresh database and a folder for the files beside it. Both go when this is dropped.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    /// The server to drop a PostgreSQL database on, and its name.
    server: Option<(String, String)>,
}

impl TestDatabase {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!(
            "sqlite://{}",
            folder.path().join("data/countersign.db").display()
        );
        Self {
            url,
            folder,
            server: None,
        }
    }

    pub(crate) fn postgres() -> Self {
        let server = server_url();
        let template = format!("countersign_template_{:016x}", fingerprint_of_migrations());
        let name = format!("countersign_test_{}", uuid::Uuid::now_v7().simple());
        let mut conn = connect(&server);
        conn.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))
            .unwrap();
        if !exists(&mut conn, &template) {
            conn.batch_execute(&format!("CREATE DATABASE {template}_new"))
                .unwrap();
            {
                let url = DatabaseUrl::parse(&with_database(&server, &format!("{template}_new")))
                    .unwrap();
                db::migrate(&mut db::open(&url, Access::Write).unwrap()).unwrap();
            }
            conn.batch_execute(&format!(
                "ALTER DATABASE {template}_new RENAME TO {template}"
            ))
            .unwrap();
        }
        conn.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .unwrap();
        conn.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))
            .unwrap();
        Self {
            url: with_database(&server, &name),
            folder: tempfile::tempdir().unwrap(),
            server: Some((server, name)),
        }
    }

    /// A PostgreSQL database without any table.
    pub(crate) fn empty_postgres() -> Self {
        let database = Self::postgres();
        database
            .connect()
            .batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            .unwrap();
        database
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.server.is_none()
    }

    pub(crate) fn keys_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("keys")
    }

    /// A connection of the test's own.
    pub(crate) fn connect(&self) -> DbConnection {
        connect(&self.url)
    }

    /// Lets the database check itself, and the rules that no row may break.
    pub(crate) fn check_integrity(&self) {
        let mut conn = self.connect();
        if self.is_sqlite() {
            assert_eq!(
                texts(
                    &mut conn,
                    "SELECT integrity_check AS text FROM pragma_integrity_check"
                ),
                ["ok"]
            );
            assert_eq!(
                number(
                    &mut conn,
                    "SELECT COUNT(*) AS number FROM pragma_foreign_key_check"
                ),
                0
            );
        }
        let over_limit = "SELECT COUNT(*) AS number FROM keys k WHERE max_activations IS NOT NULL AND \
            max_activations < (SELECT COUNT(*) FROM activations a WHERE a.key_id = k.id)";
        assert_eq!(number(&mut conn, over_limit), 0, "a key is over its limit");
        let in_stock_and_assigned = "SELECT COUNT(*) AS number FROM stock s JOIN keys k ON k.id = s.key_id \
            WHERE k.assigned_at IS NOT NULL";
        assert_eq!(
            number(&mut conn, in_stock_and_assigned),
            0,
            "an assigned key is in stock"
        );
        self.check_stock();
        let half_issued = "SELECT COUNT(*) AS number FROM orders o WHERE (issue_state = 'done') <> \
            EXISTS (SELECT 1 FROM keys k WHERE k.order_id = o.id)";
        assert_eq!(
            number(&mut conn, half_issued),
            0,
            "an order is issued without keys, or has keys and is not"
        );
        let miscounted = "SELECT COUNT(*) AS number FROM activation_counts c WHERE open <> \
            (SELECT COUNT(*) FROM activations a WHERE a.key_id = c.key_id)";
        assert_eq!(
            number(&mut conn, miscounted),
            0,
            "a count of activations is wrong"
        );
    }

    /// Stock is exactly the keys that are for sale: active, never assigned, published (those that have
    /// expired may or may not have been taken out yet), each in its own place.
    pub(crate) fn check_stock(&self) {
        let mut conn = self.connect();
        let misplaced = "SELECT COUNT(*) AS number FROM stock s LEFT JOIN keys k ON k.id = s.key_id \
            WHERE k.id IS NULL OR k.status <> 'active' OR k.assigned_at IS NOT NULL \
            OR k.sequence_id <> s.sequence_id OR COALESCE(k.product_id, 0) <> s.product_id OR k.lot_id <> s.lot_id";
        assert_eq!(
            number(&mut conn, misplaced),
            0,
            "something is in stock that is not for sale, or at the wrong place"
        );
        let missing = "SELECT COUNT(*) AS number FROM keys k JOIN lots l ON l.id = k.lot_id \
            JOIN sequences q ON q.id = k.sequence_id WHERE k.status = 'active' AND k.assigned_at IS NULL \
            AND k.expires_at IS NULL AND l.published_at IS NOT NULL AND q.deleted_at IS NULL \
            AND NOT EXISTS (SELECT 1 FROM stock s WHERE s.sequence_id = k.sequence_id \
            AND s.product_id = COALESCE(k.product_id, 0) AND s.lot_id = k.lot_id AND s.key_id = k.id)";
        assert_eq!(
            number(&mut conn, missing),
            0,
            "a key that is for sale is not in stock"
        );
        let undecided = "SELECT COUNT(*) AS number FROM keys k WHERE (assigned_at IS NOT NULL) <> \
            (COALESCE(status_before, status) IN ('sold', 'delivered')) \
            OR (assigned_at IS NULL AND (order_id IS NOT NULL OR customer_id IS NOT NULL)) \
            OR (disabled_by_order AND status <> 'disabled')";
        assert_eq!(
            number(&mut conn, undecided),
            0,
            "a key stands where no key may"
        );
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.server
            && !std::thread::panicking()
        {
            connect(server)
                .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                .unwrap();
        }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

/// The one number that a query of the column `number` gives.
pub(crate) fn number(conn: &mut DbConnection, query: &str) -> i64 {
    try_number(conn, query).unwrap()
}

/// As [`number`], for a query that may fail.
pub(crate) fn try_number(conn: &mut DbConnection, query: &str) -> QueryResult<i64> {
    let row = match conn {
        DbConnection::Sqlite(conn) => diesel::sql_query(query).get_result::<Number>(conn),
        DbConnection::Postgres(conn) => diesel::sql_query(query).get_result::<Number>(conn),
    };
    row.map(|row| row.number)
}

/// The texts that a query of the column `text` gives.
pub(crate) fn texts(conn: &mut DbConnection, query: &str) -> Vec<String> {
    match conn {
        DbConnection::Sqlite(conn) => diesel::sql_query(query).load::<Text>(conn),
        DbConnection::Postgres(conn) => diesel::sql_query(query).load::<Text>(conn),
    }
    .unwrap()
    .into_iter()
    .map(|row| row.text)
    .collect()
}

/// The server that `scripts/test` started.
pub(crate) fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL")
        .expect("TEST_DATABASE_URL names a PostgreSQL server; scripts/test starts one and sets it")
}

/// The URL with another database.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(name);
    url.into()
}

fn connect(url: &str) -> DbConnection {
    db::open(&DatabaseUrl::parse(url).unwrap(), Access::Write).unwrap()
}

fn exists(conn: &mut DbConnection, database: &str) -> bool {
    number(
        conn,
        &format!("SELECT COUNT(*) AS number FROM pg_database WHERE datname = '{database}'"),
    ) > 0
}

/// Another template for other migrations.
fn fingerprint_of_migrations() -> u64 {
    let mut hasher = DefaultHasher::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut folders: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    for folder in folders {
        std::fs::read(folder.join("up.sql"))
            .unwrap()
            .hash(&mut hasher);
    }
    hasher.finish()
}
