//! Generators: keys made by a pattern, into stock and at purchase.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::database::number;
use crate::support::{Persona, on_both_databases};

/// Makes a generator and returns its id.
async fn make(admin: &Persona, body: Value) -> i64 {
    admin.post("/v1/generators", body).await.ok()["id"]
        .as_i64()
        .unwrap()
}

/// A pattern of `chunks` chunks of one of two letters.
fn two_letters(name: &str, chunks: i64) -> Value {
    json!({ "name": name, "charset": "AB", "chunks": chunks, "chunk_length": 1 })
}

/// Makes a product whose keys a generator makes as they are bought.
async fn make_product(admin: &Persona, sku: &str, generator: i64) {
    let sequence = json!({ "name": sku, "source": "generator", "generator": generator });
    admin.post("/v1/sequences", sequence).await.ok();
    let product = json!({ "sku": sku, "sequence": sku });
    admin.post("/v1/products", product).await.ok();
}

async fn generate(admin: &Persona, generator: i64, body: Value) -> crate::support::persona::Answer {
    admin
        .post(&format!("/v1/generators/{generator}/generate"), body)
        .await
}

on_both_databases! {
    /// [SHOP-9..11, SHOP-18]
    async fn a_generator_is_made_shown_edited_and_deleted(app: TestApp) {
        let body = json!({
            "name": "chunks", "charset": "ABCD1234", "chunks": 4, "chunk_length": 2, "separator": "-",
            "prefix": "PRE-", "suffix": "-SUF", "max_activations": 3, "expires_in_days": 365,
        });
        let made = app.admin.post("/v1/generators", body.clone()).await.ok();
        for (member, value) in body.as_object().unwrap() {
            assert_eq!(&made[member], value, "{member}");
        }
        assert_eq!((&made["capacity"], &made["bits"]), (&json!(16_777_216), &json!(24.0)));
        let sample = made["sample"].as_str().unwrap();
        assert!(sample.starts_with("PRE-") && sample.ends_with("-SUF") && sample.len() == 19, "{sample}");

        let path = format!("/v1/generators/{}", made["id"]);
        assert_eq!(app.admin.patch(&path, json!({ "chunks": 2 })).await.ok()["capacity"], 4096);
        app.admin.patch(&path, json!({ "kind": "signed" })).await.refused(422, "validation_failed");
        app.admin.post("/v1/generators", json!({ "name": "chunks" })).await.refused(409, "already_exists");
        assert_eq!(app.admin.get("/v1/generators").await.ok()["items"].as_array().unwrap().len(), 1);
        assert_eq!(app.admin.delete(&path).await.status, 204);
        app.admin.get(&path).await.refused(404, "generator_not_found");
    }

    async fn a_generator_with_nothing_but_a_name_makes_keys_that_nobody_guesses(app: TestApp) {
        let made = app.admin.post("/v1/generators", json!({ "name": "plain" })).await.ok();
        assert_eq!((&made["bits"], &made["capacity"]), (&json!(125.0), &Value::Null));
    }

    async fn what_cannot_be_a_generator_is_refused_by_name(app: TestApp) {
        for (body, field) in [
            (json!({ "charset": "AB" }), "name"),
            (json!({ "name": "g", "charset": "" }), "charset"),
            (json!({ "name": "g", "charset": "AAB" }), "charset"),
            (json!({ "name": "g", "chunks": 100 }), "chunks"),
            (json!({ "name": "g", "chunk_length": 0 }), "chunk_length"),
            (json!({ "name": "g", "max_activations": 0 }), "max_activations"),
            (json!({ "name": "g", "expires_in_days": 0 }), "expires_in_days"),
            (json!({ "name": "g", "separator": "\n" }), "separator"),
            (json!({ "name": "g", "kind": "signed", "suffix": "x" }), "suffix"),
        ] {
            let problem = app.admin.post("/v1/generators", body).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        }
    }

    /// [SHOP-21, SHOP-24, SHOP-29, SHOP-32]
    async fn keys_are_generated_into_stock_and_sold_from_there(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g", "max_activations": 2 })).await;
        app.admin.make_product("editor", json!({})).await;
        let made = generate(&app.admin, generator, json!({ "quantity": 5, "product": "editor" })).await.ok();
        assert_eq!(made, json!({ "made": 5 }));
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 5);
        let keys = app.admin.get("/v1/keys?product=editor").await.ok();
        let texts: HashSet<&str> = keys["items"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
        assert_eq!(texts.len(), 5);
        assert_eq!((&keys["items"][0]["source"], &keys["items"][0]["max_activations"]), (&json!("generator"), &json!(2)));
        let (_, key) = app.admin.buy("1", "editor").await;
        assert!(texts.contains(key.as_str()));
    }

    /// [SHOP-22, SHOP-42]
    async fn a_blank_validity_is_the_generators_and_a_number_overrides_it(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g", "expires_in_days": 30 })).await;
        for (sku, body, days) in [("a", json!({ "quantity": 1 }), 30), ("b", json!({ "quantity": 1, "valid_for_days": 7 }), 7)] {
            app.admin.make_product(sku, json!({})).await;
            let mut body = body;
            body["product"] = json!(sku);
            generate(&app.admin, generator, body).await.ok();
            let order = app.admin.order(sku, sku, 1, "completed").await.ok();
            let expires = countersign::clock::Timestamp::parse(order["lines"][0]["keys"][0]["expires_at"].as_str().unwrap()).unwrap();
            assert_eq!(expires, app.clock.now().plus_days(days));
        }
    }

    /// [SHOP-21]
    async fn more_than_a_pattern_can_yield_is_refused_and_nothing_is_made(app: TestApp) {
        let generator = make(&app.admin, two_letters("small", 3)).await;
        app.admin.make_product("editor", json!({})).await;
        let body = |quantity: i64| json!({ "quantity": quantity, "product": "editor" });
        let problem = generate(&app.admin, generator, body(9)).await.refused(422, "pattern_exhausted");
        assert_eq!(problem["capacity"], 8);
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 0);
        generate(&app.admin, generator, body(5)).await.ok();
        generate(&app.admin, generator, body(4)).await.refused(422, "pattern_exhausted");
        assert_eq!(generate(&app.admin, generator, body(3)).await.ok(), json!({ "made": 3 }));
        let keys = app.admin.get("/v1/keys").await.ok();
        let texts: HashSet<&Value> = keys["items"].as_array().unwrap().iter().map(|key| &key["key"]).collect();
        assert_eq!(texts.len(), 8, "every text of the pattern, each once");
    }

    async fn texts_that_others_have_already_are_drawn_again(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["A-A", "A-B", "B-A"]).await;
        let generator = make(&app.admin, two_letters("small", 2)).await;
        generate(&app.admin, generator, json!({ "quantity": 1, "product": "editor" })).await.ok();
        assert_eq!(app.admin.get("/v1/keys?source=generator").await.ok()["items"][0]["key"], "B-B");
        generate(&app.admin, generator, json!({ "quantity": 1, "product": "editor" })).await.refused(422, "pattern_exhausted");
        let left = "SELECT COUNT(*) AS number FROM keys";
        while number(&mut app.database.connect(), left) != 4 {
            tokio::task::yield_now().await;
        }
    }

    /// [IPS-3, IPS-21, SHOP-18, SHOP-29]
    async fn a_product_of_a_generator_makes_keys_as_they_are_bought(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g", "prefix": "ED-", "expires_in_days": 10 })).await;
        make_product(&app.admin, "editor", generator).await;
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], Value::Null);
        let order = app.admin.order("1", "editor", 3, "payment_received").await;
        let keys = order.keys();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 3);
        assert!(keys.iter().all(|key| key.starts_with("ED-")));
        let order = order.ok();
        assert_eq!((&order["state"], &order["issue_state"]), (&json!("completed"), &json!("done")));
        let expires = countersign::clock::Timestamp::parse(order["lines"][0]["keys"][0]["expires_at"].as_str().unwrap()).unwrap();
        assert_eq!(expires, app.clock.now().plus_days(10));
        app.software().activate(&keys[0], "m1").await.ok();
        let check = json!({ "lines": [{ "sku": "editor", "quantity": 100 }] });
        assert_eq!(app.admin.post("/v1/orders/check", check).await.ok()["fulfillable"], true);
    }

    async fn a_sequence_of_a_generator_hands_out_its_own_stock_first(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g", "prefix": "NEW-" })).await;
        make_product(&app.admin, "editor", generator).await;
        app.admin.import("editor", "", &["OLD-1", "OLD-2"]).await.ok();
        let keys = app.admin.order("1", "editor", 3, "completed").await.keys();
        assert_eq!(&keys[..2], ["OLD-1", "OLD-2"]);
        assert!(keys[2].starts_with("NEW-"), "{keys:?}");
    }

    /// [IPS-20]
    async fn a_product_of_a_pool_and_one_of_a_generator_sell_in_one_order(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g" })).await;
        make_product(&app.admin, "standard", generator).await;
        app.admin.make_stocked_product("pooled", "", &["P1"]).await;
        let body = json!({ "status": "completed", "lines": [{ "sku": "standard" }, { "sku": "pooled" }] });
        let keys = app.admin.put("/v1/orders/1", body.clone()).await.keys();
        assert_eq!((keys.len(), keys[1].as_str()), (2, "P1"));
        // All lines or none: the pool is empty, so nothing is made either.
        let before = app.admin.get(&format!("/v1/generators/{generator}")).await.ok()["made"].clone();
        let order = app.admin.put("/v1/orders/2", body).await.ok();
        assert_eq!(order["issue_state"], "waiting_stock");
        assert_eq!(app.admin.get(&format!("/v1/generators/{generator}")).await.ok()["made"], before);
    }

    /// [SHOP-31]
    async fn one_generator_serves_many_products(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g" })).await;
        let mut keys = HashSet::new();
        for sku in ["a", "b", "c"] {
            make_product(&app.admin, sku, generator).await;
            keys.insert(app.admin.buy(sku, sku).await.1);
        }
        assert_eq!(keys.len(), 3);
        assert_eq!(app.admin.get(&format!("/v1/generators/{generator}")).await.ok()["made"], 3);
        app.admin.delete(&format!("/v1/generators/{generator}")).await.refused(409, "in_use");
    }

    async fn a_pool_falls_back_on_a_generator_only_where_its_product_says_so(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g", "prefix": "NEW-" })).await;
        app.admin.make_stocked_product("editor", "", &["P1"]).await;
        app.admin.buy("1", "editor").await;
        assert_eq!(app.admin.order("2", "editor", 1, "completed").await.ok()["issue_state"], "waiting_stock");
        app.admin.patch("/v1/products/editor", json!({ "fallback_generator": 77 })).await.refused(422, "validation_failed");
        app.admin.patch("/v1/products/editor", json!({ "fallback_generator": generator })).await.ok();
        app.finish_jobs().await;
        while app.admin.get("/v1/orders/2").await.ok()["issue_state"] != "done" {
            tokio::task::yield_now().await;
        }
        assert!(app.admin.get("/v1/orders/2").await.keys()[0].starts_with("NEW-"));
        app.admin.import("editor", "", &["P2"]).await.ok();
        assert_eq!(app.admin.order("3", "editor", 1, "completed").await.keys(), ["P2"]);
    }

    /// [SHOP-55]
    async fn a_sequence_of_a_generator_needs_one(app: TestApp) {
        for body in [
            json!({ "name": "s", "source": "generator" }),
            json!({ "name": "s", "source": "generator", "generator": 77 }),
            json!({ "name": "s", "generator": 77 }),
        ] {
            let problem = app.admin.post("/v1/sequences", body).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], "generator");
        }
    }

    async fn an_order_that_uses_a_pattern_up_waits_until_the_pattern_is_widened(app: TestApp) {
        let generator = make(&app.admin, two_letters("small", 2)).await;
        make_product(&app.admin, "editor", generator).await;
        app.admin.order("1", "editor", 3, "completed").await.ok();
        let short = app.admin.order("2", "editor", 2, "completed").await.ok();
        assert_eq!(short["issue_error"]["shortages"], json!([{ "sku": "editor", "needed": 2, "available": 0 }]));
        assert_eq!(app.admin.get(&format!("/v1/generators/{generator}")).await.ok()["made"], 3, "nothing half made");
        app.admin.patch(&format!("/v1/generators/{generator}"), json!({ "chunks": 8 })).await.ok();
        while app.admin.get("/v1/orders/2").await.ok()["issue_state"] != "done" {
            tokio::task::yield_now().await;
        }
    }

    async fn many_buyers_of_a_small_pattern_get_each_text_once(app: TestApp) {
        let generator = make(&app.admin, two_letters("small", 6)).await;
        make_product(&app.admin, "editor", generator).await;
        let orders = (0..80).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.order(&format!("o{number}"), "editor", 1, "completed").await })
        });
        let orders: Vec<_> = join_all(orders).await.into_iter().map(Result::unwrap).collect();
        let keys: Vec<String> = orders.iter().flat_map(crate::support::persona::Answer::keys).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "no text twice");
        assert!(keys.len() <= 64);
        // Whoever drew in vain against others waits, and is served as long as there are texts.
        app.admin.patch(&format!("/v1/generators/{generator}"), json!({ "chunks": 9 })).await.ok();
        for number in 0..80 {
            while app.admin.get(&format!("/v1/orders/o{number}")).await.ok()["issue_state"] != "done" {
                tokio::task::yield_now().await;
            }
        }
    }

    /// [UC-13]
    async fn a_signed_key_proves_itself_without_a_server(app: TestApp) {
        let body = json!({ "name": "signed", "kind": "signed", "prefix": "ED1-", "expires_in_days": 365 });
        let generator = make(&app.admin, body).await;
        make_product(&app.admin, "editor", generator).await;
        let order = app.admin.order("1", "editor", 1, "completed").await.ok();
        let key = &order["lines"][0]["keys"][0];
        let text = key["key"].as_str().unwrap();
        let jwks = app.software().get("/.well-known/jwks.json").await;
        let keys = countersign_client::PublicKeys::from_jwks(&jwks.text).unwrap();
        let now = app.clock.now().seconds();
        let claims = countersign_client::verify_product_key(text, "ED1-", &keys, now).unwrap();
        assert_eq!(i64::try_from(claims.serial).unwrap(), key["id"].as_i64().unwrap());
        assert_eq!(claims.product.as_deref(), Some("editor"));
        assert_eq!(claims.expires_at, Some(app.clock.now().plus_days(365).seconds()));
        // It is an ordinary key, too.
        app.software().activate(text, "m1").await.ok();
        // Into stock it is made for any product of the sequence, and without a date.
        generate(&app.admin, generator, json!({ "quantity": 2, "sequence": "editor" })).await.ok();
        let (_, stocked) = app.admin.buy("2", "editor").await;
        let claims = countersign_client::verify_product_key(&stocked, "ED1-", &keys, now).unwrap();
        assert_eq!((claims.product, claims.expires_at), (None, None));
    }

    /// [SHOP-6, SHOP-12..17]
    async fn keys_have_the_characters_chunks_and_ends_of_their_generator(app: TestApp) {
        let pattern = json!({
            "name": "sample", "charset": "ABCD1234", "chunks": 4, "chunk_length": 2, "separator": "-",
            "prefix": "PRE-", "suffix": "-SUF",
        });
        let mixed = json!({ "name": "mixed", "charset": "123ABCabc", "chunks": 1, "chunk_length": 40 });
        let (pattern, mixed) = (make(&app.admin, pattern).await, make(&app.admin, mixed).await);
        make_product(&app.admin, "editor", pattern).await;
        make_product(&app.admin, "player", mixed).await;
        for text in app.admin.order("1", "editor", 20, "completed").await.keys() {
            let chunks = text.strip_prefix("PRE-").unwrap().strip_suffix("-SUF").unwrap().split('-');
            let chunks: Vec<&str> = chunks.collect();
            assert_eq!(chunks.len(), 4, "{text}");
            let is_chunk = |chunk: &&str| chunk.len() == 2 && chunk.chars().all(|c| "ABCD1234".contains(c));
            assert!(chunks.iter().all(is_chunk), "{text}");
        }
        let texts = app.admin.order("2", "player", 20, "completed").await.keys();
        assert!(texts.iter().all(|text| text.len() == 40), "no separator where there is one chunk: {texts:?}");
        // By chance alone, one of nine characters is missing from 800 draws once in 10^40 runs.
        let used: std::collections::BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
        assert_eq!(used.into_iter().collect::<String>(), "123ABCabc");
    }

    /// [SHOP-11, SHOP-18]
    async fn what_a_generator_leaves_blank_sets_no_limit(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g", "max_activations": null, "expires_in_days": null })).await;
        make_product(&app.admin, "editor", generator).await;
        let order = app.admin.order("1", "editor", 1, "completed").await.ok();
        let key = &order["lines"][0]["keys"][0];
        assert_eq!((&key["max_activations"], &key["expires_at"]), (&Value::Null, &Value::Null));
        app.pass_days(20_000);
        for installation in 0..20 {
            app.software().activate(key["key"].as_str().unwrap(), &format!("m{installation}")).await.ok();
        }
    }

    /// [SHOP-9, SHOP-19, SHOP-20]
    async fn a_generator_makes_keys_from_when_it_is_saved_and_only_the_one_that_is_chosen(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let body = json!({ "quantity": 3, "product": "editor" });
        generate(&app.admin, 1, body.clone()).await.refused(404, "generator_not_found");
        make(&app.admin, json!({ "name": "one", "prefix": "ONE-" })).await;
        let two = make(&app.admin, json!({ "name": "two", "prefix": "TWO-" })).await;
        generate(&app.admin, two, body).await.ok();
        let keys = app.admin.get("/v1/keys").await.ok();
        let texts: Vec<&str> = keys["items"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts.iter().all(|text| text.starts_with("TWO-")), "{texts:?}");
    }

    /// [SHOP-23..28]
    async fn keys_are_generated_with_one_of_five_statuses_and_can_do_what_it_says(app: TestApp) {
        let generator = make(&app.admin, json!({ "name": "g" })).await;
        for (status, for_sale, activation) in [
            ("active", 1, 404), ("inactive", 0, 404), ("sold", 0, 201), ("delivered", 0, 201), ("disabled", 0, 404),
        ] {
            app.admin.make_product(status, json!({})).await;
            generate(&app.admin, generator, json!({ "quantity": 1, "product": status, "status": status })).await.ok();
            let key = app.admin.get(&format!("/v1/keys?sequence={status}")).await.ok()["items"][0].clone();
            assert_eq!((&key["status"], &key["product"]), (&json!(status), &json!(status)));
            let text = key["key"].as_str().unwrap();
            assert_eq!(app.software().activate(text, "m1").await.status, activation, "{status}");
            assert_eq!(app.admin.get(&format!("/v1/products/{status}")).await.ok()["available"], for_sale, "{status}");
            let order = app.admin.order(status, status, 1, "completed").await;
            assert_eq!(order.keys().len(), for_sale, "{status}");
        }
        for wrong in ["activated", "expired", "revoked", "Active", ""] {
            let body = json!({ "quantity": 1, "product": "active", "status": wrong });
            let problem = generate(&app.admin, generator, body).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], "status", "{wrong}");
        }
        // What was disabled after it was sold cannot be used, either.
        app.admin.patch("/v1/keys/1", json!({ "status": "disabled" })).await.ok();
        let sold = app.admin.get("/v1/keys/1").await.ok()["key"].clone();
        app.software().activate(sold.as_str().unwrap(), "m1").await.refused(403, "key_disabled");
    }
}
