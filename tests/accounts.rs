//! Accounts and API tokens. (Who may call what is in `permissions`.)

use serde_json::{Value, json};

use crate::support::persona::Answer;
use crate::support::{Persona, on_both_databases};

on_both_databases! {
    async fn only_a_known_token_in_force_is_accepted(app: TestApp) {
        for token in [None, Some("".to_owned()), Some("cst_nothing".to_owned())] {
            let answer = Persona::new(&app.base, token).get("/v1/products").await;
            answer.refused(401, "unauthenticated");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        app.admin.post("/v1/accounts", json!({ "name": "ci", "role": "viewer" })).await.ok();
        let body = json!({ "account": "ci", "label": "night", "expires_at": "2026-11-23T10:00:00Z" });
        let token = app.admin.post("/v1/tokens", body).await.ok();
        let secret = token["token"].as_str().unwrap();
        assert!(secret.starts_with("cst_") && secret.ends_with(token["hint"].as_str().unwrap()));
        let viewer = Persona::new(&app.base, Some(secret.to_owned()));
        viewer.get("/v1/products").await.ok();
        app.pass_days(1);
        viewer.get("/v1/products").await.refused(401, "unauthenticated");

        let lasting = app.admin.post("/v1/tokens", json!({ "account": "ci" })).await.ok();
        let viewer = Persona::new(&app.base, Some(lasting["token"].as_str().unwrap().to_owned()));
        viewer.get("/v1/products").await.ok();
        assert_eq!(app.admin.delete(&format!("/v1/tokens/{}", lasting["id"])).await.status, 204);
        assert_eq!(app.admin.delete(&format!("/v1/tokens/{}", lasting["id"])).await.status, 204);
        viewer.get("/v1/products").await.refused(401, "unauthenticated");
        app.admin.delete("/v1/tokens/4711").await.refused(404, "api_token_not_found");
    }

    async fn a_secret_is_shown_once_and_listed_never(app: TestApp) {
        let made = app.admin.post("/v1/tokens", json!({ "account": "admin", "label": "second" })).await.ok();
        let list = app.admin.get("/v1/tokens?account=admin").await;
        assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
        assert!(!list.text.contains(made["token"].as_str().unwrap()));
        app.admin.get("/v1/tokens?account=nobody").await.refused(404, "account_not_found");
        let ended = json!({ "account": "admin", "expires_at": "2026-11-22T10:00:00Z" });
        app.admin.post("/v1/tokens", ended).await.refused(422, "validation_failed");
        app.admin.post("/v1/tokens", json!({ "account": "nobody" })).await.refused(404, "account_not_found");
        app.admin.post("/v1/accounts", json!({ "name": "admin", "role": "shop" })).await.refused(409, "already_exists");
    }

    /// [IPS-19]
    async fn an_importer_pushes_into_the_sequences_that_are_named_for_it(app: TestApp) {
        for name in ["ours", "theirs"] {
            app.admin.post("/v1/sequences", json!({ "name": name })).await.ok();
        }
        let body = json!({ "name": "factory", "role": "importer", "sequences": ["ours", "ours"] });
        let account = app.admin.post("/v1/accounts", body).await.ok();
        assert_eq!(account["sequences"], json!(["ours"]));
        let path = format!("/v1/accounts/{}", account["id"]);
        let importer = app.persona_of("factory").await;
        assert_eq!(importer.import("ours", "", &["K1"]).await.ok()["added"], 1);

        // One that is not theirs looks like one that is not there, and nothing is made for them.
        let missing = importer.import("nothing", "", &["K2"]).await.refused(404, "sequence_not_found");
        let foreign = importer.import("theirs", "", &["K2"]).await.refused(404, "sequence_not_found");
        let detail = |problem: &Value| problem["detail"].as_str().unwrap().replace("theirs", "nothing");
        assert_eq!(detail(&foreign), detail(&missing));
        importer.import("nothing", "create_missing=true", &["K2"]).await.refused(404, "sequence_not_found");
        app.admin.get("/v1/sequences/nothing").await.refused(404, "sequence_not_found");

        // By id: a new name changes nothing, and a new sequence of the old name is another.
        app.admin.patch("/v1/sequences/ours", json!({ "name": "renamed" })).await.ok();
        app.admin.post("/v1/sequences", json!({ "name": "ours" })).await.ok();
        assert_eq!(importer.import("renamed", "", &["K3"]).await.ok()["added"], 1);
        importer.import("ours", "", &["K4"]).await.refused(404, "sequence_not_found");
        assert_eq!(app.admin.get(&path).await.ok()["sequences"], json!(["renamed"]));

        let changed = app.admin.patch(&path, json!({ "name": "press", "sequences": ["theirs"] })).await.ok();
        assert_eq!((&changed["name"], &changed["sequences"]), (&json!("press"), &json!(["theirs"])));
        importer.import("renamed", "", &["K5"]).await.refused(404, "sequence_not_found");
        importer.import("theirs", "", &["K5"]).await.ok();
        let event = app.admin.get("/v1/events?action=account.updated").await.ok()["items"][0].clone();
        assert_eq!(event["detail"], json!({
            "before": { "name": "factory", "sequences": ["renamed"] },
            "after": { "name": "press", "sequences": ["theirs"] },
        }));
        app.admin.patch(&path, json!({})).await.ok();
        let events = app.admin.get("/v1/events?action=account.updated").await.ok();
        assert_eq!(events["items"].as_array().unwrap().len(), 1, "what changes nothing is no event");
    }

    async fn what_an_account_cannot_be_is_refused_and_named(app: TestApp) {
        let wrong = |field: &str, answer: Answer| {
            assert_eq!(answer.refused(422, "validation_failed")["errors"][0]["field"], field);
        };
        let post = |body: Value| app.admin.post("/v1/accounts", body);
        wrong("sequences", post(json!({ "name": "a", "role": "shop", "sequences": [] })).await);
        wrong("sequences[0]", post(json!({ "name": "a", "role": "importer", "sequences": [[]] })).await);
        app.admin.post("/v1/sequences", json!({ "name": "there" })).await.ok();
        wrong("sequences[1]", post(json!({ "name": "a", "role": "importer", "sequences": ["there", "x"] })).await);
        let id = post(json!({ "name": "a", "role": "importer" })).await.ok()["id"].clone();
        assert_eq!(app.admin.get(&format!("/v1/accounts/{id}")).await.ok()["sequences"], json!([]));
        let patch = |id: Value, body: Value| {
            let path = format!("/v1/accounts/{id}");
            async move { app.admin.patch(&path, body).await }
        };
        wrong("role", patch(id.clone(), json!({ "role": "admin" })).await);
        wrong("sequences[0]", patch(id.clone(), json!({ "sequences": ["x"] })).await);
        wrong("sequences", patch(json!(1), json!({ "sequences": ["there"] })).await);
        patch(id, json!({ "name": "admin" })).await.refused(409, "already_exists");
        patch(json!(4711), json!({})).await.refused(404, "account_not_found");
        app.admin.get("/v1/accounts/4711").await.refused(404, "account_not_found");
        assert_eq!(app.admin.get("/v1/accounts/1").await.ok()["sequences"], Value::Null);
    }
}
