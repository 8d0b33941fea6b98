//! Backups of a PostgreSQL database: the keys are packed, and PostgreSQL's own tools do the rest.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Archive, goes_on, unpacked, with_a_sold_key};
use crate::support::database::TestDatabase;
use crate::support::process::{ServerProcess, countersign, run_ok, run_refused};

/// Runs a command line that was printed, with PostgreSQL's tools of this machine.
fn run_printed(line: &str, folder: &Path) {
    let mut path = std::env::var("PATH").unwrap_or_default();
    for version in fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
    {
        path = format!("{}:{path}", version.path().join("bin").display());
    }
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn printed_command<'a>(text: &'a str, tool: &str) -> &'a str {
    text.lines()
        .map(str::trim)
        .find(|line| line.starts_with(tool))
        .unwrap_or_else(|| panic!("no {tool} in {text}"))
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn with_postgresql_the_keys_are_packed_and_the_printed_commands_do_the_rest() {
    let mut database = TestDatabase::postgres();
    let (key, token) = with_a_sold_key(&database);
    let archive = Archive::new();
    let plain = database.url.clone();
    let mut url = url::Url::parse(&plain).unwrap();
    url.set_password(Some("very-secret")).unwrap();
    database.url = url.into();
    let output = countersign(&database, &["backup", archive.text()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let noted = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !said.contains("very-secret"),
        "{said} {noted}"
    );
    assert!(noted.contains("PGPASSWORD"), "{noted}");
    let names: Vec<_> = unpacked(&archive.path)
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert!(
        !names.contains(&"countersign.db".to_owned()) && names.len() == 4,
        "{names:?}"
    );
    run_printed(printed_command(&said, "pg_dump"), archive.folder.path());
    database.url = plain;

    let migrated = TestDatabase::postgres();
    let refused = run_refused(&migrated, &["restore", archive.text()]);
    assert!(refused.contains("make an empty one"), "{refused}");
    assert!(!migrated.keys_dir().exists());
    let refused = run_refused(&TestDatabase::sqlite(), &["restore", archive.text()]);
    assert!(refused.contains("postgres://"), "{refused}");

    let other = TestDatabase::empty_postgres();
    let said = run_ok(&other, &["restore", archive.text()]);
    assert!(said.contains("before the server is started"), "{said}");
    run_printed(printed_command(&said, "pg_restore"), archive.folder.path());
    goes_on(&other, &key, &token);

    // The other way round: the database first, then the keys, which must be its own.
    fs::remove_dir_all(other.keys_dir()).unwrap();
    let said = run_ok(&other, &["restore", archive.text()]);
    assert!(!said.contains("pg_restore"), "{said}");
    goes_on_starting(&other);
    let stranger = TestDatabase::postgres();
    assert!(ServerProcess::start(&stranger).terminate().0.success());
    fs::remove_dir_all(stranger.keys_dir()).unwrap();
    let refused = run_refused(&stranger, &["restore", archive.text()]);
    assert!(refused.contains("do not fit"), "{refused}");
    assert!(!stranger.keys_dir().exists());
}

fn goes_on_starting(database: &TestDatabase) {
    assert!(ServerProcess::start(database).terminate().0.success());
}
