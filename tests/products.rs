//! Products and sequences.

use serde_json::{Value, json};

use crate::support::database::{number, texts};
use crate::support::on_both_databases;

on_both_databases! {
    async fn a_product_starts_with_its_defaults_and_an_edit_changes_what_is_given(app: TestApp) {
        let made = app.admin.post("/v1/products", json!({ "sku": "editor" })).await;
        assert_eq!(made.status, 201);
        let mut expected = json!({
            "id": 1, "sku": "editor", "name": "editor", "status": "published", "virtual": true, "downloadable": false,
            "sells_keys": true, "activation_managed": true, "sequence": null, "delivery_quantity": 1,
            "activation_limit_basis": "key", "number_prefix": "KEY", "renew_by_days": 30, "grace_days": 0,
            "auto_deliver": true, "self_release": true, "releases_per_month": null, "entitlements": {}, "extra": {}, "fallback_generator": null,
            "available": 0, "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z",
        });
        assert_eq!(made.json(), expected);
        app.admin.post("/v1/products", json!({ "sku": "editor" })).await.refused(409, "already_exists");

        app.pass_seconds(1);
        app.admin.post("/v1/sequences", json!({ "name": "pool" })).await.ok();
        let patch = json!({ "name": "Editor", "sequence": "pool", "releases_per_month": 2, "extra": { "a": 1 } });
        expected.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        expected["updated_at"] = json!("2026-11-22T10:00:01Z");
        assert_eq!(app.admin.patch("/v1/products/editor", patch).await.ok(), expected);
        app.pass_seconds(1);
        let cleared = app.admin.patch("/v1/products/editor", json!({ "releases_per_month": null, "sequence": null })).await.ok();
        assert_eq!((&cleared["releases_per_month"], &cleared["sequence"]), (&Value::Null, &Value::Null));
        assert_eq!(cleared["name"], "Editor");
    }

    async fn a_product_in_use_cannot_be_deleted_and_another_can(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        app.admin.make_product("player", json!({})).await;
        app.admin.buy("1", "editor").await;
        app.admin.delete("/v1/products/editor").await.refused(409, "in_use");
        assert_eq!(app.admin.delete("/v1/products/player").await.status, 204);
        app.admin.get("/v1/products/player").await.refused(404, "product_not_found");
        app.admin.delete("/v1/products/player").await.refused(404, "product_not_found");
    }

    /// [SHOP-8]
    async fn a_draft_cannot_be_bought_until_it_is_published(app: TestApp) {
        app.admin.make_product("plan", json!({ "status": "draft" })).await;
        app.admin.import("plan", "", &["K1"]).await.ok();
        app.admin.order("1", "plan", 1, "completed").await.refused(422, "validation_failed");
        let shop = app.shop().await;
        shop.get("/v1/products/plan").await.refused(404, "product_not_found");
        assert_eq!(shop.get("/v1/products").await.ok()["items"], json!([]), "a shop sees what can be sold");
        app.admin.patch("/v1/products/plan", json!({ "status": "published" })).await.ok();
        assert_eq!(app.admin.buy("1", "plan").await.1, "K1");
    }

    /// [SHOP-52]
    async fn a_product_that_sells_no_keys_issues_none(app: TestApp) {
        app.admin.make_product("service", json!({ "sells_keys": false })).await;
        app.admin.import("service", "", &["K1"]).await.ok();
        let order = app.admin.order("1", "service", 1, "payment_received").await;
        assert!(order.keys().is_empty());
        assert_eq!((&order.json()["issue_state"], &order.json()["status"]), (&json!("none"), &json!("completed")));
        assert_eq!(app.admin.get("/v1/stock?sku=service").await.ok()["items"][0]["available"], Value::Null);
    }

    /// [UC-30, UC-31]
    async fn deleting_a_sequence_keeps_its_assigned_keys_and_deletes_the_others(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        assert_eq!(app.admin.delete("/v1/sequences/editor").await.status, 204);
        app.finish_jobs().await;
        app.admin.get("/v1/sequences/editor").await.refused(404, "sequence_not_found");
        while number(&mut app.database.connect(), "SELECT COUNT(*) AS number FROM keys") > 1 {
            app.finish_jobs().await;
        }
        let kept = app.admin.get(&format!("/v1/keys/{id}")).await.ok();
        assert_eq!((&kept["key"], &kept["sequence"]), (&json!(key), &json!("editor")));
        app.software().activate(&key, "m1").await.ok();
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["sequence"], Value::Null);
        // The name is free again, and a deleted text may come back.
        app.admin.post("/v1/sequences", json!({ "name": "editor" })).await.ok();
        let report = app.admin.import("editor", "", &["K1", "K2"]).await.ok();
        assert_eq!((&report["added"], &report["duplicates"]), (&json!(1), &json!(1)));
    }

    async fn a_product_whose_sequence_was_deleted_keeps_its_fallback_and_can_be_edited(app: TestApp) {
        let generator = app.admin.post("/v1/generators", json!({ "name": "help" })).await.ok()["id"].clone();
        app.admin.make_product("editor", json!({ "fallback_generator": generator })).await;
        assert_eq!(app.admin.delete("/v1/sequences/editor").await.status, 204);
        let edited = app.admin.patch("/v1/products/editor", json!({ "name": "Editor" })).await.ok();
        assert_eq!((&edited["name"], &edited["sequence"]), (&json!("Editor"), &Value::Null));
        assert_eq!(edited["fallback_generator"], generator);
        // What it lacks is told to whoever changes where its keys come from.
        let again = app.admin.patch("/v1/products/editor", json!({ "fallback_generator": null })).await.ok();
        assert_eq!(again["fallback_generator"], Value::Null);
        let refused = app.admin.patch("/v1/products/editor", json!({ "fallback_generator": generator })).await;
        assert_eq!(refused.refused(422, "validation_failed")["errors"][0]["field"], "fallback_generator");
    }

    /// [UC-29]
    async fn a_sequence_is_renamed_and_counts_its_keys_by_status(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        app.admin.import("editor", "status=inactive", &["K3"]).await.ok();
        app.admin.buy("1", "editor").await;
        let renamed = app.admin.patch("/v1/sequences/editor", json!({ "name": "pool", "low_stock_threshold": 5 })).await.ok();
        assert_eq!(renamed["keys"], json!({ "active": 1, "inactive": 1, "sold": 0, "delivered": 1, "disabled": 0 }));
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["sequence"], "pool");
        app.admin.post("/v1/sequences", json!({ "name": "other" })).await.ok();
        app.admin.patch("/v1/sequences/other", json!({ "name": "pool" })).await.refused(409, "already_exists");
    }

    async fn every_change_leaves_an_event_with_who_and_what(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        app.software().activate(&key, "m1").await.ok();
        app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({ "reason": "fraud" })).await.ok();
        let events = "SELECT action || ' ' || actor AS text FROM events WHERE subject_type <> 'api_token' ORDER BY id";
        assert_eq!(texts(&mut app.database.connect(), events), [
            "account.created command_line", "sequence.created account", "product.created account",
            "keys.imported account", "order.keys_issued account", "order.created account",
            "activation.created public", "key.revoked account",
        ]);
    }
}
