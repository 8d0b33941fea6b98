//! Documents say what is true.

use std::path::Path;
use std::process::Command;

use countersign::error::Code;

use crate::support::database::TestDatabase;
use crate::support::process::{ServerProcess, run_ok};

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_table_of_error_codes_is_the_one_of_the_program() {
    let rows: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            format!(
                "| `{}` | {} | {} |",
                code.as_str(),
                code.status(),
                code.title()
            )
        })
        .collect();
    let document = read("docs/errors.md");
    let written: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(written, rows);
}

#[test]
fn the_settings_are_all_explained() {
    let document = read("docs/operations.md");
    let table: toml::Table = read("config/default.toml").parse().unwrap();
    for (name, value) in &table {
        let names = match value.as_table() {
            Some(inner) => inner
                .keys()
                .map(|inner| format!("{name}.{inner}"))
                .collect(),
            None => vec![name.clone()],
        };
        for name in names {
            assert!(
                document.contains(&format!("`{name}`")),
                "docs/operations.md does not name `{name}`"
            );
        }
    }
}

/// The commands in the blocks marked `sh` of the README, run as they stand.
#[test]
#[ignore = "needs curl: run scripts/test"]
fn the_commands_in_the_readme_work() {
    let mut script = "set -eu\n".to_owned();
    let mut inside = false;
    for line in read("README.md").lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => script.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    assert!(script.matches("curl").count() >= 5, "{script}");
    let database = TestDatabase::sqlite();
    let server = ServerProcess::start(&database);
    let token = run_ok(
        &database,
        &["token", "create", "--role", "admin", "--account", "readme"],
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("URL", &server.base)
        .env("TOKEN", token.trim())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("\"revoked_at\":\"2"), "{shown}");
    assert!(!shown.contains("\"errors\""), "{shown}");
    assert!(server.terminate().0.success());
}
