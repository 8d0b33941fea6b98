//! What is looked up when somebody asks: memory, connections, stock, jobs.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::process;
use crate::app::App;
use crate::db::DbConnection;
use crate::db::models::job::{Job, JobState};
use crate::db::models::sequence::Sequence;
use crate::db::models::stock::StockRow;
use crate::error::{Error, Result};

/// How long what was counted in the database is shown before it is counted anew: with a million keys in
/// stock a count costs some tens of milliseconds.
const FRESH: Duration = Duration::from_secs(15);
/// Sequences shown at most, the oldest first, so that the answer stays small.
const SEQUENCES: i64 = 1000;

/// The gauges that are set at a scrape.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    resident: Gauge,
    connections: Family<PoolName, Gauge>,
    stock: Family<InSequence, Gauge>,
    jobs: Family<InState, Gauge>,
    /// When the database was counted last; held while the gauges are set and shown.
    counted_at: tokio::sync::Mutex<Option<Duration>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolName {
    pool: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InSequence {
    sequence: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// What is in the database.
struct Counts {
    stock: Vec<(String, i64)>,
    jobs: Vec<(JobState, i64)>,
}

impl Scraped {
    pub(super) fn register_process(&self, registry: &mut Registry) {
        if process::resident_bytes().is_some() {
            registry.register_with_unit(
                "process_resident_memory",
                "Memory that the process holds",
                Unit::Bytes,
                self.resident.clone(),
            );
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "db_connections_in_use",
            "Connections to the database that are at work, by pool",
            self.connections.clone(),
        );
        registry.register(
            "stock_keys",
            "Keys that can be sold, by sequence",
            self.stock.clone(),
        );
        registry.register("jobs", "Jobs by state", self.jobs.clone());
    }

    fn show(&self, counts: Option<Counts>) {
        self.stock.clear();
        self.jobs.clear();
        let Some(counts) = counts else { return };
        for (sequence, keys) in counts.stock {
            self.stock.get_or_create(&InSequence { sequence }).set(keys);
        }
        for (state, jobs) in counts.jobs {
            let state = state.as_str();
            self.jobs.get_or_create(&InState { state }).set(jobs);
        }
    }
}

impl Counts {
    fn read(conn: &mut DbConnection) -> Result<Self> {
        let keys = StockRow::count_by_sequence(conn)?;
        let sequences = Sequence::oldest_names(conn, SEQUENCES)?;
        let stock = sequences
            .into_iter()
            .map(|(id, name)| (name, keys.get(&id).copied().unwrap_or(0)))
            .collect();
        let jobs = Job::count_by_state(conn)?;
        Ok(Self { stock, jobs })
    }
}

impl App {
    /// Everything that is measured, in the text format of OpenMetrics, which Prometheus reads. Without the
    /// database, what is counted there is left out.
    ///
    /// # Errors
    /// None but a broken invariant.
    pub(crate) async fn show_metrics(&self) -> Result<String> {
        let scraped = &self.metrics.scraped;
        let mut counted_at = scraped.counted_at.lock().await;
        let now = self.clock.elapsed();
        if counted_at.is_none_or(|at| now.saturating_sub(at) >= FRESH) {
            let counts = self.db.read(Counts::read).await;
            *counted_at = counts.is_ok().then_some(now);
            if let Err(error) = &counts {
                tracing::warn!(%error, "stock and jobs could not be counted for the metrics");
            }
            scraped.show(counts.ok());
        }
        for (pool, in_use) in self.db.connections_in_use() {
            scraped
                .connections
                .get_or_create(&PoolName { pool })
                .set(in_use.into());
        }
        if let Some(bytes) = process::resident_bytes() {
            scraped.resident.set(bytes);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics.registry)
            .map_err(|error| Error::internal(format!("the metrics cannot be written: {error}")))?;
        Ok(text)
    }
}
