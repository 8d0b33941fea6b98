//! What the server measures of itself, for Prometheus.
//!
//! Labels hold patterns, words from fixed lists and the names of sequences: never a path as it was called,
//! nor a key, a token or an address.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::clock::Timestamp;
use crate::db::{DatabaseUrl, DbMetrics};
use crate::licensing::visit::Wish;
use crate::limits::Exceeded;

mod process;
mod scrape;

use scrape::Scraped;

/// The bounds of the buckets of requests, from half a millisecond to ten seconds.
const DURATIONS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The measurements of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    verdicts: Family<Verdict, Counter>,
    limited: Family<Limit, Counter>,
    scraped: Scraped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    call: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    budget: &'static str,
}

impl Metrics {
    /// Measurements that begin at `now`, with those of the database among them.
    pub(crate) fn new(db: &DbMetrics, url: &DatabaseUrl, now: Timestamp) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            verdicts: Family::default(),
            limited: Family::default(),
            scraped: Scraped::default(),
        };
        let mut registry = Registry::default();
        let started = Gauge::<i64>::default();
        started.set(now.seconds());
        registry.register_with_unit(
            "process_start_time",
            "When the process started, in seconds since 1970",
            Unit::Seconds,
            started,
        );
        metrics.scraped.register_process(&mut registry);
        let ours = registry.sub_registry_with_prefix("countersign");
        ours.register(
            "build",
            "What is running",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        metrics.register(ours);
        metrics.scraped.register(ours);
        db.register(ours, url);
        metrics.registry = registry;
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Requests by the pattern of their route, method and status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long requests took until their answer began",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "verdicts",
            "Calls of shipped software by what they came to: ok, or the code of the refusal",
            self.verdicts.clone(),
        );
        registry.register(
            "rate_limited",
            "Requests that were refused because a budget was used up",
            self.limited.clone(),
        );
    }

    /// Counts a request. `route` is the pattern.
    pub(crate) fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let (route, method) = (route.to_owned(), known_method(method));
        let of_route = Route {
            route: route.clone(),
            method,
        };
        self.durations
            .get_or_create(&of_route)
            .observe(took.as_secs_f64());
        let request = Request {
            route,
            method,
            status,
        };
        self.requests.get_or_create(&request).inc();
    }

    /// Counts what a call of shipped software came to.
    pub(crate) fn verdict(&self, wish: Wish, code: &'static str) {
        let call = wish.as_str();
        self.verdicts.get_or_create(&Verdict { call, code }).inc();
    }

    /// Counts a request that was limited.
    pub(crate) fn limited(&self, exceeded: Exceeded) {
        let budget = exceeded.as_str();
        self.limited.get_or_create(&Limit { budget }).inc();
    }
}

/// The method, or one word for all that nobody serves: a caller must not make up labels.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| *known == method);
    known.unwrap_or("other")
}
