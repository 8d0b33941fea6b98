//! Once a change has been answered, no process says otherwise any more, however many ask meanwhile.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fleet::{Doors, Fleet};
use crate::support::Persona;
use crate::support::database::TestDatabase;
use crate::support::persona::Answer;
use crate::support::processes_on_both_databases;

/// How often each change is made and taken back.
const ROUNDS: usize = 5;
/// Clients of each process that ask all the time.
const READERS: usize = 4;

/// A change, and what is said of the key's one installation afterwards: `ok`, or the code of a refusal.
struct Step {
    change: (Method, &'static str, Value),
    validate: &'static str,
    renew: &'static str,
    activate: &'static str,
}

fn step(change: (Method, &'static str, Value), code: &'static str) -> Step {
    Step {
        change,
        validate: code,
        renew: code,
        activate: code,
    }
}

fn post(path: &'static str, code: &'static str) -> Step {
    step((Method::POST, path, json!({})), code)
}

fn edit(path: &'static str, body: Value, code: &'static str) -> Step {
    step((Method::PATCH, path, body), code)
}

const KEY: &str = "/v1/keys/KEY";
const PRODUCT: &str = "/v1/products/editor";

/// What is done to a key and taken back again. `KEY` stands for its id.
fn moves() -> Vec<Vec<Step>> {
    let bulk = |action: &str, code| {
        let body = json!({ "filter": { "product": "editor" }, "action": action });
        step((Method::POST, "/v1/keys/bulk", body), code)
    };
    let order = |status: &str, code| edit("/v1/orders/1", json!({ "status": status }), code);
    vec![
        vec![
            post("/v1/keys/KEY/revoke", "key_revoked"),
            post("/v1/keys/KEY/unrevoke", "ok"),
        ],
        vec![
            post("/v1/keys/KEY/disable", "key_disabled"),
            post("/v1/keys/KEY/enable", "ok"),
        ],
        vec![
            post("/v1/keys/KEY/suspend", "key_suspended"),
            post("/v1/keys/KEY/resume", "ok"),
        ],
        vec![bulk("disable", "key_disabled"), bulk("enable", "ok")],
        vec![order("refunded", "key_disabled"), order("completed", "ok")],
    ]
}

/// Edits of the key and of its product, and a release. `TEXT` stands for the key's text.
fn edits() -> Vec<Vec<Step>> {
    let ends = |at: Option<&str>, code| edit(KEY, json!({ "expires_at": at }), code);
    let past = Some("2020-01-01T00:00:00Z");
    let grace = |days: i64, code| edit(PRODUCT, json!({ "grace_days": days }), code);
    let managed =
        |managed: bool, code| edit(PRODUCT, json!({ "activation_managed": managed }), code);
    let credential = json!({ "key": "TEXT", "installation_id": "m1" });
    let released = (Method::POST, "/v1/activations/release", credential);
    vec![
        vec![ends(past, "key_expired"), ends(None, "ok")],
        vec![
            managed(false, "activation_not_managed"),
            managed(true, "ok"),
        ],
        vec![
            ends(past, "key_expired"),
            Step {
                activate: "key_expired",
                ..grace(36_500, "ok")
            },
            grace(0, "key_expired"),
            ends(None, "ok"),
        ],
        vec![Step {
            renew: "activation_not_found",
            ..step(released, "installation_not_activated")
        }],
    ]
}

/// What readers must be told at the moment: `None` while a change is on its way.
#[derive(Clone, Default)]
struct Truth(Arc<Mutex<(u64, Option<&'static str>)>>);

impl Truth {
    fn now(&self) -> (u64, Option<&'static str>) {
        *self.0.lock().unwrap()
    }

    fn set(&self, code: Option<&'static str>) {
        let mut truth = self.0.lock().unwrap();
        *truth = (truth.0 + 1, code);
    }
}

struct Key {
    id: i64,
    text: String,
    token: Value,
}

impl Key {
    fn credential(&self) -> Value {
        json!({ "key": self.text, "installation_id": "m1" })
    }

    /// Asks at a process whatever the steps speak of, and compares.
    async fn ask(&self, software: &Persona, step: &Step) {
        let verdict = software.post("/v1/validate", self.credential()).await;
        assert_eq!(code(&verdict), step.validate, "validate: {}", verdict.text);
        for credential in [json!({ "token": self.token }), self.credential()] {
            let renewed = software.post("/v1/activations/renew", credential).await;
            assert_eq!(code(&renewed), step.renew, "renew: {}", renewed.text);
        }
        if step.renew != "activation_not_found" {
            let activated = software.activate(&self.text, "m1").await;
            assert_eq!(
                code(&activated),
                step.activate,
                "activate: {}",
                activated.text
            );
        }
    }
}

/// `ok`, or what was refused, of an activation, a renewal or a verdict.
fn code(answer: &Answer) -> String {
    let body = answer.json();
    assert!(answer.status < 500, "{}", answer.text);
    body["code"].as_str().unwrap_or("ok").to_owned()
}

/// Sells one key and activates `m1` on it.
async fn sold_key(doors: &Doors) -> Key {
    doors
        .admin
        .make_stocked_product("editor", "", &["K1", "K2"])
        .await;
    let (id, text) = doors.admin.buy("1", "editor").await;
    let token = doors.software.activate(&text, "m1").await.ok()["token"].clone();
    Key { id, text, token }
}

/// Clients of every process that ask for verdicts until they are aborted, and know what is true.
fn start_readers(fleet: &Fleet<'_>, key: &Key, truth: &Truth) -> Vec<JoinHandle<()>> {
    let readers = fleet
        .doors()
        .into_iter()
        .flat_map(|doors| vec![doors.software; READERS]);
    let reader = |software: Persona| {
        let (truth, body) = (truth.clone(), key.credential());
        tokio::spawn(async move {
            loop {
                let before = truth.now();
                let verdict = software.post("/v1/validate", body.clone()).await;
                let told = code(&verdict);
                // Asked after the answer to the change, and before the next change.
                if before == truth.now()
                    && let Some(expected) = before.1
                {
                    assert_eq!(told, expected, "{}", verdict.text);
                }
            }
        })
    };
    readers.map(reader).collect()
}

async fn stop_readers(readers: Vec<JoinHandle<()>>) {
    for reader in readers {
        reader.abort();
        if let Err(error) = reader.await {
            assert!(error.is_cancelled(), "{error}");
        }
    }
}

async fn make(step: &Step, admin: &Persona, key: &Key) {
    let (method, path, body) = &step.change;
    let body: Value = serde_json::from_str(&body.to_string().replace("TEXT", &key.text)).unwrap();
    let path = path.replace("KEY", &key.id.to_string());
    let answer = admin
        .send(admin.request(method.clone(), &path).json(&body))
        .await;
    assert!(
        (200..300).contains(&answer.status),
        "{path}: {}",
        answer.text
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_holds_everywhere(database: &TestDatabase) {
    let fleet = Fleet::of(database);
    let doors = fleet.doors();
    let mut key = sold_key(&doors[0]).await;
    let truth = Truth::default();
    let readers = start_readers(&fleet, &key, &truth);
    let stories: Vec<_> = moves().into_iter().chain(edits()).collect();
    for (round, story) in
        (0..ROUNDS).flat_map(|round| stories.iter().map(move |story| (round, story)))
    {
        for step in story {
            truth.set(None);
            make(step, &doors[round % doors.len()].admin, &key).await;
            truth.set(Some(step.validate));
            join_all(doors.iter().map(|doors| key.ask(&doors.software, step))).await;
            if step.renew == "activation_not_found" {
                truth.set(None);
                key.token = doors[0].software.activate(&key.text, "m1").await.ok()["token"].clone();
                truth.set(Some("ok"));
                let again = post("", "ok");
                join_all(doors.iter().map(|doors| key.ask(&doors.software, &again))).await;
            }
        }
    }
    stop_readers(readers).await;
    fleet.finish();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn texts_and_terminations_hold_everywhere(database: &TestDatabase) {
    let fleet = Fleet::of(database);
    let doors = fleet.doors();
    let mut key = sold_key(&doors[0]).await;
    for round in 0..3 * ROUNDS {
        let admin = &doors[round % doors.len()].admin;
        let new = format!("NEW{round}");
        // Known as unknown, too.
        for doors in &doors {
            let verdict = doors
                .software
                .post("/v1/validate", json!({ "key": new }))
                .await;
            assert_eq!(code(&verdict), "key_not_found");
        }
        let body = json!({ "key": new });
        admin
            .post(&format!("/v1/keys/{}/replace", key.id), body)
            .await
            .ok();
        let old = std::mem::replace(&mut key.text, new);
        for Doors { software, .. } in &doors {
            let gone = json!({ "key": old, "installation_id": "m1" });
            for path in ["/v1/validate", "/v1/activations/renew", "/v1/activations"] {
                let answer = software.post(path, gone.clone()).await;
                assert_eq!(code(&answer), "key_not_found", "{path} with the old text");
            }
            key.ask(software, &post("", "ok")).await;
        }
    }
    let terminate = post("/v1/keys/KEY/terminate", "key_terminated");
    make(&terminate, &doors[0].admin, &key).await;
    join_all(
        doors
            .iter()
            .map(|doors| key.ask(&doors.software, &terminate)),
    )
    .await;
    fleet.finish();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn edits_are_in_the_next_token_everywhere(database: &TestDatabase) {
    let fleet = Fleet::of(database);
    let doors = fleet.doors();
    let key = sold_key(&doors[0]).await;
    let truth = Truth::default();
    truth.set(Some("ok"));
    let readers = start_readers(&fleet, &key, &truth);
    let mut sku = "editor".to_owned();
    for round in 0..3 * ROUNDS {
        let admin = &doors[round % doors.len()].admin;
        let new = format!("editor-{round}");
        let body =
            json!({ "sku": new, "entitlements": { "version": round }, "renew_by_days": round + 1 });
        admin.patch(&format!("/v1/products/{sku}"), body).await.ok();
        let limit = json!({ "max_activations": round + 1 });
        admin
            .patch(&format!("/v1/keys/{}", key.id), limit)
            .await
            .ok();
        sku = new;
        let renewals = doors.iter().map(|doors| {
            doors
                .software
                .post("/v1/activations/renew", key.credential())
        });
        for renewed in join_all(renewals).await {
            let claims = claims(&renewed.ok()["token"]);
            assert_eq!(claims["entitlements"], json!({ "version": round }));
            assert_eq!(claims["aud"], json!(sku));
            let lasts = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            assert_eq!(lasts, (round as u64 + 1) * 86_400);
            assert_eq!(renewed.json()["key"]["max_activations"], round + 1);
        }
        // One installation is there: with a limit of one, there is no place for another.
        let verdicts = doors.iter().map(|doors| {
            doors
                .software
                .post("/v1/validate", json!({ "key": key.text }))
        });
        for verdict in join_all(verdicts).await {
            let expected = if round == 0 {
                "activation_limit_reached"
            } else {
                "ok"
            };
            assert_eq!(code(&verdict), expected, "{}", verdict.text);
        }
    }
    stop_readers(readers).await;
    fleet.finish();
}

/// What is in a token; its signature is for other tests.
fn claims(token: &Value) -> Value {
    use base64::Engine;
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

processes_on_both_databases! {
    fn what_was_answered_is_the_verdict_of_every_process_from_then_on(database: TestDatabase) {
        every_change_holds_everywhere(database);
    }

    fn an_old_text_is_unknown_and_a_new_one_known_to_every_process_at_once(database: TestDatabase) {
        texts_and_terminations_hold_everywhere(database);
    }

    fn an_edit_is_in_the_next_token_and_answer_of_every_process(database: TestDatabase) {
        edits_are_in_the_next_token_everywhere(database);
    }
}
