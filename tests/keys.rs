//! Keys, as staff see and change them.

use serde_json::{Value, json};

use crate::support::on_both_databases;

on_both_databases! {
    async fn a_key_is_found_by_its_text_its_number_and_its_order(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=3", &["K1", "K2"]).await;
        let order = json!({ "status": "completed", "customer": { "email": "ada@example.com" }, "lines": [{ "sku": "editor" }] });
        app.admin.put("/v1/orders/1001", order).await.ok();
        app.software().activate("K1", "m1").await.ok();

        let found = app.admin.post("/v1/keys/lookup", json!({ "key": "K1" })).await.ok();
        assert_eq!(found["number"], "KEY.00000001.0001");
        assert_eq!(found["installations"][0]["installation_id"], "m1");
        let expected = json!({
            "id": 1, "number": "KEY.00000001.0001", "key": "K1", "sequence": "editor", "product": "editor",
            "status": "delivered", "source": "import", "expires_at": null, "valid_for_days": null,
            "max_activations": 3, "activations": 1, "order": "1001", "customer": "ada@example.com",
            "parent_key": null, "extra": {}, "revoked_at": null, "suspended": false, "terminated_at": null,
            "assigned_at": "2026-11-22T10:00:00Z", "delivered_at": "2026-11-22T10:00:00Z",
            "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z",
        });
        for query in ["number=KEY.00000001", "number=ANY.1.0099", "order=1001", "customer=ADA@example.com",
            "status=delivered", "product=editor", "sequence=editor&status=delivered"] {
            let list = app.admin.get(&format!("/v1/keys?{query}")).await.ok();
            assert_eq!(list["items"], json!([expected]), "{query}");
        }
        let unsold = app.admin.post("/v1/keys/lookup", json!({ "key": "K2" })).await.ok();
        assert_eq!((&unsold["status"], &unsold["product"]), (&json!("active"), &Value::Null), "staff see unsold ones");
        app.admin.post("/v1/keys/lookup", json!({ "key": "k1" })).await.refused(404, "key_not_found");
        app.admin.get("/v1/keys?number=nonsense").await.ok();
    }

    async fn only_assigned_keys_are_revoked_and_repeating_it_changes_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2"]).await;
        let (id, _) = app.admin.buy("1", "editor").await;
        let problem = app.admin.post("/v1/keys/2/revoke", json!({})).await.refused(409, "invalid_transition");
        assert_eq!((&problem["from"], &problem["to"]), (&json!("active"), &json!("revoked")));
        app.admin.post("/v1/keys/2/unrevoke", json!({})).await.refused(409, "invalid_transition");
        app.admin.post("/v1/keys/77/revoke", json!({})).await.refused(404, "key_not_found");

        let path = format!("/v1/keys/{id}/revoke");
        let first = app.admin.post(&path, json!({ "reason": "fraud" })).await.ok();
        app.pass_seconds(5);
        assert_eq!(app.admin.post(&path, json!({})).await.ok(), first);
        assert_eq!(app.admin.get("/v1/keys?revoked=true").await.ok()["items"], json!([first]));
        let without_body = app.admin.send(app.admin.request(reqwest::Method::POST, &format!("/v1/keys/{id}/unrevoke"))).await;
        assert_eq!(without_body.ok()["revoked_at"], Value::Null);
    }

    async fn a_list_is_read_page_by_page_without_a_gap_or_a_repeat(app: TestApp) {
        let keys: Vec<String> = (0..25).map(|number| format!("K{number}")).collect();
        app.admin.make_stocked_product("editor", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut seen = Vec::new();
        let mut path = "/v1/keys?limit=10".to_owned();
        let mut sizes = Vec::new();
        loop {
            let page = app.admin.get(&path).await.ok();
            let items = page["items"].as_array().unwrap();
            sizes.push(items.len());
            seen.extend(items.iter().map(|key| key["key"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => path = format!("/v1/keys?limit=10&after={next}"),
                None => break,
            }
        }
        assert_eq!((seen, sizes), (keys, vec![10, 10, 5]));
    }
}
