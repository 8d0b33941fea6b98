//! PostgreSQL: a row that somebody else holds, for however long, is their key's trouble alone.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::TestApp;
use crate::support::app::as_they_are;
use crate::support::database::{TestDatabase, number};
use crate::support::persona::Answer;

/// Connections that activations done alone may take.
const ALONE: i64 = 4;
/// Sold keys beside the one that is held.
const OTHERS: usize = 64;
/// Until when others must have been served; it is far from what they need, and ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, a held key, and the others.
async fn keys(app: &TestApp) -> (String, Vec<String>) {
    let texts: Vec<String> = (0..=OTHERS).map(|number| format!("K{number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    app.admin.make_stocked_product("editor", "", &texts).await;
    let quantity = i64::try_from(texts.len()).unwrap();
    let order = app.admin.order("1", "editor", quantity, "completed").await;
    let mut keys = order.keys();
    let held = keys.remove(0);
    app.software().activate(&held, "before").await.ok();
    (held, keys)
}

fn activate(app: &TestApp, key: &str, installation: String) -> JoinHandle<Answer> {
    let (software, key) = (app.software(), key.to_owned());
    tokio::spawn(async move { software.activate(&key, &installation).await })
}

/// Activates one installation on each of the keys at the same moment, within the patience.
async fn activate_each(app: &TestApp, keys: &[String], installation: &str) {
    let calls = keys
        .iter()
        .map(|key| activate(app, key, installation.to_owned()));
    let answers = tokio::time::timeout(PATIENCE, join_all(calls)).await;
    for answer in answers.expect("they waited for a key that is none of theirs") {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
}

const HOLD: &str = "BEGIN; SELECT 1 FROM keys WHERE id = 1 FOR UPDATE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_key_that_is_held_elsewhere_keeps_no_other_key_waiting() {
    let app = TestApp::start_with(TestDatabase::postgres(), as_they_are).await;
    let (held, others) = keys(&app).await;
    let mut holder = app.database.connect();
    for round in 0..3 {
        holder.batch_execute(HOLD).unwrap();
        let waiting: Vec<_> = (0..3)
            .map(|number| activate(&app, &held, format!("m{round}-{number}")))
            .collect();
        activate_each(&app, &others, &format!("m{round}")).await;
        assert!(
            waiting.iter().all(|call| !call.is_finished()),
            "it was answered under the lock"
        );
        holder.batch_execute("COMMIT").unwrap();
        for answer in join_all(waiting).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crowd_on_a_key_that_is_held_elsewhere_keeps_no_other_key_waiting() {
    let app = TestApp::start_with(TestDatabase::postgres(), as_they_are).await;
    let (held, others) = keys(&app).await;
    let mut holder = app.database.connect();
    holder.batch_execute(HOLD).unwrap();
    let waiting: Vec<_> = (0..64)
        .map(|number| activate(&app, &held, format!("m{number}")))
        .collect();
    activate_each(&app, &others, "m").await;
    holder.batch_execute("COMMIT").unwrap();
    let mut admitted = 1;
    for answer in join_all(waiting).await {
        let answer = answer.unwrap();
        match answer.status {
            201 => admitted += 1,
            _ => assert!(answer.refused(503, "unavailable").is_object()),
        }
    }
    let places = super::places(&app.admin).await;
    super::check_places(&places);
    assert_eq!(super::open_by_key(&places)[&1], admitted);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crowd_on_a_key_that_is_held_elsewhere_leaves_connections_to_everybody_else() {
    let app = TestApp::start_with(TestDatabase::postgres(), as_they_are).await;
    let (held, _) = keys(&app).await;
    let mut holder = app.database.connect();
    holder.batch_execute(HOLD).unwrap();
    let waiting: Vec<_> = (0..64)
        .map(|number| activate(&app, &held, format!("m{number}")))
        .collect();
    // A transaction sees the same activity as long as it lasts.
    let mut watcher = app.database.connect();
    let blocked = "SELECT COUNT(*) AS number FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while number(&mut watcher, blocked) < ALONE {
        tokio::task::yield_now().await;
    }
    for number in 0..8 {
        let product = json!({ "sku": format!("viewer-{number}"), "name": "Viewer" });
        app.admin.post("/v1/products", product).await.ok();
    }
    assert_eq!(number(&mut watcher, blocked), ALONE);
    let metrics = app.admin.get("/metrics").await.text;
    let alone = format!("countersign_postgres_alone_total {ALONE}\n");
    assert!(metrics.contains(&alone), "{metrics}");
    holder.batch_execute("COMMIT").unwrap();
    for answer in join_all(waiting).await {
        assert!([201, 503].contains(&answer.unwrap().status));
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn verdicts_and_renewals_of_a_key_that_is_held_elsewhere_do_not_wait() {
    let app = TestApp::start_with(TestDatabase::postgres(), as_they_are).await;
    let (held, _) = keys(&app).await;
    let mut holder = app.database.connect();
    holder.batch_execute(HOLD).unwrap();
    // Behind it, those who want to write queue up.
    let waiting: Vec<_> = (0..4)
        .map(|number| activate(&app, &held, format!("m{number}")))
        .collect();
    let calls = (0..64).map(|number| {
        let (software, held) = (app.software(), held.clone());
        tokio::spawn(async move {
            let body = json!({ "key": held, "installation_id": "before" });
            match number % 2 {
                0 => software.post("/v1/validate", body).await.ok(),
                _ => software.post("/v1/activations/renew", body).await.ok(),
            }
        })
    });
    let answers = tokio::time::timeout(PATIENCE, join_all(calls)).await;
    for answer in answers.expect("readers waited for a writer") {
        assert_eq!(answer.unwrap()["key"]["activations"], 1);
    }
    holder.batch_execute("COMMIT").unwrap();
    assert!(
        join_all(waiting)
            .await
            .into_iter()
            .all(|answer| answer.unwrap().status == 201)
    );
    app.finish().await;
}
