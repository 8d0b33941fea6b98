//! Activate, renew, release, validate.

use serde_json::{Value, json};

use crate::support::database::texts;
use crate::support::on_both_databases;

on_both_databases! {
    /// [UC-14]
    async fn an_installation_gets_a_signed_token_and_the_same_again_is_the_same_activation(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=2", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();

        let first = software.activate(&key, "machine-1").await;
        assert_eq!(first.status, 201, "{}", first.text);
        let again = software.activate(&key, "machine-1").await;
        assert_eq!(again.status, 200);
        let (first, again) = (first.json(), again.json());
        assert_eq!(first["activation_id"], again["activation_id"]);
        assert_eq!(again["key"]["activations"], 1);
        assert_eq!(first["key"]["number"], "KEY.00000001.0001");
        assert_eq!(first["key"]["product"], "editor");
        assert_eq!(first["key"]["status"], "delivered");
        assert_eq!(first["key"]["max_activations"], 2);
        assert_eq!(first["key"]["expires_at"], Value::Null);
        assert_eq!(first["attached"], json!([]));
        assert_eq!(first["created_at"], "2026-11-22T10:00:00Z");
        assert_eq!(first["renew_by"], "2026-12-22T10:00:00Z");
    }

    /// [UC-15]
    async fn the_limit_counts_open_activations_and_a_release_frees_the_place(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=2", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let first = software.activate(&key, "m1").await.ok();
        software.activate(&key, "m2").await.ok();

        let problem = software.activate(&key, "m3").await.refused(409, "activation_limit_reached");
        assert_eq!((&problem["max_activations"], &problem["activations"]), (&json!(2), &json!(2)));

        let release = json!({ "token": first["token"] });
        assert_eq!(software.post("/v1/activations/release", release.clone()).await.status, 204);
        assert_eq!(software.post("/v1/activations/release", release).await.status, 204, "a repeat is harmless");
        assert_eq!(software.activate(&key, "m3").await.status, 201);
        software.activate(&key, "m1").await.refused(409, "activation_limit_reached");

        let never = json!({ "key": key, "installation_id": "m9" });
        software.post("/v1/activations/release", never).await.refused(404, "activation_not_found");
    }

    async fn a_token_from_before_a_release_neither_renews_nor_releases_what_came_after(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let old = software.activate(&key, "m1").await.ok();
        software.post("/v1/activations/release", json!({ "token": old["token"] })).await;
        let new = software.activate(&key, "m1").await;
        assert_eq!(new.status, 201);
        assert_ne!(new.json()["activation_id"], old["activation_id"]);

        let renewed = software.post("/v1/activations/renew", json!({ "token": old["token"] })).await;
        renewed.refused(404, "activation_not_found");
        let released = software.post("/v1/activations/release", json!({ "token": old["token"] })).await;
        assert_eq!(released.status, 204);
        software.post("/v1/activations/renew", json!({ "token": new.json()["token"] })).await.ok();
    }

    async fn renewing_gives_the_same_activation_a_fresh_token_by_token_or_by_key(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let first = software.activate(&key, "m1").await.ok();
        app.pass_days(10);
        let by_token = software.post("/v1/activations/renew", json!({ "token": first["token"] })).await.ok();
        let by_key =
            software.post("/v1/activations/renew", json!({ "key": key, "installation_id": "m1" })).await.ok();
        for renewed in [by_token, by_key] {
            assert_eq!(renewed["activation_id"], first["activation_id"]);
            assert_eq!(renewed["created_at"], first["created_at"]);
            assert_eq!(renewed["renew_by"], "2027-01-01T10:00:00Z");
            assert_ne!(renewed["token"], first["token"]);
        }
    }

    async fn a_token_renews_for_180_days_past_its_expiry_and_not_a_second_longer(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let first = software.activate(&key, "m1").await.ok();
        app.pass_days(30 + 180);
        app.pass_seconds(-1);
        software.post("/v1/activations/renew", json!({ "token": first["token"] })).await.ok();
        app.pass_seconds(1);
        let renewed = software.post("/v1/activations/renew", json!({ "token": first["token"] })).await;
        renewed.refused(401, "token_invalid");
    }

    /// [UC-5]
    async fn revoking_refuses_activation_and_renewal_and_unrevoking_allows_them_again(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let first = software.activate(&key, "m1").await.ok();

        let revoked = app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({ "reason": "fraud" })).await.ok();
        assert_eq!(revoked["revoked_at"], "2026-11-22T10:00:00Z");
        software.activate(&key, "m1").await.refused(403, "key_revoked");
        software.activate(&key, "m2").await.refused(403, "key_revoked");
        let renew = json!({ "token": first["token"] });
        software.post("/v1/activations/renew", renew.clone()).await.refused(403, "key_revoked");
        let verdict = software.post("/v1/validate", json!({ "key": key })).await.ok();
        assert_eq!((&verdict["valid"], &verdict["code"]), (&json!(false), &json!("key_revoked")));

        app.admin.post(&format!("/v1/keys/{id}/unrevoke"), json!({})).await.ok();
        software.post("/v1/activations/renew", renew.clone()).await.ok();
        // A release works whatever the verdict.
        app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({})).await.ok();
        assert_eq!(software.post("/v1/activations/release", renew).await.status, 204);
    }

    async fn a_key_that_was_not_sold_looks_unknown(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        let software = app.software();
        let unsold = software.activate("K2", "m1").await.refused(404, "key_not_found");
        let unknown = software.activate("K3", "m1").await.refused(404, "key_not_found");
        assert_eq!(unsold, unknown);
        for key in ["K2", "K3"] {
            let verdict = software.post("/v1/validate", json!({ "key": key })).await.ok();
            assert_eq!(verdict, json!({ "valid": false, "code": "key_not_found", "in_grace": false, "key": null }));
        }
    }

    /// [IPS-18]
    async fn keys_of_other_products_and_mere_codes_are_refused_with_codes_of_their_own(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        app.admin.make_product("voucher", json!({ "activation_managed": false })).await;
        app.admin.import("voucher", "", &["V1"]).await.ok();
        let (_, key) = app.admin.buy("1", "editor").await;
        let (_, voucher) = app.admin.buy("2", "voucher").await;
        let software = app.software();
        let body = json!({ "key": key, "installation_id": "m1", "product": "player" });
        software.post("/v1/activations", body).await.refused(422, "product_mismatch");
        software.activate(&voucher, "m1").await.refused(422, "activation_not_managed");
    }

    async fn a_key_expires_for_new_activations_first_and_for_renewals_after_its_grace(app: TestApp) {
        app.admin.make_product("editor", json!({ "grace_days": 5 })).await;
        app.admin.import("editor", "valid_for_days=10", &["K1"]).await.ok();
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let first = software.activate(&key, "m1").await.ok();
        assert_eq!(first["key"]["expires_at"], "2026-12-02T10:00:00Z");
        assert_eq!(first["renew_by"], "2026-12-07T10:00:00Z", "the earlier of expiry with grace and renew-by");

        app.pass_days(10);
        software.activate(&key, "m2").await.refused(403, "key_expired");
        software.post("/v1/activations/renew", json!({ "token": first["token"] })).await.ok();
        let validate = json!({ "key": key, "installation_id": "m1" });
        let verdict = software.post("/v1/validate", validate.clone()).await.ok();
        assert_eq!((&verdict["valid"], &verdict["in_grace"]), (&json!(true), &json!(true)));

        app.pass_days(5);
        let renewed = software.post("/v1/activations/renew", json!({ "token": first["token"] })).await;
        renewed.refused(403, "key_expired");
        let verdict = software.post("/v1/validate", validate).await.ok();
        assert_eq!((&verdict["code"], &verdict["in_grace"]), (&json!("key_expired"), &json!(false)));
    }

    async fn validate_says_what_an_activation_or_a_renewal_would_and_changes_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=1", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let code = async |body: Value| software.post("/v1/validate", body).await.ok()["code"].clone();
        assert_eq!(code(json!({ "key": key })).await, "ok");
        assert_eq!(code(json!({ "key": key, "installation_id": "m1" })).await, "installation_not_activated");
        software.activate(&key, "m1").await.ok();
        assert_eq!(code(json!({ "key": key, "installation_id": "m1" })).await, "ok");
        assert_eq!(code(json!({ "key": key })).await, "activation_limit_reached");
        assert_eq!(code(json!({ "key": key, "product": "player" })).await, "product_mismatch");
        let list = app.admin.get("/v1/activations").await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
    }

    async fn a_product_may_limit_releases_per_month_and_forbid_them_to_the_public(app: TestApp) {
        app.admin.make_product("editor", json!({ "releases_per_month": 1 })).await;
        app.admin.import("editor", "", &["K1"]).await.ok();
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let release = async |installation: &str| {
            let body = json!({ "key": key, "installation_id": installation });
            software.post("/v1/activations/release", body).await
        };
        let mut ids = Vec::new();
        for installation in ["m1", "m2", "m3"] {
            ids.push(software.activate(&key, installation).await.ok()["activation_id"].clone());
        }
        assert_eq!(release("m1").await.status, 204);
        release("m2").await.refused(409, "release_limit_reached");
        app.pass_days(9);
        assert_eq!(release("m2").await.status, 204, "a new month has begun");

        app.pass_days(31);
        app.admin.patch("/v1/products/editor", json!({ "self_release": false })).await.ok();
        release("m3").await.refused(403, "release_not_allowed");
        let path = format!("/v1/activations/{}", ids[2].as_str().unwrap());
        assert_eq!(app.admin.delete(&path).await.status, 204, "staff may");
        app.admin.delete(&path).await.refused(404, "activation_not_found");
    }

    /// [UC-15]
    async fn a_key_without_a_limit_counts_its_activations_however_many(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        for number in 1..=70 {
            let activation = software.activate(&key, &format!("m{number}")).await.ok();
            assert_eq!(activation["key"]["activations"], number);
        }
        for number in 1..=10 {
            let body = json!({ "key": key, "installation_id": format!("m{number}") });
            assert_eq!(software.post("/v1/activations/release", body).await.status, 204);
        }
        let again = software.activate(&key, "m70").await.ok();
        assert_eq!(again["key"]["activations"], 60);
    }

    async fn staff_see_open_and_released_activations_with_what_the_software_said_of_itself(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let body = json!({
            "key": key, "installation_id": "m1", "label": "Ada's laptop", "platform": "linux",
            "app_version": "2.1", "extra": { "seat": 7 },
        });
        let first = software.post("/v1/activations", body).await.ok();
        app.pass_seconds(60);
        software.post("/v1/activations/renew", json!({ "token": first["token"] })).await.ok();
        app.app.flush_tally().await.unwrap();

        let list = app.admin.get(&format!("/v1/activations?key={id}")).await.ok();
        let activation = &list["items"][0];
        assert_eq!(activation["label"], "Ada's laptop");
        assert_eq!(activation["extra"], json!({ "seat": 7 }));
        assert_eq!(activation["address"], "127.0.0.1");
        assert_eq!(activation["last_seen_at"], "2026-11-22T10:01:00Z");
        let found = app.admin.post("/v1/keys/lookup", json!({ "key": key })).await.ok();
        assert_eq!(found["installations"][0], *activation);

        software.post("/v1/activations/release", json!({ "token": first["token"] })).await;
        let open = app.admin.get("/v1/activations?product=editor").await.ok();
        assert_eq!(open["items"], json!([]));
        let released = app.admin.get("/v1/activations?open=false").await.ok();
        assert_eq!(released["items"][0]["label"], "Ada's laptop");
        assert_eq!(released["items"][0]["released_at"], "2026-11-22T10:01:00Z");
    }

    async fn refusals_are_counted_by_day_key_and_code_without_a_write_for_each(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=1", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        software.activate(&key, "m1").await.ok();
        for _ in 0..3 {
            software.activate(&key, "m2").await.refused(409, "activation_limit_reached");
            software.activate("unknown", "m2").await.refused(404, "key_not_found");
        }
        software.post("/v1/validate", json!({ "key": "unknown" })).await.ok();
        software.post("/v1/activations/renew", json!({ "token": "x.y.z" })).await.refused(401, "token_invalid");
        let counts = "SELECT key_id || ' ' || code || ' ' || count AS text FROM refusals ORDER BY key_id, code";
        assert!(texts(&mut app.database.connect(), counts).is_empty(), "nothing is written yet");
        app.app.flush_tally().await.unwrap();
        app.app.flush_tally().await.unwrap();
        let written = texts(&mut app.database.connect(), counts);
        assert_eq!(written, ["0 key_not_found 4", "0 token_invalid 1", "1 activation_limit_reached 3"]);
    }
}
