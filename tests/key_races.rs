//! Staff and shops at the same keys at the same time: each key ends in one place, and nothing is given
//! twice.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases};

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("K{number:03}")).collect()
}

/// Makes a product with this many keys in stock, of the ids from 1 on.
async fn stock(app: &TestApp, sku: &str, texts: &[String]) {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    app.admin.make_stocked_product(sku, "", &texts).await;
}

/// Reports this many paid orders at once and returns the keys that were issued.
async fn order_at_once(app: &TestApp, sku: &'static str, count: usize) -> Vec<String> {
    let orders = (0..count).map(|number| {
        let admin = app.admin.clone();
        tokio::spawn(async move {
            admin
                .order(&format!("o{number}"), sku, 1, "payment_received")
                .await
                .keys()
        })
    });
    let issued = join_all(orders).await.into_iter();
    issued.flat_map(Result::unwrap).collect()
}

fn distinct(keys: &[String]) -> usize {
    keys.iter().collect::<HashSet<_>>().len()
}

on_both_databases! {
    async fn a_key_is_sold_or_disabled_but_what_is_sold_was_for_sale(app: TestApp) {
        stock(app, "editor", &texts(60)).await;
        let disables = (1..=60).map(|id| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.post(&format!("/v1/keys/{id}/disable"), json!({})).await.ok() })
        });
        let (issued, disabled) = tokio::join!(order_at_once(app, "editor", 40), join_all(disables));
        assert_eq!(distinct(&issued), issued.len());
        for key in disabled.into_iter().map(Result::unwrap) {
            assert_eq!(key["status"], "disabled", "also one that was sold a moment before");
        }
        app.database.check_stock();
        // What was sold before it was disabled comes back as sold, the rest to those who wait for it.
        for id in 1..=60 {
            app.admin.post(&format!("/v1/keys/{id}/enable"), json!({})).await.ok();
        }
        app.finish_jobs().await;
        let orders = app.admin.get("/v1/orders?limit=100").await.ok();
        let keys: Vec<String> = orders["items"].as_array().unwrap().iter().flat_map(crate::support::persona::keys_of).collect();
        assert_eq!((keys.len(), distinct(&keys)), (40, 40));
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 20);
    }

    async fn a_key_is_sold_or_deleted_but_never_both(app: TestApp) {
        let all = texts(60);
        stock(app, "editor", &all).await;
        let deletes = (1..=60).map(|id| {
            let admin = app.admin.clone();
            tokio::spawn(async move {
                let answer = admin.delete(&format!("/v1/keys/{id}")).await;
                match answer.status {
                    204 => true,
                    _ => { answer.refused(409, "invalid_transition"); false }
                }
            })
        });
        let (issued, deleted) = tokio::join!(order_at_once(app, "editor", 60), join_all(deletes));
        let deleted: Vec<bool> = deleted.into_iter().map(Result::unwrap).collect();
        let gone: HashSet<&String> = all.iter().zip(&deleted).filter(|(_, gone)| **gone).map(|(text, _)| text).collect();
        assert_eq!(distinct(&issued), issued.len());
        assert!(issued.iter().all(|text| !gone.contains(text)), "a deleted key was sold");
        assert_eq!(issued.len() + gone.len(), 60, "each key is with somebody or gone");
    }

    async fn keys_that_staff_move_and_edit_are_sold_where_they_are(app: TestApp) {
        stock(app, "editor", &texts(40)).await;
        app.admin.make_product("viewer", json!({})).await;
        let started = std::time::Instant::now();
        let edits = (1..=40).map(|id| {
            let admin = app.admin.clone();
            tokio::spawn(async move {
                let path = format!("/v1/keys/{id}");
                for body in [
                    json!({ "product": "viewer" }), json!({ "max_activations": 7 }), json!({ "product": "editor" }),
                    json!({ "status": "inactive" }), json!({ "status": "active" }),
                ] {
                    let answer = admin.patch(&path, body.clone()).await;
                    if answer.status != 200 {
                        // Sold meanwhile: it never becomes inactive.
                        assert!(body.get("status").is_some(), "{body}: {}", answer.text);
                        answer.refused(409, "invalid_transition");
                    }
                }
            })
        });
        let viewers = (0..10).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.order(&format!("v{number}"), "viewer", 1, "completed").await.ok() })
        });
        let (issued, edits, viewers) = tokio::join!(order_at_once(app, "editor", 25), join_all(edits), join_all(viewers));
        assert!(edits.into_iter().chain(viewers.into_iter().map(|order| order.map(drop))).all(|done| done.is_ok()));
        assert_eq!(distinct(&issued), issued.len());
        app.finish_jobs().await;
        // PostgreSQL takes a second to find each deadlock.
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "they waited for each other");
        app.database.check_stock();
    }

    async fn keys_that_staff_give_to_orders_are_given_to_one(app: TestApp) {
        stock(app, "editor", &texts(30)).await;
        for number in 0..10 {
            app.admin.order(&format!("h{number}"), "editor", 1, "pending").await.ok();
        }
        // Each key to three orders, in both directions, while shops buy and the orders are paid.
        let gifts = (0..90).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move {
                let (id, order) = (number % 30 + 1, (number * 7) % 10);
                let body = json!({ "product": "editor", "order": format!("h{order}") });
                admin.patch(&format!("/v1/keys/{id}"), body).await.ok()
            })
        });
        let payments = (0..10).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.order(&format!("h{number}"), "editor", 1, "completed").await.ok() })
        });
        let (issued, gifts, payments) = tokio::join!(order_at_once(app, "editor", 15), join_all(gifts), join_all(payments));
        assert!(gifts.into_iter().chain(payments).all(|done| done.is_ok()));
        assert_eq!(distinct(&issued), issued.len());
        let keys = app.admin.get("/v1/keys?limit=100").await.ok();
        assert!(keys["items"].as_array().unwrap().iter().all(|key| key["status"] == "delivered"), "all were given to somebody");
    }

    async fn bulk_actions_against_each_other_and_against_sales_leave_no_key_between(app: TestApp) {
        stock(app, "editor", &texts(50)).await;
        app.admin.make_product("viewer", json!({})).await;
        for number in 0..20 {
            app.admin.post("/v1/keys", json!({ "key": format!("V{number}"), "product": "viewer" })).await.ok();
        }
        let ids: Vec<i64> = (1..=70).collect();
        let backwards: Vec<i64> = ids.iter().rev().copied().collect();
        let actions = ["disable", "enable", "set_inactive", "set_active", "disable", "enable", "set_active", "enable"];
        let bulks = actions.iter().enumerate().map(|(number, action)| {
            let (admin, action) = (app.admin.clone(), *action);
            let ids = if number % 2 == 0 { ids.clone() } else { backwards.clone() };
            tokio::spawn(async move { admin.post("/v1/keys/bulk", json!({ "ids": ids, "action": action })).await.ok() })
        });
        let (issued, bulks) = tokio::join!(order_at_once(app, "editor", 40), join_all(bulks));
        for report in bulks.into_iter().map(Result::unwrap) {
            let count = |name: &str| report[name].as_i64().unwrap();
            assert_eq!(count("changed") + count("unchanged") + count("refused_total"), 70, "{report}");
        }
        assert_eq!(distinct(&issued), issued.len());
        app.database.check_stock();
    }

    async fn one_text_is_entered_once_by_whoever_is_first(app: TestApp) {
        stock(app, "editor", &texts(2)).await;
        let entries = (0..16).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move {
                match number % 2 {
                    0 => admin.post("/v1/keys", json!({ "key": "NEW", "sequence": "editor" })).await,
                    _ => admin.post(&format!("/v1/keys/{}/replace", number % 4 / 2 + 1), json!({ "key": "NEW" })).await,
                }
            })
        });
        let mut made = 0;
        let mut replaced = HashSet::new();
        for answer in join_all(entries).await.into_iter().map(Result::unwrap) {
            match answer.status {
                201 => made += 1,
                // The same key with the same text again has changed nothing.
                200 => { replaced.insert(answer.json()["id"].as_i64().unwrap()); }
                _ => { answer.refused(409, "already_exists"); }
            }
        }
        assert_eq!(made + replaced.len(), 1);
    }

    async fn a_text_that_is_being_replaced_is_not_entered_again_in_that_moment(app: TestApp) {
        stock(app, "editor", &texts(20)).await;
        let calls = (0..20).flat_map(|number| {
            let (one, two) = (app.admin.clone(), app.admin.clone());
            let replace = async move {
                let body = json!({ "key": format!("N{number}") });
                one.post(&format!("/v1/keys/{}/replace", number + 1), body).await.status
            };
            let enter = async move {
                let body = json!({ "key": format!("K{number:03}"), "sequence": "editor" });
                two.post("/v1/keys", body).await.status
            };
            [tokio::spawn(replace), tokio::spawn(enter)]
        });
        let statuses: Vec<u16> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert!(statuses.chunks(2).all(|pair| pair == [200, 409]), "{statuses:?}");
    }

    async fn the_first_keys_of_a_product_without_a_sequence_share_the_one_that_is_made(app: TestApp) {
        app.admin.post("/v1/products", json!({ "sku": "editor" })).await.ok();
        let entries = (0..16).map(|number| {
            let admin = app.admin.clone();
            tokio::spawn(async move { admin.post("/v1/keys", json!({ "key": format!("K{number}"), "product": "editor" })).await.ok() })
        });
        let keys: Vec<Value> = join_all(entries).await.into_iter().map(Result::unwrap).collect();
        assert!(keys.iter().all(|key| key["sequence"] == "editor"));
        assert_eq!(app.admin.get("/v1/stock?sku=editor").await.ok()["items"][0]["available"], 16);
    }

    async fn increments_and_activations_in_a_crowd_never_exceed_the_limit(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=20", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let calls = (0..60).map(|number| {
            let (admin, key) = (app.admin.clone(), key.clone());
            tokio::spawn(async move {
                match number % 2 {
                    0 => admin.activate(&key, &format!("m{number}")).await,
                    _ => admin.post("/v1/keys/increment", json!({ "key": key })).await,
                }
            })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| answer.status < 300).count(), 20);
        for answer in answers.iter().filter(|answer| answer.status >= 300) {
            answer.refused(409, "activation_limit_reached");
        }
        assert_eq!(app.admin.get("/v1/keys/1").await.ok()["activations"], 20);
    }
}
