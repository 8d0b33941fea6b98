//! Importing keys.

use serde_json::json;

use crate::support::on_both_databases;

on_both_databases! {
    /// [IPS-5, IPS-11, SHOP-43, SHOP-50]
    async fn an_import_counts_what_is_new_and_what_was_there(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let report = app.admin.import("editor", "", &["K1", "K2", "K1"]).await.ok();
        assert_eq!(report, json!({ "added": 2, "duplicates": 1, "failures": 0, "failed": [] }));
        app.admin.post("/v1/sequences", json!({ "name": "other" })).await.ok();
        let report = app.admin.import("other", "", &["K2", "K3"]).await.ok();
        assert_eq!(report, json!({ "added": 1, "duplicates": 1, "failures": 0, "failed": [] }), "a text exists once in all");
    }

    /// [SHOP-46..48]
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

    /// [SHOP-25]
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

    /// [UC-32..34]
    async fn a_spreadsheets_lines_name_their_sequences(app: TestApp) {
        for sku in ["editor", "player"] {
            app.admin.make_product(sku, json!({})).await;
        }
        let body = "editor\tE1\r\nplayer\tP 1\teven a tab\r\n\r\neditor\tE2\r\n";
        let report = app.admin.post_bytes("/v1/import", "text/tab-separated-values", body).await.ok();
        assert_eq!(report, json!({ "added": 3, "duplicates": 0, "failures": 0, "failed": [] }));
        assert_eq!(app.admin.order("1", "editor", 2, "completed").await.keys(), ["E1", "E2"]);
        assert_eq!(app.admin.order("2", "player", 1, "completed").await.keys(), ["P 1\teven a tab"]);
    }

    /// [UC-32, UC-35..37]
    async fn keys_of_several_lines_come_in_blocks_and_are_delivered_as_they_are(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let body = "editor\n-----BEGIN-----\nline 2\n\n. \n-----END-----\n.\neditor\nsecond\n.\n";
        app.admin.post_bytes("/v1/import?format=block", "text/plain", body).await.ok();
        let keys = app.admin.order("1", "editor", 2, "completed").await.keys();
        assert_eq!(keys, ["-----BEGIN-----\nline 2\n\n. \n-----END-----", "second"]);
        let unfinished = app.admin.post_bytes("/v1/import?format=block&end_mark=%23end", "text/plain", "editor\nK\n.\n").await;
        let problem = unfinished.refused(422, "import_failed");
        assert_eq!((&problem["failed"][0]["line"], &problem["failed"][0]["code"]), (&json!(1), &json!("unfinished_block")));
    }

    /// [UC-63, SHOP-46, SHOP-49]
    async fn further_columns_carry_the_fields_of_each_key(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let body = "key,max_activations,valid_for_days,supplier\n\"K,1\",2,30,acme\nK2,,,\n";
        let path = "/v1/sequences/editor/import?header=true&max_activations=9";
        assert_eq!(app.admin.post_bytes(path, "text/csv", body).await.ok()["added"], 2);
        let keys = app.admin.get("/v1/keys").await.ok()["items"].clone();
        assert_eq!((&keys[0]["key"], &keys[0]["max_activations"], &keys[0]["valid_for_days"]), (&json!("K,1"), &json!(2), &json!(30)));
        assert_eq!(keys[0]["extra"], json!({ "supplier": "acme" }));
        assert_eq!((&keys[1]["max_activations"], &keys[1]["extra"]), (&json!(9), &json!({})));
        let wrong = app.admin.post_bytes(path, "text/csv", "key,max_activations\nK3,none\n").await.refused(422, "import_failed");
        assert_eq!(wrong["failed"][0]["line"], 2);
    }

    async fn a_sequence_that_the_text_names_is_made_only_if_that_is_wanted(app: TestApp) {
        let import = async |query: &str, body: &str| {
            app.admin.post_bytes(&format!("/v1/import?{query}"), "text/tab-separated-values", body.to_owned()).await
        };
        let problem = import("", "new\tK1\nold\tK2\n").await.refused(422, "import_failed");
        assert_eq!((&problem["failures"], &problem["failed"][1]["code"]), (&json!(2), &json!("unknown_sequence")));
        // Wrong lines further down: the sequences made for the others are nowhere to be seen.
        import("create_missing=true", "new\tK1\nno tab\n").await.refused(422, "import_failed");
        assert_eq!(app.admin.get("/v1/sequences").await.ok()["items"], json!([]));
        import("create_missing=true", "new\tK1\nold\tK2\nnew\tK3\n").await.ok();
        assert_eq!(app.admin.get("/v1/sequences/new").await.ok()["keys"]["active"], 2);
        import("", "new\tK4\n").await.ok();
        let other = app.admin.post_bytes("/v1/sequences/new/import?format=tsv", "text/plain", "old\tK5\n").await;
        assert_eq!(other.refused(422, "import_failed")["failed"][0]["code"], "other_sequence");
    }

    async fn a_text_that_has_to_name_sequences_says_in_which_format(app: TestApp) {
        let problem = app.admin.post_bytes("/v1/import", "text/plain", "a\tb").await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "format");
        let lines = app.admin.post_bytes("/v1/import?format=lines", "text/plain", "K1").await;
        assert_eq!(lines.refused(422, "import_failed")["failed"][0]["code"], "no_sequence");
    }

    /// [SHOP-50]
    async fn a_dry_run_says_what_would_come_of_it_and_stores_nothing(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let long = "x".repeat(4097);
        let report = app.admin.import("editor", "dry_run=true", &["K1", "K2", "K2", "K3", &long]).await.ok();
        assert_eq!((&report["added"], &report["duplicates"], &report["failures"]), (&json!(2), &json!(2), &json!(1)));
        assert_eq!(report["failed"][0]["line"], 5);
        let made = app.admin.post_bytes("/v1/import?dry_run=true&create_missing=true", "text/tab-separated-values", "new\tK9").await;
        assert_eq!(made.ok()["added"], 1);
        app.admin.get("/v1/sequences/new").await.refused(404, "sequence_not_found");
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 1);
        assert_eq!(app.admin.get("/v1/imports").await.ok()["items"].as_array().unwrap().len(), 1);
    }

    async fn a_long_import_is_accepted_once_it_is_read_and_tells_where_its_end_is_seen(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let keys: Vec<String> = (0..10_001).map(|key| format!("K{key}")).collect();
        let answer = app.admin.post_bytes("/v1/sequences/editor/import", "text/plain", keys.join("\n")).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let location = answer.headers["location"].to_str().unwrap().to_owned();
        let ended = loop {
            let import = app.admin.get(&location).await.ok();
            if import["state"] != "running" {
                break import;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((&ended["state"], &ended["lines"], &ended["added"]), (&json!("done"), &json!(10_001), &json!(10_001)));
        let again = app.admin.post_bytes("/v1/sequences/editor/import?wait=true", "text/plain", keys.join("\n")).await.ok();
        assert_eq!(again["duplicates"], 10_001);
        app.admin.get("/v1/imports/77").await.refused(404, "import_not_found");
    }

    async fn of_two_lines_with_one_text_the_first_counts_and_keys_are_sold_in_the_order_of_their_lines(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let rows = |limit: i64| (0..12_000).map(move |key| format!("K{key},{limit}\n"));
        let body: String = std::iter::once("key,max_activations\n".to_owned()).chain(rows(1)).chain(rows(2)).collect();
        let path = "/v1/sequences/editor/import?header=true&wait=true";
        let report = app.admin.post_bytes(path, "text/csv", body).await.ok();
        assert_eq!((&report["added"], &report["duplicates"]), (&json!(12_000), &json!(12_000)));
        let second = "SELECT COUNT(*) AS number FROM keys WHERE max_activations = 2";
        assert_eq!(crate::support::database::number(&mut app.database.connect(), second), 0);
        let wanted: Vec<String> = (0..1000).map(|key| format!("K{key}")).collect();
        assert_eq!(app.admin.order("1", "editor", 1000, "completed").await.keys(), wanted);
    }

    async fn activations_are_answered_between_the_steps_of_an_import(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.import("editor", "status=sold&product=editor", &["sold"]).await.ok();
        let keys: Vec<String> = (0..64_000).map(|key| format!("K{key}")).collect();
        let import = tokio::spawn({
            let (admin, body) = (app.admin.clone(), keys.join("\n"));
            async move { admin.post_bytes("/v1/sequences/editor/import?wait=true", "text/plain", body).await.ok() }
        });
        while app.admin.get("/v1/imports").await.ok()["items"][1]["added"].as_i64().unwrap_or(0) == 0 {
            tokio::task::yield_now().await;
        }
        let mut answered = 0;
        while app.admin.get("/v1/imports/2").await.ok()["state"] == "running" {
            app.software().activate("sold", &format!("m{answered}")).await.ok();
            answered += 1;
        }
        assert!(answered >= 10, "{answered} activations during an import of 64 steps");
        assert_eq!(import.await.unwrap()["added"], 64_000);
    }

    async fn a_refused_import_is_remembered_with_its_lines(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.import("editor", "", &["K1", &"x".repeat(5000)]).await.refused(422, "import_failed");
        let import = app.admin.get("/v1/imports/1").await.ok();
        assert_eq!((&import["state"], &import["problem"]["code"]), (&json!("refused"), &json!("import_failed")));
        assert_eq!((&import["failures"], &import["failed"][0]["line"]), (&json!(1), &json!(2)));
        assert_eq!(app.admin.import("editor", "", &["K1"]).await.ok()["added"], 1, "its texts are free");
    }

    async fn an_upload_that_breaks_off_leaves_nothing(app: TestApp) {
        use std::io::Write;
        app.admin.make_product("editor", json!({})).await;
        let body: String = (0..5000).map(|key| format!("K{key}\n")).collect();
        let head = format!(
            "POST /v1/sequences/editor/import HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            app.admin.token(), body.len() * 2,
        );
        let mut connection = std::net::TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body.as_bytes()).unwrap();
        while app.admin.get("/v1/imports").await.ok()["items"][0]["added"].as_i64().unwrap_or(0) < 2000 {
            tokio::task::yield_now().await;
        }
        drop(connection);
        while app.admin.get("/v1/imports/1").await.ok()["state"] != "interrupted" {
            tokio::task::yield_now().await;
        }
        let count = "SELECT COUNT(*) AS number FROM keys";
        while crate::support::database::number(&mut app.database.connect(), count) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(app.admin.get("/v1/products/editor").await.ok()["available"], 0);
        assert_eq!(app.admin.import("editor", "", &["K1"]).await.ok()["added"], 1);
    }

    /// [SHOP-25..28, SHOP-49]
    async fn keys_come_in_with_any_of_the_five_statuses(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        for status in ["active", "inactive", "sold", "delivered", "disabled"] {
            let query = format!("status={status}&product=editor&valid_for_days=10");
            app.admin.import("editor", &query, &[status]).await.ok();
        }
        app.admin.import("editor", "status=sold", &["no product"]).await.refused(422, "validation_failed");
        let long = "x".repeat(5000);
        let refused = app.admin.import("editor", "status=sold&product=editor", &["never sold", &long]).await;
        refused.refused(422, "import_failed");
        let keys = app.admin.get("/v1/sequences/editor").await.ok()["keys"].clone();
        assert_eq!(keys, json!({ "active": 1, "inactive": 1, "sold": 1, "delivered": 1, "disabled": 1 }));
        assert_eq!(app.software().activate("never sold", "m1").await.status, 404);
        for (status, code) in [("active", 404), ("inactive", 404), ("sold", 201), ("delivered", 201), ("disabled", 404)] {
            assert_eq!(app.software().activate(status, "m1").await.status, code, "{status}");
        }
        let sold = app.admin.get("/v1/keys?status=sold").await.ok()["items"][0].clone();
        let expires = countersign::clock::Timestamp::parse(sold["expires_at"].as_str().unwrap()).unwrap();
        assert_eq!(expires, app.clock.now().plus_days(10));
    }

    async fn keys_that_were_sold_elsewhere_are_unknown_until_their_import_is_done(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let keys: Vec<String> = (0..20_000).map(|key| format!("K{key}")).collect();
        let import = tokio::spawn({
            let (admin, body) = (app.admin.clone(), keys.join("\n"));
            async move {
                let path = "/v1/sequences/editor/import?status=delivered&product=editor&wait=true";
                admin.post_bytes(path, "text/plain", body).await.ok()
            }
        });
        while app.admin.get("/v1/imports").await.ok()["items"][0]["added"].as_i64().unwrap_or(0) < 1000 {
            tokio::task::yield_now().await;
        }
        let staged = app.software().activate("K0", "m1").await;
        let still_running = app.admin.get("/v1/imports/1").await.ok()["state"] == "running";
        assert!(!still_running || staged.status == 404, "{}", staged.text);
        assert_eq!(import.await.unwrap()["added"], 20_000);
        app.software().activate("K19999", "m1").await.ok();
    }

    /// [SHOP-30, SHOP-40, SHOP-49]
    async fn keys_come_in_for_an_order_and_are_its_keys(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.order("1", "editor", 2, "payment_received").await.ok();
        let report = app.admin.import("editor", "product=editor&order=1&valid_for_days=5", &["K1", "K2"]).await.ok();
        assert_eq!(report["added"], 2);
        let order = app.admin.get("/v1/orders/1").await;
        assert_eq!(order.keys(), ["K1", "K2"]);
        let order = order.ok();
        assert_eq!((&order["issue_state"], &order["state"]), (&json!("done"), &json!("completed")));
        app.software().activate("K1", "m1").await.ok();

        let generator = app.admin.post("/v1/generators", json!({ "name": "g" })).await.ok()["id"].clone();
        app.admin.order("2", "editor", 1, "pending").await.ok();
        let body = json!({ "quantity": 1, "product": "editor", "order": "2", "status": "sold" });
        app.admin.post(&format!("/v1/generators/{generator}/generate"), body).await.ok();
        let key = app.admin.get("/v1/keys?order=2").await.ok()["items"][0].clone();
        assert_eq!((&key["status"], &key["product"]), (&json!("sold"), &json!("editor")));
        // It has keys: payment brings no others [UC-70].
        assert_eq!(app.admin.order("2", "editor", 1, "completed").await.keys().len(), 1);

        for (query, field) in [("order=1", "product"), ("product=editor&order=1&status=active", "status")] {
            let problem = app.admin.import("editor", query, &["K3"]).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], field);
        }
        app.admin.import("editor", "product=editor&order=77", &["K3"]).await.refused(404, "order_not_found");
        let many: Vec<String> = (0..999).map(|key| format!("M{key}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        app.admin.import("editor", "product=editor&order=1", &many).await.refused(422, "validation_failed");
        assert_eq!(app.admin.get("/v1/orders/1").await.keys().len(), 2);
    }

    async fn what_somebody_had_elsewhere_does_not_come_in_as_stock(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["SOLD", "LEFT"]).await;
        let (id, _) = app.admin.buy("1", "editor").await;
        let extra = json!({ "extra": { "note": "ours" } });
        app.admin.patch("/v1/keys/2", extra).await.ok();
        app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({})).await.ok();
        let export = app.admin.get("/v1/keys/export").await.text;
        app.admin.delete("/v1/sequences/editor").await;
        app.admin.post("/v1/sequences", json!({ "name": "editor" })).await.ok();
        let path = "/v1/import?header=true";
        let problem = app.admin.post_bytes(path, "text/csv", export.clone()).await.refused(422, "import_failed");
        assert_eq!((&problem["failures"], &problem["failed"][0]["code"]), (&json!(1), &json!("other_status")));
        let unsold: String = export.lines().filter(|line| !line.contains("SOLD")).flat_map(|line| [line, "\n"]).collect();
        app.admin.post_bytes(path, "text/csv", unsold).await.ok();
        let key = app.admin.get("/v1/keys?status=active").await.ok()["items"][0].clone();
        assert_eq!((&key["key"], &key["extra"]), (&json!("LEFT"), &json!({ "note": "ours" })));
        let past = app.admin.post_bytes("/v1/sequences/editor/import?header=true", "text/csv", "key,expires_at\nK,2001-01-01T00:00:00Z\n").await;
        assert_eq!(past.refused(422, "import_failed")["failed"][0]["code"], "in_the_past");
    }

    async fn an_importer_brings_in_stock_and_nothing_that_is_sold(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let account = json!({ "name": "importer", "role": "importer", "sequences": ["editor"] });
        app.admin.post("/v1/accounts", account).await.ok();
        let importer = app.persona_of("importer").await;
        for query in ["status=sold&product=editor", "status=delivered&product=editor", "status=disabled"] {
            importer.import("editor", query, &["K1"]).await.refused(403, "forbidden");
        }
        assert_eq!(importer.import("editor", "status=inactive", &["K1"]).await.ok()["added"], 1);
    }
}
