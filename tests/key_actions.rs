//! What staff do to keys, one or many.

use serde_json::{Value, json};

use crate::support::database::{number, texts};
use crate::support::{TestApp, on_both_databases};

/// Does something to a key and returns what it is then.
async fn act(app: &TestApp, id: i64, action: &str) -> Value {
    let path = format!("/v1/keys/{id}/{action}");
    app.admin
        .post(&path, json!({ "reason": "a test" }))
        .await
        .ok()
}

async fn bulk(app: &TestApp, body: Value) -> Value {
    app.admin.post("/v1/keys/bulk", body).await.ok()
}

/// How many events of this action there are.
fn events(app: &TestApp, action: &str) -> i64 {
    let query = format!("SELECT COUNT(*) AS number FROM events WHERE action = '{action}'");
    number(&mut app.database.connect(), &query)
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number:05}"))
        .collect()
}

/// Makes a product with this many keys in stock, `K00000` and on.
async fn stock(app: &TestApp, count: usize) {
    let keys = names("K", count);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    app.admin
        .make_stocked_product("editor", "wait=true", &keys)
        .await;
}

on_both_databases! {
    async fn every_action_refuses_what_it_says_and_repeating_one_changes_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        app.software().activate(&key, "m1").await.ok();
        for (there, code, back) in [
            ("revoke", "key_revoked", "unrevoke"),
            ("disable", "key_disabled", "enable"),
            ("suspend", "key_suspended", "resume"),
        ] {
            let first = act(app, id, there).await;
            app.pass_seconds(1);
            assert_eq!(act(app, id, there).await, first, "{there} again");
            app.software().activate(&key, "m2").await.refused(403, code);
            act(app, id, back).await;
            let back_again = act(app, id, back).await;
            assert_eq!(back_again["status"], "delivered");
            app.software().activate(&key, "m1").await.ok();
        }
        for action in ["revoked", "unrevoked", "disabled", "enabled", "suspended", "resumed"] {
            assert_eq!(events(app, &format!("key.{action}")), 1, "{action}");
        }
    }

    async fn facts_are_for_assigned_keys_and_staff_take_stock_off_sale(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        for action in ["revoke", "unrevoke", "suspend", "resume", "terminate", "deliver"] {
            let problem = app.admin.post(&format!("/v1/keys/1/{action}"), json!({})).await.refused(409, "invalid_transition");
            assert_eq!(problem["from"], "active", "{action}");
        }
        assert_eq!(act(app, 1, "disable").await["status"], "disabled");
        assert_eq!(app.admin.order("1", "editor", 1, "completed").await.ok()["issue_state"], "waiting_stock");
        let served = act(app, 1, "enable").await;
        assert_eq!((&served["status"], &served["order"]), (&json!("delivered"), &json!("1")), "to who waited for it");
        app.software().post("/v1/keys/1/revoke", json!({})).await.refused(401, "unauthenticated");
        app.persona("eye", "viewer").await.post("/v1/keys/1/revoke", json!({})).await.refused(403, "forbidden");
    }

    async fn terminated_is_final_and_its_installations_can_still_be_released(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        app.software().activate(&key, "m1").await.ok();
        let terminated = act(app, id, "terminate").await;
        app.pass_seconds(1);
        assert_eq!(act(app, id, "terminate").await, terminated);
        for action in ["revoke", "unrevoke", "disable", "enable", "suspend", "resume", "deliver"] {
            let problem = app.admin.post(&format!("/v1/keys/{id}/{action}"), json!({})).await.refused(409, "invalid_transition");
            assert_eq!(problem["from"], "terminated", "{action}");
        }
        app.admin.post(&format!("/v1/keys/{id}/replace"), json!({ "key": "K2" })).await.refused(409, "invalid_transition");
        app.admin.patch(&format!("/v1/keys/{id}"), json!({ "max_activations": 5 })).await.refused(409, "invalid_transition");
        let noted = app.admin.patch(&format!("/v1/keys/{id}"), json!({ "extra": { "why": "fraud" } })).await.ok();
        assert_eq!(noted["extra"]["why"], "fraud");
        app.software().activate(&key, "m1").await.refused(403, "key_terminated");
        let release = app.software().post("/v1/activations/release", json!({ "key": key, "installation_id": "m1" })).await;
        assert_eq!(release.status, 204);
        app.admin.order("1", "editor", 1, "refunded").await.ok();
        app.admin.order("1", "editor", 1, "completed").await.ok();
    }

    /// [SHOP-26, SHOP-27]
    async fn a_sold_key_is_delivered_once(app: TestApp) {
        app.admin.make_product("editor", json!({ "auto_deliver": false })).await;
        app.admin.import("editor", "", &["K1"]).await.ok();
        let (id, _) = app.admin.buy("1", "editor").await;
        assert_eq!(app.admin.get(&format!("/v1/keys/{id}")).await.ok()["status"], "sold");
        app.pass_seconds(5);
        let delivered = act(app, id, "deliver").await;
        assert_eq!((&delivered["status"], &delivered["delivered_at"]), (&json!("delivered"), &json!("2026-11-22T10:00:05Z")));
        app.pass_seconds(5);
        assert_eq!(act(app, id, "deliver").await, delivered);
        act(app, id, "disable").await;
        app.admin.post(&format!("/v1/keys/{id}/deliver"), json!({})).await.refused(409, "invalid_transition");
        assert_eq!(act(app, id, "enable").await["status"], "delivered");
    }

    async fn what_staff_disable_stays_disabled_when_the_order_is_paid_again(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3", "K4"]).await;
        app.admin.order("1", "editor", 4, "completed").await.ok();
        act(app, 1, "disable").await;
        app.admin.order("1", "editor", 4, "refunded").await.ok();
        act(app, 2, "disable").await;
        act(app, 3, "enable").await;
        let paid_again = app.admin.order("1", "editor", 4, "completed").await.ok();
        assert_eq!(crate::support::persona::keys_of(&paid_again), ["K1", "K2", "K3", "K4"]);
        let list = app.admin.get("/v1/keys").await.ok();
        let statuses: Vec<&str> = list["items"].as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["disabled", "disabled", "delivered", "delivered"]);
        assert_eq!(act(app, 1, "enable").await["status"], "delivered");
    }

    /// [IPS-11, SHOP-35]
    async fn a_replaced_text_is_never_usable_again_and_the_activations_stay(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=2", &["K1", "K2"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        let token = app.software().activate(&key, "m1").await.ok()["token"].clone();
        let path = format!("/v1/keys/{id}/replace");
        let replaced = app.admin.post(&path, json!({ "key": "N1", "reason": "leaked" })).await.ok();
        assert_eq!((&replaced["key"], &replaced["number"]), (&json!("N1"), &json!("KEY.00000001.0002")));
        assert_eq!(replaced["activations"], 1);
        assert_eq!(app.admin.post(&path, json!({ "key": "N1" })).await.ok(), replaced, "again is no other text");

        app.software().activate("K1", "m1").await.refused(404, "key_not_found");
        assert_eq!(app.software().activate("N1", "m1").await.status, 200);
        app.software().post("/v1/activations/renew", json!({ "token": token })).await.ok();
        assert_eq!(app.admin.get("/v1/orders/1").await.keys(), ["N1"], "the shop and the buyer see the new one");
        for text in ["K1", "K2"] {
            app.admin.post(&path, json!({ "key": text })).await.refused(409, "already_exists");
            app.admin.post("/v1/keys/2/replace", json!({ "key": "K1" })).await.refused(409, "already_exists");
            app.admin.post("/v1/keys", json!({ "key": text, "sequence": "editor" })).await.refused(409, "already_exists");
        }
        let report = app.admin.import("editor", "", &["K1", "N1", "K5"]).await.ok();
        assert_eq!((&report["added"], &report["duplicates"]), (&json!(1), &json!(2)));
        app.admin.post("/v1/keys/2/replace", json!({ "key": "N2" })).await.ok();
        assert_eq!(app.admin.order("2", "editor", 2, "completed").await.keys(), ["N2", "K5"], "stock stays in its order");
        for text in texts(&mut app.database.connect(), "SELECT detail AS text FROM events WHERE detail IS NOT NULL") {
            assert!(!["K1", "K2", "N1", "N2"].iter().any(|key| text.contains(key)), "{text}");
        }
    }

    /// [UC-75]
    async fn the_anonymous_count_is_part_of_the_limit(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=3", &["K1", "K2"]).await;
        let shop = app.shop().await;
        let (_, key) = shop.buy("1", "editor").await;
        app.software().activate(&key, "m1").await.ok();
        let counted = shop.post("/v1/keys/increment", json!({ "key": key })).await.ok();
        assert_eq!((&counted["activations"], &counted["number"]), (&json!(2), &json!("KEY.00000001.0001")));
        let too_many = app.admin.post("/v1/keys/increment", json!({ "key": key, "by": 2 })).await;
        assert_eq!(too_many.refused(409, "activation_limit_reached")["activations"], 2);
        app.admin.post("/v1/keys/increment", json!({ "key": key, "by": 1 })).await.ok();
        app.software().activate(&key, "m2").await.refused(409, "activation_limit_reached");
        assert_eq!(app.admin.get("/v1/keys/1").await.ok()["activations"], 3);

        for by in [0, -1, 1_000_001] {
            app.admin.post("/v1/keys/increment", json!({ "key": key, "by": by })).await.refused(422, "validation_failed");
        }
        let other = app.persona("other", "shop").await;
        other.post("/v1/keys/increment", json!({ "key": key })).await.refused(404, "key_not_found");
        for unknown in ["K2", "nothing"] {
            app.admin.post("/v1/keys/increment", json!({ "key": unknown })).await.refused(404, "key_not_found");
        }
        act(app, 1, "revoke").await;
        shop.post("/v1/keys/increment", json!({ "key": key })).await.refused(403, "key_revoked");
        app.software().post("/v1/keys/increment", json!({ "key": key })).await.refused(401, "unauthenticated");
    }

    async fn a_bulk_action_changes_what_it_can_and_lists_the_rest(app: TestApp) {
        stock(app, 5).await;
        app.admin.order("1", "editor", 2, "completed").await.ok();
        let report = bulk(app, json!({ "ids": [1, 2, 3, 3, 77], "action": "revoke", "reason": "leak" })).await;
        assert_eq!((&report["changed"], &report["unchanged"], &report["refused_total"]), (&json!(2), &json!(0), &json!(2)));
        let codes: Vec<_> = report["refused"].as_array().unwrap().iter().map(|key| (key["id"].clone(), key["code"].clone())).collect();
        assert_eq!(codes, [(json!(77), json!("key_not_found")), (json!(3), json!("invalid_transition"))]);
        let again = bulk(app, json!({ "ids": [1, 2], "action": "revoke" })).await;
        assert_eq!(again, json!({ "changed": 0, "unchanged": 2, "refused": [], "refused_total": 0 }));
        assert_eq!(events(app, "key.revoked"), 2);

        let off = bulk(app, json!({ "filter": { "status": "active" }, "action": "set_inactive" })).await;
        assert_eq!(off["changed"], 3);
        assert_eq!(app.admin.order("2", "editor", 1, "completed").await.ok()["issue_state"], "waiting_stock");
        assert_eq!(bulk(app, json!({ "filter": { "sequence": "editor", "assigned": false }, "action": "set_active" })).await["changed"], 3);
        assert_eq!(app.admin.get("/v1/orders/2").await.keys(), ["K00002"], "who waited is served");
        let gone = bulk(app, json!({ "filter": { "sequence": "editor" }, "action": "delete" })).await;
        assert_eq!((&gone["changed"], &gone["refused_total"]), (&json!(2), &json!(3)));
        for (body, field) in [
            (json!({ "action": "revoke" }), "ids"),
            (json!({ "ids": [1], "filter": { "status": "sold" }, "action": "revoke" }), "filter"),
            (json!({ "filter": {}, "action": "revoke" }), "filter"),
            (json!({ "filter": { "colour": "red" }, "action": "revoke" }), "filter.colour"),
            (json!({ "ids": [1], "action": "explode" }), "action"),
            (json!({ "ids": (0..1001).collect::<Vec<_>>(), "action": "revoke" }), "ids"),
        ] {
            let problem = app.admin.post("/v1/keys/bulk", body).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        }
        app.admin.post("/v1/keys/bulk", json!({ "filter": { "product": "none" }, "action": "revoke" })).await.refused(404, "product_not_found");
    }

    async fn ten_thousand_keys_are_changed_in_one_call_and_more_are_refused(app: TestApp) {
        stock(app, 10_001).await;
        let filter = json!({ "sequence": "editor" });
        let problem = app.admin.post("/v1/keys/bulk", json!({ "filter": filter, "action": "disable" })).await;
        assert_eq!(problem.refused(422, "validation_failed")["errors"][0]["code"], "too_many");
        assert_eq!(app.admin.delete("/v1/keys/1").await.status, 204);
        let report = bulk(app, json!({ "filter": filter, "action": "disable" })).await;
        assert_eq!((&report["changed"], &report["refused_total"]), (&json!(10_000), &json!(0)));
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 0);
        let refused = bulk(app, json!({ "filter": { "status": "disabled" }, "action": "revoke" })).await;
        assert_eq!((&refused["refused_total"], refused["refused"].as_array().unwrap().len()), (&json!(10_000), 1000));
    }
}
