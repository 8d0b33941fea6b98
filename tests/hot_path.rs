//! What holds however fast activations, renewals and verdicts become: limits, whole answers, verdicts that
//! are true the moment they are asked for, and a server that says at once when it has too much to do.

mod coherence;
mod crowd;
mod fleet;
mod ledger;
mod locked_rows;
mod model;
mod other_doors;
mod outage;
mod overload;
mod places;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::Persona;

/// Every row of a list, page by page.
async fn every(admin: &Persona, path: &str) -> Vec<Value> {
    let glue = if path.contains('?') { '&' } else { '?' };
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page = admin
            .get(&format!("{path}{glue}limit=500{after}"))
            .await
            .ok();
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

/// What the database has on activations, as staff see it: by key and installation the id of the open one,
/// the ids of those that were released, and how many events say that one was made, or released.
#[derive(Debug, Default, PartialEq)]
struct Place {
    open: Option<String>,
    released: Vec<String>,
    made: usize,
    let_go: usize,
}

type Places = BTreeMap<(i64, String), Place>;

async fn places(admin: &Persona) -> Places {
    let mut places = Places::new();
    for row in every(admin, "/v1/activations").await {
        let place = places.entry(place_of(&row["key_id"], &row)).or_default();
        assert_eq!(place.open.replace(text(&row["activation_id"])), None);
    }
    for row in every(admin, "/v1/activations?open=false").await {
        let place = places.entry(place_of(&row["key_id"], &row)).or_default();
        place.released.push(text(&row["activation_id"]));
    }
    for event in every(admin, "/v1/events?action=activation.created").await {
        let place = place_of(&event["subject"]["id"], &event["detail"]);
        places.entry(place).or_default().made += 1;
    }
    for event in every(admin, "/v1/events?action=activation.released").await {
        let place = place_of(&event["subject"]["id"], &event["detail"]);
        places.entry(place).or_default().let_go += 1;
    }
    places
}

fn place_of(key: &Value, row: &Value) -> (i64, String) {
    (key.as_i64().unwrap(), text(&row["installation_id"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// How many activations of each key are open.
fn open_by_key(places: &Places) -> BTreeMap<i64, usize> {
    let mut open = BTreeMap::new();
    for ((key, _), place) in places {
        *open.entry(*key).or_default() += usize::from(place.open.is_some());
    }
    open
}

/// Asserts that everything of it goes together: each activation is one event, each release is one.
fn check_places(places: &Places) {
    for (place, found) in places {
        let ever = usize::from(found.open.is_some()) + found.released.len();
        assert_eq!(found.made, ever, "{place:?}: {found:?}");
        assert_eq!(found.let_go, found.released.len(), "{place:?}: {found:?}");
    }
}
