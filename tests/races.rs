//! Many at once: the limits hold, nothing is given twice.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::database::{TestDatabase, number};
use crate::support::on_both_databases;
use crate::support::process::ServerProcess;

on_both_databases! {
    /// [IPS-1, IPS-10]
    async fn two_hundred_orders_for_a_hundred_keys_get_each_key_once(app: TestApp) {
        let keys: Vec<String> = (1..=100).map(|number| format!("K{number:03}")).collect();
        app.admin.make_product("editor", json!({})).await;
        app.admin.import("editor", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();

        let orders = (0..200).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.order(&format!("o{number}"), "editor", 1, "payment_received").await })
        });
        let orders: Vec<_> = join_all(orders).await.into_iter().map(Result::unwrap).collect();
        let issued: Vec<String> = orders.iter().flat_map(super::super::support::persona::Answer::keys).collect();
        assert_eq!(issued.len(), 100);
        assert_eq!(issued.iter().collect::<HashSet<_>>().len(), 100, "no key twice");
        assert_eq!(issued.iter().collect::<HashSet<_>>(), keys.iter().collect(), "exactly those of the pool");
        let short = orders.iter().filter(|order| order.json()["issue_state"] == "waiting_stock").count();
        assert_eq!(short, 100);
    }

    async fn sixty_four_installations_of_a_key_for_five_get_five_places(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=5", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let calls = (0..64).map(|number| {
            let (software, key) = (app.software(), key.clone());
            tokio::spawn(async move { software.activate(&key, &format!("m{number}")).await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let admitted = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(admitted, 5);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.refused(409, "activation_limit_reached");
        }
    }

    async fn sixty_four_calls_of_one_installation_are_one_activation(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=1", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let calls = (0..64).map(|_| {
            let (software, key) = (app.software(), key.clone());
            tokio::spawn(async move { software.activate(&key, "m1").await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let ids: HashSet<_> = answers.iter().map(|answer| answer.ok()["activation_id"].to_string()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    }

    async fn sixty_four_reports_of_one_order_issue_it_once(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1", "K2", "K3"]).await;
        let calls = (0..64).map(|_| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.order("1", "editor", 1, "payment_received").await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| answer.keys() == ["K1"]));
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 2);
    }

    async fn orders_and_imports_at_the_same_time_leave_no_order_waiting_beside_stock(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let orders = (0..60).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.order(&format!("o{number}"), "editor", 1, "payment_received").await.ok() })
        });
        let imports = async {
            for batch in 0..6 {
                let keys: Vec<String> = (0..10).map(|number| format!("K{batch}-{number}")).collect();
                app.admin.import("editor", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
            }
        };
        let (orders, ()) = tokio::join!(join_all(orders), imports);
        for order in orders {
            let reference = order.unwrap()["ref"].as_str().unwrap().to_owned();
            // The background worker serves those that had to wait.
            while app.admin.get(&format!("/v1/orders/{reference}")).await.ok()["issue_state"] != "done" {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 0);
    }

    async fn two_orders_that_want_the_same_two_products_in_another_order_both_get_them(app: TestApp) {
        let keys: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        for sku in ["a", "b"] {
            app.admin.make_product(sku, json!({})).await;
            let keys: Vec<String> = keys.iter().map(|key| format!("{sku}{key}")).collect();
            app.admin.import(sku, "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
        }
        let calls = (0..40).map(|number| {
            let admin = app.admin.clone();
            let (first, second) = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
            tokio::spawn(async move {
                let body = json!({ "status": "completed", "lines": [{ "sku": first }, { "sku": second }] });
                admin.put(&format!("/v1/orders/{number}"), body).await.keys().len()
            })
        });
        assert!(join_all(calls).await.into_iter().all(|keys| keys.unwrap() == 2));
    }

    async fn orders_of_two_sequences_and_imports_into_one_do_not_block_each_other(app: TestApp) {
        for sku in ["a", "b"] {
            app.admin.make_product(sku, json!({})).await;
        }
        let started = std::time::Instant::now();
        let shop = {
            let admin = app.admin.clone();
            tokio::spawn(async move {
                for number in 0..60 {
                    let body = json!({ "status": "completed", "lines": [{ "sku": "a" }, { "sku": "b" }] });
                    admin.put(&format!("/v1/orders/{number}"), body).await.ok();
                }
            })
        };
        for number in 0..60 {
            app.admin.import("b", "", &[&format!("b{number}")]).await.ok();
        }
        shop.await.unwrap();
        // PostgreSQL takes a second to find each deadlock.
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "they waited for each other");
        let keys: Vec<String> = (0..60).map(|number| format!("a{number}")).collect();
        app.admin.import("a", "", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
        for number in 0..60 {
            while app.admin.get(&format!("/v1/orders/{number}")).await.ok()["issue_state"] != "done" {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn releases_and_activations_in_a_crowd_never_exceed_the_limit(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=3", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let calls = (0..32).map(|number| {
            let (software, key) = (app.software(), key.clone());
            tokio::spawn(async move {
                for _ in 0..6 {
                    let installation = format!("m{}", number % 8);
                    let answer = software.activate(&key, &installation).await;
                    if answer.status == 409 {
                        continue;
                    }
                    assert!(answer.ok()["key"]["activations"].as_i64().unwrap() <= 3);
                    let body = json!({ "key": key, "installation_id": installation });
                    assert_eq!(software.post("/v1/activations/release", body).await.status, 204);
                }
            })
        });
        for call in join_all(calls).await {
            call.unwrap();
        }
        let left = app.admin.get("/v1/activations").await.ok();
        assert_eq!(left["items"], json!([]));
    }

    async fn a_key_at_the_edge_of_counting_is_read_while_it_changes(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        for number in 0..64 {
            app.software().activate(&key, &format!("m{number}")).await.ok();
        }
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (software, key) = (app.software(), key.clone());
                tokio::spawn(async move {
                    for _ in 0..150 {
                        let verdict = software.post("/v1/validate", json!({ "key": key })).await.ok();
                        assert!((64..=65).contains(&verdict["key"]["activations"].as_i64().unwrap()));
                    }
                })
            })
            .collect();
        while !readers.iter().all(tokio::task::JoinHandle::is_finished) {
            app.software().activate(&key, "one more").await.ok();
            let body = json!({ "key": key, "installation_id": "one more" });
            assert_eq!(app.software().post("/v1/activations/release", body).await.status, 204);
        }
        for reader in readers {
            reader.await.unwrap();
        }
    }

    async fn a_sequence_that_is_deleted_during_an_import_strands_no_key(app: TestApp) {
        app.admin.make_product("editor", json!({})).await;
        let keys: Vec<String> = (0..20_000).map(|number| format!("K{number}")).collect();
        let import = tokio::spawn({
            let (admin, keys) = (app.admin.clone(), keys.join("\n"));
            async move { admin.post_bytes("/v1/sequences/editor/import?wait=true", "text/plain", keys).await }
        });
        let count = "SELECT COUNT(*) AS number FROM keys";
        while number(&mut app.database.connect(), count) < 2000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(app.admin.delete("/v1/sequences/editor").await.status, 204);
        import.await.unwrap().refused(404, "sequence_not_found");
        // A text of the deleted sequence is free at once, although its key may not be gone yet.
        app.admin.post("/v1/sequences", json!({ "name": "again" })).await.ok();
        let report = app.admin.import("again", "", &["K0", "K1", "K19999"]).await.ok();
        assert_eq!(report, json!({ "added": 3, "duplicates": 0, "failures": 0, "failed": [] }));
        while number(&mut app.database.connect(), count) > 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(app.admin.get("/v1/sequences/again").await.ok()["keys"]["active"], 3);
    }
}

/// Several processes on one PostgreSQL keep every limit between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn two_processes_on_one_database_keep_the_limits_between_them() {
    let database = TestDatabase::postgres();
    let (one, two) = (
        ServerProcess::start(&database),
        ServerProcess::start(&database),
    );
    let admin = one.admin(&database);
    let keys: Vec<String> = (0..30).map(|number| format!("K{number}")).collect();
    admin.make_product("editor", json!({})).await;
    let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    admin
        .import("editor", "max_activations=5", &texts)
        .await
        .ok();
    let (_, key) = admin.buy("first", "editor").await;

    let token = crate::support::process::run_ok(
        &database,
        &["token", "create", "--role", "admin", "--account", "ci"],
    );
    let admins = [
        admin,
        crate::support::Persona::new(&two.base, Some(token.trim().to_owned())),
    ];
    let calls = (0..64usize).map(|number| {
        let (admin, key) = (admins[number % 2].clone(), key.clone());
        tokio::spawn(async move {
            let activated = admin.activate(&key, &format!("m{number}")).await;
            let order = admin
                .order(&format!("o{}", number / 2), "editor", 1, "completed")
                .await;
            (activated.status, order.keys())
        })
    });
    let answers: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 201).count(),
        5
    );
    let issued: HashSet<_> = answers.iter().flat_map(|(_, keys)| keys).collect();
    assert_eq!(
        issued.len(),
        29,
        "32 orders, each reported twice, for the 29 keys that were left"
    );
    assert!(one.terminate().0.success() && two.terminate().0.success());
    database.check_integrity();
}
