//! What a product's settings make of a purchase.

use serde_json::{Value, json};

use crate::support::persona::keys_of;
use crate::support::{Persona, TestApp, on_both_databases};

/// Makes a generator, and returns its id.
async fn make_generator(admin: &Persona, body: Value) -> i64 {
    admin.post("/v1/generators", body).await.ok()["id"]
        .as_i64()
        .unwrap()
}

/// How many keys of a product can be sold.
async fn available(app: &TestApp, sku: &str) -> Value {
    let stock = app.admin.get(&format!("/v1/stock?sku={sku}")).await.ok();
    let product = app.admin.get(&format!("/v1/products/{sku}")).await.ok();
    assert_eq!(stock["items"][0]["available"], product["available"]);
    product["available"].clone()
}

/// The limits of an order's keys.
fn limits(order: &Value) -> Vec<Value> {
    let keys = order["lines"][0]["keys"].as_array().unwrap().iter();
    keys.map(|key| key["max_activations"].clone()).collect()
}

on_both_databases! {
    /// [SHOP-1, SHOP-2, SHOP-4, SHOP-65, SHOP-66]
    async fn virtual_and_downloadable_are_two_flags_and_either_spares_the_shipping(app: TestApp) {
        for (sku, is_virtual, downloadable) in
            [("both", true, true), ("course", true, false), ("model", false, true), ("boxed", false, false)]
        {
            app.admin.make_product(sku, json!({ "virtual": is_virtual, "downloadable": downloadable })).await;
            let keys: Vec<String> = (1..=3).map(|number| format!("{sku}-{number}")).collect();
            app.admin.import(sku, "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
            let product = app.admin.get(&format!("/v1/products/{sku}")).await.ok();
            assert_eq!((&product["virtual"], &product["downloadable"]), (&json!(is_virtual), &json!(downloadable)));
            let order = app.admin.order(sku, sku, 1, "payment_received").await.ok();
            let expected = if is_virtual || downloadable { "completed" } else { "processing" };
            assert_eq!(order["status"], expected, "{sku}");
            assert_eq!(keys_of(&order), [format!("{sku}-1")], "a key comes with any of them");
        }
        for (reference, lines, expected) in [
            ("1", json!([{ "sku": "both" }, { "sku": "boxed" }]), "processing"),
            ("2", json!([{ "sku": "course" }, { "sku": "mug", "managed": false }]), "processing"),
            ("3", json!([{ "sku": "course" }, { "sku": "model" }]), "completed"),
        ] {
            let body = json!({ "status": "payment_received", "lines": lines });
            assert_eq!(app.admin.put(&format!("/v1/orders/{reference}"), body).await.ok()["status"], expected);
        }
        // Until the merchant has seen to it.
        let sent = app.admin.patch("/v1/orders/1", json!({ "status": "completed" })).await.ok();
        assert_eq!(sent["status"], "completed");
    }

    /// [SHOP-8]
    async fn a_draft_is_set_up_with_keys_or_a_generator_and_sells_once_it_is_published(app: TestApp) {
        app.admin.make_product("pooled", json!({ "status": "draft" })).await;
        app.admin.import("pooled", "product=pooled", &["K1"]).await.ok();
        let generator = make_generator(&app.admin, json!({ "name": "g", "prefix": "NEW-" })).await;
        let sequence = json!({ "name": "made", "source": "generator", "generator": generator });
        app.admin.post("/v1/sequences", sequence).await.ok();
        app.admin.post("/v1/products", json!({ "sku": "made", "sequence": "made", "status": "draft" })).await.ok();
        assert_eq!(available(app, "pooled").await, 1);
        for (sku, starts_with) in [("pooled", "K1"), ("made", "NEW-")] {
            let problem = app.admin.order(sku, sku, 1, "completed").await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["code"], "product_is_draft");
            app.admin.get(&format!("/v1/orders/{sku}")).await.refused(404, "order_not_found");
            app.admin.patch(&format!("/v1/products/{sku}"), json!({ "status": "published" })).await.ok();
            assert!(app.admin.buy(sku, sku).await.1.starts_with(starts_with), "{sku}");
        }
    }

    /// [SHOP-7, SHOP-54]
    async fn keys_come_from_stock_or_from_a_generator_as_the_sequence_says(app: TestApp) {
        let generator = make_generator(&app.admin, json!({ "name": "g", "prefix": "NEW-" })).await;
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        assert_eq!(app.admin.get("/v1/sequences/editor").await.ok()["source"], "pool");
        assert_eq!(app.admin.buy("1", "editor").await.1, "K1");
        let short = app.admin.order("2", "editor", 1, "completed").await.ok();
        assert_eq!(short["issue_state"], "waiting_stock", "a pool makes nothing by itself");
        let path = "/v1/sequences/editor";
        app.admin.patch(path, json!({ "source": "generator" })).await.refused(422, "validation_failed");
        app.admin.patch(path, json!({ "source": "generator", "generator": generator })).await.ok();
        while app.admin.get("/v1/orders/2").await.ok()["issue_state"] != "done" {
            tokio::task::yield_now().await;
        }
        assert!(app.admin.get("/v1/orders/2").await.keys()[0].starts_with("NEW-"));
        let back = app.admin.patch(path, json!({ "source": "pool" })).await.ok();
        assert_eq!((&back["source"], &back["generator"]), (&json!("pool"), &Value::Null));
        assert_eq!(app.admin.order("3", "editor", 1, "completed").await.ok()["issue_state"], "waiting_stock");
    }

    /// [IPS-21, SHOP-53]
    async fn as_many_keys_are_delivered_as_pieces_times_keys_for_each(app: TestApp) {
        app.admin.make_product("one", json!({})).await;
        app.admin.make_product("three", json!({ "delivery_quantity": 3 })).await;
        assert_eq!(app.admin.get("/v1/products/one").await.ok()["delivery_quantity"], 1);
        for (sku, keys) in [("one", 2), ("three", 6)] {
            let texts: Vec<String> = (0..7).map(|number| format!("{sku}-{number}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            app.admin.import(sku, "", &texts).await.ok();
            assert_eq!(app.admin.order(sku, sku, 2, "completed").await.keys(), texts[..keys], "{sku}");
        }
        for wrong in [0, -1, 1001] {
            let body = json!({ "delivery_quantity": wrong });
            app.admin.patch("/v1/products/one", body).await.refused(422, "validation_failed");
        }
    }

    /// [SHOP-56]
    async fn activations_are_limited_by_the_generator_or_by_the_quantity_bought(app: TestApp) {
        let generator = make_generator(&app.admin, json!({ "name": "g", "max_activations": 2 })).await;
        let sequence = json!({ "name": "made", "source": "generator", "generator": generator });
        app.admin.post("/v1/sequences", sequence).await.ok();
        for (sku, basis) in [("each", "key"), ("seats", "quantity")] {
            let body = json!({ "sku": sku, "sequence": "made", "activation_limit_basis": basis });
            app.admin.post("/v1/products", body).await.ok();
        }
        let each = app.admin.order("1", "each", 3, "completed").await.ok();
        assert_eq!(limits(&each), [2, 2, 2]);
        let seats = app.admin.order("2", "seats", 3, "completed").await.ok();
        assert_eq!(limits(&seats), [3]);
        for (order, places) in [(each, 2), (seats, 3)] {
            let key = &keys_of(&order)[0];
            for installation in 0..places {
                app.software().activate(key, &format!("m{installation}")).await.ok();
            }
            app.software().activate(key, "one more").await.refused(409, "activation_limit_reached");
        }
    }

    /// [SHOP-57]
    async fn what_is_available_counts_the_active_keys_that_the_product_may_take(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.post("/v1/products", json!({ "sku": "school", "sequence": "editor" })).await.ok();
        app.admin.post("/v1/products", json!({ "sku": "unbound" })).await.ok();
        let import = async |query: &str, keys: &[&str]| app.admin.import("editor", query, keys).await.ok();
        import("product=editor", &["E1", "E2", "E3"]).await;
        import("product=school", &["S1"]).await;
        import("", &["ANY"]).await;
        import("product=editor&status=inactive", &["E4"]).await;
        import("product=editor&status=disabled", &["E5"]).await;
        import("product=editor&status=sold", &["E6"]).await;
        assert_eq!((available(app, "editor").await, available(app, "school").await), (json!(4), json!(2)));
        assert_eq!(available(app, "unbound").await, 0);
        app.admin.buy("1", "editor").await;
        assert_eq!((available(app, "editor").await, available(app, "school").await), (json!(3), json!(2)));
        app.admin.patch("/v1/keys/2", json!({ "product": "school" })).await.ok();
        app.admin.patch("/v1/keys/6", json!({ "status": "active" })).await.ok();
        assert_eq!((available(app, "editor").await, available(app, "school").await), (json!(3), json!(3)));
    }

    /// [SHOP-33, SHOP-34, SHOP-36..41]
    async fn the_members_of_a_key_are_edited_one_by_one_and_its_id_is_not(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        app.admin.order("1001", "editor", 1, "pending").await.ok();
        let edit = async |body: Value| app.admin.patch("/v1/keys/1", body).await;
        for body in [json!({ "id": 2 }), json!({ "id": 1 })] {
            edit(body).await.refused(422, "validation_failed");
        }
        for (member, values) in [
            ("expires_at", [json!("2027-06-01T00:00:00Z"), Value::Null]),
            ("valid_for_days", [json!(30), Value::Null]),
            ("max_activations", [json!(3), Value::Null]),
            ("product", [json!("editor"), Value::Null]),
            ("status", [json!("inactive"), json!("active")]),
        ] {
            for value in values {
                let before = app.admin.get("/v1/keys/1").await.ok();
                let mut expected = before.clone();
                expected[member] = value.clone();
                assert_ne!(before, expected, "{member}");
                assert_eq!(edit(json!({ member: value })).await.ok(), expected, "{member}");
            }
        }
        let given = edit(json!({ "product": "editor", "order": "1001", "status": "sold" })).await.ok();
        assert_eq!((&given["order"], &given["status"], &given["id"]), (&json!("1001"), &json!("sold"), &json!(1)));
        for status in ["delivered", "disabled"] {
            assert_eq!(edit(json!({ "status": status })).await.ok()["status"], status);
        }
        edit(json!({ "status": "expired" })).await.refused(422, "validation_failed");
    }
}
