//! What a run came to: tables for people, JSON for programs.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Serialize;

use crate::bench::{Bench, MemoryRecord};
use crate::database::output;
use crate::figures::{Figure, Goal, Series, Spread};
use crate::noise::NOISY;

/// Everything of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rounds: u32,
    seconds_measured: f64,
    seconds_in_all: f64,
    figures: Vec<Figure>,
    memory: Vec<MemoryRecord>,
    series: Vec<Series>,
}

/// Where it ran.
#[derive(Debug, Default, Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    memory_gib: f64,
    kernel: String,
    server: String,
    postgres: Option<String>,
}

impl Report {
    pub(crate) fn of(bench: &Bench) -> Self {
        Self {
            machine: Machine::look(bench),
            rounds: bench.plan.rounds,
            seconds_measured: bench.plan.measured.as_secs_f64(),
            seconds_in_all: bench.seconds(),
            figures: bench.figures.clone(),
            memory: bench.memory.clone(),
            series: bench.series.clone(),
        }
    }

    /// Tables in Markdown, as docs/performance.md takes them.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = self.write_markdown(&mut text);
        text
    }

    /// Writes everything down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_markdown(&self, text: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
        let postgres = machine
            .postgres
            .as_ref()
            .map(|version| format!(", {version}"));
        writeln!(
            text,
            "{}, {} processors, {:.0} GiB, Linux {}; {}{}. Medians of {} rounds of {} s; {:.0} s in all.\n",
            machine.processor,
            machine.processors,
            machine.memory_gib,
            machine.kernel,
            machine.server,
            postgres.unwrap_or_default(),
            self.rounds,
            self.seconds_measured,
            self.seconds_in_all,
        )?;
        writeln!(
            text,
            "| | median | min to max | goal | |\n| --- | ---: | ---: | ---: | --- |"
        )?;
        for figure in &self.figures {
            write_figure(text, figure)?;
        }
        writeln!(
            text,
            "\n| | database | keys | connections | a second | min to max | p50 ms | p99 ms | most ms | foreign % |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        )?;
        for series in &self.series {
            write_series(text, series)?;
        }
        self.write_memory(text)?;
        let rounds = || self.series.iter().flat_map(|series| &series.rounds);
        writeln!(
            text,
            "\n{} of {} rounds were noisy: others used {:.0} % of a processor or more.",
            rounds().filter(|round| round.is_noisy()).count(),
            rounds().count(),
            NOISY * 100.0
        )
    }

    fn write_memory(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n| resident memory | keys | at the end, MiB | at most, MiB | of mapped files, MiB |\n\
             | --- | ---: | ---: | ---: | ---: |"
        )?;
        for record in &self.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (now, most) = (mib(record.memory.now), mib(record.memory.most));
            let mapped = mib(record.memory.mapped);
            let database = record.database.name();
            writeln!(
                text,
                "| {database} | {} | {now:.0} | {most:.0} | {mapped:.0} |",
                record.keys
            )?;
        }
        Ok(())
    }
}

fn write_figure(text: &mut String, figure: &Figure) -> std::fmt::Result {
    let goal = match figure.goal {
        Goal::AtLeast(least) => format!("≥ {}", decimal(least)),
        Goal::Below(most) => format!("< {}", decimal(most)),
    };
    let Spread {
        median, min, max, ..
    } = figure.spread;
    writeln!(
        text,
        "| {} | {} | {} to {} | {} | {} |",
        figure.name,
        decimal(median),
        decimal(min),
        decimal(max),
        format!("{goal} {}", figure.unit).trim_end(),
        figure.judgement,
    )
}

fn write_series(text: &mut String, series: &Series) -> std::fmt::Result {
    let Spread {
        median, min, max, ..
    } = series.rate();
    let middle = |part: fn(&crate::figures::Latency) -> f64| {
        let values = series.rounds.iter();
        let of = Spread::of(
            values.filter_map(|round| Some((part(round.latency.as_ref()?), round.is_noisy()))),
        );
        if of.median.is_nan() {
            String::new()
        } else {
            decimal(of.median)
        }
    };
    let foreign = Spread::of(
        series
            .rounds
            .iter()
            .map(|round| (round.foreign * 100.0, false)),
    );
    writeln!(
        text,
        "| {} | {} | {} | {} | {median:.0} | {min:.0} to {max:.0} | {} | {} | {} | {:.0} |",
        series.point.what,
        series
            .point
            .database
            .map_or("", crate::database::Kind::name),
        series.point.keys,
        series.point.connections,
        middle(|latency| latency.p50),
        middle(|latency| latency.p99),
        middle(|latency| latency.most),
        foreign.median,
    )
}

/// With as many places as say something.
fn decimal(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

impl Machine {
    fn look(bench: &Bench) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut server = Command::new(&bench.plan.program);
        server.arg("--version");
        let mut postgres = Command::new("psql");
        if let Some(url) = &bench.plan.postgres_url {
            postgres.args([
                "-X",
                "-A",
                "-t",
                "-d",
                url,
                "-c",
                "SELECT 'PostgreSQL ' || current_setting('server_version')",
            ]);
        }
        let postgres = bench
            .plan
            .postgres_url
            .as_ref()
            .and_then(|_| output(postgres, "psql").ok());
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
                .unwrap_or(0.0)
                / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            server: output(server, "countersign")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            postgres: postgres.map(|version| version.trim().to_owned()),
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::series;

    fn report() -> Report {
        let (activate, ceiling) = (
            series("activate", &[(100.0, 0.0), (120.0, 0.9), (110.0, 0.1)]),
            series("ceiling", &[(200.0, 0.0); 3]),
        );
        Report {
            machine: Machine::default(),
            rounds: 3,
            seconds_measured: 2.0,
            seconds_in_all: 12.0,
            figures: vec![Figure::new(
                "activate / ceiling",
                activate.over(&ceiling),
                Goal::AtLeast(0.5),
                "",
            )],
            memory: Vec::new(),
            series: vec![activate, ceiling],
        }
    }

    #[test]
    fn the_tables_have_the_ratio_its_goal_and_whether_it_was_reached() {
        let text = report().markdown();
        assert!(
            text.contains("| activate / ceiling | 0.53 | 0.50 to 0.55 | ≥ 0.50 | ok |"),
            "{text}"
        );
        assert!(
            text.contains(
                "| activate | SQLite | 1000 | 64 | 105 | 100 to 110 | 1.00 | 2.00 | 3.00 | 10 |"
            ),
            "{text}"
        );
        assert!(text.contains("1 of 6 rounds were noisy"), "{text}");
    }

    #[test]
    fn the_file_has_every_round() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        report().write_json(&path).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["series"][0]["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(json["series"][0]["what"], "activate");
        assert_eq!(json["figures"][0]["judgement"], "ok");
        assert_eq!(json["figures"][0]["goal"]["at_least"], 0.5);
    }
}
