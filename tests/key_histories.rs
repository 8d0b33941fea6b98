//! Any history of orders and of what staff do to keys: no key is given out twice, and each stands where it
//! may.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases};

/// Histories on each database, and the steps of each.
const HISTORIES: u64 = 20;
const STEPS: usize = 50;
/// Orders and keys of one history: few, so that the steps meet.
const ORDERS: usize = 4;
const KEYS: usize = 6;

/// One step. Orders and keys are named by their number in the history; a key is one of those that exist.
#[derive(Clone, Debug)]
enum Step {
    Report {
        order: usize,
        status: &'static str,
        quantity: i64,
    },
    Act {
        key: usize,
        action: &'static str,
    },
    Bulk {
        keys: Vec<usize>,
        action: &'static str,
    },
    SetStatus {
        key: usize,
        status: &'static str,
    },
    Give {
        key: usize,
        order: usize,
    },
    TakeOff {
        key: usize,
    },
    Bind {
        key: usize,
        product: Option<usize>,
    },
    Expire {
        key: usize,
        days: Option<i64>,
    },
    Replace {
        key: usize,
    },
    Delete {
        key: usize,
    },
    Enter {
        status: &'static str,
    },
    IssueAgain {
        order: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::sample::select;
    let order = 0..ORDERS;
    let key = 0..KEYS * 2;
    let stages = vec![
        "pending",
        "payment_received",
        "completed",
        "cancelled",
        "refunded",
    ];
    let actions = vec![
        "revoke", "unrevoke", "disable", "enable", "suspend", "resume", "deliver",
    ];
    let in_bulk = vec![
        "disable",
        "enable",
        "set_active",
        "set_inactive",
        "delete",
        "revoke",
    ];
    let statuses = vec!["active", "inactive", "sold", "delivered", "disabled"];
    prop_oneof![
        6 => (order.clone(), select(stages), 1..3i64)
            .prop_map(|(order, status, quantity)| Step::Report { order, status, quantity }),
        4 => (key.clone(), select(actions)).prop_map(|(key, action)| Step::Act { key, action }),
        1 => key.clone().prop_map(|key| Step::Act { key, action: "terminate" }),
        2 => (prop::collection::vec(key.clone(), 1..4), select(in_bulk))
            .prop_map(|(keys, action)| Step::Bulk { keys, action }),
        4 => (key.clone(), select(statuses.clone())).prop_map(|(key, status)| Step::SetStatus { key, status }),
        2 => (key.clone(), order.clone()).prop_map(|(key, order)| Step::Give { key, order }),
        2 => key.clone().prop_map(|key| Step::TakeOff { key }),
        3 => (key.clone(), prop::option::of(0..2usize)).prop_map(|(key, product)| Step::Bind { key, product }),
        2 => (key.clone(), prop::option::of(-1..2i64)).prop_map(|(key, days)| Step::Expire { key, days }),
        1 => key.clone().prop_map(|key| Step::Replace { key }),
        1 => key.prop_map(|key| Step::Delete { key }),
        3 => select(statuses).prop_map(|status| Step::Enter { status }),
        2 => order.prop_map(|order| Step::IssueAgain { order }),
    ]
}

/// The steps of a history, the same at every run.
fn history(seed: u64) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let steps = prop::collection::vec(step(), STEPS);
    steps.new_tree(&mut runner).unwrap().current()
}

/// A history being played, and what is known of it.
struct Play<'a> {
    app: &'a TestApp,
    seed: u64,
    /// Texts made so far, so that each is new.
    texts: usize,
    /// Every key that somebody ever had, and how often it was given out by an order.
    assigned: HashSet<i64>,
    issued: HashMap<i64, usize>,
}

impl Play<'_> {
    fn sku(&self, product: usize) -> String {
        format!("p{}-{product}", self.seed)
    }

    fn order(&self, order: usize) -> String {
        format!("o{}-{order}", self.seed)
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("K{}-{}", self.seed, self.texts)
    }

    /// The keys of this history.
    async fn keys(&self) -> Vec<Value> {
        let path = format!("/v1/keys?limit=500&sequence={}", self.sku(0));
        let list = self.app.admin.get(&path).await.ok();
        list["items"].as_array().unwrap().clone()
    }

    /// Sends one step; a refusal is as good as an answer.
    async fn send(&mut self, step: &Step) {
        let ids: Vec<i64> = self
            .keys()
            .await
            .iter()
            .map(|key| key["id"].as_i64().unwrap())
            .collect();
        let id = |key: usize| ids.get(key % ids.len().max(1)).copied().unwrap_or(i64::MAX);
        let (method, path, body) = self.request(step, id);
        let admin = &self.app.admin;
        let answer = admin.send(admin.request(method, &path).json(&body)).await;
        assert!(answer.status < 500, "{step:?}: {}", answer.text);
    }

    /// What a step sends, `id` being that of a key's number.
    fn request(&mut self, step: &Step, id: impl Fn(usize) -> i64) -> (Method, String, Value) {
        let of = |key: usize| format!("/v1/keys/{}", id(key));
        let edit = |key: usize, body: Value| (Method::PATCH, of(key), body);
        let post = |path: String, body: Value| (Method::POST, path, body);
        match step {
            Step::Report {
                order,
                status,
                quantity,
            } => {
                let lines = json!([{ "sku": self.sku(0), "quantity": quantity }]);
                let path = format!("/v1/orders/{}", self.order(*order));
                (
                    Method::PUT,
                    path,
                    json!({ "status": status, "lines": lines }),
                )
            }
            Step::Act { key, action } => post(format!("{}/{action}", of(*key)), json!({})),
            Step::Bulk { keys, action } => {
                let ids: Vec<i64> = keys.iter().map(|key| id(*key)).collect();
                post(
                    "/v1/keys/bulk".into(),
                    json!({ "ids": ids, "action": action }),
                )
            }
            Step::SetStatus { key, status } => edit(*key, json!({ "status": status })),
            Step::Give { key, order } => edit(
                *key,
                json!({ "order": self.order(*order), "product": self.sku(0) }),
            ),
            Step::TakeOff { key } => edit(*key, json!({ "order": null })),
            Step::Bind { key, product } => edit(
                *key,
                json!({ "product": product.map(|product| self.sku(product)) }),
            ),
            Step::Expire { key, days } => {
                let now = self.app.clock.now();
                edit(
                    *key,
                    json!({ "expires_at": days.map(|days| now.plus_days(days).to_string()) }),
                )
            }
            Step::Replace { key } => post(
                format!("{}/replace", of(*key)),
                json!({ "key": self.text() }),
            ),
            Step::Delete { key } => (Method::DELETE, of(*key), json!({})),
            Step::Enter { status } => {
                let body = json!({ "key": self.text(), "product": self.sku(0), "status": status });
                post("/v1/keys".into(), body)
            }
            Step::IssueAgain { order } => post(
                format!("/v1/orders/{}/issue", self.order(*order)),
                json!({}),
            ),
        }
    }

    /// Plays one step and looks at everything afterwards.
    async fn play(&mut self, step: &Step) {
        let before: HashMap<i64, Value> = self
            .keys()
            .await
            .into_iter()
            .map(|key| (key["id"].as_i64().unwrap(), key))
            .collect();
        self.send(step).await;
        let by_hand = matches!(step, Step::Give { .. });
        let after = self.keys().await;
        for key in &after {
            let id = key["id"].as_i64().unwrap();
            let now_assigned = !key["assigned_at"].is_null();
            assert!(
                now_assigned || !self.assigned.contains(&id),
                "{step:?} took key {id} back: {key}"
            );
            let status = key["status"].as_str().unwrap();
            assert!(
                !now_assigned || !["active", "inactive"].contains(&status),
                "{step:?}: {key}"
            );
            let owner_before = before.get(&id).map_or(&Value::Null, |key| &key["order"]);
            if *owner_before != key["order"] && !key["order"].is_null() && !by_hand {
                assert!(
                    self.assigned.insert(id),
                    "{step:?} issued key {id} a second time: {key}"
                );
                *self.issued.entry(id).or_default() += 1;
            }
            if now_assigned {
                self.assigned.insert(id);
            }
        }
        let left: HashSet<i64> = after
            .iter()
            .map(|key| key["id"].as_i64().unwrap())
            .collect();
        assert!(
            self.assigned.is_subset(&left),
            "{step:?} deleted a key that somebody had"
        );
        self.app.database.check_stock();
    }
}

on_both_databases! {
    /// [IPS-10]
    async fn no_history_gives_a_key_out_twice_or_leaves_it_where_it_may_not_be(app: TestApp) {
        for seed in 0..HISTORIES {
            let mut play = Play { app, seed, texts: 0, assigned: HashSet::new(), issued: HashMap::new() };
            let texts: Vec<String> = (0..KEYS).map(|_| play.text()).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            app.admin.make_stocked_product(&play.sku(0), "", &texts).await;
            let second = json!({ "sku": play.sku(1), "sequence": play.sku(0) });
            app.admin.post("/v1/products", second).await.ok();
            for step in history(seed) {
                play.play(&step).await;
            }
            assert!(play.issued.values().all(|times| *times == 1));
            assert!(!play.issued.is_empty(), "history {seed} issues nothing");
        }
    }
}
