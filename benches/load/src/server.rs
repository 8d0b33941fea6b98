//! The server under test, as a process of its own.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::database::output;

/// How long it may take to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// Limits stay switched on, and this benchmark from one address does not reach them. Everything else is as it
/// comes.
const LIMITS: [&str; 4] = [
    "ADDRESS_PER_MINUTE",
    "ADDRESS_BURST",
    "KEY_PER_MINUTE",
    "KEY_BURST",
];
const ENDLESS: &str = "1000000000";

/// What it is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) program: PathBuf,
    pub(crate) database_url: String,
    /// Where its keys lie.
    pub(crate) folder: PathBuf,
}

/// A running server; ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    setup: Setup,
    pub(crate) address: SocketAddr,
    /// The most memory of its own that was seen.
    most: Cell<u64>,
}

/// Resident memory, in bytes. The pages of a mapped file are not among it: they are the operating system's,
/// which has them anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most that was seen.
    pub(crate) most: u64,
    /// Pages of mapped files now.
    pub(crate) mapped: u64,
}

impl Setup {
    /// A command of the program on this database.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--database-url", &self.database_url, "--keys-dir"])
            .arg(self.folder.join("keys"))
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
            command.env_remove(name);
        }
        for limit in LIMITS {
            command.env(format!("COUNTERSIGN_RATE_LIMIT_{limit}"), ENDLESS);
        }
        command
    }
}

impl Server {
    /// Starts it on a free port and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(setup: Setup) -> anyhow::Result<Self> {
        fs::create_dir_all(&setup.folder)?;
        let mut child = setup
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            // At its usual level; where it goes is somebody else's time.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", setup.program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "the server did not start: run `{} serve` to see why",
                setup.program.display()
            );
        };
        Ok(Self {
            child,
            setup,
            address,
            most: Cell::new(0),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An API token of this role, made at the command line.
    ///
    /// # Errors
    /// The command's.
    pub(crate) fn make_token(&self, role: &str) -> anyhow::Result<String> {
        let arguments = ["token", "create", "--role", role, "--account", role];
        let printed = output(self.setup.command(&arguments), "countersign token create")?;
        Ok(printed.trim().to_owned())
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let now = kibibytes(&status, "RssAnon:");
        self.most.set(self.most.get().max(now));
        Memory {
            now,
            most: self.most.get(),
            mapped: kibibytes(&status, "RssFile:"),
        }
    }

    /// Lets it finish and waits for its end.
    ///
    /// # Errors
    /// When it does not stop, or not well.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &self.id().to_string()]);
        output(kill, "kill")?;
        let deadline = Instant::now() + STOPS_WITHIN;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server ended badly: {status}"),
                None if Instant::now() > deadline => bail!("the server does not stop"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.setup.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Has ended already unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of `/proc/<id>/status` in bytes.
fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nRssAnon:\t    2048 kB\nRssFile:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "RssFile:"), 1 << 20);
        assert_eq!(kibibytes(status, "RssAnon:"), 2 << 20);
        assert_eq!(kibibytes(status, "VmSwap:"), 0);
    }
}
