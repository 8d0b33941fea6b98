//! Bad input: a clear answer, nothing stored, no panic.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::database::number;
use crate::support::{TestApp, on_both_databases};

/// What may have changed: the number of rows in every table that input ends in.
fn rows(app: &TestApp) -> i64 {
    let tables = [
        "accounts",
        "api_tokens",
        "products",
        "sequences",
        "orders",
        "order_lines",
        "customers",
        "keys",
        "activations",
        "activation_details",
        "events",
    ];
    let mut conn = app.database.connect();
    tables
        .iter()
        .map(|table| {
            number(
                &mut conn,
                &format!("SELECT COUNT(*) AS number FROM {table}"),
            )
        })
        .sum()
}

on_both_databases! {
    async fn a_head_that_does_not_come_is_answered_408_without_a_body(app: TestApp) {
        let mut connection = tokio::net::TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n").await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    async fn what_cannot_be_read_is_refused_and_nothing_is_stored(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let before = rows(app);
        let activations = "/v1/activations";
        for (body, status, code) in [
            (&b"{\"key\":"[..], 400, "malformed_json"),
            (b"", 400, "malformed_json"),
            (b"{\"key\":\"K\",\"installation_id\":\"m\"} x", 400, "malformed_json"),
            (b"{\"key\":\"\xff\",\"installation_id\":\"m\"}", 400, "malformed_json"),
            (b"{\"key\":\"\\ud800\",\"installation_id\":\"m\"}", 400, "malformed_json"),
            (b"[]", 422, "validation_failed"),
            (b"null", 422, "validation_failed"),
            (b"{\"key\":\"K\",\"key\":\"K\",\"installation_id\":\"m\"}", 422, "validation_failed"),
        ] {
            let answer = app.admin.post_bytes(activations, "application/json", body).await;
            answer.refused(status, code);
        }
        let nested = format!("{{\"key\":\"K\",\"installation_id\":\"m\",\"extra\":{{\"a\":{}", "[".repeat(100_000));
        app.admin.post_bytes(activations, "application/json", nested).await.refused(400, "malformed_json");
        let form = app.admin.post_bytes(activations, "application/x-www-form-urlencoded", "key=K1").await;
        form.refused(415, "unsupported_media_type");
        assert_eq!(rows(app), before);
    }

    async fn a_body_of_two_megabytes_is_refused_and_the_client_gets_to_read_why(app: TestApp) {
        let body = json!({ "key": "K".repeat(2 << 20), "installation_id": "m1" });
        let problem = app.software().post("/v1/activations", body).await.refused(413, "body_too_large");
        assert!(problem["detail"].as_str().unwrap().contains("1048576"), "{problem}");
        assert_eq!(app.software().get("/healthz").await.status, 200);
    }

    async fn wrong_members_are_named(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let before = rows(app);
        let order = |line: Value| json!({ "status": "pending", "lines": [line] });
        for (method, path, body, field) in [
            (Method::POST, "/v1/activations", json!({ "key": "K", "installation_id": "m", "kei": 1 }), "kei"),
            (Method::POST, "/v1/activations", json!({ "key": "K" }), "installation_id"),
            (Method::POST, "/v1/activations", json!({ "key": 7, "installation_id": "m" }), "key"),
            (Method::POST, "/v1/activations", json!({ "key": "", "installation_id": "m" }), "key"),
            (Method::POST, "/v1/activations", json!({ "key": "K".repeat(4097), "installation_id": "m" }), "key"),
            (Method::POST, "/v1/activations", json!({ "key": "K", "installation_id": "m".repeat(256) }), "installation_id"),
            (Method::POST, "/v1/activations", json!({ "key": "K", "installation_id": "a\0b" }), "installation_id"),
            (Method::POST, "/v1/activations", json!({ "key": "K", "installation_id": "m", "extra": [] }), "extra"),
            (Method::POST, "/v1/activations",
                json!({ "key": "K", "installation_id": "m", "extra": { "x": "y".repeat(20_000) } }), "extra"),
            (Method::POST, "/v1/activations/renew", json!({}), "token"),
            (Method::POST, "/v1/activations/renew", json!({ "key": "K" }), "installation_id"),
            (Method::POST, "/v1/validate", json!({ "key": null }), "key"),
            (Method::POST, "/v1/products", json!({ "name": "x" }), "sku"),
            (Method::POST, "/v1/products", json!({ "sku": "x", "delivery_quantity": 0 }), "delivery_quantity"),
            (Method::POST, "/v1/products", json!({ "sku": "x", "sequence": "none" }), "sequence"),
            (Method::POST, "/v1/products", json!({ "sku": "x", "number_prefix": "a.b" }), "number_prefix"),
            (Method::POST, "/v1/products", json!({ "sku": "x", "status": "sold" }), "status"),
            (Method::PATCH, "/v1/products/editor", json!({ "name": null }), "name"),
            (Method::PATCH, "/v1/products/editor", json!({ "renew_by_days": "30" }), "renew_by_days"),
            (Method::POST, "/v1/sequences", json!({ "name": "x", "low_stock_threshold": -1 }), "low_stock_threshold"),
            (Method::POST, "/v1/sequences", json!({ "name": "x", "source": "magic" }), "source"),
            (Method::PUT, "/v1/orders/1", json!({ "lines": [] }), "status"),
            (Method::PUT, "/v1/orders/1", order(json!({ "sku": "editor", "quantity": 1.5 })), "lines[0].quantity"),
            (Method::PUT, "/v1/orders/1", order(json!({ "sku": "editor", "quantity": i64::MAX })), "lines[0].quantity"),
            (Method::PUT, "/v1/orders/1", order(json!({ "sku": "editor", "prize": 1 })), "lines[0].prize"),
            (Method::PUT, "/v1/orders/1", json!({ "status": "pending", "lines": [], "occurred_at": "yesterday" }), "occurred_at"),
            (Method::POST, "/v1/accounts", json!({ "name": "x", "role": "root" }), "role"),
            (Method::POST, "/v1/tokens", json!({ "account": "admin", "expires_at": "2026-11-22T10:00:00Z" }), "expires_at"),
        ] {
            let answer = app.admin.send(app.admin.request(method, path).json(&body)).await;
            let problem = answer.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field, "{path} {body}: {problem}");
        }
        assert_eq!(rows(app), before);
    }

    async fn wrong_queries_and_paths_are_refused(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        for (path, status, code) in [
            ("/v1/keys?limit=0", 422, "validation_failed"),
            ("/v1/keys?limit=501", 422, "validation_failed"),
            ("/v1/keys?limit=x", 422, "validation_failed"),
            ("/v1/keys?after=%2B%2B", 422, "validation_failed"),
            ("/v1/keys?colour=red", 422, "validation_failed"),
            ("/v1/keys?revoked=perhaps", 422, "validation_failed"),
            ("/v1/keys?product=a%00b", 422, "validation_failed"),
            ("/v1/keys/one", 404, "not_found"),
            ("/v1/keys/99999999999999999999", 404, "not_found"),
            ("/v1/keys/9223372036854775807", 404, "key_not_found"),
            ("/v1/products/a%00b", 404, "not_found"),
            ("/v1/products/%ff", 400, "malformed_request"),
            ("/v1/keys?customer=%ff", 400, "malformed_request"),
            ("/v1/products?limti=5", 422, "validation_failed"),
            ("/v1/orders/%2e%2e%2f%2e%2e%2fetc", 404, "order_not_found"),
            ("/v1/stock", 422, "validation_failed"),
            ("/v1/stock?sku=nothing", 404, "product_not_found"),
            ("/v1/nothing", 404, "not_found"),
            ("/", 404, "not_found"),
        ] {
            app.admin.get(path).await.refused(status, code);
        }
    }

    async fn sql_and_html_in_every_text_are_just_text(app: TestApp) {
        let hostile = ["'; DROP TABLE keys; --", "\" OR 1=1 --", "<script>alert(1)</script>", "%s%n{{7*7}}", "\u{202e}\u{1f4a3}"];
        for (number, text) in hostile.iter().enumerate() {
            let path = |prefix: &str| {
                let mut url = url::Url::parse("http://x").unwrap();
                url.path_segments_mut().unwrap().extend(prefix.split('/')).push(text);
                url.path().to_owned()
            };
            app.admin.post("/v1/sequences", json!({ "name": text, "extra": { *text: text } })).await.ok();
            let product = json!({ "sku": text, "name": text, "sequence": text, "entitlements": { "x": text } });
            app.admin.post("/v1/products", product).await.ok();
            let import = format!("{}/import", path("v1/sequences"));
            let key = format!("{text}{number}");
            app.admin.post_bytes(&import, "text/plain", key.clone()).await.ok();
            let order = json!({
                "status": "completed", "payment_method": text, "extra": { "note": text },
                "customer": { "email": text, "name": text, "ref": text, "locale": text },
                "lines": [{ "ref": text, "sku": text, "extra": { "x": text } }],
            });
            let order = app.admin.put(&path("v1/orders"), order).await;
            assert_eq!(order.keys(), [key.as_str()]);
            assert_eq!(order.json()["customer"]["name"], *text);
            let activation = json!({
                "key": key, "installation_id": text, "label": text, "platform": text, "app_version": text,
                "product": text, "extra": { "x": text },
            });
            let activation = app.software().post("/v1/activations", activation).await.ok();
            assert_eq!(activation["installation_id"], *text);
            app.admin.post("/v1/accounts", json!({ "name": text, "role": "shop" })).await.ok();
            app.admin.post("/v1/tokens", json!({ "account": text, "label": text })).await.ok();
            let id = order.json()["lines"][0]["keys"][0]["id"].clone();
            app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({ "reason": text })).await.ok();
            let found = app.admin.get(&path("v1/products")).await.ok();
            assert_eq!(found["name"], *text);
        }
        assert_eq!(app.admin.get("/v1/keys").await.ok()["items"].as_array().unwrap().len(), hostile.len());
    }

    async fn lists_are_no_objects_and_secrets_in_the_wrong_place_are_not_repeated(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let lines = json!([["editor", "editor", 1, true, {}]]);
        for (path, body) in [
            ("/v1/activations", json!([key, "m", null, null, null, null, null])),
            ("/v1/activations", json!(key)),
            ("/v1/validate", json!([key, null, null])),
            ("/v1/activations/renew", json!(key)),
            ("/v1/orders/check", json!({ "lines": lines })),
        ] {
            let answer = app.admin.post(path, body).await;
            answer.refused(422, "validation_failed");
            assert!(!answer.text.contains(&key), "{}", answer.text);
        }
        assert_eq!(app.admin.get("/v1/activations").await.ok()["items"], json!([]));
    }

    async fn an_order_of_too_many_lines_is_refused_at_once(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let lines: Vec<Value> = (0..1001).map(|_| json!({ "sku": "editor" })).collect();
        let body = json!({ "status": "pending", "lines": lines });
        let problem = app.admin.put("/v1/orders/1", body).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["code"], "too_many_lines");
        for quantity in [-5, 0, i64::MAX] {
            let line = json!({ "sku": "editor", "quantity": quantity });
            let check = app.admin.post("/v1/orders/check", json!({ "lines": [line, line] })).await;
            check.refused(422, "validation_failed");
        }
    }

    async fn what_would_make_a_token_too_long_is_refused(app: TestApp) {
        let large = json!({ "x": "y".repeat(8200) });
        let body = json!({ "sku": "editor", "entitlements": large });
        let problem = app.admin.post("/v1/products", body).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "entitlements");
        app.admin.make_product("editor", json!({ "entitlements": { "x": "y".repeat(8000) } })).await;
        app.admin.import("editor", "", &["K1"]).await.ok();
        let (_, key) = app.admin.buy("1", "editor").await;
        let first = app.software().activate(&key, "m".repeat(255).as_str()).await.ok();
        app.software().post("/v1/activations/renew", json!({ "token": first["token"] })).await.ok();
    }
}
