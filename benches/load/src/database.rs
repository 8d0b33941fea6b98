//! The two databases: where each benchmark's data lies, and PostgreSQL's own tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// One database, for one server.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(Postgres),
}

/// A database of a PostgreSQL server.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    /// `postgres://USER@HOST:PORT/`, up to the database's name.
    server: String,
    pub(crate) name: String,
    /// The server's first process.
    pub(crate) process: u32,
}

impl Database {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::Postgres(postgres) => postgres.url(),
        }
    }

    /// Processes that work for it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match self {
            Self::Sqlite(_) => Vec::new(),
            Self::Postgres(postgres) => vec![postgres.process],
        }
    }

    /// Takes it away.
    ///
    /// # Errors
    /// When that does not go.
    pub(crate) fn drop_it(&self) -> anyhow::Result<()> {
        match self {
            // With its folder, which goes at the end.
            Self::Sqlite(path) => {
                for end in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{end}", path.display()));
                }
                Ok(())
            }
            Self::Postgres(postgres) => {
                let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", postgres.name);
                postgres.beside("postgres").sql(&statement).map(drop)
            }
        }
    }
}

impl Postgres {
    /// Makes the database `name` on the server of `url`, anew.
    ///
    /// # Errors
    /// When the server cannot be reached or the role may not.
    pub(crate) fn create(url: &str, name: &str) -> anyhow::Result<Self> {
        let (server, _) = url
            .rsplit_once('/')
            .context("the URL of PostgreSQL names no database")?;
        let mut postgres = Self {
            server: server.to_owned(),
            name: "postgres".to_owned(),
            process: 0,
        };
        // Any process that stays: its parent is the server.
        let child = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        postgres.process = parent(postgres.sql(child)?.trim())?;
        postgres.sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        postgres.sql(&format!("CREATE DATABASE {name}"))?;
        Ok(postgres.beside(name))
    }

    fn beside(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// Runs statements, and returns what the last of them answers, without decoration.
    ///
    /// # Errors
    /// The first one's.
    pub(crate) fn sql(&self, statements: &str) -> anyhow::Result<String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url())
            .args(["-c", statements]);
        output(psql, "psql")
    }

    /// One of PostgreSQL's programs.
    pub(crate) fn tool(name: &str) -> PathBuf {
        let on_path = std::env::var_os("PATH")
            .into_iter()
            .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let debian = versions.map(|version| version.path().join("bin"));
        on_path
            .chain(debian)
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
            .unwrap_or_else(|| PathBuf::from(name))
    }
}

fn parent(process: &str) -> anyhow::Result<u32> {
    let path = Path::new("/proc").join(process).join("stat");
    let stat = std::fs::read_to_string(path).context("PostgreSQL must run on this machine")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let parent = fields
        .split_whitespace()
        .nth(1)
        .and_then(|parent| parent.parse().ok());
    parent.context("PostgreSQL's first process is not known")
}

/// Runs a program to its end, and returns what it prints.
///
/// # Errors
/// When it fails, with what it says about that.
pub(crate) fn output(mut command: Command, name: &str) -> anyhow::Result<String> {
    // PGHOST, PGOPTIONS and the like speak of another server.
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("PG")) {
        command.env_remove(variable);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = said.lines().take(4).collect();
        bail!("{name} failed: {}", first.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
