//! One key and many clients at full speed: every place is given once, and an installation that asks twice in
//! the same moment is one activation.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::json;

use super::fleet::Fleet;
use crate::support::database::TestDatabase;
use crate::support::persona::Answer;
use crate::support::{Persona, on_both_databases};

const CLIENTS: usize = 64;

/// Has 64 clients, spread over the doors, make these calls, each one after the other.
async fn at_full_speed(
    doors: &[Persona],
    calls: &[(String, String)],
) -> Vec<(String, String, Answer)> {
    let clients = (0..CLIENTS).map(|client| {
        let software = doors[client % doors.len()].clone();
        let mine: Vec<_> = calls
            .iter()
            .skip(client)
            .step_by(CLIENTS)
            .cloned()
            .collect();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for (key, installation) in mine {
                let answer = software.activate(&key, &installation).await;
                answers.push((key, installation, answer));
            }
            answers
        })
    });
    join_all(clients)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect()
}

/// Makes a product and one sold key with this limit.
async fn sell(admin: &Persona, name: &str, limit: Option<usize>) -> (i64, String) {
    let query = limit.map_or(String::new(), |limit| format!("max_activations={limit}"));
    admin
        .make_stocked_product(name, &query, &[&format!("{name}-KEY")])
        .await;
    admin.buy(name, name).await
}

fn calls(key: &str, installations: usize) -> Vec<(String, String)> {
    (0..installations)
        .map(|number| (key.to_owned(), format!("m{number}")))
        .collect()
}

async fn five_hundred_for_fifty(doors: &[Persona], admin: &Persona) {
    let (id, key) = sell(admin, "editor", Some(50)).await;
    let answers = at_full_speed(doors, &calls(&key, 512)).await;
    let mut admitted = BTreeSet::new();
    for (_, installation, answer) in &answers {
        if answer.status == 201 {
            assert!(admitted.insert((id, installation.clone())));
        } else {
            let problem = answer.refused(409, "activation_limit_reached");
            assert_eq!(problem["activations"], 50, "refused when it was not full");
        }
    }
    assert_eq!(admitted.len(), 50);
    assert_eq!(
        numbers(answers.iter().map(|(_, _, answer)| answer)),
        (1..=50).collect()
    );
    let places = super::places(admin).await;
    super::check_places(&places);
    assert_eq!(places.into_keys().collect::<BTreeSet<_>>(), admitted);

    // One place is free again, and all want it.
    let (_, gone) = admitted.pop_first().unwrap();
    let release = json!({ "key": key, "installation_id": gone });
    assert_eq!(
        doors[0]
            .post("/v1/activations/release", release)
            .await
            .status,
        204
    );
    let others: Vec<_> = (0..CLIENTS)
        .map(|number| (key.clone(), format!("n{number}")))
        .collect();
    let answers = at_full_speed(doors, &others).await;
    assert_eq!(
        answers
            .iter()
            .filter(|(_, _, answer)| answer.status == 201)
            .count(),
        1
    );
}

/// What the new activations said of how many there are now.
fn numbers<'a>(answers: impl Iterator<Item = &'a Answer>) -> BTreeSet<u64> {
    let new: Vec<_> = answers.filter(|answer| answer.status == 201).collect();
    let numbers: BTreeSet<_> = new
        .iter()
        .map(|answer| answer.json()["key"]["activations"].as_u64().unwrap())
        .collect();
    assert_eq!(
        numbers.len(),
        new.len(),
        "two activations are the same one of the key"
    );
    numbers
}

async fn a_key_without_a_limit(doors: &[Persona], admin: &Persona) {
    let (id, key) = sell(admin, "editor", None).await;
    let answers = at_full_speed(doors, &calls(&key, 300)).await;
    assert!(answers.iter().all(|(_, _, answer)| answer.status == 201));
    assert_eq!(
        numbers(answers.iter().map(|(_, _, answer)| answer)),
        (1..=300).collect()
    );
    assert_eq!(super::open_by_key(&super::places(admin).await)[&id], 300);
    let releases = answers.iter().map(|(key, installation, _)| {
        let (software, body) = (
            doors[0].clone(),
            json!({ "key": key, "installation_id": installation }),
        );
        tokio::spawn(async move { software.post("/v1/activations/release", body).await.status })
    });
    assert!(
        join_all(releases)
            .await
            .into_iter()
            .all(|status| status.unwrap() == 204)
    );
    let key = admin.get(&format!("/v1/keys/{id}")).await.ok();
    assert_eq!(key["activations"], 0);
}

/// Every call four times at the same moment, of several keys in turn.
async fn everyone_four_times(doors: &[Persona], admin: &Persona) {
    let mut limits = BTreeMap::new();
    for (number, limit) in [Some(1), Some(3), Some(10), Some(20), None]
        .into_iter()
        .enumerate()
    {
        let (_, key) = sell(admin, &format!("p{number}"), limit).await;
        limits.insert(key, limit);
    }
    let wanted = (0..20).flat_map(|number| {
        limits
            .keys()
            .map(move |key| (key.clone(), format!("m{number}")))
    });
    let crowd: Vec<_> = wanted.flat_map(|call| vec![call; 4]).collect();
    let mut ids: BTreeMap<(String, String), Vec<(u16, String)>> = BTreeMap::new();
    for (key, installation, answer) in at_full_speed(doors, &crowd).await {
        if answer.status == 409 {
            answer.refused(409, "activation_limit_reached");
            continue;
        }
        let id = answer.ok()["activation_id"].as_str().unwrap().to_owned();
        ids.entry((key, installation))
            .or_default()
            .push((answer.status, id));
    }
    for (place, answers) in &ids {
        let first: Vec<_> = answers
            .iter()
            .filter(|(status, _)| *status == 201)
            .collect();
        assert_eq!(first.len(), 1, "{place:?}: {answers:?}");
        assert!(
            answers.iter().all(|(_, id)| *id == first[0].1),
            "{place:?}: {answers:?}"
        );
        // Once it has its place, the same again is never refused.
        let last = answers.len();
        assert!(
            limits[&place.0].is_some_and(|limit| limit < 20) || last == 4,
            "{place:?}: {answers:?}"
        );
    }
    for (key, limit) in limits {
        let admitted = ids.keys().filter(|(of, _)| *of == key).count();
        assert_eq!(admitted, limit.unwrap_or(20).min(20), "{key}");
    }
    super::check_places(&super::places(admin).await);
}

on_both_databases! {
    async fn a_key_hammered_by_all_clients_gives_its_fifty_places_and_not_one_more(app: TestApp) {
        five_hundred_for_fifty(&[app.software()], &app.admin).await;
    }

    async fn activations_of_a_key_without_a_limit_are_counted_one_by_one_in_a_crowd(app: TestApp) {
        a_key_without_a_limit(&[app.software()], &app.admin).await;
    }

    async fn an_installation_that_asks_four_times_in_one_moment_is_one_activation(app: TestApp) {
        everyone_four_times(&[app.software()], &app.admin).await;
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn through_two_processes(play: impl AsyncFn(&[Persona], &Persona)) {
    let database = TestDatabase::postgres();
    let fleet = Fleet::start(&database, 2);
    let doors = fleet.doors();
    let software: Vec<_> = doors.iter().map(|doors| doors.software.clone()).collect();
    play(&software, &doors[0].admin).await;
    fleet.finish();
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn two_processes_give_the_fifty_places_of_a_hammered_key_and_not_one_more() {
    through_two_processes(five_hundred_for_fifty);
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn two_processes_count_the_activations_of_a_key_without_a_limit_one_by_one() {
    through_two_processes(a_key_without_a_limit);
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn two_processes_make_one_activation_of_an_installation_that_asks_both() {
    through_two_processes(everyone_four_times);
}
