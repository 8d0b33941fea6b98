//! `kill -9` under load: what was answered is there, nothing is exceeded, nothing is given twice.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use crate::support::Persona;
use crate::support::crash::Crash;
use crate::support::database::{TestDatabase, number};
use crate::support::process::ServerProcess;
use crate::support::processes_on_both_databases;

const CRASH: Crash = Crash {
    calls: 2000,
    clients: 64,
    kill_after: 700,
};
const LIMIT: usize = 5;

/// What a client was told before the server died.
enum Told {
    Activated {
        key: String,
        installation: String,
    },
    Issued {
        reference: String,
        keys: Vec<String>,
    },
    Waiting {
        reference: String,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn crash_and_look(database: &TestDatabase) {
    let server = ServerProcess::start(database);
    let admin = server.admin(database);
    let keys = prepare(&admin).await;

    let (software, keys) = (server.software(), Arc::new(keys));
    let answers = CRASH
        .play(server, move |call| {
            let (admin, software, keys) = (admin.clone(), software.clone(), Arc::clone(&keys));
            async move { make_call(call, &keys, &admin, &software).await }
        })
        .await;
    let told: Vec<Told> = answers.into_iter().flatten().collect();
    assert!(told.len() >= CRASH.kill_after / 2);

    let server = ServerProcess::start(database);
    look(&told, &server.admin(database), &server.software()).await;
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    database.check_integrity();
}

async fn prepare(admin: &Persona) -> Vec<String> {
    admin.make_product("editor", json!({})).await;
    let texts: Vec<String> = (0..400).map(|number| format!("K{number:04}")).collect();
    let keys: Vec<&str> = texts.iter().map(String::as_str).collect();
    admin
        .import("editor", &format!("max_activations={LIMIT}"), &keys)
        .await
        .ok();
    let order = admin.order("prepared", "editor", 40, "completed").await;
    order.keys()
}

/// Two activations, then an order, and so on. `None` when the server is gone.
async fn make_call(
    call: usize,
    keys: &[String],
    admin: &Persona,
    software: &Persona,
) -> Option<Option<Told>> {
    if call % 3 == 2 {
        let reference = format!("o{call}");
        let body = json!({ "status": "completed", "lines": [{ "sku": "editor", "quantity": 2 }] });
        let request = admin
            .request(reqwest::Method::PUT, &format!("/v1/orders/{reference}"))
            .json(&body);
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 201);
        let order: serde_json::Value = response.json().await.ok()?;
        let keys = crate::support::persona::keys_of(&order);
        return Some(Some(if keys.is_empty() {
            Told::Waiting { reference }
        } else {
            Told::Issued { reference, keys }
        }));
    }
    let (key, installation) = (keys[call % keys.len()].clone(), format!("m{}", call % 301));
    let body = json!({ "key": key, "installation_id": installation });
    let response = software
        .request(reqwest::Method::POST, "/v1/activations")
        .json(&body)
        .send()
        .await
        .ok()?;
    let status = response.status().as_u16();
    response.bytes().await.ok()?;
    match status {
        200 | 201 => Some(Some(Told::Activated { key, installation })),
        409 => Some(None),
        other => panic!("an activation was answered {other}"),
    }
}

async fn look(told: &[Told], admin: &Persona, software: &Persona) {
    let mut given = HashSet::new();
    for told in told {
        match told {
            Told::Activated { key, installation } => {
                let body = json!({ "key": key, "installation_id": installation });
                let verdict = software.post("/v1/validate", body).await.ok();
                assert_eq!(verdict["code"], "ok", "{key} {installation}");
                assert!(verdict["key"]["activations"].as_u64().unwrap() <= LIMIT as u64);
            }
            Told::Issued { reference, keys } => {
                assert_eq!(
                    admin.get(&format!("/v1/orders/{reference}")).await.keys(),
                    *keys,
                    "{reference}"
                );
                assert!(
                    keys.iter().all(|key| given.insert(key.clone())),
                    "a key was given twice"
                );
            }
            Told::Waiting { reference } => {
                assert!(
                    admin.get(&format!("/v1/orders/{reference}")).await.ok()["issue_error"]
                        .is_object()
                );
            }
        }
    }
}

processes_on_both_databases! {
    fn kill_9_in_the_middle_of_two_thousand_calls_loses_nothing_that_was_answered(database: TestDatabase) {
        crash_and_look(database);
    }

    fn an_import_that_died_leaves_nothing_behind(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let admin = server.admin(database);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            admin.make_product("editor", json!({})).await;
            let keys: Vec<String> = (0..60_000).map(|number| format!("LOST{number}")).collect();
            let import = tokio::spawn({
                let (admin, keys) = (admin.clone(), keys.join("\n"));
                async move {
                    let path = "/v1/sequences/editor/import";
                    let request = admin.request(reqwest::Method::POST, path).header("content-type", "text/plain");
                    request.body(keys).send().await.map(drop)
                }
            });
            let staged = "SELECT COUNT(*) AS number FROM keys";
            while number(&mut database.connect(), staged) < 3000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(admin.get("/v1/products/editor").await.ok()["available"], 0, "nothing of it is seen yet");
            assert_eq!(admin.get("/v1/keys").await.ok()["items"], json!([]));
            server.kill();
            assert!(import.await.unwrap().is_err());
        });
        let server = ServerProcess::start(database);
        let admin = server.admin(database);
        runtime.block_on(async {
            if !database.is_sqlite() {
                // Another process might still be importing: only when it has not moved for a minute is it dead.
                let old = "UPDATE lots SET heartbeat_at = heartbeat_at - 61000000 WHERE published_at IS NULL";
                diesel::connection::SimpleConnection::batch_execute(&mut database.connect(), old).unwrap();
            }
            let report = admin.import("editor", "", &["LOST7", "FRESH"]).await.ok();
            assert_eq!((&report["added"], &report["duplicates"]), (&json!(2), &json!(0)));
            assert_eq!(admin.get("/v1/products/editor").await.ok()["available"], 2);
        });
        assert_eq!(number(&mut database.connect(), "SELECT COUNT(*) AS number FROM keys"), 2);
    }
}
