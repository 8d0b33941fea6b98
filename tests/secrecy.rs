//! Key texts: byte for byte to the buyer, and nowhere else.

use std::path::Path;

use serde_json::json;

use crate::support::database::{TestDatabase, texts};
use crate::support::process::ServerProcess;
use crate::support::processes_on_both_databases;

/// Texts of every kind that IPS-2 names.
const KEYS: [&str; 9] = [
    "AAAAA-BBBBB-CCCCC",
    "7f4df7ba-3f0e-4c1b-9a64-0242ac120002",
    "sk_live_x+/=",
    "lower-case-key",
    "КЛЮЧ-ПЕРВЫЙ",
    "钥匙一二三",
    "  inner and  outer spaces  ",
    "tab\there",
    "quote'\";--<b>&amp;",
];

processes_on_both_databases! {
    /// [IPS-2, UC-62]
    fn keys_survive_byte_for_byte_and_are_found_in_no_file(database: TestDatabase) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // The log holds none even when it holds everything.
        let settings = database.folder.path().join("settings.toml");
        std::fs::write(&settings, "[log]\nlevel = \"trace\"\n").unwrap();
        let server = ServerProcess::start_with(database, &["--config", settings.to_str().unwrap()]);
        let admin = server.admin(database);
        let mut secrets: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
        runtime.block_on(async {
            admin.make_product("editor", json!({})).await;
            let report = admin.import("editor", "", &KEYS).await.ok();
            assert_eq!(report, json!({ "added": KEYS.len(), "duplicates": 0, "failures": 0, "failed": [] }));
            let order = admin.order("1", "editor", KEYS.len() as i64, "completed").await;
            assert_eq!(order.keys(), KEYS);
            for key in KEYS {
                let activation = server.software().activate(key, "machine-1").await.ok();
                secrets.push(activation["token"].as_str().unwrap().to_owned());
                let found = admin.post("/v1/keys/lookup", json!({ "key": key })).await.ok();
                assert_eq!(found["key"], key);
                let changed = key.replacen(['A', 'a'], "Б", 1);
                if changed != key {
                    server.software().activate(&changed, "machine-1").await.refused(404, "key_not_found");
                }
            }
            // Refusals and mistakes are logged, too.
            server.software().activate(KEYS[0], "").await.refused(422, "validation_failed");
            server.software().post("/v1/activations", json!({ "key": KEYS[1], "instalation_id": 1 })).await;
            admin.post_bytes("/v1/sequences/editor/import", "text/plain", format!("{}\n\u{0}", KEYS[2])).await;
        });
        // Also while the write-ahead log holds what is not in the database file yet.
        search(database.folder.path(), &secrets);
        let log = server.kill();
        assert!(log.contains("/v1/activations"), "the log names routes");
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{secret} is in the log");
        }
        let (status, log) = ServerProcess::start(database).terminate();
        assert!(status.success(), "{log}");
        search(database.folder.path(), &secrets);
        if !database.is_sqlite() {
            search_tables(database, &secrets);
        }
    }
}

/// Looks for the secrets in every file of the folder.
fn search(folder: &Path, secrets: &[String]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            search(&entry.path(), secrets);
        } else if entry.file_type().unwrap().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            for secret in secrets {
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {}", entry.path().display());
            }
        }
    }
}

/// Looks for the secrets in every row, as a dump would show it.
fn search_tables(database: &TestDatabase, secrets: &[String]) {
    let mut conn = database.connect();
    let tables = "SELECT table_name::TEXT AS text FROM information_schema.tables WHERE table_schema = 'public'";
    for table in texts(&mut conn, tables) {
        for row in texts(&mut conn, &format!("SELECT t::TEXT AS text FROM {table} t")) {
            for secret in secrets {
                let hex = data_encoding::HEXLOWER.encode(secret.as_bytes());
                assert!(
                    !row.contains(secret.as_str()) && !row.contains(&hex),
                    "{secret} is in {table}"
                );
            }
        }
    }
}
