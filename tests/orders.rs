//! Orders: what a shop reports and what follows.

use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use crate::support::on_both_databases;

on_both_databases! {
    /// [IPS-9]
    async fn a_quiet_pool_gives_its_keys_in_the_order_of_their_import(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        app.admin.import("editor", "", &["K0"]).await.ok();
        for (reference, key) in [("1", "K1"), ("2", "K2"), ("3", "K3"), ("4", "K0")] {
            assert_eq!(app.admin.buy(reference, "editor").await.1, key);
        }
    }

    async fn an_order_is_made_once_and_the_same_report_again_changes_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        let shop = app.shop().await;
        let first = shop.order("1001", "editor", 1, "payment_received").await;
        assert_eq!(first.status, 201, "{}", first.text);
        app.pass_seconds(60);
        let again = shop.order("1001", "editor", 1, "payment_received").await;
        assert_eq!(again.status, 200);
        assert_eq!(first.json(), again.json());
        assert_eq!(first.json()["status"], "completed", "everything virtual is completed by itself");
        assert_eq!(first.json()["reported_status"], "payment_received");
        assert_eq!(first.json()["issue_state"], "done");
        assert_eq!(first.keys(), ["K1"]);
    }

    /// [UC-17]
    async fn keys_are_issued_when_the_order_is_paid_and_not_before(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let pending = app.admin.order("1", "editor", 1, "pending").await.ok();
        assert_eq!((&pending["state"], &pending["issue_state"]), (&json!("pending"), &json!("none")));
        assert_eq!(app.admin.order("1", "editor", 1, "processing").await.keys(), ["K1"]);
        assert_eq!(app.admin.order("2", "editor", 1, "completed").await.keys(), ["K2"]);
        app.admin.order("3", "editor", 1, "pending").await.ok();
        let paid = app.admin.patch("/v1/orders/3", json!({ "status": "payment_received" })).await;
        assert_eq!(paid.keys(), ["K3"]);
    }

    /// [IPS-22]
    async fn several_keys_of_several_products_are_issued_together_or_not_at_all(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["E1", "E2"]).await;
        app.admin.make_stocked_product("player", "", &["P1"]).await;
        let lines = |players: i64| json!({
            "status": "payment_received",
            "lines": [{ "sku": "editor", "quantity": 2 }, { "sku": "player", "quantity": players }],
        });
        let short = app.admin.put("/v1/orders/1", lines(2)).await;
        assert_eq!(short.status, 201, "the order was recorded");
        let order = short.json();
        assert_eq!(order["issue_state"], "waiting_stock");
        assert_eq!(order["status"], "payment_received", "the order keeps its status");
        assert_eq!(
            order["issue_error"],
            json!({ "code": "out_of_stock", "shortages": [{ "sku": "player", "needed": 2, "available": 1 }] })
        );
        assert!(short.keys().is_empty());
        let stock = app.admin.get("/v1/stock?sku=editor&sku=player").await.ok();
        assert_eq!(
            stock["items"],
            json!([{ "sku": "editor", "available": 2 }, { "sku": "player", "available": 1 }])
        );
        let problem = app.admin.post("/v1/orders/1/issue", json!({})).await.refused(409, "out_of_stock");
        assert_eq!(problem["shortages"][0]["needed"], 2);
        assert_eq!(app.admin.put("/v1/orders/2", lines(1)).await.keys(), ["E1", "E2", "P1"]);
    }

    async fn an_order_that_cannot_be_served_does_not_keep_the_others_waiting(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for reference in ["broken", "next"] {
            app.admin.order(reference, "editor", 1, "completed").await.ok();
        }
        let mut conn = app.database.connect();
        let (break_it, mend_it) = if app.database.is_sqlite() {
            ("CREATE TRIGGER broken BEFORE UPDATE ON orders WHEN NEW.ref = 'broken' BEGIN \
                SELECT RAISE(ABORT, 'broken'); END", "DROP TRIGGER broken")
        } else {
            ("ALTER TABLE orders ADD CONSTRAINT broken CHECK (ref <> 'broken' OR issue_state <> 'done') NOT VALID",
                "ALTER TABLE orders DROP CONSTRAINT broken")
        };
        conn.batch_execute(break_it).unwrap();
        app.admin.import("editor", "", &["K1", "K2"]).await.ok();
        assert!(app.app.serve_all_waiting_orders().await.is_err());
        assert_eq!(app.admin.get("/v1/orders/next").await.keys(), ["K1"]);
        let broken = app.admin.get("/v1/orders/broken").await;
        assert_eq!((broken.keys().len(), &broken.json()["issue_state"]), (0, &json!("waiting_stock")));
        conn.batch_execute(mend_it).unwrap();
        app.app.serve_all_waiting_orders().await.unwrap();
        assert_eq!(app.admin.get("/v1/orders/broken").await.keys(), ["K2"]);
    }

    /// [IPS-22]
    async fn new_stock_goes_to_the_waiting_orders_oldest_first_without_anyones_doing(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for reference in ["b", "a", "c"] {
            let order = app.admin.order(reference, "editor", 1, "payment_received").await.ok();
            assert_eq!(order["issue_state"], "waiting_stock");
            app.pass_seconds(1);
        }
        app.admin.import("editor", "", &["K1", "K2"]).await.ok();
        let mut order = Value::Null;
        while order["issue_state"] != "done" {
            order = app.admin.get("/v1/orders/a").await.ok();
        }
        assert_eq!(app.admin.get("/v1/orders/b").await.keys(), ["K1"]);
        assert_eq!(app.admin.get("/v1/orders/a").await.keys(), ["K2"]);
        let left = app.admin.get("/v1/orders/c").await.ok();
        assert_eq!(left["issue_state"], "waiting_stock");
        assert_eq!(order["status"], "completed");
    }

    async fn refund_and_cancel_disable_the_keys_and_paying_again_enables_them(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        software.activate(&key, "m1").await.ok();
        for undone in ["refunded", "cancelled"] {
            app.admin.patch("/v1/orders/1", json!({ "status": undone })).await.ok();
            software.activate(&key, "m1").await.refused(403, "key_disabled");
            let again = app.admin.patch("/v1/orders/1", json!({ "status": "payment_received" })).await;
            assert_eq!(again.keys(), [key.as_str()], "no second key");
            software.activate(&key, "m1").await.ok();
        }
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 1);
    }

    /// [IPS-8]
    async fn an_order_that_is_not_paid_cannot_be_issued_and_a_cancelled_one_waits_no_more(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.order("1", "editor", 1, "pending").await.ok();
        app.admin.post("/v1/orders/1/issue", json!({})).await.refused(409, "order_not_payable");
        app.admin.order("1", "editor", 1, "payment_received").await.ok();
        app.admin.order("1", "editor", 1, "cancelled").await.ok();
        app.admin.import("editor", "", &["K1"]).await.ok();
        app.finish_jobs().await;
        let order = app.admin.get("/v1/orders/1").await;
        assert!(order.keys().is_empty());
        assert_eq!(order.json()["issue_state"], "none");
    }

    async fn a_late_older_report_changes_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let report = |status: &str, at: &str| json!({
            "status": status, "occurred_at": at, "lines": [{ "sku": "editor" }],
        });
        app.admin.put("/v1/orders/1", report("payment_received", "2026-11-22T09:00:00Z")).await.ok();
        let late = app.admin.put("/v1/orders/1", report("pending", "2026-11-22T08:59:59Z")).await.ok();
        assert_eq!(late["status"], "completed");
        let newer = app.admin.put("/v1/orders/1", report("refunded", "2026-11-22T09:00:01Z")).await.ok();
        assert_eq!(newer["status"], "refunded");
    }

    /// [SHOP-66]
    async fn what_must_be_shipped_is_left_to_the_merchant(app: TestApp) {
        app.admin.make_product("boxed", json!({ "virtual": false })).await;
        app.admin.import("boxed", "", &["B1"]).await.ok();
        let order = app.admin.order("1", "boxed", 1, "payment_received").await;
        assert_eq!(order.json()["status"], "processing");
        assert_eq!(order.keys(), ["B1"]);
        let lines = json!([{ "sku": "mug", "managed": false }]);
        let foreign = app.admin.put("/v1/orders/2", json!({ "status": "payment_received", "lines": lines })).await.ok();
        assert_eq!((&foreign["status"], &foreign["issue_state"]), (&json!("processing"), &json!("none")));
    }

    async fn wrong_lines_refuse_the_whole_report_and_are_named(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        app.admin.make_product("plan", json!({ "status": "draft" })).await;
        let lines = json!([
            { "sku": "editor", "quantity": 0 }, { "sku": "nothing" }, { "sku": "plan" },
            { "sku": "editor", "ref": "x" }, { "sku": "editor", "ref": "x" }, { "sku": "editor", "quantity": 1001 },
        ]);
        let answer = app.admin.put("/v1/orders/1", json!({ "status": "pending", "lines": lines })).await;
        let problem = answer.refused(422, "validation_failed");
        let errors: Vec<_> = problem["errors"].as_array().unwrap().iter()
            .map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()))
            .collect();
        assert_eq!(errors, [
            ("lines[0].quantity", "out_of_range"), ("lines[1].sku", "unknown_product"),
            ("lines[2].sku", "product_is_draft"), ("lines[4].ref", "duplicate"), ("lines", "too_many_keys"),
        ]);
        let status = app.admin.order("1", "editor", 1, "paid").await.refused(422, "validation_failed");
        assert!(status["detail"].as_str().unwrap().contains("payment_received"), "{status}");
        app.admin.get("/v1/orders/1").await.refused(404, "order_not_found");
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 1);
    }

    /// [UC-18, UC-19]
    async fn lines_added_to_an_issued_order_get_no_keys_and_removed_ones_keep_theirs(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["E1", "E2"]).await;
        app.admin.make_stocked_product("player", "", &["P1"]).await;
        app.admin.buy("1", "editor").await;
        let added = json!({ "status": "completed", "lines": [{ "sku": "editor" }, { "sku": "player" }] });
        assert_eq!(app.admin.put("/v1/orders/1", added).await.keys(), ["E1"]);
        let removed = json!({ "status": "completed", "lines": [{ "sku": "player" }] });
        assert_eq!(app.admin.put("/v1/orders/1", removed).await.keys(), ["E1"]);
    }

    /// [SHOP-56]
    async fn quantity_means_keys_or_activations_as_the_product_says(app: TestApp) {
        app.admin.make_product("editor", json!({ "delivery_quantity": 2 })).await;
        app.admin.import("editor", "", &["E1", "E2", "E3", "E4"]).await.ok();
        assert_eq!(app.admin.order("1", "editor", 2, "completed").await.keys(), ["E1", "E2", "E3", "E4"]);
        app.admin.make_product("site", json!({ "activation_limit_basis": "quantity" })).await;
        app.admin.import("site", "max_activations=1", &["S1"]).await.ok();
        let order = app.admin.order("2", "site", 25, "completed").await.ok();
        assert_eq!(order["lines"][0]["keys"][0]["max_activations"], 25);
    }

    async fn products_share_a_sequence_and_a_bound_key_is_for_its_product_alone(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.post("/v1/products", json!({ "sku": "editor-edu", "sequence": "editor" })).await.ok();
        app.admin.import("editor", "product=editor-edu", &["EDU1"]).await.ok();
        app.admin.import("editor", "", &["ANY1", "ANY2"]).await.ok();
        app.admin.import("editor", "product=editor", &["PRO1"]).await.ok();
        assert_eq!(app.admin.buy("1", "editor").await.1, "ANY1", "the older of both heads");
        assert_eq!(app.admin.buy("2", "editor-edu").await.1, "EDU1");
        let both = json!([{ "sku": "editor", "quantity": 2 }, { "sku": "editor-edu", "quantity": 1 }]);
        let check = app.admin.post("/v1/orders/check", json!({ "lines": both })).await.ok();
        assert_eq!(check["fulfillable"], false, "{check}");
        let fits = json!([{ "sku": "editor", "quantity": 1 }, { "sku": "editor-edu", "quantity": 1 }]);
        let check = app.admin.post("/v1/orders/check", json!({ "lines": fits })).await.ok();
        assert_eq!(check, json!({ "fulfillable": true, "shortages": [] }));
        let order = app.admin.put("/v1/orders/3", json!({ "status": "completed", "lines": fits })).await;
        assert_eq!(order.keys(), ["PRO1", "ANY2"], "the edu line needs the last that is for both");
    }

    async fn keys_that_expired_in_stock_are_stepped_over(app: TestApp) {
        app.admin.make_stocked_product("editor", "expires_at=2026-11-23T00:00:00Z", &["OLD1", "OLD2"]).await;
        app.admin.import("editor", "", &["NEW1"]).await.ok();
        app.pass_days(1);
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 1);
        assert_eq!(app.admin.buy("1", "editor").await.1, "NEW1");
        let short = app.admin.order("2", "editor", 1, "completed").await.ok();
        assert_eq!(short["issue_error"]["shortages"][0]["available"], 0);
    }

    /// [SHOP-41, SHOP-42]
    async fn validity_in_days_begins_with_the_purchase_and_overwrites_a_date(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let date = "expires_at=2027-06-01T00:00:00Z";
        app.admin.import("editor", &format!("{date}&valid_for_days=30"), &["BOTH"]).await.ok();
        app.admin.import("editor", date, &["DATE"]).await.ok();
        app.admin.import("editor", "", &["NEVER"]).await.ok();
        app.pass_days(1);
        let order = app.admin.order("1", "editor", 3, "completed").await.ok();
        let expiries: Vec<_> =
            order["lines"][0]["keys"].as_array().unwrap().iter().map(|key| key["expires_at"].clone()).collect();
        assert_eq!(expiries, [json!("2026-12-23T10:00:00Z"), json!("2027-06-01T00:00:00Z"), Value::Null]);
    }

    async fn a_shop_sees_and_touches_its_own_orders_only(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let (one, two) = (app.persona("one", "shop").await, app.persona("two", "shop").await);
        assert_eq!(one.order("7", "editor", 1, "completed").await.keys(), ["K1"]);
        two.get("/v1/orders/7").await.refused(404, "order_not_found");
        two.patch("/v1/orders/7", json!({ "status": "cancelled" })).await.refused(404, "order_not_found");
        two.get("/v1/orders/7?shop=one").await.refused(404, "account_not_found");
        two.get("/v1/orders?shop=one").await.refused(404, "account_not_found");
        assert_eq!(two.order("7", "editor", 1, "completed").await.keys(), ["K2"]);
        assert_eq!(one.get("/v1/orders").await.ok()["items"].as_array().unwrap().len(), 1);

        app.admin.get("/v1/orders/7").await.refused(409, "ambiguous");
        assert_eq!(app.admin.get("/v1/orders/7?shop=two").await.keys(), ["K2"]);
        assert_eq!(app.admin.get("/v1/orders").await.ok()["items"].as_array().unwrap().len(), 2);
        app.admin.get("/v1/orders/7?shop=three").await.refused(404, "account_not_found");
    }

    async fn orders_are_found_by_status_customer_and_sku(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let order = |email: &str| json!({
            "status": "pending", "customer": { "email": email, "name": "Ada" }, "lines": [{ "sku": "editor" }],
        });
        app.admin.put("/v1/orders/1", order("ada@example.com")).await.ok();
        app.admin.put("/v1/orders/2", order("bob@example.com")).await.ok();
        app.admin.patch("/v1/orders/2", json!({ "status": "completed" })).await.ok();
        for (query, expected) in [
            ("status=pending", vec!["1"]),
            ("customer=ADA@example.com", vec!["1"]),
            ("sku=editor", vec!["1", "2"]),
            ("sku=player", vec![]),
            ("customer=bob@example.com&status=pending", vec![]),
        ] {
            let list = app.admin.get(&format!("/v1/orders?{query}")).await.ok();
            let found: Vec<_> = list["items"].as_array().unwrap().iter().map(|order| order["ref"].clone()).collect();
            assert_eq!(found, expected, "{query}");
        }
        let key = app.admin.get("/v1/keys?customer=bob@example.com").await.ok();
        assert_eq!(key["items"][0]["order"], "2");
    }

    async fn single_keys_that_come_in_one_by_one_go_to_the_oldest_orders(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for number in 0..60 {
            app.admin.order(&format!("w{number:02}"), "editor", 1, "payment_received").await.ok();
            app.pass_seconds(1);
        }
        for number in 0..4 {
            app.admin.import("editor", "", &[&format!("K{number}")]).await.ok();
            // Whoever comes later does not get it, however fast.
            let late = app.admin.order(&format!("late{number}"), "editor", 1, "payment_received").await;
            assert!(late.keys().is_empty());
        }
        for number in 0..60 {
            let order = app.admin.get(&format!("/v1/orders/w{number:02}")).await;
            let expected = if number < 4 { vec![format!("K{number}")] } else { vec![] };
            assert_eq!(order.keys(), expected, "w{number:02}");
        }
    }

    async fn a_change_by_patch_is_newer_than_a_report_of_something_earlier(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let report = |status: &str, at: &str| json!({
            "status": status, "occurred_at": at, "lines": [{ "sku": "editor" }],
        });
        app.admin.put("/v1/orders/1", report("payment_received", "2026-11-22T08:00:00Z")).await.ok();
        app.admin.patch("/v1/orders/1", json!({ "status": "refunded" })).await.ok();
        let late = app.admin.put("/v1/orders/1", report("processing", "2026-11-22T09:00:00Z")).await.ok();
        assert_eq!(late["status"], "refunded");
        let ahead = app.admin.put("/v1/orders/2", report("pending", "2999-01-01T00:00:00Z")).await;
        assert_eq!(ahead.refused(422, "validation_failed")["errors"][0]["field"], "occurred_at");
    }

    async fn keys_stay_in_order_of_money_over_any_detour(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        for status in ["cancelled", "pending", "payment_received"] {
            app.admin.patch("/v1/orders/1", json!({ "status": status })).await.ok();
        }
        app.software().activate(&key, "m1").await.ok();
    }

    async fn an_order_whose_lines_came_after_its_payment_gets_its_keys_when_asked_to(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        app.admin.put("/v1/orders/1", json!({ "status": "payment_received", "lines": [] })).await.ok();
        assert!(app.admin.order("1", "editor", 1, "payment_received").await.keys().is_empty());
        assert_eq!(app.admin.post("/v1/orders/1/issue", json!({})).await.keys(), ["K1"]);
    }

    async fn a_buyer_of_two_shops_is_found_in_both_and_one_without_a_name_is_refused(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        for shop in ["one", "two"] {
            let order = json!({
                "status": "completed", "customer": { "email": "ada@example.com" }, "lines": [{ "sku": "editor" }],
            });
            app.persona(shop, "shop").await.put("/v1/orders/7", order).await.ok();
        }
        let keys = app.admin.get("/v1/keys?customer=ada@example.com").await.ok();
        assert_eq!(keys["items"].as_array().unwrap().len(), 2);
        let nameless = json!({ "status": "pending", "customer": { "name": "Ada" }, "lines": [] });
        let problem = app.admin.put("/v1/orders/8", nameless).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "customer");
    }

    async fn an_edit_of_what_a_product_needs_serves_the_orders_that_wait_for_it(app: TestApp) {
        for (sku, before, after) in [
            ("fewer", json!({ "delivery_quantity": 3 }), json!({ "delivery_quantity": 1 })),
            ("seats", json!({}), json!({ "activation_limit_basis": "quantity" })),
            ("service", json!({}), json!({ "sells_keys": false })),
        ] {
            app.admin.make_product(sku, before).await;
            app.admin.import(sku, "", &[&format!("{sku}-1")]).await.ok();
            let quantity = if sku == "fewer" { 1 } else { 3 };
            let short = app.admin.order(sku, sku, quantity, "payment_received").await.ok();
            assert_eq!(short["issue_state"], "waiting_stock", "{sku}");
            app.admin.patch(&format!("/v1/products/{sku}"), after).await.ok();
            let mut order = app.admin.get(&format!("/v1/orders/{sku}")).await.ok();
            while order["status"] != "completed" {
                order = app.admin.get(&format!("/v1/orders/{sku}")).await.ok();
            }
            let expected = if sku == "service" { "none" } else { "done" };
            assert_eq!((&order["issue_state"], &order["issue_error"]), (&json!(expected), &Value::Null));
        }
    }

    async fn orders_that_are_not_paid_any_more_stand_in_nobodys_way(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for number in 0..30 {
            app.admin.order(&format!("o{number:02}"), "editor", 1, "payment_received").await.ok();
            app.pass_seconds(1);
        }
        for number in 0..29 {
            let path = format!("/v1/orders/o{number:02}");
            let order = app.admin.patch(&path, json!({ "status": "pending" })).await.ok();
            assert_eq!((&order["issue_state"], &order["issue_error"]), (&json!("none"), &Value::Null));
        }
        app.admin.import("editor", "", &["K1"]).await.ok();
        assert_eq!(app.admin.get("/v1/orders/o29").await.keys(), ["K1"]);
        let late = app.admin.order("late", "editor", 1, "payment_received").await;
        assert!(late.keys().is_empty());
        // Paid again, it waits again.
        let again = app.admin.patch("/v1/orders/o00", json!({ "status": "payment_received" })).await.ok();
        assert_eq!(again["issue_state"], "waiting_stock");
    }
}
