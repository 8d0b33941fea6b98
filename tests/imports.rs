//! Importing keys.

use serde_json::json;

use crate::support::on_both_databases;

on_both_databases! {
    async fn an_import_counts_what_is_new_and_what_was_there(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let report = app.admin.import("editor", "", &["K1", "K2", "K1"]).await.ok();
        assert_eq!(report, json!({ "added": 2, "duplicates": 1, "failures": 0, "failed": [] }));
        app.admin.post("/v1/sequences", json!({ "name": "other" })).await.ok();
        let report = app.admin.import("other", "", &["K2", "K3"]).await.ok();
        assert_eq!(report, json!({ "added": 1, "duplicates": 1, "failures": 0, "failed": [] }), "a text exists once in all");
    }

    async fn byte_order_marks_line_ends_and_blank_lines_are_no_keys(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let body = "\u{feff}K1\r\n\r\n\n K2 \r\nK3";
        let path = "/v1/sequences/editor/import?format=lines";
        let report = app.admin.post_bytes(path, "text/plain; charset=utf-8", body).await.ok();
        assert_eq!(report["added"], 3);
        assert_eq!(app.admin.order("1", "editor", 3, "completed").await.keys(), ["K1", " K2 ", "K3"]);
    }

    async fn a_line_that_cannot_be_a_key_refuses_the_whole_import(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let long = "x".repeat(4097);
        let problem = app.admin.import("editor", "", &["K1", &long, "K3"]).await.refused(422, "import_failed");
        assert_eq!((&problem["added"], &problem["failed"][0]["line"]), (&json!(0), &json!(2)));
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 0);
        let invalid = app.admin.post_bytes("/v1/sequences/editor/import", "text/plain", &b"K1\n\xff"[..]).await;
        invalid.refused(400, "malformed_request");
        let pdf = app.admin.post_bytes("/v1/sequences/editor/import", "application/pdf", "K1").await;
        pdf.refused(415, "unsupported_media_type");
    }

    async fn options_that_do_not_fit_refuse_the_import(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.make_product("player", json!({})).await;
        for query in ["max_activations=0", "valid_for_days=0", "expires_at=tomorrow", "product=player", "status=sold", "format=xml", "end_mark=!"] {
            app.admin.import("editor", query, &["K1"]).await.refused(422, "validation_failed");
        }
        app.admin.import("editor", "product=nothing", &["K1"]).await.refused(404, "product_not_found");
        app.admin.import("nowhere", "", &["K1"]).await.refused(404, "sequence_not_found");
        app.admin.import("nowhere", "create_missing=true", &["K1"]).await.ok();
        assert_eq!(app.admin.get("/v1/sequences/nowhere").await.ok()["keys"]["active"], 1);
    }

    async fn inactive_keys_are_not_sold(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.import("editor", "status=inactive", &["K1"]).await.ok();
        let order = app.admin.order("1", "editor", 1, "completed").await.ok();
        assert_eq!(order["issue_state"], "waiting_stock");
    }

    async fn several_imports_at_once_take_turns(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let imports = (0..6).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move {
                let keys: Vec<String> = (0..50).map(|key| format!("K{}", key + number * 25)).collect();
                admin.import("editor", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.ok()
            })
        });
        let mut added = 0;
        for import in imports {
            added += import.await.unwrap()["added"].as_i64().unwrap();
        }
        assert_eq!(added, 175, "each text once");
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 175);
    }
}
