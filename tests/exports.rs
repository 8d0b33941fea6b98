//! Exporting keys.

use serde_json::{Value, json};

use crate::support::on_both_databases;

/// The rows of a CSV as (column, cell) by name.
fn rows(text: &str) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

on_both_databases! {
    async fn what_is_exported_can_be_imported_again_byte_for_byte(app: TestApp) {
        let keys = ["plain", "with \"quotes\", and commas", "=1+1", "钥匙 секрет", " spaces ", "+7"];
        app.admin.make_stocked_product("editor", "max_activations=3", &keys).await;
        app.admin.post_bytes("/v1/import?format=block", "text/plain", "editor\ntwo\r\nlines\n.\n").await.ok();
        let csv = app.admin.get("/v1/keys/export").await;
        assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
        assert!(csv.headers["content-disposition"].to_str().unwrap().contains("keys.csv"));
        let exported: Vec<String> = rows(&csv.text).iter().map(|row| row["key"].clone()).collect();
        assert_eq!(exported[..6], keys);
        assert_eq!(exported[6], "two\r\nlines");

        app.admin.delete("/v1/sequences/editor").await;
        app.admin.post("/v1/sequences", json!({ "name": "again" })).await.ok();
        let mut again = csv::Writer::from_writer(Vec::new());
        again.write_record(["key", "max_activations"]).unwrap();
        for row in rows(&csv.text) {
            again.write_record([&row["key"], &row["max_activations"]]).unwrap();
        }
        let body = again.into_inner().unwrap();
        let report = app.admin.post_bytes("/v1/sequences/again/import?header=true", "text/csv", body).await.ok();
        assert_eq!(report["added"], 7);
        let lines = app.admin.get("/v1/keys/export?format=jsonl&sequence=again").await;
        let restored: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let texts: Vec<&str> = restored.iter().map(|key| key["key"].as_str().unwrap()).collect();
        assert_eq!(texts, exported.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(restored[0]["max_activations"], 3);
    }

    async fn formulas_are_disarmed_only_if_that_is_asked_for(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["=HYPERLINK(1)", "-1", "K"]).await;
        let plain = rows(&app.admin.get("/v1/keys/export").await.text);
        assert_eq!(plain[0]["key"], "=HYPERLINK(1)");
        let disarmed = rows(&app.admin.get("/v1/keys/export?disarm_formulas=true").await.text);
        let texts: Vec<&str> = disarmed.iter().map(|row| row["key"].as_str()).collect();
        assert_eq!(texts, ["'=HYPERLINK(1)", "'-1", "K"]);
    }

    async fn an_export_of_many_pages_has_every_key_once_and_in_order(app: TestApp) {
        let keys: Vec<String> = (0..1203).map(|key| format!("K{key}")).collect();
        app.admin.make_stocked_product("editor", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for format in ["csv", "jsonl"] {
            let text = app.admin.get(&format!("/v1/keys/export?format={format}&status=active")).await.text;
            let found: Vec<String> = if format == "csv" {
                rows(&text).iter().map(|row| row["key"].clone()).collect()
            } else {
                text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!(found, keys, "{format}");
        }
        let none = app.admin.get("/v1/keys/export?status=sold").await;
        assert_eq!((rows(&none.text).len(), none.text.starts_with("id,number,key,")), (0, true));
    }

    async fn an_export_is_for_admins_and_is_written_down_without_what_was_looked_for(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        for role in ["viewer", "shop"] {
            app.persona(role, role).await.get("/v1/keys/export").await.refused(403, "forbidden");
        }
        app.admin.get("/v1/keys/export?sequence=nowhere").await.refused(404, "sequence_not_found");
        app.admin.get("/v1/keys/export?limit=5").await.refused(422, "validation_failed");
        app.admin.get("/v1/keys/export?format=xlsx").await.refused(422, "validation_failed");
        app.admin.get("/v1/keys/export?customer=ada%40example.com").await;
        let events = "SELECT detail AS text FROM events WHERE action = 'keys.exported'";
        let noted = crate::support::database::texts(&mut app.database.connect(), events);
        assert_eq!(noted.len(), 1);
        assert!(noted[0].contains("customer") && !noted[0].contains("ada"), "{noted:?}");
    }
}
