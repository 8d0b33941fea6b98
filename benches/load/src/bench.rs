//! A run of the benchmark: its plan, what takes turns in it, and everything that was measured.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cache;
use crate::ceiling_postgres::{self, Script};
use crate::ceiling_sqlite;
use crate::client::Load;
use crate::database::{Database, Kind, Postgres};
use crate::figures::{Figure, Goal, Judgement, Point, Round, Series, Spread};
use crate::server::Memory;
use crate::site::Site;
use crate::workload::Call;

/// How much is measured, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    /// Of a role that may create databases.
    pub(crate) postgres_url: Option<String>,
    pub(crate) databases: Vec<Kind>,
    /// Sizes, the smallest first.
    pub(crate) keys: Vec<u64>,
    pub(crate) groups: Vec<Group>,
    pub(crate) rounds: u32,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// Beside the 64 of everything else.
    pub(crate) connections: Vec<usize>,
    /// Keys with an activation whose token is known.
    pub(crate) hot: u64,
    /// Activations on one key, for the group `contended`.
    pub(crate) on_one_key: u64,
    /// Keys of a pool, of which nine in ten are gone.
    pub(crate) pool: u64,
    /// Keys of a timed import.
    pub(crate) import: u64,
    pub(crate) imports: u32,
    pub(crate) soak: Option<Duration>,
}

/// What can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    /// validate and renew against their ceilings
    Hot,
    /// activate against its ceilings
    Activate,
    /// throughput and latency at 1, 16, 64 and 256 connections
    Connections,
    /// many keys against few
    Growth,
    /// 100,000 activations on one key
    Contended,
    /// orders of one key, from a pool that is nearly empty
    Issue,
    /// imports against the databases' own tools
    Bulk,
    /// the mixed run of --soak
    Soak,
}

/// Everything so far.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    /// A temporary folder.
    pub(crate) folder: PathBuf,
    pub(crate) series: Vec<Series>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) memory: Vec<MemoryRecord>,
    /// Databases that were made, to be taken away at the latest when this ends.
    made: Vec<Database>,
    began: Instant,
}

/// What a server took.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct MemoryRecord {
    pub(crate) database: Kind,
    pub(crate) keys: u64,
    pub(crate) memory: Memory,
}

/// What takes a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Calls over so many connections.
    Call(Call, usize),
    /// The same on the other site, which has fewer keys.
    CallOther(Call, usize),
    /// Calls after the page cache was dropped; SQLite only.
    CallCold(Call, usize),
    /// SQLite's ceiling with so many activations in a transaction.
    Batch(u32),
    /// PostgreSQL's, with so many clients.
    Pgbench(Script, usize),
}

/// What turns are taken with.
#[derive(Debug)]
pub(crate) struct Stand<'a> {
    pub(crate) site: &'a mut Site,
    pub(crate) other: Option<&'a mut Site>,
    pub(crate) sqlite: Option<ceiling_sqlite::Ceiling>,
    pub(crate) postgres: Option<ceiling_postgres::Ceiling>,
}

impl<'a> Stand<'a> {
    pub(crate) fn alone(site: &'a mut Site) -> Self {
        Self {
            site,
            other: None,
            sqlite: None,
            postgres: None,
        }
    }
}

impl Bench {
    pub(crate) fn new(plan: Plan, folder: PathBuf) -> Self {
        Self {
            plan,
            folder,
            series: Vec::new(),
            figures: Vec::new(),
            memory: Vec::new(),
            made: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Says what goes on.
    pub(crate) fn say(&self, what: impl std::fmt::Display) {
        eprintln!("{:>5.0} s  {what}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn wants(&self, group: Group) -> bool {
        self.plan.groups.contains(&group)
    }

    /// A server on an empty database of this name.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn site(&mut self, kind: Kind, name: &str) -> anyhow::Result<Site> {
        let folder = self.folder.join(format!("{kind:?}-{name}").to_lowercase());
        std::fs::create_dir_all(&folder)?;
        let database = match kind {
            Kind::Sqlite => Database::Sqlite(folder.join("data.db")),
            Kind::Postgres => {
                let url = self.plan.postgres_url.as_deref().unwrap_or_default();
                let name = format!("countersign_bench_{}_{name}", std::process::id());
                Database::Postgres(Postgres::create(url, &name)?)
            }
        };
        self.made.push(database.clone());
        Site::open(&self.plan.program, database, &folder)
    }

    /// Lets each of `turns` have its turn, in as many rounds as are planned, and keeps what was measured. The
    /// places of what was kept.
    ///
    /// # Errors
    /// When something fails; wrong answers do not end it, they are counted.
    pub(crate) fn take_turns(
        &mut self,
        stand: &mut Stand<'_>,
        turns: &[Turn],
    ) -> anyhow::Result<Vec<usize>> {
        let first = self.series.len();
        for turn in turns {
            let point = turn.point(stand);
            self.series.push(Series {
                point,
                rounds: Vec::new(),
            });
        }
        for _ in 0..self.plan.rounds {
            for (turn, place) in turns.iter().zip(first..) {
                let round = self.round(stand, *turn)?;
                self.series[place].rounds.push(round);
            }
        }
        for place in first..self.series.len() {
            self.say_series(&self.series[place]);
        }
        Ok((first..self.series.len()).collect())
    }

    fn round(&self, stand: &mut Stand<'_>, turn: Turn) -> anyhow::Result<Round> {
        let load = |connections| Load {
            connections,
            warm_up: self.plan.warm_up,
            measured: self.plan.measured,
        };
        let of_calls = |site: &mut Site, call, load| -> anyhow::Result<Round> {
            let (outcome, foreign) = site.measure(call, load)?;
            Ok(Round::of(&outcome, foreign))
        };
        let counted = |(rate, foreign)| Round::counted(rate, foreign);
        match turn {
            Turn::Call(call, connections) => of_calls(stand.site, call, load(connections)),
            Turn::CallOther(call, connections) => {
                let other = stand.other.as_deref_mut().unwrap_or(stand.site);
                of_calls(other, call, load(connections))
            }
            Turn::CallCold(call, connections) => {
                if let Database::Sqlite(path) = &stand.site.database {
                    cache::forget(path)?;
                }
                let load = Load {
                    warm_up: Duration::ZERO,
                    ..load(connections)
                };
                of_calls(stand.site, call, load)
            }
            Turn::Batch(batch) => {
                let ceiling = stand.sqlite.as_mut().ok_or_else(|| missing("SQLite"))?;
                Ok(counted(ceiling.measure(batch, load(1))?))
            }
            Turn::Pgbench(script, clients) => {
                let ceiling = stand
                    .postgres
                    .as_ref()
                    .ok_or_else(|| missing("PostgreSQL"))?;
                Ok(counted(ceiling.measure(script, clients, load(clients))?))
            }
        }
    }

    /// Keeps the ratio of two series that took turns.
    pub(crate) fn ratio(&mut self, name: impl Into<String>, of: usize, over: usize, goal: f64) {
        let spread = self.series[of].over(&self.series[over]);
        self.figure(name, spread, Goal::AtLeast(goal), "");
    }

    pub(crate) fn figure(
        &mut self,
        name: impl Into<String>,
        spread: Spread,
        goal: Goal,
        unit: &'static str,
    ) {
        let figure = Figure::new(name, spread, goal, unit);
        let judgement = figure.judgement;
        let noise = if judgement == Judgement::Noisy {
            ", noisy"
        } else {
            ""
        };
        self.say(format_args!(
            "{}: {:.2} {unit}{noise}",
            figure.name, figure.spread.median
        ));
        self.figures.push(figure);
    }

    /// Keeps what a site's server took.
    pub(crate) fn note_memory(&mut self, site: &Site) {
        self.memory.push(MemoryRecord {
            database: site.database.kind(),
            keys: site.stage.keys,
            memory: site.memory(),
        });
    }

    /// Whether any answer was not as it should be.
    pub(crate) fn wrong(&self) -> u64 {
        self.series
            .iter()
            .flat_map(|series| &series.rounds)
            .map(|round| round.wrong)
            .sum()
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn say_series(&self, series: &Series) {
        let rate = series.rate();
        let p99 = series.p99().median;
        let late = if p99.is_nan() {
            String::new()
        } else {
            format!(", p99 {p99:.1} ms")
        };
        let foreign: Vec<String> = series
            .rounds
            .iter()
            .map(|round| format!("{:.0}", round.foreign * 100.0))
            .collect();
        let wrong = series
            .rounds
            .iter()
            .find_map(|round| round.first_wrong.as_deref());
        let wrong = wrong.map_or_else(String::new, |wrong| format!(", WRONG: {wrong}"));
        self.say(format_args!(
            "{}: {:.0}/s ({:.0} to {:.0}){late}, foreign % {}{wrong}",
            series.point,
            rate.median,
            rate.min,
            rate.max,
            foreign.join(" "),
        ));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for database in &self.made {
            // Gone already unless something went wrong.
            let _ = database.drop_it();
        }
    }
}

fn missing(database: &str) -> anyhow::Error {
    anyhow::anyhow!("no ceiling of {database} was prepared")
}

impl Turn {
    fn point(self, stand: &Stand<'_>) -> Point {
        let (what, connections) = match self {
            Self::Call(call, connections) | Self::CallOther(call, connections) => {
                (call.name(), connections)
            }
            Self::CallCold(call, connections) => {
                (format!("{}, uncached pages", call.name()), connections)
            }
            Self::Batch(batch) => (
                format!("SQLite in process, activate in batches of {batch}"),
                1,
            ),
            Self::Pgbench(script, clients) => (script.name().to_owned(), clients),
        };
        let site = match (self, &stand.other) {
            (Self::CallOther(..), Some(other)) => other,
            _ => &*stand.site,
        };
        Point {
            what,
            database: Some(site.database.kind()),
            keys: site.stage.keys,
            connections,
        }
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = self.database.map_or("no database", Kind::name);
        write!(
            f,
            "{} [{database}, {} keys, {} connections]",
            self.what, self.keys, self.connections
        )
    }
}
