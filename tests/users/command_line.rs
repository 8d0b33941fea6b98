//! People and API tokens at the command line: without a server, and beside one.

use std::process::Command;

use serde_json::{Value, json};

use super::WORDS;
use crate::support::database::{TestDatabase, number};
use crate::support::process::{
    ServerProcess, complaint, countersign, run, run_ok, run_refused, run_with_input,
};
use crate::support::processes_on_both_databases;

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
        let unknown = run_refused(database, &["token", "list", "--account", "nope"]);
        assert_eq!(unknown, "countersign: There is no account `nope`. `countersign token list` shows the accounts that have API tokens.");
        let output = run(database, &["token", "revoke", "abc"]);
        let wrong = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(wrong.contains("an id is a whole number; `countersign token list` shows the ids"), "{wrong}");
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
    let code = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        run(&database, &arguments).status.code()
    };
    let create = "token create --role admin --account";
    for line in [
        "token create --role king --account x",
        &format!("{create} "),
        &format!("{create} x --expires-in-days 0"),
        &format!("{create} x --expires-in-days 1 --expires-at 2099-01-01T00:00:00Z"),
        &format!("{create} x --expires-at tomorrow"),
        "token revoke x",
        "user add nobody --role admin",
        "user add a@b --role admin --password in-an-argument",
        "completions csh",
        "fly",
    ] {
        assert_eq!(code(line), Some(2), "{line}");
    }
    let past = format!("{create} x --expires-at 2020-01-01T00:00:00Z");
    assert_eq!(code(&past), Some(1));
    assert!(run_refused(&database, &past.split(' ').collect::<Vec<_>>()).contains("in the future"));
}

/// What a person at a terminal types, without seeing it.
#[test]
fn a_password_is_asked_for_twice_and_not_shown() {
    const SCRIPT: &str = r#"
import os, pty, sys, termios
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
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            pass
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
