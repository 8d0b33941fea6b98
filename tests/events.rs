//! The list of events: who did what, when.

use serde_json::{Value, json};

use crate::support::on_both_databases;

/// The events of a query, over all pages of two.
async fn all(admin: &crate::support::Persona, query: &str) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let page = admin
            .get(&format!("/v1/events?limit=2&{query}{after}"))
            .await
            .ok();
        events.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return events,
        }
    }
}

fn actions(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect()
}

on_both_databases! {
    async fn what_happened_is_listed_with_the_names_of_what_it_is_about(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let shop = app.shop().await;
        let order = shop.order("1001", "editor", 1, "completed").await.ok();
        let key = order["lines"][0]["keys"][0].clone();
        app.software().activate("K1", "machine-1").await.ok();
        app.pass_seconds(60);
        let path = format!("/v1/keys/{}/revoke", key["id"]);
        let revoked = app.admin.post(&path, json!({ "reason": "a chargeback" })).await;

        let newest = app.admin.get("/v1/events?limit=1").await.ok()["items"][0].clone();
        let id = newest["id"].as_i64().unwrap();
        assert_eq!(newest, json!({
            "id": id, "at": "2026-11-22T10:01:00Z", "action": "key.revoked", "actor": "account", "account": "admin",
            "address": "127.0.0.1", "request_id": revoked.headers["x-request-id"].to_str().unwrap(),
            "subject": { "type": "key", "id": key["id"], "number": key["number"] },
            "detail": {
                "number": key["number"], "reason": "a chargeback",
                "before": { "status": "delivered" }, "after": { "status": "delivered" },
            },
        }));
        let of_order = all(&app.admin, &format!("subject=order&id={}", order["id"])).await;
        assert_eq!(of_order[0]["subject"], json!({ "type": "order", "id": order["id"], "ref": "1001" }));
        assert_eq!(of_order[0]["account"], "shop");
        let activated = &all(&app.admin, "action=activation.created").await[0];
        assert_eq!((&activated["actor"], &activated["account"]), (&json!("public"), &Value::Null));
        for (subject, name) in [("product", "editor"), ("sequence", "editor"), ("account", "shop"), ("api_token", "")] {
            let events = all(&app.admin, &format!("subject={subject}")).await;
            assert_eq!(events[0]["subject"]["name"], name, "{subject}");
        }
        assert_eq!(all(&app.admin, "subject=lot").await.len(), 1);
        // What is gone keeps its id.
        app.admin.post("/v1/products", json!({ "sku": "gone" })).await.ok();
        app.admin.delete("/v1/products/gone").await;
        let deleted = &all(&app.admin, "action=product.deleted").await[0];
        assert_eq!(deleted["subject"].as_object().unwrap().len(), 2);
    }

    async fn the_list_goes_both_ways_and_its_pages_fit_together(app: TestApp) {
        for number in 0..7 {
            app.pass_seconds(1);
            app.admin.post("/v1/sequences", json!({ "name": format!("s{number}") })).await.ok();
        }
        let newest_first = all(&app.admin, "").await;
        let mut oldest_first = all(&app.admin, "order=asc").await;
        assert_eq!(newest_first.len(), 9, "with the administrator's account and token");
        assert_eq!(actions(&newest_first)[..7], ["sequence.created"; 7]);
        oldest_first.reverse();
        assert_eq!(newest_first, oldest_first);
        // A page does not move when something happens meanwhile.
        let first = app.admin.get("/v1/events?limit=3").await.ok();
        app.admin.post("/v1/sequences", json!({ "name": "late" })).await.ok();
        let second = app.admin.get(&format!("/v1/events?limit=3&after={}", first["next"].as_str().unwrap())).await.ok();
        assert_eq!(second["items"].as_array().unwrap()[..], newest_first[3..6]);

        let at = |seconds: i64| format!("2026-11-22T10:00:0{seconds}Z");
        let some = all(&app.admin, &format!("since={}&until={}", at(2), at(5))).await;
        let names: Vec<_> = some.iter().map(|event| event["detail"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["s3", "s2", "s1"], "from the first instant on, before the second");
    }

    async fn filters_hold_together_and_wrong_ones_are_refused_and_named(app: TestApp) {
        let ci = app.persona("ci", "admin").await;
        ci.post("/v1/sequences", json!({ "name": "a" })).await.ok();
        app.admin.post("/v1/sequences", json!({ "name": "b" })).await.ok();
        assert_eq!(all(&app.admin, "account=ci").await.len(), 1);
        assert_eq!(all(&app.admin, "account=ci&action=sequence.created&subject=sequence").await.len(), 1);
        assert_eq!(all(&app.admin, "account=ci&subject=product").await.len(), 0);
        app.admin.get("/v1/events?account=nobody").await.refused(404, "account_not_found");
        for (query, field) in [
            ("subject=dog", "subject"),
            ("id=1", "subject"),
            ("order=up", "order"),
            ("since=yesterday", "since"),
            ("what=1", "what"),
        ] {
            let problem = app.admin.get(&format!("/v1/events?{query}")).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field, "{query}");
        }
    }
}
