//! `Idempotency-Key`: a creation that is repeated makes nothing again.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::crash::Crash;
use crate::support::database::{TestDatabase, number};
use crate::support::persona::Answer;
use crate::support::process::ServerProcess;
use crate::support::{Persona, on_both_databases, processes_on_both_databases};

async fn post(who: &Persona, path: &str, key: &str, body: &Value) -> Answer {
    let request = who
        .request(Method::POST, path)
        .header("Idempotency-Key", key)
        .json(body);
    who.send(request).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.contains_key("idempotent-replayed")
}

on_both_databases! {
    async fn a_repeated_creation_answers_as_the_first_and_makes_nothing(app: TestApp) {
        for (path, body) in [
            ("/v1/sequences", json!({ "name": "editor" })),
            ("/v1/products", json!({ "sku": "editor", "sequence": "editor" })),
            ("/v1/accounts", json!({ "name": "ci", "role": "viewer" })),
            ("/v1/generators", json!({ "name": "short" })),
            ("/v1/users", json!({ "email": "ada@example.com", "role": "viewer" })),
        ] {
            let first = post(&app.admin, path, "once", &body).await;
            let again = post(&app.admin, path, "once", &body).await;
            assert_eq!((first.status, again.status), (201, 201), "{path}: {}", again.text);
            // A generator's sample is drawn anew each time.
            let but_sample = |answer: &Answer| {
                let mut json = answer.json();
                json.as_object_mut().unwrap().remove("sample");
                json
            };
            assert_eq!(but_sample(&first), but_sample(&again), "{path}");
            assert!(!is_replayed(&first) && is_replayed(&again), "{path}");
            // Without the key, or with another, it is another call.
            app.admin.post(path, body.clone()).await.refused(409, "already_exists");
            post(&app.admin, path, "twice", &body).await.refused(409, "already_exists");
        }
        let events = app.admin.get("/v1/events?action=product.created").await.ok();
        assert_eq!(events["items"].as_array().unwrap().len(), 1);
    }

    async fn a_repeated_token_is_shown_without_its_secret(app: TestApp) {
        let body = json!({ "account": "admin", "label": "ci", "expires_at": "2026-11-22T11:00:00Z" });
        let first = post(&app.admin, "/v1/tokens", "k", &body).await.ok();
        app.pass_seconds(7200);
        let again = post(&app.admin, "/v1/tokens", "k", &body).await;
        assert_eq!(again.status, 201);
        let mut expected = first.clone();
        assert!(first["token"].as_str().unwrap().starts_with("cst_"));
        expected["token"] = Value::Null;
        assert_eq!(again.json(), expected);
        let tokens = app.admin.get("/v1/tokens?account=admin").await.ok();
        assert_eq!(tokens["items"].as_array().unwrap().len(), 2);
    }

    async fn a_key_is_for_one_request_of_one_account(app: TestApp) {
        let body = json!({ "name": "a" });
        post(&app.admin, "/v1/sequences", "k", &body).await.ok();
        let other = post(&app.admin, "/v1/sequences", "k", &json!({ "name": "b" })).await;
        other.refused(422, "idempotency_key_reused");
        app.admin.get("/v1/sequences/b").await.refused(404, "sequence_not_found");
        post(&app.admin, "/v1/sequences?x=1", "k", &body).await.refused(422, "idempotency_key_reused");
        // Another path, another account: another call.
        post(&app.admin, "/v1/products", "k", &json!({ "sku": "a" })).await.ok();
        let ci = app.persona("ci", "admin").await;
        post(&ci, "/v1/sequences", "k", &body).await.refused(409, "already_exists");
        post(&ci, "/v1/sequences", "k", &json!({ "name": "c" })).await.ok();
    }

    async fn a_refused_call_may_be_corrected_under_its_key(app: TestApp) {
        post(&app.admin, "/v1/products", "k", &json!({ "sku": "a", "grace_days": -1 })).await.refused(422, "validation_failed");
        post(&app.admin, "/v1/products", "k", &json!({ "sku": "a", "what": 1 })).await.refused(422, "validation_failed");
        post(&app.admin, "/v1/tokens", "k", &json!({ "account": "nobody" })).await.refused(404, "account_not_found");
        assert_eq!(number(&mut app.database.connect(), "SELECT COUNT(*) AS number FROM idempotency_records"), 0);
        assert!(!is_replayed(&post(&app.admin, "/v1/products", "k", &json!({ "sku": "a" })).await));
    }

    async fn a_repeat_shows_the_thing_as_it_is_now_or_that_it_is_gone(app: TestApp) {
        let (sequence, product) = (json!({ "name": "a" }), json!({ "sku": "a" }));
        post(&app.admin, "/v1/sequences", "k", &sequence).await.ok();
        post(&app.admin, "/v1/products", "k", &product).await.ok();
        app.admin.patch("/v1/sequences/a", json!({ "name": "b" })).await.ok();
        app.admin.patch("/v1/products/a", json!({ "sku": "b" })).await.ok();
        assert_eq!(post(&app.admin, "/v1/sequences", "k", &sequence).await.ok()["name"], "b");
        assert_eq!(post(&app.admin, "/v1/products", "k", &product).await.ok()["sku"], "b");
        assert_eq!(app.admin.delete("/v1/sequences/b").await.status, 204);
        assert_eq!(app.admin.delete("/v1/products/b").await.status, 204);
        post(&app.admin, "/v1/sequences", "k", &sequence).await.refused(404, "sequence_not_found");
        post(&app.admin, "/v1/products", "k", &product).await.refused(404, "product_not_found");
    }

    async fn a_key_is_forgotten_after_a_day(app: TestApp) {
        let body = json!({ "account": "admin" });
        let first = post(&app.admin, "/v1/tokens", "k", &body).await.ok()["id"].clone();
        app.pass_seconds(86_399);
        assert_eq!(post(&app.admin, "/v1/tokens", "k", &body).await.ok()["id"], first);
        app.pass_seconds(1);
        let second = post(&app.admin, "/v1/tokens", "k", &body).await.ok()["id"].clone();
        assert_ne!(second, first);
        assert_eq!(post(&app.admin, "/v1/tokens", "k", &body).await.ok()["id"], second);
        post(&app.admin, "/v1/tokens", "l", &body).await.ok();

        let count = "SELECT COUNT(*) AS number FROM idempotency_records";
        app.app.forget_old_calls().await.unwrap();
        assert_eq!(number(&mut app.database.connect(), count), 2);
        app.pass_days(1);
        app.app.forget_old_calls().await.unwrap();
        assert_eq!(number(&mut app.database.connect(), count), 0);
    }

    async fn a_wrong_key_is_refused_and_named(app: TestApp) {
        let body = json!({ "name": "a" });
        for key in ["", "two words", &"x".repeat(256)] {
            let problem = post(&app.admin, "/v1/sequences", key, &body).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], "Idempotency-Key", "{key:?}");
        }
        let twice = app.admin.request(Method::POST, "/v1/sequences").json(&body);
        let twice = twice.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
        app.admin.send(twice).await.refused(422, "validation_failed");
        post(&app.admin, "/v1/sequences", &"~".repeat(255), &body).await.ok();
        // Shipped software needs none: whatever stands there is left alone.
        let key = json!({ "key": "K1" });
        assert_eq!(post(&app.software(), "/v1/validate", "two words", &key).await.ok()["code"], "key_not_found");
    }

    async fn keys_are_entered_and_counted_once(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let key = json!({ "key": "K1", "sequence": "editor", "max_activations": 5 });
        let first = post(&app.admin, "/v1/keys", "k", &key).await;
        let again = post(&app.admin, "/v1/keys", "k", &key).await;
        assert_eq!((first.status, again.status, first.text), (201, 201, again.text.clone()));
        assert!(is_replayed(&again));
        app.admin.buy("1", "editor").await;
        let by = |by: i64| json!({ "key": "K1", "by": by });
        for _ in 0..3 {
            let counted = post(&app.admin, "/v1/keys/increment", "k", &by(2)).await;
            assert_eq!(counted.ok()["activations"], 2);
        }
        post(&app.admin, "/v1/keys/increment", "k", &by(3)).await.refused(422, "idempotency_key_reused");
        assert_eq!(post(&app.admin, "/v1/keys/increment", "l", &by(3)).await.ok()["activations"], 5);
        // What it came to is shown as it is now, also where no more would be admitted.
        assert_eq!(post(&app.admin, "/v1/keys/increment", "k", &by(2)).await.ok()["activations"], 5);
    }

    async fn keys_are_generated_once_however_often_and_however_many_ask(app: TestApp) {
        app.admin.post("/v1/sequences", json!({ "name": "a" })).await.ok();
        let id = app.admin.post("/v1/generators", json!({ "name": "g" })).await.ok()["id"].clone();
        let path = format!("/v1/generators/{id}/generate");
        let body = json!({ "quantity": 2500, "sequence": "a" });
        let calls = (0..16).map(|_| {
            let (admin, path, body) = (app.admin.clone(), path.clone(), body.clone());
            tokio::spawn(async move { post(&admin, &path, "k", &body).await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        for answer in &answers {
            if answer.status == 409 {
                answer.refused(409, "idempotency_in_flight");
                assert_eq!(answer.headers["retry-after"], "1");
            } else {
                assert_eq!(answer.ok(), json!({ "made": 2500 }));
            }
        }
        let fresh = |answer: &&Answer| answer.status == 200 && !is_replayed(answer);
        assert_eq!(answers.iter().filter(fresh).count(), 1);
        let again = post(&app.admin, &path, "k", &body).await;
        assert_eq!((again.ok(), is_replayed(&again)), (json!({ "made": 2500 }), true));
        let less = json!({ "quantity": 1, "sequence": "a" });
        post(&app.admin, &path, "k", &less).await.refused(422, "idempotency_key_reused");
        assert_eq!(app.admin.get("/v1/sequences/a").await.ok()["keys"]["active"], 2500);

        // What was refused may be corrected under its key.
        let wrong = json!({ "quantity": 1, "sequence": "b" });
        post(&app.admin, &path, "l", &wrong).await.refused(404, "sequence_not_found");
        assert_eq!(post(&app.admin, &path, "l", &less).await.ok()["made"], 1);
    }

    async fn thirty_two_calls_with_one_key_at_once_make_one_thing_and_answer_alike(app: TestApp) {
        let calls = (0..32).map(|_| {
            let admin = app.admin.clone();
            tokio::spawn(async move { post(&admin, "/v1/sequences", "k", &json!({ "name": "a" })).await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
        assert!(answers.iter().all(|answer| answer.text == answers[0].text), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);

        // Tokens have no name that would keep a second one out.
        let calls = (0..32).map(|_| {
            let admin = app.admin.clone();
            tokio::spawn(async move { post(&admin, "/v1/tokens", "k", &json!({ "account": "admin" })).await.ok() })
        });
        let tokens: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert!(tokens.iter().all(|token| token["id"] == tokens[0]["id"]));
        assert_eq!(tokens.iter().filter(|token| token["token"].is_string()).count(), 1);
        assert_eq!(app.admin.get("/v1/tokens").await.ok()["items"].as_array().unwrap().len(), 2);
    }
}

const CRASH: Crash = Crash {
    calls: 400,
    clients: 16,
    kill_after: 120,
};

async fn make(admin: &Persona, call: usize) -> Option<Value> {
    let body = json!({ "account": "ci", "label": format!("call {call}") });
    let request = admin
        .request(Method::POST, "/v1/tokens")
        .header("Idempotency-Key", format!("call-{call}"))
        .json(&body);
    let answer = request.send().await.ok()?;
    assert_eq!(answer.status(), 201);
    answer.json().await.ok()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn crash_and_repeat(database: &TestDatabase) {
    let server = ServerProcess::start(database);
    let admin = server.admin(database);
    let told: Vec<(usize, Value)> = CRASH
        .play(server, move |call| {
            let admin = admin.clone();
            async move { Some((call, make(&admin, call).await?["id"].clone())) }
        })
        .await;

    let server = ServerProcess::start(database);
    let admin = server.admin(database);
    for call in 0..CRASH.calls {
        let token = make(&admin, call).await.unwrap();
        let before = told.iter().find(|(told, _)| *told == call);
        assert!(before.is_none_or(|(_, id)| *id == token["id"]), "{call}");
    }
    let made = "SELECT COUNT(*) AS number FROM api_tokens WHERE label LIKE 'call %'";
    assert_eq!(number(&mut database.connect(), made), 400);
    assert!(server.terminate().0.success());
}

processes_on_both_databases! {
    fn calls_that_were_cut_off_by_a_crash_can_be_repeated_and_make_everything_once(database: TestDatabase) {
        crash_and_repeat(database);
    }
}
