//! The program itself, started as a user would.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::database::TestDatabase;
use super::persona::Persona;

/// How long anything may take before the test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running `countersign serve`.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) base: String,
    log: Option<std::thread::JoinHandle<String>>,
}

/// The program with the flags of this database, in the database's folder.
pub(crate) fn countersign(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .args(["--database-url", &database.url, "--keys-dir"])
        .arg(database.keys_dir())
        .current_dir(database.folder.path())
        .stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    // Tests call as often as they like, all from one address.
    command.env("COUNTERSIGN_RATE_LIMIT_ENABLED", "false");
    command
}

/// Runs a command to its end.
pub(crate) fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    countersign(database, arguments).output().unwrap()
}

/// Runs a command with something on its standard input.
pub(crate) fn run_with_input(database: &TestDatabase, arguments: &[&str], input: &str) -> Output {
    let mut child = countersign(database, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have refused without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a test without `async` calls the server with.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs a command that must succeed, and returns its standard output.
#[track_caller]
pub(crate) fn run_ok(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = run(database, arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail, and returns its one line of complaint.
#[track_caller]
pub(crate) fn run_refused(database: &TestDatabase, arguments: &[&str]) -> String {
    complaint(&run(database, arguments))
}

/// The one line that a failed command leaves.
#[track_caller]
pub(crate) fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "it did not fail");
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| line.starts_with("countersign: "))
        .collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    lines[0].to_owned()
}

impl ServerProcess {
    /// Starts the server and waits until it says that it listens.
    pub(crate) fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[])
    }

    pub(crate) fn start_with(database: &TestDatabase, more: &[&str]) -> Self {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(more);
        let mut child = countersign(database, &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(base) = line.strip_prefix("listening on ") else {
            let _ = child.kill();
            panic!("it printed {line:?} and logged {}", log.join().unwrap());
        };
        Self {
            child,
            base: base.trim().to_owned(),
            log: Some(log),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Someone with a new admin token, made at the command line beside the running server.
    pub(crate) fn admin(&self, database: &TestDatabase) -> Persona {
        let token = run_ok(
            database,
            &["token", "create", "--role", "admin", "--account", "ci"],
        );
        Persona::new(&self.base, Some(token.trim().to_owned()))
    }

    pub(crate) fn software(&self) -> Persona {
        Persona::new(&self.base, None)
    }

    /// Ends it at once, as `kill -9` does; returns its log.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.take().unwrap().join().unwrap()
    }

    /// Asks it to stop and waits for that; returns how it ended and its log.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server did not stop");
            std::thread::sleep(Duration::from_millis(5));
        };
        (status, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
