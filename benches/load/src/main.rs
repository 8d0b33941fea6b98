//! Countersign's benchmark from end to end: starts the server on databases that it fills, calls it as software and
//! shops do, checks the answers, and compares with what the machine can do at all, measured in the same minutes.
//! `scripts/bench` runs it; docs/performance.md explains it.

#![allow(
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for measuring: it prints, and figures of rates need no exactness"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};

mod bench;
mod bulk;
mod cache;
mod ceiling_postgres;
mod ceiling_sqlite;
mod check;
mod client;
mod database;
mod experiments;
mod figures;
mod keys;
mod noise;
mod plot;
mod report;
mod request;
mod response;
mod server;
mod site;
mod workload;

use bench::{Bench, Group, Plan};
use database::Kind;

/// Countersign's benchmark from end to end
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The server's program, built in release with the feature `bench`
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/countersign"
    )]
    server: PathBuf,
    /// A PostgreSQL on this machine whose role may create databases: postgres://USER@HOST:PORT/postgres
    #[arg(long, value_name = "URL")]
    postgres_url: Option<String>,
    /// Which databases
    #[arg(long, value_enum, default_value = "both")]
    database: Which,
    /// How many keys are in them; may be repeated [default: 100000 and 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=20_000_000))]
    keys: Vec<u64>,
    /// Measure this alone; may be repeated
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Group>,
    /// Fewer keys, rounds and connections: two minutes in all
    #[arg(long)]
    quick: bool,
    /// Seconds of one measurement [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    measure: Option<Duration>,
    /// How often each is measured [default: 3, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=15))]
    rounds: Option<u32>,
    /// Also run everything mixed for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    soak: Option<Duration>,
    /// Write everything that was measured to this file, as JSON
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Draw throughput and latency into this folder, as SVG
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Where temporary databases go; on the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Sqlite,
    Postgres,
    Both,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "it is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("countersign-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (json, svg) = (arguments.json.clone(), arguments.svg.clone());
    let folder = match &arguments.folder {
        Some(folder) => tempfile::Builder::new()
            .prefix("countersign-bench.")
            .tempdir_in(folder)?,
        None => tempfile::Builder::new()
            .prefix("countersign-bench.")
            .tempdir()?,
    };
    let mut bench = Bench::new(arguments.plan()?, folder.path().to_owned());
    for kind in bench.plan.databases.clone() {
        experiments::run(&mut bench, kind).with_context(|| format!("on {}", kind.name()))?;
    }
    let report = report::Report::of(&bench);
    println!("{}", report.markdown());
    if let Some(path) = json {
        report.write_json(&path)?;
    }
    if let Some(folder) = svg {
        plot::draw_all(&bench.series, &folder)?;
    }
    match bench.wrong() {
        0 => Ok(()),
        wrong => bail!("{wrong} answers were not as they should be"),
    }
}

impl Arguments {
    fn plan(self) -> anyhow::Result<Plan> {
        let databases = match self.database {
            Which::Sqlite => vec![Kind::Sqlite],
            Which::Postgres => vec![Kind::Postgres],
            Which::Both => vec![Kind::Sqlite, Kind::Postgres],
        };
        if databases.contains(&Kind::Postgres) && self.postgres_url.is_none() {
            bail!(
                "give --postgres-url, or --database sqlite; scripts/bench starts a PostgreSQL of its own"
            );
        }
        let program = std::path::absolute(&self.server)?;
        if !program.is_file() {
            bail!(
                "{} is not there; scripts/bench builds it",
                program.display()
            );
        }
        let mut keys = self.keys;
        if keys.is_empty() {
            keys = if self.quick {
                vec![100_000]
            } else {
                vec![100_000, 1_000_000]
            };
        }
        keys.sort_unstable();
        keys.dedup();
        let largest = keys.last().copied().unwrap_or(0);
        let is_chosen = !self.only.is_empty();
        let mut groups = self.only;
        if groups.is_empty() {
            groups = Group::value_variants().to_vec();
        }
        let most = if self.quick { 100_000 } else { 1_000_000 };
        let measured = self
            .measure
            .unwrap_or(Duration::from_secs(if self.quick { 1 } else { 2 }));
        Ok(Plan {
            program,
            postgres_url: self.postgres_url,
            databases,
            groups,
            rounds: self.rounds.unwrap_or(if self.quick { 2 } else { 3 }),
            warm_up: measured / 4,
            measured,
            // With 64 everything else is measured already.
            connections: match (self.quick, is_chosen) {
                (true, _) => vec![256],
                (false, false) => vec![1, 16, 256],
                (false, true) => vec![1, 16, 64, 256],
            },
            hot: 10_000,
            on_one_key: if self.quick { 10_000 } else { 100_000 }.min(largest),
            // A test that only wants to see it run names few keys.
            pool: largest.clamp(200_000, if self.quick { 200_000 } else { most }) / 10_000 * 10_000,
            import: largest.min(most),
            imports: if self.quick { 1 } else { 2 },
            soak: self.soak,
            keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
