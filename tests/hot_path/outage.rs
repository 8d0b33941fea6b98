//! PostgreSQL is gone for a while: nobody waits long for a 503, a short while is hardly noticed, and the log
//! says it once. And a server that is to stop does, whatever it waits for.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::as_they_are;
use crate::support::database::TestDatabase;
use crate::support::network::{Network, Way};
use crate::support::persona::Answer;
use crate::support::process::{ServerProcess, runtime};
use crate::support::{Persona, TestApp};

/// Calls of each kind at the same moment.
const EACH: usize = 8;
/// What a call waits at most, and half as much again for a busy machine.
const PROMISED: Duration = Duration::from_millis(7500);
/// A service manager kills after this.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Calls of all kinds at once, by the lanes and by the pools; each answer with the time that it took.
async fn calls(software: &Persona, admin: &Persona, key: &str) -> Vec<(Answer, Duration)> {
    let known = json!({ "key": key, "installation_id": "before" });
    let calls = (0..4 * EACH).map(|number| {
        let (software, admin, known) = (software.clone(), admin.clone(), known.clone());
        tokio::spawn(async move {
            let since = Instant::now();
            let answer = match number % 4 {
                0 => software.post("/v1/validate", known).await,
                1 => software.post("/v1/activations", known).await,
                2 => software.post("/v1/activations/renew", known).await,
                _ => admin.get("/v1/keys").await,
            };
            (answer, since.elapsed())
        })
    });
    join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// A server whose way to its database can be cut, and a key of which one installation is activated.
async fn behind_a_network() -> (TestApp, Network, String) {
    let mut database = TestDatabase::postgres();
    let network = Network::before(&mut database);
    let app = TestApp::start_with(database, as_they_are).await;
    app.admin.make_stocked_product("editor", "", &["K1"]).await;
    let key = app.admin.buy("1", "editor").await.1;
    app.software().activate(&key, "before").await.ok();
    (app, network, key)
}

async fn served(app: &TestApp, key: &str) {
    for (answer, took) in calls(&app.software(), &app.admin, key).await {
        assert_eq!(answer.status, 200, "after {took:?}: {}", answer.text);
    }
}

async fn refuses_in_time(way: Way) {
    let (app, network, key) = behind_a_network().await;
    served(&app, &key).await;
    network.set(way);
    for _ in 0..2 {
        for (answer, took) in calls(&app.software(), &app.admin, &key).await {
            answer.refused(503, "unavailable");
            assert!(took < PROMISED, "answered after {took:?}");
        }
    }
    network.set(Way::Open);
    served(&app, &key).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_database_that_is_gone_refuses_everybody_in_time() {
    refuses_in_time(Way::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_database_that_never_answers_refuses_everybody_in_time() {
    refuses_in_time(Way::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_database_that_comes_back_soon_is_waited_for() {
    let (app, network, key) = behind_a_network().await;
    served(&app, &key).await;
    network.set(Way::Closed);
    let come_back = async {
        // Both lanes and both pools have found nobody there, some of them twice.
        while network.tries() < 8 {
            tokio::task::yield_now().await;
        }
        network.set(Way::Open);
    };
    tokio::join!(served(&app, &key), come_back);
    app.finish().await;
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn the_log_says_once_that_the_database_is_gone_and_once_that_it_is_back() {
    let mut database = TestDatabase::postgres();
    let network = Network::before(&mut database);
    let server = ServerProcess::start(&database);
    let admin = server.admin(&database);
    runtime().block_on(async {
        admin.make_stocked_product("editor", "", &["K1"]).await;
        let key = admin.buy("1", "editor").await.1;
        let software = server.software();
        software.activate(&key, "before").await.ok();
        network.set(Way::Closed);
        for (answer, _) in calls(&software, &admin, &key).await {
            answer.refused(503, "unavailable");
        }
        network.set(Way::Open);
        for (answer, _) in calls(&software, &admin, &key).await {
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    });
    let (status, log) = server.terminate();
    assert!(status.success());
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("the database is out of reach"), 1, "{log}");
    assert_eq!(lines("the database is within reach again"), 1, "{log}");
    assert_eq!(lines("ERROR") - lines("ERROR request failed"), 1, "{log}");
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn a_server_that_is_to_stop_does_although_the_database_keeps_its_last_counts_waiting() {
    let database = TestDatabase::postgres();
    let server = ServerProcess::start(&database);
    let admin = server.admin(&database);
    let mut holder = database.connect();
    runtime().block_on(async {
        admin.make_stocked_product("editor", "", &["K1"]).await;
        let key = admin.buy("1", "editor").await.1;
        let software = server.software();
        software.activate(&key, "before").await.ok();
        let hold = "BEGIN; LOCK TABLE activations IN SHARE MODE";
        holder.batch_execute(hold).unwrap();
        // When it was last seen is written at the end.
        let known = json!({ "key": key, "installation_id": "before" });
        software.post("/v1/activations/renew", known).await.ok();
    });
    let since = Instant::now();
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert!(
        since.elapsed() < STOPS_WITHIN,
        "it stopped after {:?}",
        since.elapsed()
    );
    assert!(
        log.contains("the last counts could not be written in time"),
        "{log}"
    );
    holder.batch_execute("COMMIT").unwrap();
}
