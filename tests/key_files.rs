//! Key files: made once, private, and refused when they are not the right ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::database::TestDatabase;
use crate::support::process::{ServerProcess, run_ok, run_refused};
use crate::support::processes_on_both_databases;

fn started_once(database: &TestDatabase) {
    let (status, log) = ServerProcess::start(database).terminate();
    assert!(status.success(), "{log}");
}

fn files(database: &TestDatabase) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(database.keys_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The file whose name starts like this.
fn file(database: &TestDatabase, prefix: &str) -> PathBuf {
    let named = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    };
    files(database).into_iter().find(named).unwrap()
}

fn mode(path: &PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

processes_on_both_databases! {
    fn the_first_start_makes_private_key_files_and_the_next_one_uses_them(database: TestDatabase) {
        started_once(database);
        let made = files(database);
        assert_eq!(made.len(), 3, "{made:?}");
        assert!(made.iter().all(|path| mode(path) == 0o600), "{made:?}");
        let texts: Vec<_> = made.iter().map(|path| fs::read(path).unwrap()).collect();
        started_once(database);
        assert_eq!(files(database), made);
        assert_eq!(made.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), texts);
    }

    fn a_file_that_others_can_read_stops_the_start_and_is_named(database: TestDatabase) {
        started_once(database);
        for path in files(database) {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let message = run_refused(database, &["serve"]);
            assert!(message.contains(path.to_str().unwrap()) && message.contains("chmod 600"), "{message}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        started_once(database);
    }

    fn a_damaged_file_stops_the_start_and_is_named(database: TestDatabase) {
        started_once(database);
        for path in files(database) {
            let good = fs::read(&path).unwrap();
            for bad in [Vec::new(), good[..good.len() / 2].to_vec(), b"\xff\xfe".to_vec()] {
                fs::write(&path, bad).unwrap();
                let message = run_refused(database, &["serve"]);
                assert!(message.contains(path.to_str().unwrap()), "{message}");
                assert!(message.contains("damaged") && message.contains("backup"), "{message}");
            }
            fs::write(&path, good).unwrap();
        }
        started_once(database);
    }

    fn a_missing_file_stops_the_start_and_is_named_and_not_made_anew(database: TestDatabase) {
        started_once(database);
        for path in files(database) {
            let away = path.with_extension("away");
            fs::rename(&path, &away).unwrap();
            let message = run_refused(database, &["serve"]);
            assert!(message.contains(path.to_str().unwrap()) && message.contains("missing"), "{message}");
            assert!(!path.exists());
            fs::rename(&away, &path).unwrap();
        }
        started_once(database);
    }

    fn the_files_of_another_database_stop_the_start(database: TestDatabase) {
        started_once(database);
        let other = TestDatabase::sqlite();
        started_once(&other);
        let vault = file(database, "vault.key");
        let own = fs::read(&vault).unwrap();
        fs::write(&vault, fs::read(file(&other, "vault.key")).unwrap()).unwrap();
        let message = run_refused(database, &["serve"]);
        assert!(message.contains(vault.to_str().unwrap()) && message.contains("not the one"), "{message}");
        fs::write(&vault, own).unwrap();

        let signing = file(database, "signing-");
        let own = fs::read(&signing).unwrap();
        fs::write(&signing, fs::read(file(&other, "signing-")).unwrap()).unwrap();
        let message = run_refused(database, &["serve"]);
        assert!(message.contains(signing.to_str().unwrap()) && message.contains("not the one"), "{message}");
        fs::write(&signing, own).unwrap();
        started_once(database);
    }

    fn a_rotation_beside_a_running_server_changes_the_key_that_signs(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let before = run_ok(database, &["keys", "show"]);
        let kid = |text: &str, state: &str| {
            let line = text.lines().find(|line| line.contains(state)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        let after = run_ok(database, &["keys", "rotate"]);
        assert_eq!(kid(&after, "signing"), kid(&before, "next"));
        assert_eq!(kid(&after, "retired"), kid(&before, "signing"));
        assert_eq!(after.lines().count(), 3);
        let jwks = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { server.software().get("/.well-known/jwks.json").await.text })
        };
        while !jwks().contains(&kid(&after, "next")) {
            std::thread::yield_now();
        }
        let pem = run_ok(database, &["keys", "show", "--format", "pem"]);
        assert_eq!(pem.matches("BEGIN PUBLIC KEY").count(), 3);
        let (status, log) = server.terminate();
        assert!(status.success(), "{log}");
        started_once(database);
    }
}

#[test]
fn keys_that_are_there_before_the_database_are_taken_over() {
    let first = TestDatabase::sqlite();
    started_once(&first);
    let kept = files(&first);
    fs::remove_dir_all(first.folder.path().join("data")).unwrap();
    started_once(&first);
    assert_eq!(files(&first), kept);
}

#[test]
fn mounted_secrets_that_the_group_may_read_are_accepted_when_the_settings_say_so() {
    let database = TestDatabase::sqlite();
    started_once(&database);
    for path in files(&database) {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let settings = database.folder.path().join("settings.toml");
    fs::write(&settings, "[keys]\nallow_group_read = true\n").unwrap();
    let server = ServerProcess::start_with(&database, &["--config", settings.to_str().unwrap()]);
    assert!(server.terminate().0.success());
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn processes_that_start_first_at_the_same_time_make_one_set_of_keys() {
    let database = TestDatabase::empty_postgres();
    let servers: Vec<_> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| ServerProcess::start(&database)))
            .collect();
        starting
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(files(&database).len(), 3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let published: std::collections::HashSet<_> = servers
        .iter()
        .map(|server| {
            runtime.block_on(async { server.software().get("/.well-known/jwks.json").await.text })
        })
        .collect();
    assert_eq!(published.len(), 1, "{published:?}");
    for server in servers {
        assert!(server.terminate().0.success());
    }
}
