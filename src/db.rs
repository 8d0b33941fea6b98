//! The database behind three verbs: [`Db::read`], [`Db::write`], and for one key `Db::look_up`.
//!
//! A write is always a transaction, its closure may run more than once, and it has happened when it is
//! answered. On SQLite one thread writes with group commit (`writer`); on PostgreSQL a pool of
//! connections does (`server`). Queries live in `models`; no other module writes Diesel, but for
//! short ones next to the rule that they serve.

use std::sync::Arc;
use std::time::Instant;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::error::{Error, Result};
use haste::{Haste, Hurried};
use models::issued_key::{Found, LookUp};
use patience::Patience;
use source::Source;

mod check;
mod connection;
pub(crate) mod copy;
mod failure;
mod first;
mod haste;
pub(crate) mod ids;
pub(crate) mod inspect;
mod lane;
mod metrics;
mod migrate;
pub(crate) mod models;
mod page;
mod patience;
mod pool;
mod savepoint;
pub(crate) mod schema;
mod server;
mod shared_write;
mod snapshot;
mod source;
mod ticket;
pub(crate) mod types;
mod update;
mod url;
mod write_job;
mod writer;

pub use check::check_schema;
pub use connection::{Access, DbConnection, OnBoth, open, open_to_look};
pub(crate) use failure::run_again;
pub(crate) use metrics::DbMetrics;
pub use migrate::{MigrateError, Migrations, SchemaState, migrate, revert_newest, schema_state};
pub use page::{Cursor, PageRequest, Paged};
pub(crate) use shared_write::SharedWrite;
pub use url::{DatabaseUrl, OpenError, PageMemory};

/// Connections for reads, and on PostgreSQL as many again for writes.
const POOL: u32 = 8;

/// How often work that found its connection dead is begun: after a restart of the server every pooled
/// connection is dead.
const ATTEMPTS: u32 = POOL + 4;

/// Connections to PostgreSQL that one process uses at most: two pools, and two lanes.
pub(crate) const CONNECTIONS: u32 = 2 * POOL + 2;

/// A handle to the database; cheap to clone, safe to share.
#[derive(Clone, Debug)]
pub struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    readers: pool::Pool,
    look_ups: LookUps,
    writes: Writes,
}

#[derive(Debug)]
enum LookUps {
    /// SQLite: at once, on the calling thread.
    Here(pool::Pool),
    /// PostgreSQL: with those that others ask for at the same time.
    Together(lane::Lane<LookUp, Option<Found>>),
}

#[derive(Debug)]
enum Writes {
    Sqlite(writer::Writer),
    Postgres {
        pool: pool::Pool,
        metrics: DbMetrics,
    },
}

impl Db {
    /// Opens the database, which must be migrated already.
    ///
    /// # Errors
    /// [`OpenError`], in one line that says what to do.
    pub fn open(url: &DatabaseUrl) -> Result<Self, OpenError> {
        Self::open_measured(url, &DbMetrics::default())
    }

    /// Opens the database, which must be migrated already, and measures what it does.
    ///
    /// # Errors
    /// [`OpenError`], in one line that says what to do.
    pub(crate) fn open_measured(url: &DatabaseUrl, metrics: &DbMetrics) -> Result<Self, OpenError> {
        let threads = Arc::new(
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("db-pool-{}")
                .build(),
        );
        let source = Source::of(url.clone());
        let writes = match url {
            // First, so that the file is in WAL mode before anybody reads.
            DatabaseUrl::Sqlite { .. } => {
                Writes::Sqlite(writer::Writer::start(source.clone(), metrics.clone())?)
            }
            DatabaseUrl::Postgres { .. } => Writes::Postgres {
                pool: pool::build(&source, Access::Write, POOL, Arc::clone(&threads))?,
                metrics: metrics.clone(),
            },
        };
        let look_ups = match url {
            DatabaseUrl::Sqlite { .. } => {
                let size = connection::look_ups_at_once();
                LookUps::Here(pool::build(
                    &source,
                    Access::LookUp,
                    size,
                    Arc::clone(&threads),
                )?)
            }
            DatabaseUrl::Postgres { .. } => {
                let find: lane::Together<LookUp, Option<Found>> = |conn, wanted| {
                    let found = LookUp::find_all(wanted, conn)?;
                    Ok(found.into_iter().map(|found| Some(Ok(found))).collect())
                };
                let metrics = metrics.clone();
                LookUps::Together(lane::Lane::start(
                    "look-ups",
                    source.clone(),
                    Access::LookUp,
                    find,
                    metrics,
                )?)
            }
        };
        let readers = pool::build(&source, Access::Read, POOL, threads)?;
        Ok(Self {
            inner: Arc::new(Inner {
                source,
                readers,
                look_ups,
                writes,
            }),
        })
    }

    /// Runs `run` on a read-only connection, off the calling thread.
    ///
    /// # Errors
    /// The closure's own, or [`Error::Unavailable`] when there is no connection within five seconds.
    pub async fn read<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> Result<T> + Send + 'static,
    {
        self.read_within(Patience::full(), move |conn| snapshot::read(conn, &run))
            .await
    }

    /// As [`Db::read`], for one statement, which sees one state of the database by itself: what it saves
    /// is telling the server where it begins and ends.
    ///
    /// # Errors
    /// As [`Db::read`].
    pub(crate) async fn read_one<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> Result<T> + Send + 'static,
    {
        self.read_within(Patience::full(), move |conn| snapshot::read_one(conn, &run))
            .await
    }

    /// Looks a key up, as it stands in the database now.
    ///
    /// A look-up is one statement by an index, for the calls that shipped software makes all the time.
    /// On SQLite it runs on the calling thread, where it takes less time than handing it to another; on
    /// PostgreSQL those that wait are looked up together.
    ///
    /// # Errors
    /// As [`Db::read`].
    pub(crate) async fn look_up(&self, wanted: LookUp) -> Result<Option<Found>> {
        let mut patience = Patience::full();
        let wanted = match &self.inner.look_ups {
            LookUps::Here(pool) => match look_up_here(pool, &wanted) {
                Some(found) => return Ok(found),
                None => wanted,
            },
            LookUps::Together(lane) => {
                // One that has begun is not waited for any longer than one that has not: nothing of it
                // can be lost. It is not looked for elsewhere, as more work helps no database that is late.
                let late = |_| Error::Unavailable("the database did not answer in time");
                let asked = tokio::time::timeout(patience.left(), lane.ask(wanted, &mut patience));
                match asked.await.map_err(late)?? {
                    lane::Answer::Done(found) => return found,
                    lane::Answer::PutOff(wanted) | lane::Answer::Alone(wanted) => wanted,
                }
            }
        };
        // What went wrong may be the connection's fault: a read tries others.
        let find = move |conn: &mut DbConnection| Ok(wanted.find(conn)?);
        self.read_within(patience, move |conn| snapshot::read_one(conn, &find))
            .await
    }

    /// Runs `run` in a transaction and commits it before answering.
    ///
    /// `run` may be called more than once, does database work and nothing else, and never catches a
    /// database error to go on (PostgreSQL has ended the transaction by then).
    ///
    /// # Errors
    /// The closure's own, after everything it wrote was rolled back, or [`Error::Unavailable`] when it
    /// could not start within five seconds.
    pub async fn write<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> Result<T> + Send + 'static,
    {
        self.write_within(Patience::full(), Haste::Hurried, run)
            .await
    }

    /// As [`Db::write`], for a part of long work that looks whether any are [`Db::hurried`] and then ends early.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub(crate) async fn write_part<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> Result<T> + Send + 'static,
    {
        self.write_within(Patience::full(), Haste::Part, run).await
    }

    /// The writes that are no parts of long work and may wait for those before them, as they do on SQLite.
    pub(crate) fn hurried(&self) -> Hurried {
        match &self.inner.writes {
            Writes::Sqlite(writer) => writer.hurried(),
            Writes::Postgres { .. } => Hurried::default(),
        }
    }

    async fn read_within<T, F>(&self, patience: Patience, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> snapshot::Read<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        off_thread(patience, move |patience| inner.read(patience, run)).await
    }

    async fn write_within<T, F>(&self, patience: Patience, haste: Haste, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> Result<T> + Send + 'static,
    {
        match &self.inner.writes {
            Writes::Sqlite(writer) => writer.write(patience, haste, run).await,
            Writes::Postgres { pool, metrics } => {
                let (pool, metrics) = (pool.clone(), metrics.clone());
                off_thread(patience, move |patience| {
                    server::write(&pool, patience, &metrics, run)
                })
                .await
            }
        }
    }

    /// On SQLite: takes no more writes, finishes those that wait, and closes the file. Reads go on.
    pub fn stop(&self) {
        if let Writes::Sqlite(writer) = &self.inner.writes {
            writer.stop();
        }
    }

    /// Connections that are at work, by pool.
    pub(crate) fn connections_in_use(&self) -> Vec<(&'static str, u32)> {
        let mut pools = vec![("read", &self.inner.readers)];
        if let Writes::Postgres { pool, .. } = &self.inner.writes {
            pools.push(("write", pool));
        }
        let in_use = |pool: &pool::Pool| {
            let state = pool.state();
            state.connections.saturating_sub(state.idle_connections)
        };
        pools
            .into_iter()
            .map(|(name, pool)| (name, in_use(pool)))
            .collect()
    }

    /// Whether one process owns this database (SQLite), so that memory may decide what is current.
    pub fn is_embedded(&self) -> bool {
        matches!(self.inner.writes, Writes::Sqlite(_))
    }
}

impl Inner {
    fn read<T>(
        &self,
        mut patience: Patience,
        run: impl Fn(&mut DbConnection) -> snapshot::Read<T>,
    ) -> Result<T> {
        // A pooled connection whose server went away is found dead by the first read on it.
        for _ in 0..ATTEMPTS {
            let mut pooled = patience.connection(&self.readers)?;
            pooled.broken = true;
            match run(&mut pooled.conn) {
                snapshot::Read::Done(result) => {
                    pooled.broken = false;
                    return result;
                }
                snapshot::Read::ConnectionLost(error) => {
                    tracing::warn!(%error, "a read is tried again on another connection");
                }
            }
        }
        Err(Error::Unavailable("the database cannot be read"))
    }
}

/// `None` when it could not be looked up.
fn look_up_here(pool: &pool::Pool, wanted: &LookUp) -> Option<Option<Found>> {
    // Not waited for: this thread serves requests.
    let mut pooled = pool.try_get()?;
    pooled.broken = true;
    match wanted.find(&mut pooled.conn) {
        Ok(found) => {
            pooled.broken = false;
            Some(found)
        }
        Err(error) => {
            tracing::warn!(%error, "a look-up is tried again on another connection");
            None
        }
    }
}

/// Runs blocking work on the runtime's pool for it, with the patience that is left when a thread is free.
async fn off_thread<T: Send + 'static>(
    mut patience: Patience,
    run: impl FnOnce(Patience) -> Result<T> + Send + 'static,
) -> Result<T> {
    let queued = Instant::now();
    let work = move || {
        patience.waited_since(queued);
        run(patience)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!(
            "database work ended early: {error}"
        ))),
    }
}
