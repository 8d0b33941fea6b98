//! The check-up: everything that a server needs, looked at without changing anything.
//!
//! It works before the first start, beside a running server, and when a server refuses to start. Each
//! finding says in plain words what was seen, and where something is wrong, what to do.

use std::time::Duration;

use serde::Serialize;

use crate::app::key_folder;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Overrides, Setting, settings_in_force};
use crate::control::{self, Command, Reply};
use crate::db::models::event;
use crate::db::{self, DatabaseUrl, DbConnection};
use crate::lock::{DatabaseLock, control_path};

mod database;
mod keys;
mod postgres;
mod sqlite;
mod surroundings;

pub(crate) use surroundings::{free_bytes, nearest_folder, size};

/// How long a running server may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// How a thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and should be looked at.
    Warning,
    /// It does not work, or will not for long.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    /// How it was found.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What to do about it; `None` when there is nothing to do.
    pub advice: Option<String>,
}

/// The whole check-up.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this program.
    pub version: &'static str,
    /// Whether there is no problem; warnings do not count.
    pub healthy: bool,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
    /// The settings in force; empty when they cannot be read.
    pub settings: Vec<Setting>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            detail: detail.into(),
            advice: None,
        }
    }

    fn warning(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warning,
            detail: detail.into(),
            advice: Some(advice.into()),
        }
    }

    fn problem(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            ..Self::warning(check, detail, advice)
        }
    }

    /// For an error whose message says what to do.
    fn failed(check: &'static str, error: impl std::fmt::Display) -> Self {
        Self {
            check,
            state: State::Problem,
            detail: error.to_string(),
            advice: None,
        }
    }
}

/// Looks at everything, as a server with these settings would find it.
pub async fn examine(overrides: &Overrides, environment: &[(String, String)]) -> Report {
    let mut findings = Vec::new();
    let settings = settings_in_force(overrides, environment).unwrap_or_default();
    match Config::load(overrides, environment.iter().cloned()) {
        Ok(config) => {
            findings.push(about_settings(&settings));
            examine_config(&config, &mut findings).await;
        }
        Err(error) => findings.push(Finding::failed("settings", error)),
    }
    Report {
        version: env!("CARGO_PKG_VERSION"),
        healthy: findings
            .iter()
            .all(|finding| finding.state != State::Problem),
        findings,
        settings,
    }
}

fn about_settings(settings: &[Setting]) -> Finding {
    let set: Vec<String> = settings
        .iter()
        .filter_map(|setting| {
            let origin = setting.origin.as_ref()?;
            Some(format!("{} from {origin}", setting.name))
        })
        .collect();
    let defaults = settings.len() - set.len();
    let detail = if set.is_empty() {
        format!("all {defaults} are the defaults")
    } else {
        format!("{}; {defaults} are the defaults", set.join(", "))
    };
    Finding::ok("settings", detail)
}

async fn examine_config(config: &Config, findings: &mut Vec<Finding>) {
    let url = match DatabaseUrl::parse(&config.database_url()) {
        Ok(url) => url,
        Err(error) => return findings.push(Finding::failed("database", error)),
    };
    let clock = Clock::system();
    let mut conn = open(&url, findings);
    if let Some(conn) = &mut conn {
        match conn {
            DbConnection::Sqlite(_) => sqlite::examine(conn, findings),
            DbConnection::Postgres(_) => postgres::examine(conn, &clock, findings),
        }
        findings.push(database::schema(conn));
    }
    findings.push(keys::examine(conn.as_mut(), &key_folder(config)));
    findings.push(surroundings::clock(
        clock.now(),
        newest_event(conn.as_mut()),
    ));
    if let DatabaseUrl::Sqlite { path, .. } = &url {
        findings.push(surroundings::disk(path));
        findings.push(server(path).await);
    }
}

/// Opens what is there. A database that is not there is no fault: the first start makes it.
fn open(url: &DatabaseUrl, findings: &mut Vec<Finding>) -> Option<DbConnection> {
    if let DatabaseUrl::Sqlite { path, .. } = url
        && !path.exists()
    {
        findings.push(Finding::warning(
            "database",
            format!("there is no database at {} yet", path.display()),
            "if this is the right place, the first start makes it; otherwise name its folder with --data-dir",
        ));
        return None;
    }
    match db::open_to_look(url) {
        Ok(conn) => {
            findings.push(database::opened(url));
            Some(conn)
        }
        Err(error) => {
            findings.push(Finding::failed("database", error));
            None
        }
    }
}

/// The newest event, where there is a table of them.
fn newest_event(conn: Option<&mut DbConnection>) -> Option<Timestamp> {
    event::newest(conn?).ok().flatten()
}

/// Whether a server has the embedded database, and whether commands reach it.
async fn server(path: &std::path::Path) -> Finding {
    const CHECK: &str = "server";
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match DatabaseLock::is_taken(&real) {
        Ok(false) => return Finding::ok(CHECK, "none runs on this database"),
        Err(error) => return Finding::failed(CHECK, format!("cannot ask for its lock: {error}")),
        Ok(true) => {}
    }
    let socket = control_path(&real);
    match tokio::time::timeout(ANSWER, control::call(&socket, &Command::Ping)).await {
        Ok(Ok(Reply::Alive { version })) if version == env!("CARGO_PKG_VERSION") => {
            Finding::ok(CHECK, "one runs and takes commands")
        }
        Ok(Ok(Reply::Alive { version })) => Finding::warning(
            CHECK,
            format!("one of version {version} runs and takes commands"),
            format!(
                "restart it, so that it is of version {}, too",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        Ok(Ok(_)) => Finding::warning(
            CHECK,
            "one of another version runs and takes commands",
            format!(
                "restart it, so that it is of version {}, too",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        Ok(Err(_)) | Err(_) => Finding::warning(
            CHECK,
            format!(
                "a process has the database and does not answer at {}",
                socket.display()
            ),
            "if it is a server that has started, restart it; commands such as `token create` do not reach it",
        ),
    }
}
