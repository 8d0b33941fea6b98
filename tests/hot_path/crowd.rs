//! A crowd on a few keys while processes are killed, or the database cuts every connection: the limits hold,
//! what was answered is there, and nothing is counted twice. The ledger of all answers decides.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::fleet::{Entrance, Fleet};
use super::ledger::{Ledger, NEVER, Said, What};
use super::model::{ContendedKey, Model};
use crate::support::Persona;
use crate::support::database::TestDatabase;
use crate::support::processes_on_both_databases;

const CLIENTS: usize = 256;
/// Calls in all; on a machine that is too busy for them fewer, but those that were made count.
const CALLS: usize = 12_000;
const AT_MOST: Duration = Duration::from_secs(25);
/// How often something is broken, evenly spread over the calls.
const BLOWS: usize = 12;
/// The variable that repeats the choices of a run that failed.
const SEED: &str = "HOT_PATH_SEED";

/// What happens to the servers meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Blow {
    /// One process at a time dies and is started again.
    Kill,
    /// The database ends every connection.
    CutConnections,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn stand_against(database: &TestDatabase, blow: Blow) {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let _on_failure = Confession(seed);
    let mut fleet = Fleet::of(database);
    let keys = Arc::new(contended_keys(&fleet.doors()[0].admin).await);
    let crowd = Arc::new(Crowd::on(Arc::clone(&keys)));
    let clients: Vec<_> = (0..CLIENTS as u64)
        .map(|number| {
            let client = Client {
                crowd: Arc::clone(&crowd),
                entrance: fleet.entrance(),
                rng: StdRng::seed_from_u64(seed.wrapping_add(number)),
                token: None,
            };
            tokio::spawn(client.run())
        })
        .collect();
    let blows = strike(&mut fleet, &crowd, blow, StdRng::seed_from_u64(seed)).await;
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert!(blows >= BLOWS / 3, "only {blows} blows fitted in");

    fleet.rest();
    let admin = fleet.doors()[0].admin.clone();
    let places = super::places(&admin).await;
    let entries = crowd.ledger.take_entries();
    super::check_places(&places);
    Model::new(&keys, &entries).check(&places);
    let open = super::open_by_key(&places);
    for key in keys.iter() {
        let shown = admin.get(&format!("/v1/keys/{}", key.id)).await.ok();
        let open = open.get(&key.id).copied().unwrap_or_default();
        assert_eq!(shown["activations"], json!(open), "{key:?}");
    }
    let unknown = entries.iter().any(|entry| entry.end == NEVER);
    assert!(
        unknown || blow == Blow::CutConnections,
        "every call was answered"
    );
    fleet.finish();
}

/// Tells the seed when the test fails.
struct Confession(u64);

impl Drop for Confession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write;
            let _ = writeln!(
                std::io::stderr(),
                "the choices were made by {SEED}={}",
                self.0
            );
        }
    }
}

/// Keys for one, three and ten installations, and two without a limit.
async fn contended_keys(admin: &Persona) -> Vec<ContendedKey> {
    let limits = [1, 1, 3, 3, 10, 10]
        .map(Some)
        .into_iter()
        .chain([None, None]);
    let mut keys = Vec::new();
    for (number, limit) in limits.enumerate() {
        let sku = format!("p{number}");
        let query = limit.map_or(String::new(), |limit| format!("max_activations={limit}"));
        admin
            .make_stocked_product(&sku, &query, &[&format!("K{number}")])
            .await;
        let (id, text) = admin.buy(&sku, &sku).await;
        keys.push(ContendedKey { id, text, limit });
    }
    keys
}

/// Breaks things until the calls are made; returns how often.
async fn strike(fleet: &mut Fleet<'_>, crowd: &Crowd, blow: Blow, mut rng: StdRng) -> usize {
    let mut made = crowd.made.subscribe();
    for blows in 0..BLOWS {
        let due = (blows + 1) * CALLS / (BLOWS + 1);
        let waited = tokio::time::timeout_at(crowd.deadline, made.wait_for(|made| *made >= due));
        if waited.await.is_err() {
            return blows;
        }
        match blow {
            Blow::Kill => {
                let victim = rng.random_range(0..fleet.doors().len());
                fleet.kill(victim);
                fleet.start_again(victim);
            }
            Blow::CutConnections => fleet.cut_connections(),
        }
    }
    BLOWS
}

/// What the clients share.
struct Crowd {
    keys: Arc<Vec<ContendedKey>>,
    ledger: Ledger,
    /// Whoever changes a key has its limit: one at a time, so that what a key is at last is known.
    limits: Vec<Mutex<Option<i64>>>,
    made: watch::Sender<usize>,
    deadline: Instant,
}

impl Crowd {
    fn on(keys: Arc<Vec<ContendedKey>>) -> Self {
        Self {
            limits: keys.iter().map(|key| Mutex::new(key.limit)).collect(),
            keys,
            ledger: Ledger::default(),
            made: watch::Sender::new(0),
            deadline: Instant::now() + AT_MOST,
        }
    }

    /// Another call was made.
    fn count(&self) {
        self.made.send_modify(|made| *made += 1);
    }
}

struct Client {
    crowd: Arc<Crowd>,
    entrance: Entrance,
    rng: StdRng,
    /// The last token that it got: of which key, installation and activation.
    token: Option<(usize, String, String, String)>,
}

impl Client {
    async fn run(mut self) {
        while *self.crowd.made.borrow() < CALLS && Instant::now() < self.crowd.deadline {
            let key = self.some_key();
            match self.rng.random_range(0..100) {
                0..48 => self.activate(key).await,
                48..70 => self.release(key).await,
                70..84 => self.renew(key).await,
                84..98 => self.validate(key).await,
                _ => self.change(key).await,
            }
        }
    }

    /// Every third call is about a key without a limit, which then has more than are counted one by one.
    fn some_key(&mut self) -> usize {
        let unlimited = self.crowd.keys.len() - 2;
        match self.rng.random_ratio(1, 3) {
            true => self.rng.random_range(unlimited..self.crowd.keys.len()),
            false => self.rng.random_range(0..unlimited),
        }
    }

    /// Twice as many as there is room for, so that they push each other out.
    fn some_installation(&mut self, key: usize) -> String {
        let names = self.crowd.keys[key]
            .limit
            .map_or(110, |limit| 2 * limit + 2);
        format!("m{}", self.rng.random_range(0..names))
    }

    async fn activate(&mut self, key: usize) {
        let name = self.some_installation(key);
        let doors = self.entrance.any(&mut self.rng).await;
        let body = json!({ "key": self.crowd.keys[key].text, "installation_id": name });
        let what = What::Activate(name.clone());
        let start = self.crowd.ledger.begin();
        let request = doors
            .software
            .request(Method::POST, "/v1/activations")
            .json(&body);
        let answer = self.entrance.call(&doors, &doors.software, request).await;
        let said = self.crowd.ledger.end(key, what, start, answer.as_ref());
        self.crowd.count();
        if let Some(id) = said.and_then(|said| said.activation_id) {
            let token = answer.unwrap().json()["token"].as_str().unwrap().to_owned();
            self.token = Some((key, name, id, token));
        }
    }

    async fn release(&mut self, key: usize) {
        let name = self.some_installation(key);
        let body = json!({ "key": self.crowd.keys[key].text, "installation_id": name });
        self.call(key, What::Release(name), "/v1/activations/release", body)
            .await;
    }

    async fn renew(&mut self, key: usize) {
        let path = "/v1/activations/renew";
        match self.token.clone() {
            Some((key, name, id, token)) => {
                self.call(
                    key,
                    What::Renew(name, Some(id)),
                    path,
                    json!({ "token": token }),
                )
                .await;
            }
            None => {
                let name = self.some_installation(key);
                let body = json!({ "key": self.crowd.keys[key].text, "installation_id": name });
                self.call(key, What::Renew(name, None), path, body).await;
            }
        }
    }

    async fn validate(&mut self, key: usize) {
        let name = self.some_installation(key);
        let body = json!({ "key": self.crowd.keys[key].text, "installation_id": name });
        self.call(key, What::Validate(name), "/v1/validate", body)
            .await;
    }

    async fn call(&mut self, key: usize, what: What, path: &str, body: Value) {
        let doors = self.entrance.any(&mut self.rng).await;
        let request = doors.software.request(Method::POST, path).json(&body);
        let start = self.crowd.ledger.begin();
        let answer = self.entrance.call(&doors, &doors.software, request).await;
        self.crowd.ledger.end(key, what, start, answer.as_ref());
        self.crowd.count();
    }

    /// Raises the limit, or revokes or disables the key, looks at it, and takes that back.
    async fn change(&mut self, key: usize) {
        let crowd = Arc::clone(&self.crowd);
        // Somebody else is at it.
        let Ok(mut limit) = crowd.limits[key].try_lock() else {
            return;
        };
        let what = match (self.rng.random_range(0..3), *limit) {
            (0, Some(now)) => {
                *limit = Some(now + 1);
                What::Limit(now + 1)
            }
            (1, _) => What::Revoked(true),
            _ => What::Disabled(true),
        };
        self.staff(key, &what).await;
        let back = match what {
            What::Revoked(_) => What::Revoked(false),
            What::Disabled(_) => What::Disabled(false),
            _ => return,
        };
        for _ in 0..3 {
            self.validate(key).await;
        }
        while self.staff(key, &back).await.is_none() {}
    }

    async fn staff(&mut self, key: usize, what: &What) -> Option<Said> {
        let id = self.crowd.keys[key].id;
        let doors = self.entrance.any(&mut self.rng).await;
        let admin = &doors.admin;
        let action = match what {
            What::Revoked(true) => "/revoke",
            What::Revoked(false) => "/unrevoke",
            What::Disabled(true) => "/disable",
            What::Disabled(false) => "/enable",
            _ => "",
        };
        let path = format!("/v1/keys/{id}{action}");
        let request = match what {
            What::Limit(limit) => {
                let body = json!({ "max_activations": limit });
                admin.request(Method::PATCH, &path).json(&body)
            }
            _ => admin.request(Method::POST, &path).json(&json!({})),
        };
        let start = self.crowd.ledger.begin();
        let answer = self.entrance.call(&doors, admin, request).await;
        let said = self
            .crowd
            .ledger
            .end(key, what.clone(), start, answer.as_ref());
        self.crowd.count();
        said
    }
}

processes_on_both_databases! {
    fn a_crowd_and_processes_that_are_killed_keep_every_limit_and_lose_nothing_that_was_answered(database: TestDatabase) {
        stand_against(database, Blow::Kill);
    }
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn a_database_that_ends_every_connection_again_and_again_loses_and_doubles_nothing_that_was_answered()
 {
    stand_against(&TestDatabase::postgres(), Blow::CutConnections);
}
