//! Accounts, API tokens, and who may call what.

use reqwest::Method;
use serde_json::json;

use crate::support::{Persona, on_both_databases};

on_both_databases! {
    async fn only_a_known_token_in_force_is_accepted(app: TestApp) {
        for token in [None, Some("".to_owned()), Some("cst_nothing".to_owned())] {
            let answer = Persona::new(&app.base, token).get("/v1/products").await;
            answer.refused(401, "unauthenticated");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        app.admin.post("/v1/accounts", json!({ "name": "ci", "role": "viewer" })).await.ok();
        let body = json!({ "account": "ci", "label": "night", "expires_at": "2026-11-23T10:00:00Z" });
        let token = app.admin.post("/v1/tokens", body).await.ok();
        let secret = token["token"].as_str().unwrap();
        assert!(secret.starts_with("cst_") && secret.ends_with(token["hint"].as_str().unwrap()));
        let viewer = Persona::new(&app.base, Some(secret.to_owned()));
        viewer.get("/v1/products").await.ok();
        app.pass_days(1);
        viewer.get("/v1/products").await.refused(401, "unauthenticated");

        let lasting = app.admin.post("/v1/tokens", json!({ "account": "ci" })).await.ok();
        let viewer = Persona::new(&app.base, Some(lasting["token"].as_str().unwrap().to_owned()));
        viewer.get("/v1/products").await.ok();
        assert_eq!(app.admin.delete(&format!("/v1/tokens/{}", lasting["id"])).await.status, 204);
        assert_eq!(app.admin.delete(&format!("/v1/tokens/{}", lasting["id"])).await.status, 204);
        viewer.get("/v1/products").await.refused(401, "unauthenticated");
        app.admin.delete("/v1/tokens/4711").await.refused(404, "api_token_not_found");
    }

    async fn a_secret_is_shown_once_and_listed_never(app: TestApp) {
        let made = app.admin.post("/v1/tokens", json!({ "account": "admin", "label": "second" })).await.ok();
        let list = app.admin.get("/v1/tokens?account=admin").await;
        assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
        assert!(!list.text.contains(made["token"].as_str().unwrap()));
        app.admin.get("/v1/tokens?account=nobody").await.refused(404, "account_not_found");
        let ended = json!({ "account": "admin", "expires_at": "2026-11-22T10:00:00Z" });
        app.admin.post("/v1/tokens", ended).await.refused(422, "validation_failed");
        app.admin.post("/v1/tokens", json!({ "account": "nobody" })).await.refused(404, "account_not_found");
        app.admin.post("/v1/accounts", json!({ "name": "admin", "role": "shop" })).await.refused(409, "already_exists");
    }

    async fn a_role_may_do_what_it_is_for_and_nothing_else(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let (viewer, shop) = (app.persona("auditor", "viewer").await, app.shop().await);
        shop.order("1", "editor", 1, "completed").await.ok();
        for (method, path, viewer_may, shop_may) in [
            (Method::GET, "/v1/products", true, true),
            (Method::GET, "/v1/products/editor", true, true),
            (Method::GET, "/v1/stock?sku=editor", true, true),
            (Method::GET, "/v1/orders", true, true),
            (Method::GET, "/v1/orders/1", true, true),
            (Method::GET, "/v1/sequences", true, false),
            (Method::GET, "/v1/sequences/editor", true, false),
            (Method::GET, "/v1/keys", true, false),
            (Method::GET, "/v1/keys/1", true, false),
            (Method::GET, "/v1/activations", true, false),
            (Method::GET, "/v1/accounts", true, false),
            (Method::GET, "/v1/tokens", true, false),
            (Method::GET, "/v1/users", true, false),
            (Method::GET, "/v1/users/1", true, false),
            (Method::PUT, "/v1/orders/2", false, true),
            (Method::PATCH, "/v1/orders/1", false, true),
            (Method::POST, "/v1/orders/1/issue", false, true),
            (Method::POST, "/v1/products", false, false),
            (Method::PATCH, "/v1/products/editor", false, false),
            (Method::DELETE, "/v1/products/editor", false, false),
            (Method::POST, "/v1/sequences", false, false),
            (Method::PATCH, "/v1/sequences/editor", false, false),
            (Method::DELETE, "/v1/sequences/editor", false, false),
            (Method::POST, "/v1/sequences/editor/import", false, false),
            (Method::POST, "/v1/keys/1/revoke", false, false),
            (Method::POST, "/v1/keys/1/unrevoke", false, false),
            (Method::DELETE, "/v1/activations/X", false, false),
            (Method::POST, "/v1/accounts", false, false),
            (Method::POST, "/v1/tokens", false, false),
            (Method::DELETE, "/v1/tokens/1", false, false),
            (Method::POST, "/v1/users", false, false),
            (Method::PATCH, "/v1/users/1", false, false),
            (Method::DELETE, "/v1/users/1", false, false),
        ] {
            let nobody = app.software();
            nobody.send(nobody.request(method.clone(), path)).await.refused(401, "unauthenticated");
            for (persona, may) in [(&viewer, viewer_may), (&shop, shop_may)] {
                let answer = persona.send(persona.request(method.clone(), path)).await;
                if may {
                    assert!(answer.status != 401 && answer.status != 403, "{method} {path}: {}", answer.text);
                } else {
                    answer.refused(403, "forbidden");
                }
            }
        }
    }
}
