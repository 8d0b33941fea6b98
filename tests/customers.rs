//! Customers and their personal data: list, erase, export.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::database::number;
use crate::support::{Persona, TestApp, on_both_databases};

const ADA: [&str; 4] = ["ada@example.com", "Ada Lovelace", "c-17", "Ada's laptop"];

fn ada() -> Value {
    json!({ "email": "Ada@Example.com", "name": ADA[1], "ref": ADA[2], "locale": "en" })
}

/// Reports a paid order of one key for a customer.
async fn buy_for(shop: &Persona, reference: &str, customer: &Value) -> Value {
    let body = json!({
        "status": "completed", "customer": customer, "lines": [{ "sku": "editor" }],
    });
    shop.put(&format!("/v1/orders/{reference}"), body)
        .await
        .ok()
}

/// Activates an installation that says much of itself.
async fn activate(app: &TestApp, key: &str, installation: &str) {
    let body = json!({
        "key": key, "installation_id": installation, "label": ADA[3], "platform": "linux",
        "extra": { "owner": ADA[1] },
    });
    app.software().post("/v1/activations", body).await.ok();
}

async fn finish_erasing(app: &TestApp) {
    while number(
        &mut app.database.connect(),
        "SELECT COUNT(*) AS number FROM jobs WHERE kind = 'erase_customer'",
    ) > 0
    {
        app.finish_jobs().await;
        tokio::task::yield_now().await;
    }
}

on_both_databases! {
    async fn customers_are_found_by_what_they_are_known_by(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let (shop, other) = (app.shop().await, app.persona("other", "shop").await);
        let id = buy_for(&shop, "1", &ada()).await["customer"]["id"].clone();
        buy_for(&shop, "2", &ada()).await;
        buy_for(&other, "1", &json!({ "email": "ada@example.com" })).await;

        let found = app.admin.get(&format!("/v1/customers/{id}")).await.ok();
        assert_eq!(found, json!({
            "id": id, "shop": "shop", "ref": "c-17", "email": "Ada@Example.com", "name": "Ada Lovelace", "locale": "en",
            "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z", "erased_at": null,
            "orders": 2, "keys": 2,
        }));
        for (query, count) in [
            ("", 2),
            ("?email=ADA@example.com", 2),
            ("?email=ada@example.com&shop=shop", 1),
            ("?ref=c-17", 1),
            ("?ref=c-17&shop=other", 0),
            ("?limit=1", 1),
        ] {
            let list = app.admin.get(&format!("/v1/customers{query}")).await.ok();
            assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
        }
        app.admin.get("/v1/customers?shop=nobody").await.refused(404, "account_not_found");
        app.admin.get("/v1/customers?name=Ada").await.refused(422, "validation_failed");
        for path in ["/v1/customers/4711", "/v1/customers/4711/export"] {
            app.admin.get(path).await.refused(404, "customer_not_found");
        }
        let answer = app.admin.post("/v1/customers/4711/erase", json!({})).await;
        answer.refused(404, "customer_not_found");
    }

    async fn after_an_erasure_nothing_stored_tells_who_the_person_was(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=5", &["K1", "K2"]).await;
        let shop = app.shop().await;
        let order = buy_for(&shop, "1", &ada()).await;
        let id = order["customer"]["id"].clone();
        let bob = buy_for(&shop, "2", &json!({ "email": "bob@example.com" })).await["customer"]["id"].clone();
        for (key, installation) in [("K1", "released"), ("K1", "open"), ("K2", "bobs")] {
            activate(app, key, installation).await;
        }
        let body = json!({ "key": "K1", "installation_id": "released" });
        app.software().post("/v1/activations/release", body).await;
        let export = app.admin.get(&format!("/v1/customers/{id}/export")).await;
        for text in ["Ada@Example.com", ADA[1], ADA[2], ADA[3], "127.0.0.1"] {
            assert!(export.text.contains(text), "{text}");
        }

        app.pass_days(1);
        let path = format!("/v1/customers/{id}/erase");
        let erased = app.admin.send(app.admin.request(reqwest::Method::POST, &path)).await.ok();
        assert_eq!((&erased["erased_at"], &erased["keys"]), (&json!("2026-11-23T10:00:00Z"), &json!(1)));
        for member in ["email", "name", "ref", "locale"] {
            assert_eq!(erased[member], Value::Null, "{member}");
        }
        finish_erasing(app).await;
        let export = app.admin.get(&format!("/v1/customers/{id}/export")).await;
        for text in ["Ada", "ada", "c-17", "linux"] {
            assert!(!export.text.contains(text), "{text}: {}", export.text);
        }
        let document = export.ok();
        for (list, count) in [("orders", 1), ("keys", 1), ("activations", 1), ("released_activations", 1)] {
            assert_eq!(document[list].as_array().unwrap().len(), count, "{list}");
        }
        for event in document["events"].as_array().unwrap() {
            let by_staff = event["subject"]["type"] == "customer";
            assert_eq!(event["address"].is_null(), !by_staff, "{event}");
        }
        for activation in document["activations"].as_array().unwrap().iter().chain(document["released_activations"].as_array().unwrap()) {
            assert_eq!((&activation["address"], &activation["label"]), (&Value::Null, &Value::Null));
        }

        // The key works on, and others keep what is theirs.
        app.software().activate("K1", "open").await.ok();
        let bobs = app.admin.get(&format!("/v1/customers/{bob}/export")).await;
        assert!(bobs.text.contains("bob@example.com") && bobs.text.contains(ADA[3]) && bobs.text.contains("127.0.0.1"));

        // Again: the first time counts, and what has come in since goes, too.
        activate(app, "K1", "later").await;
        app.pass_days(1);
        let again = app.admin.post(&path, json!({})).await.ok();
        assert_eq!(again["erased_at"], erased["erased_at"]);
        finish_erasing(app).await;
        let export = app.admin.get(&format!("/v1/customers/{id}/export")).await;
        assert!(!export.text.contains("Ada"), "{}", export.text);
        let events = app.admin.get("/v1/events?action=customer.erased").await.ok();
        assert_eq!(events["items"].as_array().unwrap().len(), 1);
    }

    async fn an_old_report_does_not_bring_the_data_back_and_a_new_order_is_somebody_new(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        let shop = app.shop().await;
        let id = buy_for(&shop, "1", &ada()).await["customer"]["id"].clone();
        app.admin.post(&format!("/v1/customers/{id}/erase"), json!({})).await.ok();
        let nobody = json!({ "id": id, "ref": null, "email": null, "name": null, "locale": null });

        assert_eq!(buy_for(&shop, "1", &ada()).await["customer"], nobody);
        let moved = buy_for(&shop, "1", &json!({ "email": "somebody@example.com" })).await;
        assert_eq!(moved["customer"], nobody, "the order keeps whom it had");
        let list = app.admin.get("/v1/customers").await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "nobody was made of the old reports");
        let body = json!({ "status": "completed", "customer": {}, "lines": [] });
        shop.put("/v1/orders/1", body).await.refused(422, "validation_failed");

        let new = buy_for(&shop, "2", &ada()).await["customer"].clone();
        assert_ne!(new["id"], id);
        assert_eq!((&new["ref"], &new["name"]), (&json!("c-17"), &json!("Ada Lovelace")));
        let keys = app.admin.get("/v1/keys?customer=c-17").await.ok();
        assert_eq!(keys["items"].as_array().unwrap().len(), 1, "the new one's alone");
    }

    async fn reports_and_an_erasure_at_the_same_time_leave_no_data_behind(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let shop = app.shop().await;
        for round in 0..8 {
            let who = json!({ "ref": format!("r{round}"), "email": "ada@example.com", "name": "Ada" });
            let path = format!("o{round}");
            let id = buy_for(&shop, &path, &who).await["customer"]["id"].clone();
            let reports = (0..8).map(|_| buy_for(&shop, &path, &who));
            let erase = format!("/v1/customers/{id}/erase");
            let (orders, erased) = tokio::join!(join_all(reports), app.admin.post(&erase, json!({})));
            assert_eq!(erased.ok()["email"], Value::Null);
            assert!(orders.iter().all(|order| order["customer"]["id"] == id), "{orders:?}");
            let left = app.admin.get(&format!("/v1/customers/{id}")).await.ok();
            assert_eq!((&left["email"], &left["name"], &left["orders"]), (&Value::Null, &Value::Null, &json!(1)));
        }
        let known = "SELECT COUNT(*) AS number FROM customers WHERE email IS NOT NULL OR ref IS NOT NULL";
        assert_eq!(number(&mut app.database.connect(), known), 0);
    }

    async fn an_erasure_of_thousands_of_rows_takes_its_time_and_answers_at_once(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let id = buy_for(&app.shop().await, "1", &ada()).await["customer"]["id"].clone();
        let places: Vec<String> = (0..1200).map(|number| format!("m{number}")).collect();
        for some in places.chunks(100) {
            join_all(some.iter().map(|place| activate(app, "K1", place))).await;
        }
        for some in places[..600].chunks(100) {
            let software = app.software();
            join_all(some.iter().map(|place| {
                software.post("/v1/activations/release", json!({ "key": "K1", "installation_id": place }))
            }))
            .await;
        }
        app.admin.post(&format!("/v1/customers/{id}/erase"), json!({})).await.ok();
        finish_erasing(app).await;
        let mut conn = app.database.connect();
        for table in ["activations WHERE address IS NOT NULL", "activation_details",
            "activation_history WHERE address IS NOT NULL OR label IS NOT NULL",
            "events WHERE subject_type IN ('key', 'order') AND address IS NOT NULL"]
        {
            assert_eq!(number(&mut conn, &format!("SELECT COUNT(*) AS number FROM {table}")), 0, "{table}");
        }
        assert_eq!(number(&mut conn, "SELECT COUNT(*) AS number FROM activations"), 600);
        assert_eq!(number(&mut conn, "SELECT COUNT(*) AS number FROM activation_history"), 600);
    }

    async fn an_export_is_one_document_of_everything_however_much_it_is(app: TestApp) {
        let keys: Vec<String> = (0..1500).map(|number| format!("K{number}")).collect();
        app.admin.make_stocked_product("editor", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let shop = app.shop().await;
        for reference in 0..15 {
            let body = json!({ "status": "completed", "customer": ada(), "lines": [{ "sku": "editor", "quantity": 100 }] });
            shop.put(&format!("/v1/orders/{reference}"), body).await.ok();
        }
        for number in 0..3 {
            activate(app, &format!("K{number}"), "machine-1").await;
        }
        let id = app.admin.get("/v1/customers?ref=c-17").await.ok()["items"][0]["id"].clone();
        let export = app.admin.get(&format!("/v1/customers/{id}/export")).await;
        let disposition = export.headers["content-disposition"].to_str().unwrap();
        assert_eq!(disposition, format!("attachment; filename=\"customer-{id}.json\""));
        assert_eq!(export.headers["content-type"], "application/json");
        let document = export.ok();
        let texts: Vec<_> = document["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
        assert_eq!(texts, keys);
        let orders = document["orders"].as_array().unwrap();
        assert_eq!((orders.len(), orders[14]["lines"][0]["keys"].as_array().unwrap().len()), (15, 100));
        assert_eq!(document["activations"][2]["label"], ADA[3]);
        assert_eq!(document["released_activations"], json!([]));
        let events = document["events"].as_array().unwrap();
        assert_eq!(events.iter().filter(|event| event["action"] == "order.created").count(), 15);
        assert_eq!(events.last().unwrap()["action"], "customer.exported");
        assert_eq!(document["customer"], app.admin.get(&format!("/v1/customers/{id}")).await.ok());
    }
}
