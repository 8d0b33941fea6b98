//! How often may be called. The test's clock stands still, so every budget is spent exactly.

use countersign::config::Config;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::number;
use crate::support::persona::Answer;
use crate::support::process::ServerProcess;
use crate::support::{Persona, TestApp, on_both_databases, processes_on_both_databases};

/// Limits that are soon reached, and a proxy on this machine that says who calls.
fn strict(config: &mut Config) {
    let of = |number: u32| number.try_into().unwrap();
    let limits = &mut config.rate_limit;
    limits.enabled = true;
    // One in ten seconds.
    limits.address_unknown_keys_per_minute = of(6);
    limits.address_unknown_keys_burst = of(3);
    limits.all_unknown_keys_per_minute = of(6);
    limits.all_unknown_keys_burst = of(8);
    limits.address_failed_tokens_per_minute = of(6);
    limits.address_failed_tokens_burst = of(3);
    config.server.trusted_proxies = trusted("127.0.0.1");
}

/// Few calls from one address, and with one key.
fn few_calls(config: &mut Config) {
    let of = |number: u32| number.try_into().unwrap();
    strict(config);
    config.rate_limit.address_per_minute = of(6);
    config.rate_limit.address_burst = of(4);
    config.rate_limit.key_per_minute = of(7);
    config.rate_limit.key_burst = of(5);
}

fn few_calls_without_a_proxy(config: &mut Config) {
    few_calls(config);
    config.server.trusted_proxies = Vec::new();
}

fn few_calls_behind_a_proxy_that_writes_forwarded(config: &mut Config) {
    few_calls(config);
    config.server.proxy_header = countersign::config::ProxyHeader::Forwarded;
}

/// The defaults.
fn as_delivered(config: &mut Config) {
    config.rate_limit.enabled = true;
}

fn trusted(network: &str) -> Vec<countersign::config::Network> {
    let table: toml::Table = format!("networks = [\"{network}\"]").parse().unwrap();
    table["networks"].clone().try_into().unwrap()
}

/// Posts as the proxy passes it on for a client at `address`.
async fn post_from(app: &TestApp, address: &str, path: &str, body: Value) -> Answer {
    let software = app.software();
    let request = software.request(Method::POST, path);
    let request = request.header("x-forwarded-for", address).json(&body);
    software.send(request).await
}

async fn validate(app: &TestApp, address: &str, key: &str) -> Answer {
    post_from(app, address, "/v1/validate", json!({ "key": key })).await
}

async fn activate(app: &TestApp, address: &str, key: &str) -> Answer {
    let body = json!({ "key": key, "installation_id": "machine-1" });
    post_from(app, address, "/v1/activations", body).await
}

/// The whole seconds that a limited caller is told to wait.
#[track_caller]
fn limited(answer: &Answer) -> u64 {
    answer.refused(429, "rate_limited");
    answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// Keys that were sold.
async fn sold(app: &TestApp, keys: &[&str]) {
    app.admin.make_stocked_product("editor", "", keys).await;
    let order = app
        .admin
        .order("1", "editor", keys.len() as i64, "completed")
        .await;
    assert_eq!(order.keys(), keys);
}

async fn get_as(persona: &Persona, address: &str) -> Answer {
    let request = persona.request(Method::GET, "/v1/products");
    persona
        .send(request.header("x-forwarded-for", address))
        .await
}

on_both_databases! {
    async fn an_address_that_calls_too_often_is_told_when_to_come_back(app: TestApp = few_calls) {
        for _ in 0..2 {
            // What is wrong with a call is nothing that it is spared for.
            validate(app, "192.0.2.1", "").await.refused(422, "validation_failed");
            validate(app, "192.0.2.1", "K").await.ok();
        }
        assert_eq!(limited(&validate(app, "192.0.2.1", "K").await), 10);
        assert_eq!(limited(&activate(app, "192.0.2.1", "K").await), 10);
        for path in ["/v1/activations/renew", "/v1/activations/release"] {
            assert_eq!(limited(&post_from(app, "192.0.2.1", path, json!({})).await), 10, "{path}");
        }
        validate(app, "192.0.2.2", "K").await.ok();
        app.pass_seconds(9);
        assert_eq!(limited(&validate(app, "192.0.2.1", "K").await), 1);
        app.pass_seconds(1);
        validate(app, "192.0.2.1", "K").await.ok();
        assert_eq!(limited(&validate(app, "192.0.2.1", "K").await), 10);
    }

    async fn what_is_no_call_of_shipped_software_is_not_limited(app: TestApp = few_calls) {
        for _ in 0..20 {
            assert_eq!(app.software().get("/.well-known/jwks.json").await.status, 200);
            assert_eq!(app.software().get("/healthz").await.status, 200);
            assert_eq!(app.admin.get("/v1/products").await.status, 200);
        }
    }

    async fn a_key_that_is_used_too_often_is_limited_wherever_it_is_used(app: TestApp = few_calls) {
        sold(app, &["K1", "K2"]).await;
        for machine in 0..5 {
            validate(app, &format!("192.0.2.{machine}"), "K1").await.ok();
        }
        // 60 seconds by seven, rounded up.
        assert_eq!(limited(&validate(app, "192.0.2.9", "K1").await), 9);
        let activation = activate(app, "192.0.2.10", "K2").await.ok();
        let renew = json!({ "token": activation["token"] });
        for machine in 0..5 {
            post_from(app, &format!("198.51.100.{machine}"), "/v1/activations/renew", renew.clone()).await.ok();
        }
        let renewed = post_from(app, "198.51.100.9", "/v1/activations/renew", renew.clone()).await;
        assert_eq!(limited(&renewed), 9);
        app.pass_seconds(9);
        post_from(app, "198.51.100.9", "/v1/activations/renew", renew).await.ok();
    }

    async fn whoever_guesses_keys_soon_learns_nothing_more_not_even_of_keys_that_exist(app: TestApp = strict) {
        sold(app, &["K1", "K2"]).await;
        let activation = activate(app, "192.0.2.1", "K1").await.ok();
        for guess in ["G1", "G2"] {
            activate(app, "192.0.2.1", guess).await.refused(404, "key_not_found");
        }
        assert_eq!(validate(app, "192.0.2.1", "G3").await.ok()["code"], "key_not_found");
        for key in ["G4", "K1", "K2"] {
            assert_eq!(limited(&validate(app, "192.0.2.1", key).await), 10, "{key}");
            assert_eq!(limited(&activate(app, "192.0.2.1", key).await), 10, "{key}");
        }
        // What was a guess once is none again, and a token never is one.
        validate(app, "192.0.2.1", "G1").await.ok();
        let token = json!({ "token": activation["token"] });
        post_from(app, "192.0.2.1", "/v1/activations/renew", token).await.ok();
        // Others are not concerned.
        validate(app, "192.0.2.2", "K1").await.ok();
        app.pass_seconds(10);
        validate(app, "192.0.2.1", "K1").await.ok();
        validate(app, "192.0.2.1", "G4").await.ok();
        assert_eq!(limited(&validate(app, "192.0.2.1", "K1").await), 10);
    }

    async fn guesses_that_are_on_the_way_at_once_are_all_paid_for(app: TestApp = strict) {
        let guesses = (0..40).map(|guess| async move {
            validate(app, "192.0.2.1", &format!("G{guess}")).await.status
        });
        let answers = join_all(guesses).await;
        let made = answers.iter().filter(|status| **status == 200).count() as u64;
        assert!(made >= 3 && answers.iter().all(|status| [200, 429].contains(status)), "{answers:?}");
        // Each costs ten seconds; the first three were free.
        assert_eq!(limited(&validate(app, "192.0.2.1", "G").await), (made - 2) * 10);
    }

    async fn guessers_of_many_addresses_are_slowed_and_customers_go_on(app: TestApp = strict) {
        sold(app, &["K1", "K2", "K3"]).await;
        let activation = activate(app, "192.0.2.1", "K1").await.ok();
        validate(app, "192.0.2.2", "K1").await.ok();
        for guess in 0..8 {
            validate(app, &format!("198.51.100.{guess}"), &format!("G{guess}")).await.ok();
        }
        for (address, key) in [("198.51.100.0", "H"), ("198.51.100.99", "H"), ("198.51.100.99", "K1")] {
            assert_eq!(limited(&validate(app, address, key).await), 10, "{address} {key}");
        }
        // Addresses that had a good key go on, with other good keys, too; tokens go on from everywhere.
        activate(app, "192.0.2.1", "K2").await.ok();
        validate(app, "192.0.2.2", "K3").await.ok();
        let token = json!({ "token": activation["token"] });
        post_from(app, "203.0.113.1", "/v1/activations/renew", token).await.ok();
        activate(app, "203.0.113.1", "K3").await.ok();
        // One guess, and an address is no better than others; 20 seconds make up for it and its debt.
        validate(app, "192.0.2.2", "H2").await.ok();
        assert_eq!(limited(&validate(app, "192.0.2.2", "K1").await), 20);
        app.pass_seconds(20);
        validate(app, "192.0.2.2", "K1").await.ok();
        validate(app, "198.51.100.99", "K1").await.ok();
    }

    async fn wrong_api_tokens_are_limited_and_good_ones_go_on(app: TestApp = strict) {
        let viewer = app.persona("viewer", "viewer").await;
        let late = app.persona("late", "viewer").await;
        get_as(&viewer, "192.0.2.1").await.ok();
        let wrong = Persona::new(&app.base, Some("cst_wrong".into()));
        for _ in 0..3 {
            get_as(&wrong, "192.0.2.1").await.refused(401, "unauthenticated");
            // No token at all is no attempt.
            get_as(&app.software(), "192.0.2.1").await.refused(401, "unauthenticated");
        }
        assert_eq!(limited(&get_as(&wrong, "192.0.2.1").await), 10);
        assert_eq!(limited(&get_as(&late, "192.0.2.1").await), 10);
        get_as(&viewer, "192.0.2.1").await.ok();
        get_as(&late, "192.0.2.2").await.ok();
        get_as(&late, "192.0.2.1").await.ok();
        app.pass_seconds(10);
        get_as(&wrong, "192.0.2.1").await.refused(401, "unauthenticated");
    }

    async fn a_header_of_whoever_is_no_trusted_proxy_changes_nothing(app: TestApp = few_calls_without_a_proxy) {
        for address in 0..4 {
            validate(app, &format!("192.0.2.{address}"), "K").await.ok();
        }
        assert_eq!(limited(&validate(app, "192.0.2.200", "K").await), 10);
    }

    async fn what_a_client_writes_into_the_header_of_a_proxy_does_not_count(app: TestApp = few_calls) {
        // The proxy appends the address that it sees.
        for made_up in ["10.0.0.1", "unknown", "127.0.0.1", "192.0.2.77"] {
            validate(app, &format!("{made_up}, 192.0.2.1"), "K").await.ok();
        }
        assert_eq!(limited(&validate(app, "10.0.0.9, 192.0.2.1", "K").await), 10);
        assert_eq!(limited(&validate(app, "192.0.2.1, 127.0.0.1", "K").await), 10);
    }

    async fn the_header_forwarded_is_read_where_the_settings_say_so(app: TestApp = few_calls_behind_a_proxy_that_writes_forwarded) {
        for (client, expected) in [("192.0.2.1", 200), ("192.0.2.1", 200), ("192.0.2.1", 200), ("192.0.2.1", 200),
                ("192.0.2.1", 429), ("\"[2001:db8::1]:80\"", 200)] {
            let software = app.software();
            let request = software.request(Method::POST, "/v1/validate").json(&json!({ "key": "K" }));
            let request = request.header("forwarded", format!("for=203.0.113.9, for={client};proto=https"));
            // What the client sends besides is not read.
            let answer = software.send(request.header("x-forwarded-for", "198.51.100.1")).await;
            assert_eq!(answer.status, expected, "{client}");
        }
    }

    async fn addresses_of_one_network_of_ipv6_count_as_one(app: TestApp = few_calls) {
        for host in 1..=4 {
            validate(app, &format!("2001:db8:1:2::{host}"), "K").await.ok();
        }
        limited(&validate(app, "2001:db8:1:2:ffff::1", "K").await);
        validate(app, "2001:db8:1:3::1", "K").await.ok();
        for _ in 0..4 {
            validate(app, "192.0.2.1", "K2").await.ok();
        }
        limited(&validate(app, "::ffff:192.0.2.1", "K2").await);
    }

    async fn the_address_of_the_client_is_the_one_that_is_noted(app: TestApp = strict) {
        sold(app, &["K1"]).await;
        activate(app, "2001:db8::7", "K1").await.ok();
        let activations = app.admin.get("/v1/activations").await.ok();
        assert_eq!(activations["items"][0]["address"], "2001:db8::7");
        let events = "SELECT COUNT(*) AS number FROM events \
            WHERE action = 'activation.created' AND address = '2001:db8::7'";
        assert_eq!(number(&mut app.database.connect(), events), 1);
    }

    async fn limited_requests_are_counted_like_other_refusals(app: TestApp = few_calls) {
        for _ in 0..7 {
            validate(app, "192.0.2.1", "K").await;
        }
        app.app.flush_tally().await.unwrap();
        let count = "SELECT CAST(SUM(count) AS BIGINT) AS number FROM refusals WHERE key_id = 0 AND code = 'rate_limited'";
        assert_eq!(number(&mut app.database.connect(), count), 3);
    }

    async fn an_office_behind_one_address_is_not_cut_off_by_the_defaults(app: TestApp = as_delivered) {
        app.admin.make_product("editor", json!({})).await;
        app.admin.import("editor", "", &["SITE"]).await.ok();
        app.admin.buy("1", "editor").await;
        let software = app.software();
        let machines = join_all((0..500).map(|machine| {
            let software = software.clone();
            async move { software.activate("SITE", &format!("machine-{machine}")).await.ok() }
        })).await;
        for machine in machines.chunks(50) {
            join_all(machine.iter().map(|activation| {
                let software = software.clone();
                let token = json!({ "token": activation["token"] });
                async move { software.post("/v1/activations/renew", token).await.ok() }
            })).await;
        }
    }
}

processes_on_both_databases! {
    fn a_proxy_that_the_settings_do_not_name_is_mentioned_in_the_log_once(database: TestDatabase) {
        let server = ServerProcess::start(database);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for _ in 0..3 {
            let software = server.software();
            let request = software.request(Method::GET, "/readyz").header("x-forwarded-for", "192.0.2.1");
            assert_eq!(runtime.block_on(software.send(request)).status, 200);
        }
        let (status, log) = server.terminate();
        assert!(status.success(), "{log}");
        assert_eq!(log.matches("server.trusted_proxies").count(), 1, "{log}");
        assert!(!log.contains("192.0.2.1"), "{log}");
    }
}
