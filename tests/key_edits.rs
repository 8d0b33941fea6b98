//! Keys entered, edited, given to somebody and deleted by hand.

use serde_json::{Value, json};

use crate::support::database::texts;
use crate::support::{Persona, TestApp, on_both_databases};

/// Enters a key and returns it.
async fn enter(admin: &Persona, body: Value) -> Value {
    let answer = admin.post("/v1/keys", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

async fn edit(admin: &Persona, key: &Value, body: Value) -> Value {
    admin
        .patch(&format!("/v1/keys/{}", key["id"]), body)
        .await
        .ok()
}

/// How many keys of a product can be sold.
async fn available(app: &TestApp, sku: &str) -> i64 {
    let stock = app.admin.get(&format!("/v1/stock?sku={sku}")).await.ok();
    stock["items"][0]["available"].as_i64().unwrap()
}

/// Makes an order of a product, in some status.
async fn make_order(app: &TestApp, reference: &str, sku: &str, status: &str) -> Value {
    let body = json!({
        "status": status, "customer": { "email": "ada@example.com", "ref": "c-1" }, "lines": [{ "sku": sku }],
    });
    app.admin
        .put(&format!("/v1/orders/{reference}"), body)
        .await
        .ok()
}

on_both_databases! {
    /// [IPS-4, SHOP-43, SHOP-44]
    async fn a_key_entered_by_hand_has_every_member_and_is_sold_after_what_came_in_before(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let body = json!({
            "key": "by hand\nin two lines \u{1f511}", "sequence": "editor", "product": "editor",
            "expires_at": "2030-01-01T00:00:00Z", "valid_for_days": 30, "max_activations": 2, "extra": { "po": "7" },
        });
        let key = enter(&app.admin, body).await;
        let expected = json!({
            "id": 2, "number": "KEY.00000002.0001", "key": "by hand\nin two lines \u{1f511}", "sequence": "editor",
            "product": "editor", "status": "active", "source": "manual", "expires_at": "2030-01-01T00:00:00Z",
            "valid_for_days": 30, "max_activations": 2, "activations": 0, "order": null, "customer": null,
            "parent_key": null, "extra": { "po": "7" }, "revoked_at": null, "suspended": false, "terminated_at": null,
            "assigned_at": null, "delivered_at": null,
            "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z",
        });
        assert_eq!(key, expected);
        app.admin.import("editor", "", &["K3"]).await.ok();
        assert_eq!(available(app, "editor").await, 3);
        let keys = app.admin.order("1", "editor", 3, "completed").await.keys();
        assert_eq!(keys, ["K1", "by hand\nin two lines \u{1f511}", "K3"]);
        let sold = app.admin.get("/v1/keys/2").await.ok();
        assert_eq!(sold["expires_at"], "2026-12-22T10:00:00Z", "validity in days begins with the purchase");
    }

    async fn a_text_is_entered_once_and_what_cannot_be_is_named(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        app.admin.make_product("other", json!({})).await;
        let again = app.admin.post("/v1/keys", json!({ "key": "K1", "sequence": "other" })).await;
        let problem = again.refused(409, "already_exists");
        assert!(!problem.to_string().contains("K1"), "{problem}");
        for (body, field) in [
            (json!({ "sequence": "editor" }), "key"),
            (json!({ "key": "K" }), "sequence"),
            (json!({ "key": "K", "sequence": "none" }), "sequence"),
            (json!({ "key": "K", "product": "none" }), "product"),
            (json!({ "key": "K", "product": "editor", "sequence": "other" }), "sequence"),
            (json!({ "key": "K", "sequence": "editor", "max_activations": 0 }), "max_activations"),
            (json!({ "key": "K", "sequence": "editor", "valid_for_days": 0 }), "valid_for_days"),
            (json!({ "key": "K", "sequence": "editor", "status": "activated" }), "status"),
            (json!({ "key": "K", "sequence": "editor", "expires_at": "2026-11-22T10:00:00Z" }), "expires_at"),
            (json!({ "key": "K", "sequence": "editor", "status": "sold" }), "product"),
            (json!({ "key": "K", "product": "editor", "order": "none" }), "order"),
            (json!({ "key": "K", "product": "editor", "customer": "none" }), "customer"),
        ] {
            let problem = app.admin.post("/v1/keys", body.clone()).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
        }
        assert_eq!(app.admin.get("/v1/keys").await.ok()["items"].as_array().unwrap().len(), 1);
        let shop = app.shop().await;
        shop.post("/v1/keys", json!({ "key": "K", "sequence": "editor" })).await.refused(403, "forbidden");
    }

    /// [SHOP-36, SHOP-44]
    async fn a_key_of_each_status_goes_where_its_status_says(app: TestApp) {
        app.admin.make_product("editor", json!({ "auto_deliver": false })).await;
        make_order(app, "1", "editor", "pending").await;
        for (number, (body, status, in_stock)) in [
            (json!({}), "active", 1),
            (json!({ "status": "inactive" }), "inactive", 1),
            (json!({ "status": "disabled" }), "disabled", 1),
            (json!({ "order": "1" }), "sold", 1),
            (json!({ "order": "1", "status": "delivered" }), "delivered", 1),
            (json!({ "customer": "c-1", "status": "disabled" }), "disabled", 1),
            (json!({ "status": "sold" }), "sold", 1),
        ].into_iter().enumerate() {
            let mut whole = json!({ "key": format!("K{number}"), "product": "editor" });
            whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            let key = enter(&app.admin, whole).await;
            assert_eq!(key["status"], status, "{body}");
            assert_eq!(available(app, "editor").await, in_stock, "{body}");
        }
        let disabled = app.admin.post("/v1/keys/3/enable", json!({})).await.ok();
        assert_eq!(disabled["status"], "inactive", "made disabled, it goes back to inactive");
        let given = app.admin.post("/v1/keys/6/enable", json!({})).await.ok();
        assert_eq!((&given["status"], &given["customer"]), (&json!("sold"), &json!("ada@example.com")));
        for problem in [json!({ "status": "active" }), json!({ "status": "inactive" })] {
            let mut body = json!({ "key": "K9", "product": "editor", "order": "1" });
            body.as_object_mut().unwrap().extend(problem.as_object().unwrap().clone());
            app.admin.post("/v1/keys", body).await.refused(409, "invalid_transition");
        }
    }

    /// [SHOP-33]
    async fn an_edit_changes_what_is_given_and_null_empties(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=3&valid_for_days=9", &["K1"]).await;
        let key = app.admin.get("/v1/keys/1").await.ok();
        app.pass_seconds(5);
        let same = edit(&app.admin, &key, json!({})).await;
        assert_eq!(same, key, "an edit of nothing changes nothing");
        let edited = edit(&app.admin, &key, json!({ "max_activations": null, "extra": { "a": 1 } })).await;
        assert_eq!((&edited["max_activations"], &edited["valid_for_days"]), (&Value::Null, &json!(9)));
        assert_eq!((&edited["extra"], &edited["updated_at"]), (&json!({ "a": 1 }), &json!("2026-11-22T10:00:05Z")));
        let edited = edit(&app.admin, &key, json!({ "valid_for_days": null, "expires_at": "2027-01-01T00:00:00Z" })).await;
        assert_eq!((&edited["valid_for_days"], &edited["expires_at"]), (&Value::Null, &json!("2027-01-01T00:00:00Z")));
        for (body, field) in [
            (json!({ "max_activations": 0 }), "max_activations"),
            (json!({ "sequence": null }), "sequence"),
            (json!({ "status": null }), "status"),
            (json!({ "extra": null }), "extra"),
            (json!({ "key": "K2" }), "key"),
            (json!({ "sequence": "none" }), "sequence"),
            (json!({ "order": "none" }), "order"),
        ] {
            let problem = app.admin.patch("/v1/keys/1", body.clone()).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
        }
        app.admin.patch("/v1/keys/77", json!({})).await.refused(404, "key_not_found");
        let details = texts(&mut app.database.connect(), "SELECT detail AS text FROM events WHERE action = 'key.updated'");
        assert_eq!(details.len(), 2);
        assert!(details[0].contains(r#""before":{"max_activations":3}"#), "{}", details[0]);
    }

    /// [SHOP-38]
    async fn a_limit_below_what_is_open_admits_nobody_new_and_releases_nobody(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=3", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        for installation in ["m1", "m2"] {
            app.software().activate(&key, installation).await.ok();
        }
        app.admin.patch(&format!("/v1/keys/{id}"), json!({ "max_activations": 1 })).await.ok();
        app.software().activate(&key, "m3").await.refused(409, "activation_limit_reached");
        assert_eq!(app.software().activate(&key, "m2").await.status, 200);
        for installation in ["m1", "m2"] {
            let body = json!({ "key": key, "installation_id": installation });
            assert_eq!(app.software().post("/v1/activations/release", body).await.status, 204);
        }
        app.software().activate(&key, "m3").await.ok();
    }

    /// [SHOP-39]
    async fn a_key_that_moves_is_in_stock_where_it_went(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        app.admin.make_product("viewer", json!({ "number_prefix": "VIEW" })).await;
        app.admin.post("/v1/products", json!({ "sku": "lite", "sequence": "editor" })).await.ok();
        let key = json!({ "id": 1 });
        let bound = edit(&app.admin, &key, json!({ "product": "lite" })).await;
        assert_eq!((&bound["sequence"], &bound["product"]), (&json!("editor"), &json!("lite")));
        assert_eq!((available(app, "editor").await, available(app, "lite").await), (1, 2));
        let elsewhere = app.admin.patch("/v1/keys/1", json!({ "sequence": "viewer" })).await;
        assert_eq!(elsewhere.refused(422, "validation_failed")["errors"][0]["code"], "other_sequence");
        let moved = edit(&app.admin, &key, json!({ "product": "viewer" })).await;
        assert_eq!((&moved["sequence"], &moved["number"]), (&json!("viewer"), &json!("VIEW.00000001.0001")));
        assert_eq!((available(app, "editor").await, available(app, "viewer").await), (1, 1));
        edit(&app.admin, &key, json!({ "product": null })).await;
        edit(&app.admin, &key, json!({ "sequence": "editor" })).await;
        assert_eq!(app.admin.order("1", "editor", 1, "completed").await.keys(), ["K1"], "back at its old place");
        edit(&app.admin, &key, json!({ "sequence": "viewer" })).await;
        assert_eq!(available(app, "viewer").await, 0, "what somebody has is only filed elsewhere");
    }

    async fn a_product_without_a_sequence_gets_one_with_its_first_key(app: TestApp) {
        app.admin.post("/v1/products", json!({ "sku": "editor" })).await.ok();
        app.admin.order("1", "editor", 1, "completed").await.ok();
        let key = enter(&app.admin, json!({ "key": "K1", "product": "editor" })).await;
        assert_eq!((&key["sequence"], &key["order"]), (&json!("editor"), &json!("1")), "and goes to who waited");
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["sequence"], "editor");

        app.admin.post("/v1/products", json!({ "sku": "taken" })).await.ok();
        app.admin.post("/v1/sequences", json!({ "name": "taken" })).await.ok();
        let problem = app.admin.post("/v1/keys", json!({ "key": "K2", "product": "taken" })).await;
        assert_eq!(problem.refused(422, "validation_failed")["errors"][0]["code"], "no_sequence");
    }

    /// [SHOP-37]
    async fn status_and_date_take_a_key_out_of_stock_and_put_it_back(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let key = json!({ "id": 1 });
        for (away, back) in [
            (json!({ "status": "inactive" }), json!({ "status": "active" })),
            (json!({ "status": "disabled" }), json!({ "status": "active" })),
            (json!({ "expires_at": "2020-01-01T00:00:00Z" }), json!({ "expires_at": null })),
        ] {
            edit(&app.admin, &key, away.clone()).await;
            assert_eq!(available(app, "editor").await, 0, "{away}");
            app.app.take_expired_keys_out_of_stock().await.unwrap();
            edit(&app.admin, &key, back.clone()).await;
            assert_eq!(available(app, "editor").await, 1, "{back}");
        }
        edit(&app.admin, &key, json!({ "status": "inactive" })).await;
        assert_eq!(app.admin.order("1", "editor", 1, "completed").await.ok()["issue_state"], "waiting_stock");
        let served = edit(&app.admin, &key, json!({ "status": "active" })).await;
        assert_eq!((&served["status"], &served["order"]), (&json!("delivered"), &json!("1")));
    }

    /// [SHOP-40]
    async fn naming_an_order_or_a_customer_assigns_a_key_for_ever(app: TestApp) {
        app.admin.make_stocked_product("editor", "valid_for_days=10", &["K1", "K2", "K3"]).await;
        make_order(app, "1", "editor", "pending").await;
        let needs_product = app.admin.patch("/v1/keys/2", json!({ "order": "1" })).await;
        assert_eq!(needs_product.refused(422, "validation_failed")["errors"][0]["field"], "product");

        let given = edit(&app.admin, &json!({ "id": 2 }), json!({ "order": "1", "product": "editor" })).await;
        assert_eq!((&given["status"], &given["order"]), (&json!("delivered"), &json!("1")));
        assert_eq!((&given["customer"], &given["expires_at"]), (&json!("ada@example.com"), &json!("2026-12-02T10:00:00Z")));
        assert_eq!(available(app, "editor").await, 2);
        app.software().activate("K2", "m1").await.ok();

        let order = make_order(app, "1", "editor", "completed").await;
        assert_eq!(crate::support::persona::keys_of(&order), ["K2"], "an order that has a key gets none");
        for body in [json!({ "status": "active" }), json!({ "status": "inactive" }), json!({ "status": "sold" })] {
            app.admin.patch("/v1/keys/2", body).await.refused(409, "invalid_transition");
        }
        app.admin.patch("/v1/keys/2", json!({ "product": null })).await.refused(422, "validation_failed");
        let off = edit(&app.admin, &json!({ "id": 2 }), json!({ "order": null, "customer": null })).await;
        assert_eq!((&off["order"], &off["customer"], &off["status"]), (&Value::Null, &Value::Null, &json!("delivered")));
        app.admin.patch("/v1/keys/2", json!({ "status": "active" })).await.refused(409, "invalid_transition");
        app.admin.delete("/v1/keys/2").await.refused(409, "invalid_transition");

        let order = app.admin.get("/v1/orders/1").await.ok();
        assert_eq!((&order["issue_state"], &order["keys_issued_at"]), (&json!("none"), &Value::Null));
        assert_eq!(app.admin.post("/v1/orders/1/issue", json!({})).await.keys(), ["K1"], "it may be issued again");
        let to_customer = edit(&app.admin, &json!({ "id": 3 }), json!({ "customer": "c-1", "product": "editor", "status": "sold" })).await;
        assert_eq!((&to_customer["status"], &to_customer["delivered_at"]), (&json!("sold"), &Value::Null));
        let other = edit(&app.admin, &json!({ "id": 3 }), json!({ "status": "delivered" })).await;
        assert_eq!(other["delivered_at"], "2026-11-22T10:00:00Z");
    }

    async fn a_key_given_to_a_waiting_order_ends_its_waiting(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.make_stocked_product("viewer", "", &["V1"]).await;
        make_order(app, "1", "editor", "payment_received").await;
        let key = enter(&app.admin, json!({ "key": "K1", "product": "viewer", "order": "1" })).await;
        assert_eq!(key["product"], "viewer");
        let order = app.admin.get("/v1/orders/1").await.ok();
        assert_eq!((&order["issue_state"], &order["status"]), (&json!("done"), &json!("completed")));
        assert_eq!(app.admin.get("/v1/keys?order=1").await.ok()["items"][0]["key"], "K1");
        app.admin.import("editor", "", &["E1"]).await.ok();
        app.finish_jobs().await;
        assert_eq!(available(app, "editor").await, 1, "it waits no more");
    }

    async fn a_name_that_two_shops_have_needs_the_shop(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        for name in ["one", "two"] {
            let shop = app.persona(name, "shop").await;
            let body = json!({ "status": "pending", "customer": { "email": "ada@example.com" }, "lines": [{ "sku": "editor" }] });
            shop.put("/v1/orders/1001", body).await.ok();
        }
        for body in [json!({ "order": "1001" }), json!({ "customer": "ada@example.com" })] {
            let mut whole = json!({ "product": "editor" });
            whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            app.admin.patch("/v1/keys/1", whole.clone()).await.refused(409, "ambiguous");
            app.admin.patch("/v1/keys/1?shop=nobody", whole).await.refused(404, "account_not_found");
        }
        app.admin.patch("/v1/keys/1?shop=two", json!({ "product": "editor", "order": "1001" })).await.ok();
        let of = |shop: &str| format!("/v1/orders/1001?shop={shop}");
        assert_eq!(app.admin.get(&of("one")).await.keys(), Vec::<String>::new());
        assert_eq!(app.admin.get(&of("two")).await.keys(), ["K1"]);
    }

    /// [UC-39]
    async fn only_keys_that_were_never_assigned_are_deleted_and_their_texts_are_free_again(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        app.admin.buy("1", "editor").await;
        let problem = app.admin.delete("/v1/keys/1").await.refused(409, "invalid_transition");
        assert_eq!((&problem["from"], &problem["to"]), (&json!("delivered"), &json!("deleted")));
        assert_eq!(app.admin.delete("/v1/keys/2").await.status, 204);
        app.admin.get("/v1/keys/2").await.refused(404, "key_not_found");
        app.admin.delete("/v1/keys/2").await.refused(404, "key_not_found");
        assert_eq!(available(app, "editor").await, 0);
        let again = enter(&app.admin, json!({ "key": "K2", "sequence": "editor" })).await;
        assert_eq!(again["id"], 3, "ids are never used twice");
    }

    async fn keys_of_a_deleted_sequence_are_beyond_reach_and_their_texts_free(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        app.admin.buy("1", "editor").await;
        app.admin.delete("/v1/sequences/editor").await;
        app.admin.post("/v1/sequences", json!({ "name": "other" })).await.ok();
        app.admin.patch("/v1/keys/2", json!({ "sequence": "other" })).await.refused(404, "key_not_found");
        let again = enter(&app.admin, json!({ "key": "K2", "sequence": "other" })).await;
        assert_eq!(again["sequence"], "other");
        let assigned = edit(&app.admin, &json!({ "id": 1 }), json!({ "max_activations": 5 })).await;
        assert_eq!((&assigned["sequence"], &assigned["max_activations"]), (&json!("editor"), &json!(5)));
        app.finish_jobs().await;
        assert_eq!(app.admin.get("/v1/keys").await.ok()["items"].as_array().unwrap().len(), 2);
    }

    async fn a_key_that_expired_a_moment_ago_leaves_no_trace_in_stock_when_it_is_given_away(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let expires = app.clock.now().plus_seconds(2);
        let query = format!("product=editor&valid_for_days=30&expires_at={expires}");
        app.admin.import("editor", &query, &["K1", "K2"]).await.ok();
        app.pass_seconds(3);
        app.admin.order("0", "editor", 1, "pending").await.ok();
        app.admin.patch("/v1/keys/1", json!({ "order": "0" })).await.ok();
        app.admin.post("/v1/keys/2/disable", json!({})).await.ok();
        app.admin.patch("/v1/keys/2", json!({ "expires_at": null })).await.ok();
        assert_eq!(app.admin.order("1", "editor", 1, "completed").await.ok()["issue_state"], "waiting_stock");
        app.admin.post("/v1/keys/2/enable", json!({})).await.ok();
        while app.admin.get("/v1/orders/1").await.ok()["issue_state"] != "done" {
            tokio::task::yield_now().await;
        }
        assert_eq!(app.admin.get("/v1/orders/1").await.keys(), ["K2"]);
    }

    async fn a_key_goes_to_another_order_as_that_orders_key(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        app.admin.order("1", "editor", 1, "refunded").await.ok();
        app.admin.order("2", "editor", 1, "pending").await.ok();
        let moved = app.admin.patch(&format!("/v1/keys/{id}"), json!({ "order": "2" })).await.ok();
        assert_eq!(moved["status"], "delivered");
        app.admin.order("2", "editor", 1, "completed").await.ok();
        app.software().activate(&key, "m1").await.ok();
        let back = app.admin.patch(&format!("/v1/keys/{id}"), json!({ "order": "1" })).await.ok();
        assert_eq!(back["status"], "disabled", "that order was refunded");
    }

    async fn a_filter_with_a_null_changes_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let body = json!({ "filter": { "sequence": "editor", "product": null }, "action": "delete" });
        app.admin.post("/v1/keys/bulk", body).await.refused(422, "validation_failed");
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 1);
    }
}
