//! Pools: sequences of keys that were made elsewhere, and how they are sold.

use countersign_client::{PublicKeys, TokenError, Verifier};
use serde_json::{Value, json};

use crate::support::persona::keys_of;
use crate::support::{Persona, TestApp, on_both_databases};

/// How many keys of a product can be sold.
async fn available(app: &TestApp, sku: &str) -> Value {
    let stock = app.admin.get(&format!("/v1/stock?sku={sku}")).await.ok();
    stock["items"][0]["available"].clone()
}

/// The ids of the keys that a query lists.
async fn listed(app: &TestApp, query: &str) -> Vec<i64> {
    let list = app.admin.get(&format!("/v1/keys?{query}")).await.ok();
    let keys = list["items"].as_array().unwrap().iter();
    keys.map(|key| key["id"].as_i64().unwrap()).collect()
}

/// Reports an order of one piece by a customer.
async fn order_for(admin: &Persona, reference: &str, sku: &str, email: &str) -> Vec<String> {
    let body = json!({
        "status": "payment_received", "customer": { "email": email }, "lines": [{ "sku": sku }],
    });
    keys_of(
        &admin
            .put(&format!("/v1/orders/{reference}"), body)
            .await
            .ok(),
    )
}

on_both_databases! {
    /// [IPS-1, IPS-2, IPS-13..17]
    async fn codes_of_every_kind_are_sold_as_they_came_in(app: TestApp) {
        for (sku, activated_here, codes) in [
            ("game", false, ["AAAAA-BBBBB-CCCCC", "aaaaa-bbbbb-ccccc"]),
            ("plugin", true, ["7f4df7ba-3f0e-4c1b-9a64-0242ac120002", "Лицензия № 1"]),
            ("cloud-storage", false, ["https://example.com/redeem?c=1&x=%20", "user: ada; pin: 0007"]),
            ("coupon", false, ["10% OFF !", " two  blanks within and one at each end "]),
            ("rest-api", false, ["sk_live_x+/=", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmVk"]),
        ] {
            app.admin.make_product(sku, json!({ "activation_managed": activated_here })).await;
            let report = app.admin.import(sku, "", &codes).await.ok();
            assert_eq!((&report["added"], &report["duplicates"]), (&json!(2), &json!(0)), "{sku}");
            let sold = app.admin.order(sku, sku, 2, "payment_received").await.keys();
            assert_eq!(sold, codes, "{sku}");
            for code in codes {
                let answer = app.software().activate(code, "machine-1").await;
                if activated_here {
                    answer.ok();
                } else {
                    answer.refused(422, "activation_not_managed");
                }
            }
        }
    }

    /// [IPS-6]
    async fn a_purchase_never_takes_a_key_of_another_products_pool(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["E1"]).await;
        app.admin.make_stocked_product("player", "", &["P1", "P2"]).await;
        assert_eq!(app.admin.buy("1", "editor").await.1, "E1");
        let order = app.admin.order("2", "editor", 1, "completed").await.ok();
        assert_eq!(order["issue_state"], "waiting_stock", "what another pool has does not help");
        app.finish_jobs().await;
        assert!(app.admin.get("/v1/orders/2").await.keys().is_empty());
        assert_eq!((available(app, "editor").await, available(app, "player").await), (json!(0), json!(2)));
        assert_eq!(app.admin.order("3", "player", 2, "completed").await.keys(), ["P1", "P2"]);
    }

    /// [IPS-7, IPS-8, IPS-12, UC-17]
    async fn the_report_of_a_payment_is_answered_with_the_keys_and_no_other_is(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let shop = app.shop().await;
        for (reference, course) in [
            ("never-paid", ["pending", "pending", "cancelled"]),
            ("called-off", ["cancelled", "pending", "cancelled"]),
            ("given-back", ["refunded", "refunded", "pending"]),
        ] {
            for status in course {
                let order = shop.order(reference, "editor", 1, status).await;
                assert!(order.keys().is_empty(), "{reference}: {status}");
                assert_eq!(order.json()["issue_state"], "none", "{reference}: {status}");
            }
        }
        app.finish_jobs().await;
        assert_eq!(available(app, "editor").await, 3);
        for (reference, status) in [("never-paid", "payment_received"), ("called-off", "completed")] {
            assert_eq!(shop.order(reference, "editor", 1, status).await.keys().len(), 1, "{status}");
        }
        assert_eq!(available(app, "editor").await, 1);
    }

    /// [IPS-10]
    async fn what_somebody_had_is_never_issued_again_whatever_becomes_of_it(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for undone in ["refunded", "cancelled", "revoked", "disabled", "suspended", "terminated", "taken off"] {
            let text = format!("key that was {undone}");
            app.admin.import("editor", "", &[&text]).await.ok();
            let (id, key) = app.admin.buy(undone, "editor").await;
            assert_eq!(key, text);
            let order = format!("/v1/orders/{undone}");
            match undone {
                "refunded" | "cancelled" => app.admin.patch(&order, json!({ "status": undone })).await,
                "taken off" => app.admin.patch(&format!("/v1/keys/{id}"), json!({ "order": null, "customer": null })).await,
                fact => {
                    let action = fact.strip_suffix("ed").map(|stem| match stem {
                        "revok" | "disabl" | "terminat" => format!("{stem}e"),
                        stem => stem.to_owned(),
                    });
                    app.admin.post(&format!("/v1/keys/{id}/{}", action.unwrap()), json!({})).await
                }
            }.ok();
            app.finish_jobs().await;
            assert_eq!(available(app, "editor").await, 0, "{undone}");
            let next = app.admin.order("next", "editor", 1, "payment_received").await.ok();
            assert_eq!(next["issue_state"], "waiting_stock", "{undone}");
            app.admin.order("next", "editor", 1, "cancelled").await.ok();
        }
    }

    /// [UC-20]
    async fn another_key_for_a_customer_is_another_order(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        assert_eq!(order_for(&app.admin, "1", "editor", "ada@example.com").await, ["K1"]);
        assert_eq!(order_for(&app.admin, "1", "editor", "ada@example.com").await, ["K1"], "the same order again");
        assert_eq!(order_for(&app.admin, "2", "editor", "ada@example.com").await, ["K2"]);
        assert_eq!(app.admin.get("/v1/orders/1").await.keys(), ["K1"]);
        assert_eq!(listed(app, "customer=ada@example.com").await, [1, 2]);
    }

    /// [UC-1, UC-2, UC-4, UC-7, UC-11, UC-14]
    async fn any_key_of_a_sequence_unlocks_the_software_that_was_told_to_use_it(app: TestApp) {
        // What a vendor does before the first sale: keys, a sequence, a product that sells from it.
        app.admin.post("/v1/sequences", json!({ "name": "editor keys" })).await.ok();
        app.admin.post("/v1/products", json!({ "sku": "editor" })).await.ok();
        app.admin.patch("/v1/products/editor", json!({ "sequence": "editor keys" })).await.ok();
        let block = "editor keys\nfirst\n.\neditor keys\nof two\nlines\n.\neditor keys\nthird\n.\n";
        app.admin.post_bytes("/v1/import?format=block", "text/plain", block).await.ok();
        app.admin.make_stocked_product("player", "", &["P1"]).await;
        // And what the software does: it asks, and goes by what was signed.
        let jwks = app.software().get("/.well-known/jwks.json").await;
        let keys = PublicKeys::from_jwks(&jwks.text).unwrap();
        let verifier = Verifier::new(keys).product("editor").installation_id("machine-1");
        let now = app.clock.now().seconds();
        for (reference, expected) in [("1", "first"), ("2", "of two\nlines"), ("3", "third")] {
            let key = app.admin.buy(reference, "editor").await.1;
            assert_eq!(key, expected);
            let body = json!({ "key": key, "installation_id": "machine-1", "product": "editor" });
            let activation = app.software().post("/v1/activations", body).await.ok();
            let claims = verifier.verify_at(activation["token"].as_str().unwrap(), now).unwrap();
            assert_eq!(claims.activation_id, activation["activation_id"].as_str().unwrap());
        }
        let (_, other) = app.admin.buy("4", "player").await;
        let body = json!({ "key": other, "installation_id": "machine-1", "product": "editor" });
        app.software().post("/v1/activations", body).await.refused(422, "product_mismatch");
        let activation = app.software().activate(&other, "machine-1").await.ok();
        let refused = verifier.verify_at(activation["token"].as_str().unwrap(), now);
        assert_eq!(refused, Err(TokenError::WrongProduct));
    }

    /// [UC-5, UC-6, UC-16]
    async fn a_revocation_admits_nobody_any_more_and_lets_run_who_was_admitted(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        let token = app.software().activate(&key, "m1").await.ok()["token"].clone();
        let jwks = app.software().get("/.well-known/jwks.json").await;
        let verifier = Verifier::new(PublicKeys::from_jwks(&jwks.text).unwrap()).installation_id("m1");
        app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({})).await.ok();
        for installation in ["m1", "m2"] {
            app.software().activate(&key, installation).await.refused(403, "key_revoked");
        }
        // The key to verify with is still published, and the token goes on to its own end.
        let jwks_now = app.software().get("/.well-known/jwks.json").await;
        assert_eq!(jwks_now.text, jwks.text);
        app.pass_days(29);
        verifier.verify_at(token.as_str().unwrap(), app.clock.now().seconds()).unwrap();
        app.pass_days(2);
        let ended = verifier.verify_at(token.as_str().unwrap(), app.clock.now().seconds());
        assert!(matches!(ended, Err(TokenError::Expired { .. })), "{ended:?}");
    }

    /// [UC-29, UC-47]
    async fn sequences_are_made_edited_and_deleted_and_carry_members_of_ones_own(app: TestApp) {
        let body = json!({ "name": "editor", "extra": { "acme.supplier": "north", "acme.batch": 7 } });
        let made = app.admin.post("/v1/sequences", body).await;
        assert_eq!((made.status, &made.json()["extra"]["acme.supplier"]), (201, &json!("north")));
        app.admin.post("/v1/sequences", json!({ "name": "editor" })).await.refused(409, "already_exists");
        let path = "/v1/sequences/editor";
        assert_eq!(app.admin.get(path).await.ok()["extra"], json!({ "acme.supplier": "north", "acme.batch": 7 }));
        let edited = app.admin.patch(path, json!({ "extra": { "acme.batch": 8 } })).await.ok();
        assert_eq!((&edited["name"], &edited["extra"]), (&json!("editor"), &json!({ "acme.batch": 8 })));
        let renamed = app.admin.patch(path, json!({ "name": "pool" })).await.ok();
        assert_eq!((&renamed["name"], &renamed["extra"]), (&json!("pool"), &json!({ "acme.batch": 8 })));
        app.admin.get(path).await.refused(404, "sequence_not_found");
        let list = app.admin.get("/v1/sequences").await.ok();
        assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][0]), (1, &renamed));

        let key = json!({ "key": "K1", "sequence": "pool", "extra": { "acme.po": "7" } });
        assert_eq!(app.admin.post("/v1/keys", key).await.ok()["extra"], json!({ "acme.po": "7" }));
        let edited = app.admin.patch("/v1/keys/1", json!({ "extra": { "acme.po": "8", "note": null } })).await.ok();
        for key in [app.admin.get("/v1/keys/1").await.ok(), app.admin.get("/v1/keys").await.ok()["items"][0].clone()] {
            assert_eq!((&key, &key["extra"]), (&edited, &json!({ "acme.po": "8", "note": null })));
        }

        assert_eq!(app.admin.delete("/v1/sequences/pool").await.status, 204);
        assert_eq!(app.admin.get("/v1/sequences").await.ok()["items"], json!([]));
        app.admin.delete("/v1/sequences/pool").await.refused(404, "sequence_not_found");
    }

    /// [UC-38, UC-45]
    async fn keys_are_seen_all_together_by_product_and_by_customer(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["E1", "E2", "E3"]).await;
        app.admin.make_stocked_product("player", "", &["P1", "P2"]).await;
        assert_eq!(listed(app, "").await, [1, 2, 3, 4, 5], "as imported");
        order_for(&app.admin, "1", "editor", "ada@example.com").await;
        order_for(&app.admin, "2", "player", "ada@example.com").await;
        order_for(&app.admin, "3", "editor", "bob@example.com").await;
        for (query, expected) in [
            ("", vec![1, 2, 3, 4, 5]),
            ("product=editor", vec![1, 2]),
            ("product=player", vec![4]),
            ("sequence=editor", vec![1, 2, 3]),
            ("customer=ada@example.com", vec![1, 4]),
            ("customer=bob@example.com", vec![2]),
            ("customer=ada@example.com&product=editor", vec![1]),
            ("customer=eve@example.com", vec![]),
        ] {
            assert_eq!(listed(app, query).await, expected, "{query}");
        }
        app.admin.get("/v1/keys?product=nothing").await.refused(404, "product_not_found");
    }

    /// [UC-74, UC-76]
    async fn a_program_that_knows_the_text_finds_the_key_and_revokes_it(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for text in ["one\nkey", "one key"] {
            app.admin.post("/v1/keys", json!({ "key": text, "sequence": "editor" })).await.ok();
        }
        app.admin.order("1", "editor", 2, "completed").await.ok();
        let found = app.admin.post("/v1/keys/lookup", json!({ "key": "one key" })).await.ok();
        assert_eq!((&found["id"], &found["key"], &found["order"]), (&json!(2), &json!("one key"), &json!("1")));
        let revoked = app.admin.post(&format!("/v1/keys/{}/revoke", found["id"]), json!({})).await.ok();
        assert_eq!(revoked["revoked_at"], "2026-11-22T10:00:00Z");
        app.software().activate("one key", "m1").await.refused(403, "key_revoked");
        app.software().activate("one\nkey", "m1").await.ok();
        let found = app.admin.post("/v1/keys/lookup", json!({ "key": "one key" })).await.ok();
        assert_eq!(found["revoked_at"], "2026-11-22T10:00:00Z");
        app.admin.post("/v1/keys/lookup", json!({ "key": "ONE KEY" })).await.refused(404, "key_not_found");
    }
}
