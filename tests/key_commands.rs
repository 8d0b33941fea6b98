//! `countersign import`, `export` and `generate`, with and without a running server.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, number};
use crate::support::process::{
    ServerProcess, complaint, countersign, run, run_ok, run_refused, run_with_input,
};
use crate::support::processes_on_both_databases;

/// Writes a file into the database's folder and returns its path.
fn file(database: &TestDatabase, name: &str, text: &str) -> String {
    let path = database.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|key| format!("K{key}\n")).collect()
}

fn count(database: &TestDatabase) -> i64 {
    number(
        &mut database.connect(),
        "SELECT COUNT(*) AS number FROM keys",
    )
}

processes_on_both_databases! {
    /// [SHOP-45, SHOP-48]
    fn keys_are_imported_before_the_first_start_and_beside_a_running_server(database: TestDatabase) {
        let first = file(database, "first.txt", &lines(0, 3));
        let arguments = ["import", &first, "--sequence", "editor", "--create-missing", "--max-activations", "2"];
        assert_eq!(run_ok(database, &arguments), "added 3, duplicates 0\n");
        let server = ServerProcess::start(database);
        let second = run_with_input(database, &["import", "-", "--sequence", "editor"], &lines(2, 2500));
        assert_eq!(String::from_utf8(second.stdout).unwrap(), "added 2497, duplicates 1\n");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let admin = server.admin(database);
        runtime.block_on(async {
            let keys = admin.get("/v1/keys?limit=1").await.ok();
            assert_eq!((&keys["items"][0]["key"], &keys["items"][0]["max_activations"]), (&json!("K0"), &json!(2)));
            let events = admin.get("/v1/sequences/editor").await.ok();
            assert_eq!(events["keys"]["active"], 2500);
        });
        assert!(server.terminate().0.success());
    }

    fn lines_that_cannot_be_keys_are_named_and_nothing_is_imported(database: TestDatabase) {
        let text = format!("K1\n{}\nK3\n", "x".repeat(5000));
        let path = file(database, "keys.txt", &text);
        let arguments = ["import", &path, "--sequence", "editor", "--create-missing"];
        for beside_a_server in [false, true] {
            let server = beside_a_server.then(|| ServerProcess::start(database));
            let output = run(database, &arguments);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1));
            assert!(stderr.contains("line 2: is 5000 bytes long"), "{stderr}");
            assert!(stderr.contains("Nothing was imported"), "{stderr}");
            assert_eq!(count(database), 0);
            drop(server);
        }
        let dry_run = run(database, &["import", &path, "--sequence", "editor", "--create-missing", "--dry-run"]);
        assert_eq!(String::from_utf8(dry_run.stdout).unwrap(), "would add 2, duplicates 0, 1 lines wrong\n");
        assert_eq!(dry_run.status.code(), Some(1));
    }

    fn an_import_says_what_is_wrong_with_its_options(database: TestDatabase) {
        let path = file(database, "keys.txt", "K1\n");
        let missing = run_refused(database, &["import", "nowhere.txt", "--sequence", "editor"]);
        assert!(missing.contains("nowhere.txt"), "{missing}");
        let unknown = run_refused(database, &["import", &path, "--sequence", "editor"]);
        assert!(unknown.contains("There is no sequence `editor`"), "{unknown}");
        let output = run(database, &["import", &path, "--format", "xml"]);
        assert_eq!(output.status.code(), Some(2));
    }

    fn a_spreadsheet_names_its_sequences(database: TestDatabase) {
        let path = file(database, "keys.tsv", "a\tK1\nb\tK2\n");
        assert_eq!(run_ok(database, &["import", &path, "--create-missing"]), "added 2, duplicates 0\n");
        let csv = file(database, "keys.csv", "sequence,key,note\na,K3,x\n");
        let arguments = ["import", &csv, "--format", "csv", "--header"];
        assert_eq!(run_ok(database, &arguments), "added 1, duplicates 0\n");
    }

    fn a_command_that_is_killed_in_the_middle_leaves_nothing(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let mut child = countersign(database, &["import", "-", "--sequence", "editor", "--create-missing"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(lines(0, 30_000).as_bytes()).unwrap();
        while count(database) < 5000 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(input);
        if database.url.starts_with("sqlite") {
            // The server has noticed.
            while count(database) > 0 {
                std::thread::yield_now();
            }
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let admin = server.admin(database);
        runtime.block_on(async {
            assert_eq!(admin.get("/v1/sequences").await.ok()["items"], json!([]));
            assert_eq!(admin.get("/v1/keys").await.ok()["items"], json!([]));
        });
    }

    fn keys_are_exported_to_a_file_of_ones_own_and_never_over_another(database: TestDatabase) {
        let path = file(database, "keys.txt", &lines(0, 1200));
        run_ok(database, &["import", &path, "--sequence", "editor", "--create-missing"]);
        let export = database.folder.path().join("export.csv");
        let export = export.to_str().unwrap();
        for beside_a_server in [false, true] {
            let server = beside_a_server.then(|| ServerProcess::start(database));
            let output = run(database, &["export", export]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mode = std::fs::metadata(export).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
            let text = std::fs::read_to_string(export).unwrap();
            assert_eq!(text.lines().count(), 1201);
            assert!(complaint(&run(database, &["export", export])).contains("there already"));
            std::fs::remove_file(export).unwrap();
            drop(server);
        }
        let jsonl = run_ok(database, &["export", "-", "--format", "jsonl", "--sequence", "editor"]);
        let first: Value = serde_json::from_str(jsonl.lines().next().unwrap()).unwrap();
        assert_eq!((&first["key"], jsonl.lines().count()), (&json!("K0"), 1200));
        let noted = "SELECT COUNT(*) AS number FROM events WHERE action = 'keys.exported'";
        assert_eq!(number(&mut database.connect(), noted), 3);
        let unknown = run_refused(database, &["export", "-", "--sequence", "nowhere"]);
        assert!(unknown.contains("nowhere"), "{unknown}");
    }

    fn keys_are_generated_at_the_command_line(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let admin = server.admin(database);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            admin.post("/v1/generators", json!({ "name": "g", "charset": "AB", "chunks": 3, "chunk_length": 1 })).await.ok();
            admin.make_product("editor", json!({})).await;
        });
        assert_eq!(run_ok(database, &["generate", "1", "--quantity", "3", "--product", "editor"]), "made 3 keys\n");
        assert!(server.terminate().0.success());
        assert_eq!(run_ok(database, &["generate", "1", "--quantity", "3", "--sequence", "editor"]), "made 3 keys\n");
        let exhausted = run_refused(database, &["generate", "1", "--quantity", "3", "--sequence", "editor"]);
        assert!(exhausted.contains("cannot make so many"), "{exhausted}");
    }
}
