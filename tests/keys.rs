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

    /// [UC-40]
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

    /// [UC-47]
    async fn keys_are_found_by_every_fact_and_by_members_of_extra(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        app.admin.order("1", "editor", 2, "completed").await.ok();
        app.pass_seconds(60);
        let body = json!({ "key": "M1", "sequence": "editor", "extra": {
            "po": "7 & 8", "seats": 12, "vip": true, "acme.po": "x", "quote\"'`": "y", "nul": "a\0b", "none": null,
        } });
        app.admin.post("/v1/keys", body).await.ok();
        app.admin.patch("/v1/keys/3", json!({ "extra": { "po": "7", "seats": "12" } })).await.ok();
        app.admin.post("/v1/keys/1/suspend", json!({})).await.ok();
        app.admin.post("/v1/keys/2/terminate", json!({})).await.ok();
        for (query, expected) in [
            ("suspended=true", vec![1]), ("suspended=false", vec![2, 3, 4]),
            ("terminated=true", vec![2]), ("terminated=false", vec![1, 3, 4]),
            ("assigned=true", vec![1, 2]), ("assigned=false", vec![3, 4]),
            ("source=manual", vec![4]), ("source=import&assigned=false", vec![3]),
            ("created_since=2026-11-22T10:01:00Z", vec![4]), ("created_until=2026-11-22T10:01:00Z", vec![1, 2, 3]),
            ("assigned_since=2026-11-22T10:00:00Z", vec![1, 2]), ("assigned_until=2026-11-22T10:00:00Z", vec![]),
            ("extra.po=7+%26+8", vec![4]), ("extra.po=7", vec![3]), ("extra.po=%25", vec![]),
            ("extra.seats=12", vec![3, 4]), ("extra.vip=true", vec![4]), ("extra.vip=1", vec![]),
            ("extra.quote%22%27%60=y", vec![4]), ("extra.acme.po=x", vec![4]), ("extra.=x", vec![]),
            ("extra.none=null", vec![]), ("extra.seats=12&extra.po=7", vec![3]),
        ] {
            let list = app.admin.get(&format!("/v1/keys?{query}")).await.ok();
            let found: Vec<i64> = list["items"].as_array().unwrap().iter().map(|key| key["id"].as_i64().unwrap()).collect();
            assert_eq!(found, expected, "{query}");
        }
        for query in ["extra.po=1&extra.po=2", "extra.po=%00", "extra=x", "suspended=1", "source=thin+air"] {
            app.admin.get(&format!("/v1/keys?{query}")).await.refused(422, "validation_failed");
        }
    }

    async fn a_list_says_what_each_key_says_alone(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        app.admin.make_stocked_product("viewer", "", &["V1"]).await;
        let order = json!({ "status": "completed", "customer": { "ref": "c-1" }, "lines": [{ "sku": "editor" }, { "sku": "viewer" }] });
        app.admin.put("/v1/orders/1", order).await.ok();
        for installation in 0..70 {
            app.software().activate("K1", &format!("m{installation}")).await.ok();
        }
        app.software().activate("V1", "m1").await.ok();
        let list = app.admin.get("/v1/keys").await.ok();
        let counts: Vec<i64> = list["items"].as_array().unwrap().iter().map(|key| key["activations"].as_i64().unwrap()).collect();
        assert_eq!(counts, [70, 0, 0, 1]);
        for key in list["items"].as_array().unwrap() {
            assert_eq!(app.admin.get(&format!("/v1/keys/{}", key["id"])).await.ok(), *key);
        }
    }
}
