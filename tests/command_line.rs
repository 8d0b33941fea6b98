//! The program as a user starts it: its messages, its exit codes, its clean end.

use std::process::Command;

use diesel::connection::SimpleConnection;
use serde_json::json;

use crate::support::database::{TestDatabase, server_url, with_database};
use crate::support::process::{ServerProcess, complaint, countersign, run_ok, run_refused};
use crate::support::processes_on_both_databases;

fn run_with_url(url: &str) -> String {
    let mut database = TestDatabase::sqlite();
    url.clone_into(&mut database.url);
    run_refused(&database, &["serve", "--listen", "127.0.0.1:0"])
}

/// A port on this machine that nobody listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

processes_on_both_databases! {
    fn a_token_is_printed_alone_before_the_first_start_and_beside_a_running_server(database: TestDatabase) {
        let create = ["token", "create", "--role", "admin", "--account", "ci"];
        let first = run_ok(database, &create);
        assert_eq!(first.lines().count(), 1);
        assert!(first.starts_with("cst_"));
        let server = ServerProcess::start(database);
        let second = run_ok(database, &create);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for token in [first, second] {
            let persona = crate::support::Persona::new(&server.base, Some(token.trim().to_owned()));
            runtime.block_on(async { persona.get("/v1/accounts").await.ok() });
        }
        let other_role = run_refused(database, &["token", "create", "--role", "shop", "--account", "ci"]);
        assert!(other_role.contains("has the role admin"), "{other_role}");
        assert!(server.terminate().0.success());
    }

    fn a_stop_finishes_what_was_begun_and_ends_with_zero(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let admin = server.admin(database);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (answered, answers) = std::sync::mpsc::channel();
        runtime.block_on(async {
            admin.make_stocked_product("editor", "", &["K1"]).await;
            let (_, key) = admin.buy("1", "editor").await;
            for client in 0..16 {
                let (software, key, answered) = (server.software(), key.clone(), answered.clone());
                tokio::spawn(async move {
                    for number in 0.. {
                        let installation = format!("m{client}-{number}");
                        let body = json!({ "key": key, "installation_id": installation });
                        let request = software.request(reqwest::Method::POST, "/v1/activations").json(&body);
                        match request.send().await {
                            Ok(response) if response.status() == 201 => answered.send(installation).unwrap(),
                            Ok(response) => panic!("{}", response.status()),
                            Err(_) => break,
                        }
                    }
                });
            }
        });
        drop(answered);
        let mut told: Vec<String> = (0..100).map(|_| answers.recv().unwrap()).collect();
        let (status, log) = server.terminate();
        assert!(status.success(), "{log}");
        told.extend(answers.iter());
        let mut conn = database.connect();
        let stored = "SELECT installation_id AS text FROM activations";
        let stored: std::collections::HashSet<_> =
            crate::support::database::texts(&mut conn, stored).into_iter().collect();
        assert!(told.iter().all(|installation| stored.contains(installation)), "an answered activation is lost");
        database.check_integrity();
    }

    fn what_was_held_in_memory_is_written_at_the_stop(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let admin = server.admin(database);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            admin.make_stocked_product("editor", "", &["K1"]).await;
            let (_, key) = admin.buy("1", "editor").await;
            let first = admin.activate(&key, "m1").await.ok();
            admin.post("/v1/activations/renew", json!({ "token": first["token"] })).await.ok();
            admin.activate("unknown", "m1").await.refused(404, "key_not_found");
        });
        assert!(server.terminate().0.success());
        let mut conn = database.connect();
        let seen = "SELECT COUNT(*) AS number FROM activations WHERE last_seen_at > activated_at";
        assert_eq!(crate::support::database::number(&mut conn, seen), 1);
        let refused = "SELECT COUNT(*) AS number FROM refusals";
        assert_eq!(crate::support::database::number(&mut conn, refused), 1);
    }

    fn a_database_of_a_newer_version_is_refused(database: TestDatabase) {
        run_ok(database, &["migrate"]);
        let newer = "INSERT INTO __diesel_schema_migrations (version, run_on) \
            VALUES ('99991231000000', CURRENT_TIMESTAMP)";
        database.connect().batch_execute(newer).unwrap();
        for command in [&["serve"][..], &["migrate"], &["migrate", "--revert"], &["token", "create", "--role", "admin", "--account", "x"]] {
            let message = run_refused(database, command);
            assert!(message.contains("99991231000000") && message.contains("newer version"), "{message}");
        }
    }

    fn an_idle_server_uses_little_memory(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let admin = server.admin(database);
        tokio::runtime::Runtime::new().unwrap().block_on(async { admin.get("/v1/products").await.ok() });
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        // An unoptimised build is a little larger than the one that is shipped.
        assert!(kib < 40 * 1024, "{line}");
        assert!(server.terminate().0.success());
    }
}

#[test]
fn a_url_of_another_kind_is_refused_with_the_two_kinds_that_there_are() {
    let message = run_with_url("mysql://localhost/x");
    assert!(
        message.contains("sqlite://") && message.contains("postgres://"),
        "{message}"
    );
}

#[test]
fn a_server_that_is_not_there_is_one_clear_line() {
    let port = closed_port();
    let message = run_with_url(&format!("postgres://nobody:secret@127.0.0.1:{port}/x"));
    assert!(
        message.contains("cannot connect to PostgreSQL") && message.contains(&port.to_string()),
        "{message}"
    );
    assert!(!message.contains("secret"), "{message}");
}

#[test]
#[cfg(not(feature = "postgres-tls"))]
fn tls_asked_of_a_build_without_it_is_one_clear_line() {
    let message = run_with_url("postgres://h/x?sslmode=verify-full");
    assert!(message.contains("postgres-tls"), "{message}");
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn a_wrong_password_and_a_missing_database_are_clear_lines() {
    let role = format!("needs_password_{}", uuid::Uuid::now_v7().simple());
    let mut admin = countersign::db::open(
        &countersign::db::DatabaseUrl::parse(&server_url()).unwrap(),
        countersign::db::Access::Write,
    )
    .unwrap();
    // `scripts/postgres` asks members of this role for a password.
    let group =
        "DO $$ BEGIN CREATE ROLE needs_password; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    admin.batch_execute(group).unwrap();
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'right' IN ROLE needs_password"
        ))
        .unwrap();
    let mut url = url::Url::parse(&with_database(&server_url(), "postgres")).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("wrong")).unwrap();
    let message = run_with_url(url.as_str());
    assert!(
        message.contains("password") && message.contains("database URL"),
        "{message}"
    );
    assert!(!message.contains("wrong"), "{message}");
    admin.batch_execute(&format!("DROP ROLE {role}")).unwrap();
    let message = run_with_url(&with_database(&server_url(), "nowhere"));
    assert!(
        message.contains("nowhere") && message.contains("create it"),
        "{message}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_line() {
    let database = TestDatabase::sqlite();
    // A file stands where the data folder should be, which stops even root.
    std::fs::write(database.folder.path().join("data"), "").unwrap();
    let message = run_refused(&database, &["serve"]);
    assert!(message.contains("data"), "{message}");
}

#[test]
fn a_file_that_is_no_database_is_one_clear_line() {
    let database = TestDatabase::sqlite();
    std::fs::create_dir(database.folder.path().join("data")).unwrap();
    std::fs::write(
        database.folder.path().join("data/countersign.db"),
        "x".repeat(5000),
    )
    .unwrap();
    let message = run_refused(&database, &["serve"]);
    assert!(
        message.contains("countersign.db") && message.contains("not a database"),
        "{message}"
    );
}

#[test]
fn a_second_server_on_the_same_file_is_refused() {
    let database = TestDatabase::sqlite();
    let server = ServerProcess::start(&database);
    let message = run_refused(&database, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(message.contains("another countersign process"), "{message}");
    assert!(server.terminate().0.success());
    assert!(ServerProcess::start(&database).terminate().0.success());
}

#[test]
fn a_second_name_of_the_same_file_is_the_same_file_and_the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut database = TestDatabase::sqlite();
    let server = ServerProcess::start(&database);
    let file = database.folder.path().join("data/countersign.db");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let link = database.folder.path().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    database.url = format!("sqlite://{}", link.display());
    let message = run_refused(&database, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(message.contains("another countersign process"), "{message}");
    run_ok(
        &database,
        &["token", "create", "--role", "admin", "--account", "by-link"],
    );
    assert!(server.terminate().0.success());
}

#[test]
fn keys_cannot_be_rotated_before_there_are_any() {
    let database = TestDatabase::sqlite();
    let message = run_refused(&database, &["keys", "rotate"]);
    assert!(message.contains("start the server once"), "{message}");
    assert!(ServerProcess::start(&database).terminate().0.success());
}

#[test]
fn a_server_whose_log_nobody_reads_goes_on_serving() {
    use std::io::{BufRead, BufReader};
    let database = TestDatabase::sqlite();
    let mut child = countersign(&database, &["serve", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let base = line.trim().trim_start_matches("listening on ").to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..3 {
        let status = runtime.block_on(async {
            reqwest::get(format!("{base}/healthz"))
                .await
                .unwrap()
                .status()
        });
        assert_eq!(status, 200);
    }
    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn the_greeting_does_not_print_a_password() {
    let mut database = TestDatabase::postgres();
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_password(Some("very-secret")).unwrap();
    database.url = url.into();
    let (status, log) = ServerProcess::start(&database).terminate();
    assert!(status.success() && log.contains("token create"), "{log}");
    assert!(!log.contains("very-secret"), "{log}");
}

#[test]
fn an_address_in_use_and_settings_that_do_not_exist_are_clear_lines() {
    let database = TestDatabase::sqlite();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let message = run_refused(&database, &["serve", "--listen", &address]);
    assert!(message.contains(&address), "{message}");
    let message = run_refused(&database, &["serve", "--listen", "nowhere"]);
    assert!(message.contains("listen"), "{message}");
    let output = countersign(&database, &["serve"])
        .env("COUNTERSIGN_TOKENS_ISUER", "me")
        .output()
        .unwrap();
    assert!(complaint(&output).contains("COUNTERSIGN_TOKENS_ISUER"));
}

#[test]
fn the_demo_plays_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("demo")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in [
        "EDIT0-PRO11-AAAAA",
        "409 activation_limit_reached",
        "403 key_revoked",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}

#[test]
fn the_demo_stays_when_it_is_asked_to_until_it_is_interrupted() {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["demo", "--keep"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let address = lines
        .find_map(|line| {
            line.trim()
                .strip_prefix("address")
                .map(|base| base.trim().to_owned())
        })
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let alive = runtime.block_on(async {
        reqwest::get(format!("{address}/healthz"))
            .await
            .unwrap()
            .status()
    });
    assert_eq!(alive, 200);
    while lines.next().is_some_and(|line| !line.contains("Ctrl-C")) {}
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
}
