//! `countersign doctor`

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::print_line;
use super::serve::runtime;
use crate::config::Overrides;
use crate::doctor::{self, Finding, Report, State};

/// A check-up.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// One line for each thing
    #[default]
    Text,
    /// One JSON object, with every setting and where it comes from
    Json,
}

impl Doctor {
    pub(super) fn run(
        &self,
        overrides: &Overrides,
        environment: &[(String, String)],
    ) -> anyhow::Result<()> {
        let report = runtime()?.block_on(doctor::examine(overrides, environment));
        match self.format {
            Format::Text => report.findings.iter().map(line).for_each(print_line),
            Format::Json => print_line(serde_json::to_string_pretty(&report)?),
        }
        match problems(&report) {
            0 => Ok(()),
            1 => bail!("there is a problem"),
            several => bail!("there are {several} problems"),
        }
    }
}

fn problems(report: &Report) -> usize {
    let is_problem = |finding: &&Finding| finding.state == State::Problem;
    report.findings.iter().filter(is_problem).count()
}

fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Problem => "problem",
    };
    let start = format!("{state:<8} {:<12} {}", finding.check, finding.detail);
    match &finding.advice {
        Some(advice) => format!("{start} - {advice}"),
        None => start,
    }
}
