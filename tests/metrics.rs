//! What the server measures of itself.

use std::collections::HashMap;

use countersign::config::Config;
use reqwest::Method;
use serde_json::json;

use crate::support::database::number;
use crate::support::persona::Answer;
use crate::support::{TestApp, on_both_databases};

fn public(config: &mut Config) {
    config.metrics.public = true;
}

fn one_call_only(config: &mut Config) {
    config.rate_limit.enabled = true;
    config.rate_limit.address_burst = 1.try_into().unwrap();
}

/// The samples of an answer by name and labels, after a look at every line.
#[track_caller]
fn samples(answer: &Answer) -> HashMap<String, f64> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut families: HashMap<&str, &str> = HashMap::new();
    let mut samples = HashMap::new();
    assert!(answer.text.ends_with("\n# EOF\n"), "{}", answer.text);
    for line in answer.text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "EOF"] => {}
            ["#", "HELP", name, help] => assert!(help.len() > 5 && is_name(name), "{line}"),
            ["#", "UNIT", name, unit] => assert!(name.ends_with(unit), "{line}"),
            ["#", "TYPE", name, kind] => {
                assert!(
                    ["counter", "gauge", "histogram", "info"].contains(kind),
                    "{line}"
                );
                assert!(families.insert(name, kind).is_none(), "{name} twice");
            }
            _ => {
                let (name, value) = line.rsplit_once(' ').expect(line);
                let value: f64 = value.parse().expect(line);
                let (bare, labels) = name.split_once('{').unwrap_or((name, "}"));
                check_labels(labels.strip_suffix('}').expect(line));
                let family = families.iter().find(|(family, kind)| {
                    let suffix = bare.strip_prefix(**family);
                    suffix.is_some_and(|suffix| suffixes(kind).contains(&suffix))
                });
                assert!(family.is_some(), "{line} has no type");
                assert!(
                    samples.insert(name.to_owned(), value).is_none(),
                    "{name} twice"
                );
            }
        }
    }
    samples
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        _ => &[""],
    }
}

fn is_name(name: &str) -> bool {
    let ours = name.starts_with("countersign_") || name.starts_with("process_");
    ours && name
        .chars()
        .all(|part| part.is_ascii_lowercase() || part == '_')
}

#[track_caller]
fn check_labels(labels: &str) {
    // None of those that these tests make hold a comma or an escaped quotation mark.
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').expect(label);
        assert!(
            name.chars().all(|part| part.is_ascii_lowercase()),
            "{label}"
        );
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        assert!(value.is_some_and(|value| !value.contains('"')), "{label}");
    }
}

async fn scrape(app: &TestApp) -> HashMap<String, f64> {
    samples(&app.admin.get("/metrics").await)
}

on_both_databases! {
    async fn only_staff_see_the_metrics(app: TestApp) {
        app.software().get("/metrics").await.refused(401, "unauthenticated");
        app.shop().await.get("/metrics").await.refused(403, "forbidden");
        let viewer = app.persona("viewer", "viewer").await;
        for persona in [&app.admin, &viewer] {
            samples(&persona.get("/metrics").await);
        }
    }

    async fn the_metrics_are_for_everybody_where_the_settings_say_so(app: TestApp = public) {
        let answer = app.software().get("/metrics").await;
        samples(&answer);
        // The text names its format, whatever was asked for: it is no other.
        assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
        app.software().get("/v1/products").await.refused(401, "unauthenticated");
        let request = app.software().request(Method::GET, "/metrics");
        let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
        let answer = app.software().send(request.header("accept", accept)).await;
        samples(&answer);
        assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    }

    async fn requests_are_counted_by_pattern_method_and_status(app: TestApp) {
        for id in 0..3 {
            app.admin.get(&format!("/v1/keys/{id}")).await.refused(404, "key_not_found");
        }
        app.software().get("/nowhere/at/all").await.refused(404, "not_found");
        let samples = scrape(app).await;
        let keys = r#"route="/v1/keys/{id}",method="GET""#;
        assert_eq!(samples[&format!("countersign_http_requests_total{{{keys},status=\"404\"}}")], 3.0);
        assert_eq!(samples[&format!("countersign_http_request_duration_seconds_count{{{keys}}}")], 3.0);
        assert_eq!(samples[r#"countersign_http_requests_total{route="(none)",method="GET",status="404"}"#], 1.0);
    }

    async fn calls_of_shipped_software_are_counted_by_what_they_came_to(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.import("editor", "max_activations=1", &["K1"]).await.ok();
        let (id, key) = app.admin.buy("1", "editor").await;
        let software = app.software();
        let activation = software.activate(&key, "machine-1").await.ok();
        software.activate(&key, "machine-2").await.refused(409, "activation_limit_reached");
        software.activate("K2", "machine-1").await.refused(404, "key_not_found");
        let token = json!({ "token": activation["token"] });
        software.post("/v1/activations/renew", token.clone()).await.ok();
        software.post("/v1/activations/renew", json!({ "token": "x" })).await.refused(401, "token_invalid");
        software.post("/v1/validate", json!({ "key": key, "installation_id": "machine-1" })).await.ok();
        app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({})).await.ok();
        software.post("/v1/validate", json!({ "key": key })).await.ok();
        assert_eq!(software.post("/v1/activations/release", token).await.status, 204);
        let samples = scrape(app).await;
        for (call, code) in [
            ("activate", "ok"), ("activate", "activation_limit_reached"), ("activate", "key_not_found"),
            ("renew", "ok"), ("renew", "token_invalid"), ("validate", "ok"), ("validate", "key_revoked"),
            ("release", "ok"),
        ] {
            let name = format!("countersign_verdicts_total{{call=\"{call}\",code=\"{code}\"}}");
            assert_eq!(samples.get(&name), Some(&1.0), "{name}");
        }
        let verdicts = samples.keys().filter(|name| name.starts_with("countersign_verdicts_total"));
        assert_eq!(verdicts.count(), 8);
    }

    async fn limited_requests_are_counted_by_budget(app: TestApp = one_call_only) {
        for _ in 0..3 {
            app.software().post("/v1/validate", json!({ "key": "K" })).await;
        }
        assert_eq!(scrape(app).await[r#"countersign_rate_limited_total{budget="address"}"#], 2.0);
    }

    async fn stock_and_jobs_are_counted_every_fifteen_seconds(app: TestApp) {
        let stock = r#"countersign_stock_keys{sequence="editor"}"#;
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        app.admin.make_product("empty", json!({})).await;
        app.finish_jobs().await;
        // One that found the server's own worker at the same orders is put off for a while.
        while number(&mut app.database.connect(), "SELECT COUNT(*) AS number FROM jobs") > 0 {
            app.pass_seconds(60);
            app.finish_jobs().await;
        }
        let samples = scrape(app).await;
        assert_eq!(samples[stock], 3.0);
        assert_eq!(samples[r#"countersign_stock_keys{sequence="empty"}"#], 0.0);
        for state in ["queued", "running", "dead"] {
            assert_eq!(samples[&format!("countersign_jobs{{state=\"{state}\"}}")], 0.0, "{state}");
        }
        app.admin.buy("1", "editor").await;
        assert_eq!(app.admin.delete("/v1/products/empty").await.status, 204);
        assert_eq!(app.admin.delete("/v1/sequences/empty").await.status, 204);
        app.pass_seconds(14);
        assert_eq!(scrape(app).await[stock], 3.0);
        app.pass_seconds(1);
        let samples = scrape(app).await;
        assert_eq!(samples[stock], 2.0);
        assert!(!samples.keys().any(|name| name.contains("empty")));
    }

    async fn the_database_and_the_process_are_measured(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let samples = scrape(app).await;
        assert_eq!(samples["process_start_time_seconds"], app.clock.now().seconds() as f64);
        assert!(samples["process_resident_memory_bytes"] > 1_000_000.0);
        assert_eq!(samples[&format!("countersign_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
        assert!(samples[r#"countersign_db_connections_in_use{pool="read"}"#] <= 8.0);
        if app.database.is_sqlite() {
            let batches = samples["countersign_sqlite_batch_size_count"];
            assert!(batches >= 3.0, "{batches}");
            assert!(samples["countersign_sqlite_batch_size_sum"] >= batches);
            // Another write of the server's own may be on its way.
            assert!(batches - samples["countersign_sqlite_commit_seconds_count"] <= 1.0);
            assert!(samples["countersign_sqlite_queue_wait_seconds_count"] >= batches);
            assert!(samples["countersign_sqlite_queue_length"] <= 1.0);
        } else {
            assert!(samples["countersign_postgres_transaction_seconds_count"] >= 3.0);
            assert!(samples["countersign_postgres_retries_total"] >= 0.0);
            assert!(samples[r#"countersign_db_connections_in_use{pool="write"}"#] <= 8.0);
        }
    }

    async fn no_label_holds_what_a_caller_wrote(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["SECRET-KEY"]).await;
        app.admin.buy("SECRET-REF", "editor").await;
        let activation = app.software().activate("SECRET-KEY", "SECRET-MACHINE").await.ok();
        app.software().post("/v1/activations/renew", json!({ "token": "SECRET" })).await;
        app.software().get("/SECRET?key=SECRET").await;
        app.admin.get("/v1/orders/SECRET-REF?shop=SECRET").await;
        app.software().send(app.software().request(Method::from_bytes(b"SECRET").unwrap(), "/healthz")).await;
        let answer = app.admin.get("/metrics").await;
        let samples = samples(&answer);
        assert!(!answer.text.contains("SECRET") && !answer.text.contains("cst_"), "{}", answer.text);
        assert!(!answer.text.contains(activation["token"].as_str().unwrap()));
        assert!(samples.keys().any(|name| name.contains("method=\"other\"")), "{}", answer.text);
    }
}
