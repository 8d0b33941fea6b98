//! More than can be done: what does not fit is answered 503 with `Retry-After`, nothing is half done, and
//! the server is itself again as soon as it can be.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::engine::{hold_the_writer, queue};
use crate::support::app::as_they_are;
use crate::support::database::TestDatabase;
use crate::support::persona::Answer;
use crate::support::{Persona, TestApp};

/// Writes that may wait for SQLite's one writer.
const QUEUE: usize = 8192;
/// Within what a server that can serve again must do so: a second, and more for an unoptimised build on a
/// machine that is busy with other tests.
const BACK: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
/// How long a call may wait: five seconds for its turn, five for what is held, and as much again for a busy
/// machine.
const TURN: Duration = Duration::from_secs(20);
/// Activations that may have begun when the wall goes up: a batch of the lane, and the pool's connections.
const BEGUN: usize = 128 + 8;

#[track_caller]
fn came_too_much(answer: &Answer) {
    answer.refused(503, "unavailable");
    let seconds = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse::<u64>();
    assert!((1..=60).contains(&seconds.unwrap()));
}

/// Sells one key without a limit.
async fn sold_key(admin: &Persona) -> String {
    admin
        .make_stocked_product("editor", "", &["K1", "K2"])
        .await;
    admin.buy("1", "editor").await.1
}

/// Activates until it is admitted, which must be soon.
async fn is_back(software: &Persona, key: &str) {
    let since = Instant::now();
    while software.activate(key, "after").await.status != 201 {
        assert!(
            since.elapsed() < BACK,
            "no service after {:?}",
            since.elapsed()
        );
    }
    assert!(
        since.elapsed() < BACK,
        "service after {:?} only",
        since.elapsed()
    );
}

/// Sends every installation's activation at once; the answers with the time that each took.
async fn all_at_once(
    software: &Persona,
    key: &str,
    count: usize,
) -> Vec<(String, Answer, Duration)> {
    let calls = (0..count).map(|number| {
        let (software, key) = (software.clone(), key.to_owned());
        tokio::spawn(async move {
            let (name, since) = (format!("m{number}"), Instant::now());
            let answer = software.activate(&key, &name).await;
            (name, answer, since.elapsed())
        })
    });
    join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// Every 201 is there, every 503 may be asked again, and nothing is counted twice.
async fn nothing_is_half_done(app: &TestApp, key: &str, answers: &[(String, Answer, Duration)]) {
    let places = super::places(&app.admin).await;
    super::check_places(&places);
    for (name, answer, _) in answers {
        let open = places
            .get(&(1, name.clone()))
            .and_then(|place| place.open.clone());
        match answer.status {
            201 => assert_eq!(json!(open), answer.json()["activation_id"], "{name}"),
            _ => came_too_much(answer),
        }
        let again = app.software().activate(key, name).await;
        assert_eq!(
            again.status,
            if open.is_some() { 200 } else { 201 },
            "{name}: {}",
            again.text
        );
    }
    let places = super::places(&app.admin).await;
    super::check_places(&places);
    assert!(places.values().all(|place| place.made <= 1));
    for (name, _, _) in answers {
        assert!(places[&(1, name.clone())].open.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_of_writes_is_answered_at_once_and_moves_on_as_soon_as_it_can() {
    let app = TestApp::start_with(TestDatabase::sqlite(), as_they_are).await;
    let key = sold_key(&app.admin).await;
    let software = app.software();
    software.activate(&key, "before").await.ok();
    let (release, holder) = hold_the_writer(&app.app.db).await;
    let waiting = queue((0..QUEUE).map(|_| {
        let db = app.app.db.clone();
        async move { db.write(|_| Ok(())).await }
    }))
    .await;

    let answers = all_at_once(&software, &key, 64).await;
    for (_, answer, took) in &answers {
        came_too_much(answer);
        // Well before the five seconds that a call in the queue waits.
        assert!(*took < Duration::from_secs(4), "refused after {took:?}");
    }
    // Whoever else wants to write is told the same.
    for (method, path) in [
        (Method::POST, "/v1/keys/1/revoke"),
        (Method::PATCH, "/v1/products/editor"),
        (Method::PUT, "/v1/orders/2"),
        (Method::POST, "/v1/products"),
        (Method::POST, "/v1/activations/release"),
    ] {
        let body = match path {
            "/v1/orders/2" => json!({ "status": "completed", "lines": [{ "sku": "editor" }] }),
            "/v1/products" => json!({ "sku": "viewer" }),
            "/v1/activations/release" => json!({ "key": key, "installation_id": "before" }),
            _ => json!({}),
        };
        let request = app
            .admin
            .request(method, path)
            .header("idempotency-key", path)
            .json(&body);
        came_too_much(&app.admin.send(request).await);
    }
    // Who only reads does not wait for those who write.
    let known = json!({ "key": key, "installation_id": "before" });
    software.post("/v1/validate", known.clone()).await.ok();
    software.post("/v1/activations/renew", known).await.ok();

    drop(release);
    is_back(&software, &key).await;
    holder.await.unwrap().unwrap();
    for written in join_all(waiting).await {
        written.unwrap();
    }
    assert_eq!(app.admin.get("/v1/orders/2").await.status, 404);
    assert_eq!(
        app.admin.get("/v1/keys/1").await.ok()["revoked_at"],
        json!(null)
    );
    nothing_is_half_done(&app, &key, &answers).await;
    app.finish().await;
}

/// Has many clients activate while `hold` keeps every write from ending, until most are refused.
async fn write_against_a_wall(database: TestDatabase, hold: &str, clients: usize) {
    let app = TestApp::start_with(database, as_they_are).await;
    let key = sold_key(&app.admin).await;
    let software = app.software();
    software.activate(&key, "before").await.ok();
    let mut holder = app.database.connect();
    holder.batch_execute(hold).unwrap();

    let calls = (0..clients).map(|number| {
        let (software, key) = (software.clone(), key.clone());
        tokio::spawn(async move {
            let (name, since) = (format!("m{number}"), Instant::now());
            let answer = software.activate(&key, &name).await;
            (name, answer, since.elapsed())
        })
    });
    let mut calls: Vec<_> = calls.collect();
    let known = json!({ "key": key, "installation_id": "before" });
    let mut answers = Vec::new();
    // Most have been refused by then; those that were begun end when they can.
    while answers.len() < clients - BEGUN {
        let since = Instant::now();
        software.post("/v1/validate", known.clone()).await.ok();
        software
            .post("/v1/activations/renew", known.clone())
            .await
            .ok();
        assert!(
            since.elapsed() < BACK,
            "who reads waited for those who write"
        );
        let done = calls.extract_if(.., |call| call.is_finished());
        answers.extend(join_all(done).await.into_iter().map(Result::unwrap));
    }
    for (_, answer, took) in &answers {
        came_too_much(answer);
        assert!(*took < TURN, "it waited {took:?} for its turn");
    }
    holder.batch_execute("COMMIT").unwrap();
    is_back(&software, &key).await;
    answers.extend(join_all(calls).await.into_iter().map(Result::unwrap));
    nothing_is_half_done(&app, &key, &answers).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_file_that_another_program_holds_refuses_in_time_and_comes_back_at_once() {
    write_against_a_wall(TestDatabase::sqlite(), "BEGIN IMMEDIATE", 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_table_that_another_session_holds_refuses_in_time_and_comes_back_at_once() {
    let hold = "BEGIN; LOCK TABLE activations IN SHARE MODE";
    write_against_a_wall(TestDatabase::postgres(), hold, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_thousand_clients_before_a_table_that_is_held_are_refused_in_time_and_readers_go_on() {
    let hold = "BEGIN; LOCK TABLE activations IN SHARE MODE";
    write_against_a_wall(TestDatabase::postgres(), hold, 1000).await;
}
