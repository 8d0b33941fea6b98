//! Many keys at once: the server's import, which seals every text, against the databases' own tools, which are
//! given finished rows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::Connection;

use crate::database::{Database, Postgres, output};
use crate::noise::Moment;

/// The indexes that a stock of keys has entries in.
const SQLITE_INDEXES: &str = "CREATE UNIQUE INDEX hash ON keys (text_hash);
    CREATE INDEX sequence ON keys (sequence_id, id); CREATE INDEX lot ON keys (lot_id, id);";

/// The rows of an import in a file, and the tool that takes them.
#[derive(Debug)]
pub(crate) enum Tool {
    Sqlite { rows: PathBuf, columns: String },
    Postgres { rows: PathBuf, postgres: Postgres },
}

impl Tool {
    /// Writes down the keys that a database has.
    ///
    /// # Errors
    /// The database's, and those of writing.
    pub(crate) fn prepare(database: &Database, folder: &Path) -> anyhow::Result<Self> {
        match database {
            Database::Sqlite(path) => {
                let columns = columns(path)?;
                let rows = folder.join("keys.csv");
                let of_each: Vec<String> = columns
                    .iter()
                    .map(|column| match column.as_str() {
                        // As text: there is no other way for the tool to take bytes.
                        "text_sealed" | "text_hash" => format!("hex({column})"),
                        _ => column.clone(),
                    })
                    .collect();
                let mut sqlite = Command::new("sqlite3");
                sqlite
                    .args(["-csv", "-cmd"])
                    .arg(format!(".output {}", rows.display()))
                    .arg(path)
                    .arg(format!("SELECT {} FROM keys", of_each.join(",")));
                output(sqlite, "sqlite3")?;
                Ok(Self::Sqlite {
                    rows,
                    columns: columns.join(","),
                })
            }
            Database::Postgres(postgres) => {
                let rows = folder.join("keys.copy");
                postgres.sql(&format!("\\copy keys TO '{}'", rows.display()))?;
                postgres.sql(
                    "CREATE SCHEMA ceiling; CREATE TABLE ceiling.keys (LIKE public.keys INCLUDING ALL);",
                )?;
                Ok(Self::Postgres {
                    rows,
                    postgres: postgres.clone(),
                })
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite3 .import",
            Self::Postgres { .. } => "psql \\copy",
        }
    }

    /// Takes the rows into an empty table with its indexes; how long that took, and how much of a processor was
    /// somebody else's.
    ///
    /// # Errors
    /// The tool's.
    pub(crate) fn measure(&self) -> anyhow::Result<(Duration, f64)> {
        match self {
            Self::Sqlite { rows, columns } => {
                let path = rows.with_extension("db");
                let _ = std::fs::remove_file(&path);
                let conn = Connection::open(&path)?;
                let columns = columns.replacen("id", "id INTEGER PRIMARY KEY", 1);
                conn.execute_batch(&format!("CREATE TABLE keys ({columns}); {SQLITE_INDEXES}"))?;
                drop(conn);
                let mut sqlite = Command::new("sqlite3");
                sqlite
                    .arg("-csv")
                    .arg(&path)
                    .arg(format!(".import {} keys", rows.display()));
                let measured = timed(&[], || output(sqlite, "sqlite3"));
                let _ = std::fs::remove_file(&path);
                measured
            }
            Self::Postgres { rows, postgres } => {
                postgres.sql("TRUNCATE ceiling.keys")?;
                postgres.sql("CHECKPOINT")?;
                let statement = format!("\\copy ceiling.keys FROM '{}'", rows.display());
                timed(&[postgres.process], || postgres.sql(&statement))
            }
        }
    }
}

fn timed(
    processes: &[u32],
    run: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<(Duration, f64)> {
    let (before, began) = (Moment::now(processes), Instant::now());
    run()?;
    let took = began.elapsed();
    Ok((took, Moment::now(processes).foreign_since(&before)))
}

/// The columns of the keys, the id first.
fn columns(path: &Path) -> anyhow::Result<Vec<String>> {
    let conn = Connection::open(path).context("cannot open the database")?;
    let columns = conn
        .prepare("SELECT name FROM pragma_table_info('keys') ORDER BY cid")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(columns)
}
