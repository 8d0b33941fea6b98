//! What the two engines measure of themselves.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::url::DatabaseUrl;

/// The measurements of one database; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct DbMetrics {
    /// SQLite: writes that wait for the writer.
    pub(super) queue_length: Gauge,
    /// SQLite: how long they waited.
    queue_wait: Histogram,
    /// How many writes shared a transaction that was committed.
    batch_size: Histogram,
    /// SQLite: how long the commit took.
    commit: Histogram,
    /// PostgreSQL: how long a transaction took, commit included; of a lane also its connecting.
    transaction: Histogram,
    /// PostgreSQL: transactions that were run again.
    pub(super) retries: Counter,
    /// PostgreSQL: activations that did not share a transaction.
    pub(super) alone: Counter,
}

impl Default for DbMetrics {
    fn default() -> Self {
        // From a tenth of a millisecond to more than three seconds.
        let times = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        Self {
            queue_length: Gauge::default(),
            queue_wait: times(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            commit: times(),
            transaction: times(),
            retries: Counter::default(),
            alone: Counter::default(),
        }
    }
}

impl DbMetrics {
    /// Shows them in `registry`, those of the engine that this database has.
    pub(crate) fn register(&self, registry: &mut Registry, url: &DatabaseUrl) {
        match url {
            DatabaseUrl::Sqlite { .. } => self.register_sqlite(registry),
            DatabaseUrl::Postgres { .. } => self.register_postgres(registry),
        }
    }

    fn register_sqlite(&self, registry: &mut Registry) {
        registry.register(
            "sqlite_queue_length",
            "Writes that wait for the writer",
            self.queue_length.clone(),
        );
        registry.register_with_unit(
            "sqlite_queue_wait",
            "How long writes waited for the writer",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        registry.register(
            "sqlite_batch_size",
            "Writes that shared a transaction",
            self.batch_size.clone(),
        );
        registry.register_with_unit(
            "sqlite_commit",
            "How long commits took",
            Unit::Seconds,
            self.commit.clone(),
        );
    }

    fn register_postgres(&self, registry: &mut Registry) {
        registry.register(
            "postgres_batch_size",
            "Activations that shared a transaction",
            self.batch_size.clone(),
        );
        registry.register_with_unit(
            "postgres_transaction",
            "How long writing transactions took, commit included",
            Unit::Seconds,
            self.transaction.clone(),
        );
        registry.register(
            "postgres_retries",
            "Writing transactions that were run again",
            self.retries.clone(),
        );
        registry.register(
            "postgres_alone",
            "Activations that did not share a transaction",
            self.alone.clone(),
        );
    }

    pub(super) fn dequeued(&self, queued_at: Instant) {
        self.queue_length.dec();
        self.queue_wait.observe(queued_at.elapsed().as_secs_f64());
    }

    pub(super) fn batch(&self, jobs: usize) {
        self.batch_size
            .observe(u32::try_from(jobs).map_or(f64::INFINITY, f64::from));
    }

    pub(super) fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    pub(super) fn transaction(&self, took: Duration) {
        self.transaction.observe(took.as_secs_f64());
    }
}
