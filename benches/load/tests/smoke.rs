//! The whole tool once over, on few keys and without waiting for good figures: it still knows the server, its
//! tables and its answers. The server's program is the one that the workspace's tests are built with.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs the tool; returns what it printed and the file that it wrote.
fn run(database: &str, more: &[&str]) -> (String, Value) {
    let tool = Path::new(env!("CARGO_BIN_EXE_countersign-load"));
    let server = tool.with_file_name("countersign");
    assert!(server.is_file(), "build the server first: cargo build");
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let output = Command::new(tool)
        .arg("--server")
        .arg(&server)
        .args([
            "--quick",
            "--keys",
            "500",
            "--keys",
            "1000",
            "--rounds",
            "1",
            "--measure",
            "0.2",
            "--soak",
            "0.5",
        ])
        .args(["--database", database])
        .args(more)
        .arg("--folder")
        .arg(folder.path())
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let json = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), json)
}

/// Asserts that everything was answered in every round, and rightly. How fast is not looked at: the machine may
/// have a lot to do.
fn check(json: &Value, least: usize) {
    let series = json["series"].as_array().unwrap();
    assert!(series.len() >= least, "{} of {least}", series.len());
    for one in series {
        for round in one["rounds"].as_array().unwrap() {
            let done = round["latency"]["most"].as_f64().or(round["rate"].as_f64());
            assert!(done.unwrap() > 0.0, "{one}");
            assert_eq!(round["wrong"], 0, "{one}");
        }
    }
}

/// Everything that needs no program besides.
const WITHOUT_TOOLS: [&str; 7] = [
    "hot",
    "activate",
    "connections",
    "growth",
    "contended",
    "issue",
    "soak",
];

#[test]
fn everything_runs_on_sqlite() {
    let only: Vec<&str> = WITHOUT_TOOLS
        .into_iter()
        .flat_map(|group| ["--only", group])
        .collect();
    let (printed, json) = run("sqlite", &only);
    check(&json, 18);
    for figure in [
        "activate, SQLite, 64 clients / same statements",
        "the mixed run",
        "none gone",
    ] {
        assert!(printed.contains(figure), "{figure} is not in {printed}");
    }
}

#[test]
#[ignore = "needs the program sqlite3"]
fn an_import_is_compared_with_that_of_sqlite3() {
    let (printed, json) = run("sqlite", &["--only", "bulk"]);
    check(&json, 2);
    assert!(printed.contains("sqlite3 .import"), "{printed}");
}

/// Needs PostgreSQL with its programs, at `TEST_DATABASE_URL`.
#[test]
#[ignore = "needs PostgreSQL"]
fn everything_runs_on_postgres() {
    let url = std::env::var("TEST_DATABASE_URL").unwrap();
    let (printed, json) = run("postgres", &["--postgres-url", &url]);
    check(&json, 20);
    for figure in [
        "pgbench running the same SELECT",
        "pgbench one statement each",
        "psql \\copy",
        "the mixed run",
    ] {
        assert!(printed.contains(figure), "{figure} is not in {printed}");
    }
}
