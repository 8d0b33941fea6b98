//! People who sign in to the console: by HTTP and at the command line.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::database::{TestDatabase, number, texts};
use crate::support::process::{ServerProcess, complaint, countersign, run, run_ok, run_refused};
use crate::support::{on_both_databases, processes_on_both_databases};

const WORDS: &str = "correct horse battery staple";

fn ada() -> Value {
    json!({ "email": "Ada@example.com", "name": "Ada", "role": "admin", "password": WORDS })
}

on_both_databases! {
    async fn a_person_is_added_changed_and_removed_and_the_password_is_never_seen_again(app: TestApp) {
        let answer = app.admin.post("/v1/users", ada()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let made = answer.json();
        assert_eq!((&made["email"], &made["role"]), (&json!("Ada@example.com"), &json!("admin")));
        assert_eq!((&made["has_password"], &made["disabled"]), (&json!(true), &json!(false)));
        let path = format!("/v1/users/{}", made["id"]);
        assert_eq!(app.admin.get(&path).await.json(), made);
        app.admin.post("/v1/users", json!({ "email": "bob@example.com", "role": "admin" })).await.ok();

        app.pass_seconds(5);
        let change = json!({ "name": null, "role": "viewer", "disabled": true, "password": "another long one" });
        let changed = app.admin.patch(&path, change).await.ok();
        assert_eq!((&changed["name"], &changed["role"]), (&json!(null), &json!("viewer")));
        assert_eq!(changed["disabled_at"], "2026-11-22T10:00:05Z");
        assert_eq!(changed["updated_at"], changed["disabled_at"]);
        app.pass_seconds(5);
        let same = app.admin.patch(&path, json!({ "disabled": true })).await.ok();
        assert_eq!(same, changed, "nothing new, nothing changed");

        let list = app.admin.get("/v1/users").await;
        assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
        for secret in [WORDS, "argon2", "another long one"] {
            assert!(!list.text.contains(secret) && !answer.text.contains(secret));
        }
        assert_eq!(app.admin.delete(&path).await.status, 204);
        app.admin.get(&path).await.refused(404, "user_not_found");
        app.admin.patch(&path, json!({})).await.refused(404, "user_not_found");
        app.admin.delete(&path).await.refused(404, "user_not_found");
    }

    async fn what_is_stored_of_a_password_is_an_argon2id_hash(app: TestApp) {
        app.admin.post("/v1/users", ada()).await.ok();
        let stored = texts(&mut app.database.connect(), "SELECT password_hash AS text FROM users");
        assert!(stored[0].starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored:?}");
    }

    async fn events_name_people_by_id_and_hold_neither_addresses_nor_names_nor_hashes(app: TestApp) {
        let id = app.admin.post("/v1/users", ada()).await.ok()["id"].clone();
        app.admin.post("/v1/users", json!({ "email": "bob@example.com", "role": "admin" })).await.ok();
        let change = json!({ "email": "countess@example.com", "name": "Lovelace", "password": "another long one" });
        app.admin.patch(&format!("/v1/users/{id}"), change).await.ok();
        app.admin.delete(&format!("/v1/users/{id}")).await;
        let query = "SELECT action || ' ' || subject_id || ' ' || detail AS text FROM events \
            WHERE subject_type = 'user' ORDER BY id";
        let events = texts(&mut app.database.connect(), query);
        assert_eq!(events.len(), 4, "{events:?}");
        assert!(events[2].starts_with(&format!("user.updated {id}")), "{events:?}");
        assert!(events[2].contains(r#""changed":["email","name","password"]"#), "{events:?}");
        let all = events.join("").to_lowercase();
        for personal in ["@", "ada", "lovelace", "countess", "argon2"] {
            assert!(!all.contains(personal), "{events:?}");
        }
    }

    async fn an_address_belongs_to_one_person_in_whatever_case_it_is_written(app: TestApp) {
        let first = app.admin.post("/v1/users", ada()).await.ok();
        let taken = app.admin.post("/v1/users", json!({ "email": "ADA@EXAMPLE.com", "role": "viewer" })).await;
        taken.refused(409, "already_exists");
        assert!(!taken.text.to_lowercase().contains("ada@"), "{}", taken.text);
        let second = app.admin.post("/v1/users", json!({ "email": "bob@example.com", "role": "viewer" })).await.ok();
        let path = format!("/v1/users/{}", second["id"]);
        app.admin.patch(&path, json!({ "email": "ada@Example.com" })).await.refused(409, "already_exists");
        let path = format!("/v1/users/{}", first["id"]);
        let own = app.admin.patch(&path, json!({ "email": "ada@example.com" })).await.ok();
        assert_eq!(own["email"], "ada@example.com");
    }

    async fn wrong_members_are_named_and_a_password_is_not_repeated(app: TestApp) {
        for (member, value) in [
            ("email", json!("nobody")),
            ("email", json!(null)),
            ("role", json!("shop")),
            ("password", json!("too-short")),
            ("password", json!("a".repeat(1025))),
            ("password", json!(["secret-in-a-list"])),
            ("disabled", json!("secret-word")),
            ("surname", json!("x")),
        ] {
            let mut body = ada();
            body[member] = value;
            let answer = app.admin.post("/v1/users", body.clone()).await;
            answer.refused(422, "validation_failed");
            assert_eq!(answer.json()["errors"][0]["field"], member, "{}", answer.text);
            assert!(!answer.text.contains("too-short") && !answer.text.contains("secret-"), "{}", answer.text);
        }
        assert_eq!(app.admin.get("/v1/users").await.json()["items"], json!([]));
    }

    async fn the_last_enabled_admin_stays_one(app: TestApp) {
        let id = app.admin.post("/v1/users", ada()).await.ok()["id"].clone();
        let path = format!("/v1/users/{id}");
        let viewer = json!({ "email": "eve@example.com", "role": "viewer" });
        let viewer = app.admin.post("/v1/users", viewer).await.ok()["id"].clone();
        let kept_out = json!({ "email": "bob@example.com", "role": "admin", "disabled": true });
        let kept_out = app.admin.post("/v1/users", kept_out).await.ok()["id"].clone();
        app.admin.patch(&path, json!({ "disabled": true })).await.refused(409, "last_admin");
        app.admin.patch(&path, json!({ "role": "viewer" })).await.refused(409, "last_admin");
        app.admin.delete(&path).await.refused(409, "last_admin");
        app.admin.patch(&path, json!({ "name": "Still here" })).await.ok();
        assert_eq!(app.admin.delete(&format!("/v1/users/{viewer}")).await.status, 204);
        app.admin.patch(&format!("/v1/users/{kept_out}"), json!({ "disabled": false })).await.ok();
        assert_eq!(app.admin.delete(&path).await.status, 204);
        app.admin.delete(&format!("/v1/users/{kept_out}")).await.refused(409, "last_admin");
    }

    async fn of_two_who_take_the_last_two_admins_away_at_once_one_is_refused(app: TestApp) {
        for round in 0..10 {
            let mut people = Vec::new();
            for name in ["a", "b"] {
                let body = json!({ "email": format!("{name}{round}@example.com"), "role": "admin" });
                people.push(app.admin.post("/v1/users", body).await.ok()["id"].clone());
            }
            if round > 0 {
                let earlier = texts(&mut app.database.connect(),
                    "SELECT CAST(MIN(id) AS TEXT) AS text FROM users WHERE role = 'admin' AND disabled_at IS NULL");
                assert_eq!(app.admin.delete(&format!("/v1/users/{}", earlier[0])).await.status, 204);
            }
            let calls = people.into_iter().enumerate().map(|(number, id)| {
                let admin = app.admin.clone();
                let path = format!("/v1/users/{id}");
                tokio::spawn(async move {
                    match (round + number) % 3 {
                        0 => admin.patch(&path, json!({ "disabled": true })).await,
                        1 => admin.patch(&path, json!({ "role": "viewer" })).await,
                        _ => admin.delete(&path).await,
                    }
                })
            });
            let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
            let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 409).collect();
            assert_eq!(refused.len(), 1, "{answers:?}");
            refused[0].refused(409, "last_admin");
            let left = "SELECT COUNT(*) AS number FROM users WHERE role = 'admin' AND disabled_at IS NULL";
            assert_eq!(number(&mut app.database.connect(), left), 1);
        }
    }
}

/// Runs a command with something on its standard input.
fn run_with_input(database: &TestDatabase, arguments: &[&str], input: &str) -> Output {
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

fn add(database: &TestDatabase, email: &str, role: &str) {
    let arguments = ["user", "add", email, "--role", role, "--password-stdin"];
    let output = run_with_input(database, &arguments, &format!("{WORDS}\n"));
    assert!(output.status.success(), "{output:?}");
}

fn people(database: &TestDatabase) -> Vec<Value> {
    serde_json::from_str(&run_ok(database, &["user", "list", "--format", "json"])).unwrap()
}

/// The same without a server and beside one.
fn manage_people(database: &TestDatabase, suffix: &str) {
    let (ada, bob) = (
        format!("ada{suffix}@example.com"),
        format!("bob{suffix}@example.com"),
    );
    let before = people(database).len();
    add(database, &ada, "admin");
    add(database, &bob, "viewer");
    let listed = people(database);
    assert_eq!(listed.len(), before + 2);
    assert_eq!(listed[before]["email"], *ada);
    assert_eq!(listed[before]["has_password"], true);
    let table = run_ok(database, &["user", "list"]);
    assert!(table.starts_with("id ") && table.contains(&bob), "{table}");

    let taken = [
        "user",
        "add",
        &ada.to_uppercase(),
        "--role",
        "admin",
        "--password-stdin",
    ];
    let refused = complaint(&run_with_input(database, &taken, WORDS));
    assert!(refused.contains("already"), "{refused}");
    run_ok(database, &["user", "disable", &bob.to_uppercase()]);
    assert_eq!(people(database)[before + 1]["disabled"], true);
    run_ok(database, &["user", "enable", &bob]);
    assert_eq!(people(database)[before + 1]["disabled"], false);
    let password = ["user", "password", &bob, "--password-stdin"];
    assert!(
        run_with_input(database, &password, "quite another one\r\n")
            .status
            .success()
    );
    run_ok(database, &["user", "remove", &bob]);
    assert_eq!(people(database).len(), before + 1);
    assert!(run_refused(database, &["user", "remove", &bob]).contains("no such user"));
}

processes_on_both_databases! {
    fn people_are_managed_at_the_command_line_without_a_server_and_beside_one(database: TestDatabase) {
        run_ok(database, &["migrate"]);
        manage_people(database, "1");
        assert!(run_refused(database, &["user", "disable", "ada1@example.com"]).contains("last enabled admin"));
        let server = ServerProcess::start(database);
        manage_people(database, "2");
        run_ok(database, &["user", "remove", "ada1@example.com"]);
        assert!(run_refused(database, &["user", "remove", "ada2@example.com"]).contains("last enabled admin"));
        assert!(server.terminate().0.success());
        let hash = "SELECT COUNT(*) AS number FROM users WHERE password_hash LIKE '$argon2id$%'";
        assert_eq!(number(&mut database.connect(), hash), 1);
    }

    fn tokens_are_listed_and_revoked_without_a_server_and_beside_one(database: TestDatabase) {
        let create = ["token", "create", "--role", "viewer", "--account", "ci", "--expires-in-days", "30"];
        let first = run_ok(database, &create);
        let list = || -> Vec<Value> {
            serde_json::from_str(&run_ok(database, &["token", "list", "--format", "json"])).unwrap()
        };
        assert_eq!(list().len(), 1);
        assert_eq!((&list()[0]["account"], &list()[0]["role"]), (&json!("ci"), &json!("viewer")));
        assert!(list()[0]["expires_at"].is_string() && list()[0]["revoked_at"].is_null());
        run_ok(database, &["token", "revoke", "1"]);

        let server = ServerProcess::start(database);
        let create = ["token", "create", "--role", "admin", "--account", "shop \u{1b}[2J", "--expires-at",
            "2099-01-01T00:00:00Z", "--label", "till"];
        let second = run_ok(database, &create);
        let table = run_ok(database, &["token", "list"]);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.contains("2099-01-01T00:00:00Z") && table.contains("till"), "{table}");
        assert!(!table.contains('\u{1b}'), "{table}");
        for secret in [&first, &second] {
            assert!(!table.contains(secret.trim()), "{table}");
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let status = |token: &str| {
            let persona = crate::support::Persona::new(&server.base, Some(token.trim().to_owned()));
            runtime.block_on(async { persona.get("/v1/accounts").await.status })
        };
        assert_eq!((status(&first), status(&second)), (401, 200));
        run_ok(database, &["token", "revoke", "2"]);
        assert_eq!(status(&second), 401);
        assert!(run_refused(database, &["token", "revoke", "7"]).contains("no such API token"));
        assert_eq!(run_ok(database, &["token", "list", "--account", "ci"]).lines().count(), 2);
        assert!(run_refused(database, &["token", "list", "--account", "none"]).contains("no account"));
        assert!(server.terminate().0.success());
    }
}

#[test]
fn a_password_is_read_whole_and_refused_when_it_is_too_short_too_long_or_not_one_line() {
    let database = TestDatabase::sqlite();
    let arguments = [
        "user",
        "add",
        "ada@example.com",
        "--role",
        "admin",
        "--password-stdin",
    ];
    for (input, says) in [
        ("eleven-char\n".to_owned(), "at least 12 characters"),
        (String::new(), "at least 12 characters"),
        ("a".repeat(1025), "longer than 1024"),
        ("a".repeat(5000), "longer than 1024"),
        (format!("{WORDS}\n{WORDS}\n"), "more than one line"),
    ] {
        let message = complaint(&run_with_input(&database, &arguments, &input));
        assert!(message.contains(says), "{message}");
    }
    let message = run_refused(&database, &arguments[..arguments.len() - 1]);
    assert!(message.contains("--password-stdin"), "{message}");
    assert!(
        !database.folder.path().join("data").exists(),
        "nothing was made"
    );
}

#[test]
fn wrong_use_ends_with_two_and_a_refusal_with_one() {
    let database = TestDatabase::sqlite();
    run_ok(&database, &["migrate"]);
    for arguments in [
        &["token", "create", "--role", "king", "--account", "x"][..],
        &["token", "create", "--role", "admin", "--account", ""],
        &[
            "token",
            "create",
            "--role",
            "admin",
            "--account",
            "x",
            "--expires-in-days",
            "0",
        ],
        &[
            "token",
            "create",
            "--role",
            "admin",
            "--account",
            "x",
            "--expires-in-days",
            "1",
            "--expires-at",
            "2099-01-01T00:00:00Z",
        ],
        &[
            "token",
            "create",
            "--role",
            "admin",
            "--account",
            "x",
            "--expires-at",
            "tomorrow",
        ],
        &["token", "revoke", "x"],
        &["user", "add", "nobody", "--role", "admin"],
        &[
            "user",
            "add",
            "a@b",
            "--role",
            "admin",
            "--password",
            "in-an-argument",
        ],
        &["completions", "csh"],
        &["fly"],
    ] {
        assert_eq!(
            run(&database, arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    let past = [
        "token",
        "create",
        "--role",
        "admin",
        "--account",
        "x",
        "--expires-at",
        "2020-01-01T00:00:00Z",
    ];
    let output = run(&database, &past);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("in the future"));
}

/// What a person at a terminal types, without seeing it.
#[test]
fn a_password_is_asked_for_twice_and_not_shown() {
    const SCRIPT: &str = r#"
import os, pty, sys
first, second, command = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
seen, answers = b"", [(b"Password: ", first), (b"Again: ", second)]
while True:
    try:
        read = os.read(terminal, 1024)
    except OSError:
        break
    if not read:
        break
    seen += read
    if answers and answers[0][0] in seen:
        os.write(terminal, answers.pop(0)[1].encode() + b"\n")
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let database = TestDatabase::sqlite();
    let python = std::env::var("TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let ask = |first: &str, second: &str| {
        let inner = countersign(
            &database,
            &["user", "add", "ada@example.com", "--role", "admin"],
        );
        Command::new(&python)
            .args(["-c", SCRIPT, first, second])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(database.folder.path())
            .output()
    };
    let Ok(differing) = ask(WORDS, "correct horse battery stable") else {
        // Without Python there is no terminal to play.
        return assert!(!std::path::Path::new(&python).exists());
    };
    let text = String::from_utf8(differing.stdout).unwrap();
    assert!(
        !differing.status.success() && text.contains("not the same"),
        "{text}"
    );
    let output = ask(WORDS, WORDS).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("added"), "{text}");
    assert!(!text.contains("horse"), "{text}");
    assert_eq!(people(&database).len(), 1);
}

#[test]
fn completions_of_every_shell_know_the_commands_whatever_the_settings_are() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["completions", shell])
            .env("COUNTERSIGN_NO_SUCH_SETTING", "x")
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for word in ["countersign", "doctor", "restore", "password-stdin"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}
