//! The check-up: it tells what is wrong and what to do, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use diesel::connection::SimpleConnection;
use serde_json::Value;

use crate::support::database::{TestDatabase, texts};
use crate::support::process::{ServerProcess, countersign, run, run_ok};
use crate::support::processes_on_both_databases;

/// What was found, and the exit code.
struct CheckUp {
    report: Value,
    code: Option<i32>,
}

fn check_up(database: &TestDatabase, more: &[&str]) -> CheckUp {
    let mut arguments = vec!["doctor", "--format", "json"];
    arguments.extend(more);
    let output = run(database, &arguments);
    CheckUp {
        report: serde_json::from_slice(&output.stdout).unwrap(),
        code: output.status.code(),
    }
}

impl CheckUp {
    /// A finding as `state: detail - advice`.
    #[track_caller]
    fn of(&self, check: &str) -> String {
        let findings = self.report["findings"].as_array().unwrap();
        let finding = findings
            .iter()
            .find(|finding| finding["check"] == check)
            .unwrap_or_else(|| panic!("no {check} in {}", self.report));
        format!(
            "{}: {} - {}",
            finding["state"].as_str().unwrap(),
            finding["detail"].as_str().unwrap(),
            finding["advice"].as_str().unwrap_or("")
        )
    }

    /// The checks with a problem.
    fn problems(&self) -> Vec<&str> {
        self.in_state("problem")
    }

    fn in_state(&self, state: &str) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap().iter();
        findings
            .filter(|finding| finding["state"] == state)
            .map(|finding| finding["check"].as_str().unwrap())
            .collect()
    }

    /// That one thing is a problem, that the text says so, and that the exit code does.
    #[track_caller]
    fn has_problem(&self, check: &str, words: &[&str]) {
        let found = self.of(check);
        assert!(found.starts_with("problem"), "{found}");
        for word in words {
            assert!(found.contains(word), "{found} does not say {word}");
        }
        assert_eq!(self.code, Some(1));
        assert_eq!(self.report["healthy"], false);
    }
}

fn started_once(database: &TestDatabase) {
    assert!(ServerProcess::start(database).terminate().0.success());
}

/// The files that came, went or changed. By way of `-shm` readers take turns, so its content is nothing to
/// compare.
fn differences(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
) -> Vec<String> {
    let differs = |name: &&String| match (before.get(*name), after.get(*name)) {
        (Some(before), Some(after)) => before != after && !name.ends_with("-shm"),
        _ => true,
    };
    let names = before.keys().chain(after.keys());
    names.filter(differs).cloned().collect()
}

/// Every file under a folder with its content.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&path));
            found.insert(path.display().to_string(), Vec::new());
        } else if entry.file_type().unwrap().is_file() {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        } else {
            found.insert(path.display().to_string(), Vec::new());
        }
    }
    found
}

processes_on_both_databases! {
    fn a_healthy_server_and_its_files_have_no_problem(database: TestDatabase) {
        // What the database server itself was set to is not ours to judge here.
        let lax = !database.is_sqlite()
            && texts(&mut database.connect(), "SELECT current_setting('fsync') AS text") == ["off"];
        let server = ServerProcess::start(database);
        let beside = check_up(database, &[]);
        assert!(server.terminate().0.success());
        let alone = check_up(database, &[]);
        for found in [&beside, &alone] {
            let expected: &[&str] = if lax { &["durability"] } else { &[] };
            assert_eq!(found.problems(), expected, "{}", found.report);
            assert_eq!(found.in_state("warning"), [""; 0], "{}", found.report);
            assert_eq!(found.code, Some(i32::from(lax)));
            assert!(found.of("schema").contains("up to date"));
            assert!(found.of("keys").contains("2 signing keys"));
            let setting = |name: &str| {
                let settings = found.report["settings"].as_array().unwrap();
                settings.iter().find(|setting| setting["name"] == name).unwrap().clone()
            };
            assert_eq!(setting("keys_dir")["origin"], "--keys-dir");
            assert!(setting("listen")["origin"].is_null());
        }
        if database.is_sqlite() {
            assert!(beside.of("server").contains("takes commands"), "{}", beside.of("server"));
            assert!(alone.of("server").contains("none runs"));
            assert!(alone.of("sqlite").contains("as it should be"), "{}", alone.of("sqlite"));
            assert!(alone.of("integrity").contains("whole"));
        } else {
            assert!(alone.of("clocks").contains("ms apart"));
            assert!(alone.of("connections").contains("up to 18"));
            assert!(alone.of("encoding").contains("UTF8"));
        }
    }

    fn key_files_that_are_exposed_missing_damaged_or_foreign_are_problems(database: TestDatabase) {
        started_once(database);
        let vault = database.keys_dir().join("vault.key");
        fs::set_permissions(&vault, fs::Permissions::from_mode(0o644)).unwrap();
        check_up(database, &[]).has_problem("keys", &["vault.key", "chmod 600"]);
        fs::set_permissions(&vault, fs::Permissions::from_mode(0o600)).unwrap();
        let own = fs::read(&vault).unwrap();
        fs::write(&vault, "nonsense").unwrap();
        check_up(database, &[]).has_problem("keys", &["vault.key", "damaged"]);
        fs::write(&vault, &own).unwrap();

        let other = TestDatabase::sqlite();
        started_once(&other);
        let elsewhere = other.keys_dir().display().to_string();
        let mut command = countersign(database, &["doctor"]);
        let output = command.env("COUNTERSIGN_KEYS_DIR", &elsewhere).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("fit the database"), "a flag stands above a variable");
        fs::copy(other.keys_dir().join("vault.key"), &vault).unwrap();
        check_up(database, &[]).has_problem("keys", &["vault.key", "not the one"]);
        fs::remove_file(&vault).unwrap();
        check_up(database, &[]).has_problem("keys", &["vault.key", "missing"]);
        assert!(!vault.exists(), "it made none");
        fs::write(&vault, &own).unwrap();
        fs::set_permissions(&vault, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(check_up(database, &[]).of("keys").starts_with("ok"));
    }

    fn a_schema_that_is_older_is_a_warning_and_a_newer_one_a_problem(database: TestDatabase) {
        run_ok(database, &["migrate"]);
        run_ok(database, &["migrate", "--revert"]);
        let older = check_up(database, &[]).of("schema");
        assert!(older.starts_with("warning") && older.contains("countersign migrate"), "{older}");
        run_ok(database, &["migrate"]);
        let newer = "INSERT INTO __diesel_schema_migrations (version, run_on) \
            VALUES ('99991231000000', CURRENT_TIMESTAMP)";
        database.connect().batch_execute(newer).unwrap();
        check_up(database, &[]).has_problem("schema", &["99991231000000", "newer version"]);
    }

    fn a_clock_behind_the_newest_event_is_a_problem(database: TestDatabase) {
        run_ok(database, &["token", "create", "--role", "admin", "--account", "ci"]);
        assert!(check_up(database, &[]).of("clock").starts_with("ok"));
        let later = "UPDATE events SET at = 4102444800000000";
        database.connect().batch_execute(later).unwrap();
        check_up(database, &[]).has_problem("clock", &["2100-01-01", "time server"]);
    }
}

#[test]
fn before_the_first_start_nothing_is_wrong_and_nothing_is_made() {
    let database = TestDatabase::sqlite();
    let found = check_up(&database, &[]);
    assert_eq!(found.code, Some(0), "{}", found.report);
    assert!(
        found.of("database").contains("there is no database at"),
        "{}",
        found.of("database")
    );
    assert_eq!(found.problems(), [""; 0]);
    for (check, flag) in [("database", "--data-dir"), ("keys", "--keys-dir")] {
        let warning = found.of(check);
        for words in ["warning: there ", " yet", "the first start makes", flag] {
            assert!(warning.contains(words), "{warning} does not say {words}");
        }
    }
    assert_eq!(fs::read_dir(database.folder.path()).unwrap().count(), 0);
}

#[test]
fn it_changes_no_file_beside_a_server_after_a_crash_and_after_a_clean_stop() {
    let database = TestDatabase::sqlite();
    let server = ServerProcess::start(&database);
    server.admin(&database);
    let unchanged = |but_for: &str| {
        let before = contents(database.folder.path());
        let found = check_up(&database, &[]);
        assert_eq!(found.code, Some(0), "{}", found.report);
        let after = contents(database.folder.path());
        let mut differing = differences(&before, &after);
        differing.retain(|name| but_for.is_empty() || !name.ends_with(but_for));
        assert_eq!(differing, [""; 0]);
    };
    // The server itself may have something to write.
    unchanged("-wal");
    server.kill();
    let left = database.folder.path().join("data/countersign.db-wal");
    assert!(
        fs::metadata(left).unwrap().len() > 1000,
        "the crash left something"
    );
    unchanged("");
    started_once(&database);
    unchanged("");
}

#[test]
fn a_damaged_file_and_one_that_is_no_database_are_problems() {
    let database = TestDatabase::sqlite();
    started_once(&database);
    let file = database.folder.path().join("data/countersign.db");
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    // Past the first page, which holds the schema.
    bad[8192..16_384].fill(0x5a);
    fs::write(&file, &bad).unwrap();
    check_up(&database, &[]).has_problem("integrity", &["backup"]);
    fs::write(&file, "x".repeat(5000)).unwrap();
    check_up(&database, &[]).has_problem("database", &["not a database"]);
    fs::write(&file, &good).unwrap();
    assert_eq!(check_up(&database, &[]).code, Some(0));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = check_up(&database, &[]).of("database");
    assert!(
        open.starts_with("warning") && open.contains("chmod 600"),
        "{open}"
    );
}

#[test]
fn a_server_that_commands_do_not_reach_is_a_warning() {
    let database = TestDatabase::sqlite();
    let server = ServerProcess::start(&database);
    fs::remove_file(database.folder.path().join("data/countersign.db.sock")).unwrap();
    let found = check_up(&database, &[]);
    assert!(
        found.of("server").starts_with("warning"),
        "{}",
        found.of("server")
    );
    assert!(server.terminate().0.success());
}

#[test]
fn a_setting_that_does_not_exist_and_a_server_that_is_not_there_are_problems() {
    let mut database = TestDatabase::sqlite();
    let output = countersign(&database, &["doctor"])
        .env("COUNTERSIGN_TOKENS_ISUER", "me")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("problem  settings"), "{text}");
    assert!(text.contains("COUNTERSIGN_TOKENS_ISUER"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    database.url = "postgres://nobody:secret@127.0.0.1:1/x".into();
    let found = check_up(&database, &[]);
    found.has_problem("database", &["cannot connect"]);
    assert!(
        !found.report.to_string().contains("secret"),
        "{}",
        found.report
    );
}
