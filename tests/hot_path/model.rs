//! The model: what must be true, what may be true and what cannot, by the ledger alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Places;
use super::ledger::{Entry, NEVER, What};

/// A key that clients contend for.
#[derive(Clone, Debug)]
pub(super) struct ContendedKey {
    pub(super) id: i64,
    pub(super) text: String,
    pub(super) limit: Option<i64>,
}

pub(super) struct Model<'a> {
    keys: &'a [ContendedKey],
    entries: &'a [Entry],
    /// The activations and releases of an installation.
    installations: BTreeMap<(usize, &'a str), Vec<&'a Entry>>,
    /// What staff did to a key.
    changes: HashMap<usize, Vec<&'a Entry>>,
}

impl<'a> Model<'a> {
    pub(super) fn new(keys: &'a [ContendedKey], entries: &'a [Entry]) -> Self {
        let mut installations: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut changes: HashMap<_, Vec<_>> = HashMap::new();
        for entry in entries {
            match &entry.what {
                What::Activate(name) | What::Release(name) => {
                    let place = (entry.key, name.as_str());
                    installations.entry(place).or_default().push(entry);
                }
                What::Revoked(_) | What::Disabled(_) | What::Limit(_) => {
                    changes.entry(entry.key).or_default().push(entry);
                }
                What::Renew(..) | What::Validate(_) => {}
            }
        }
        Self {
            keys,
            entries,
            installations,
            changes,
        }
    }

    /// Holds every answer, and what the database has in the end, against what the others say.
    pub(super) fn check(&self, places: &Places) {
        for entry in self.entries {
            self.check_count(entry);
            self.check_verdict(entry);
            self.check_installation(entry);
        }
        self.check_limits();
        self.check_database(places);
    }

    /// Whether an installation was open during all of the time from `from` to `to`: it was activated
    /// before, and no release can have come since. `id` asks for one activation of it.
    fn surely_open(&self, place: (usize, &str), id: Option<&str>, from: u64, to: u64) -> bool {
        let calls = self.calls(place);
        let mut activations = calls.iter().filter(|call| {
            activated(call).is_some_and(|found| call.end < from && id.is_none_or(|id| id == found))
        });
        activations.any(|activation| {
            !calls
                .iter()
                .any(|call| may_release(call) && call.start < to && call.end > activation.start)
        })
    }

    /// Whether an installation was not open at any time from `from` to `to`: every activation that can have
    /// been was over before a release that was answered before. (The call that began at `from` is the one
    /// that is judged.)
    fn surely_closed(&self, place: (usize, &str), from: u64, to: u64) -> bool {
        let calls = self.calls(place);
        let mut activations = calls
            .iter()
            .filter(|call| may_activate(call) && call.start < to && call.start != from)
            .peekable();
        if activations.peek().is_none() {
            return true;
        }
        let last = activations.map(|call| call.end).max().unwrap_or(NEVER);
        calls.iter().any(|call| {
            matches!(call.what, What::Release(_))
                && call.said.as_ref().is_some_and(|said| said.status == 204)
                && call.end < from
                && call.start > last
        })
    }

    fn changes_of(&self, key: usize) -> impl Iterator<Item = &'a Entry> + '_ {
        self.changes.get(&key).into_iter().flatten().copied()
    }

    fn calls<'b>(&'b self, place: (usize, &'b str)) -> &'b [&'a Entry] {
        self.installations.get(&place).map_or(&[], Vec::as_slice)
    }

    /// No answer ever shows a key over its limit.
    fn check_count(&self, entry: &Entry) {
        let Some(said) = &entry.said else { return };
        if let (Some(used), Some(max)) = (said.activations, said.max_activations) {
            assert!(used <= max, "over its limit: {entry:?}");
        }
    }

    /// A verdict is one that was true at some time while it was asked for.
    fn check_verdict(&self, entry: &Entry) {
        let software = matches!(
            entry.what,
            What::Activate(_) | What::Renew(..) | What::Validate(_)
        );
        let (true, Some(said)) = (software, &entry.said) else {
            return;
        };
        let revoked = self.values(entry, |what| match what {
            What::Revoked(value) => Some(*value),
            _ => None,
        });
        let disabled = self.values(entry, |what| match what {
            What::Disabled(value) => Some(*value),
            _ => None,
        });
        let is_possible = match said.code.as_str() {
            "key_revoked" => revoked.contains(&true),
            "key_disabled" => revoked.contains(&false) && disabled.contains(&true),
            _ => revoked.contains(&false) && disabled.contains(&false),
        };
        assert!(
            is_possible,
            "{entry:?}, but revoked {revoked:?} and disabled {disabled:?}"
        );
    }

    /// What a fact about the key can have been during a call. Staff change a key one after the other, and
    /// a change that was not answered may happen at any time.
    fn values(&self, during: &Entry, of: impl Fn(&What) -> Option<bool>) -> HashSet<bool> {
        let changes: Vec<(&Entry, bool)> = self
            .changes_of(during.key)
            .filter(|entry| entry.start < during.end)
            .filter_map(|entry| Some((entry, of(&entry.what)?)))
            .collect();
        let last = changes
            .iter()
            .filter(|(change, _)| change.end < during.start)
            .max_by_key(|(change, _)| change.start);
        let (since, value) = last.map_or((0, false), |(change, value)| (change.start, *value));
        let may_be = changes
            .iter()
            .filter(|(change, _)| change.end == NEVER || change.start >= since);
        may_be
            .map(|(_, value)| *value)
            .chain(std::iter::once(value))
            .collect()
    }

    /// What is said of an installation goes with what was done to it.
    fn check_installation(&self, entry: &Entry) {
        let Some(said) = &entry.said else { return };
        let (name, id) = match &entry.what {
            What::Renew(name, id) => (name, id.as_deref()),
            What::Validate(name) | What::Activate(name) | What::Release(name) => (name, None),
            _ => return,
        };
        let place = (entry.key, name.as_str());
        match (&entry.what, said.code.as_str()) {
            (What::Renew(..) | What::Validate(_), "ok") => {
                assert!(
                    !self.surely_closed(place, entry.start, entry.end),
                    "it was released: {entry:?}"
                );
                assert!(
                    id.is_none() || said.activation_id.as_deref() == id,
                    "{entry:?}"
                );
            }
            (What::Renew(..), "activation_not_found")
            | (What::Validate(_), "installation_not_activated") => {
                assert!(
                    !self.surely_open(place, id, entry.start, entry.end),
                    "it was activated: {entry:?}"
                );
            }
            (What::Activate(_), "ok") if said.status == 201 => {
                assert!(
                    !self.surely_open(place, None, entry.start, entry.end),
                    "it was there: {entry:?}"
                );
            }
            (What::Activate(_), "ok") => {
                assert!(
                    !self.surely_closed(place, entry.start, entry.end),
                    "it was not there: {entry:?}"
                );
            }
            (What::Activate(_), "activation_limit_reached") => self.check_fullness(entry, place),
            (What::Release(_), "activation_not_found") => {
                let was_there = self
                    .calls(place)
                    .iter()
                    .any(|call| activated(call).is_some() && call.end < entry.start);
                assert!(!was_there, "it had been activated: {entry:?}");
            }
            _ => {}
        }
    }

    /// A key is refused as full only when it can have been full.
    fn check_fullness(&self, entry: &Entry, place: (usize, &str)) {
        assert!(
            !self.surely_open(place, None, entry.start, entry.end),
            "it has its place: {entry:?}"
        );
        let others = self.of_key(entry.key).filter(|name| *name != place.1);
        let may_be_open =
            others.filter(|name| !self.surely_closed((entry.key, name), entry.start, entry.end));
        let least = self.limits(entry.key, |change| change.end < entry.start);
        let full = least.is_some_and(|least| i64::try_from(may_be_open.count()).unwrap() >= least);
        assert!(full, "refused at a limit of {least:?}: {entry:?}");
    }

    fn of_key(&self, key: usize) -> impl Iterator<Item = &'a str> + '_ {
        let places = self.installations.keys();
        places
            .filter(move |(of, _)| *of == key)
            .map(|(_, name)| *name)
    }

    /// The highest limit that one of these changes, or the beginning, gave the key.
    fn limits(&self, key: usize, which: impl Fn(&Entry) -> bool) -> Option<i64> {
        let changes = self.changes_of(key).filter(|entry| which(entry));
        let raised = changes.filter_map(|entry| match entry.what {
            What::Limit(limit) => Some(limit),
            _ => None,
        });
        raised.chain(self.keys[key].limit).max()
    }

    /// At no time were more installations surely open than the limit can have been.
    fn check_limits(&self) {
        let admitted = self
            .entries
            .iter()
            .filter(|entry| activated(entry).is_some());
        for entry in admitted.filter(|entry| self.keys[entry.key].limit.is_some()) {
            let now = entry.end + 1;
            let open = self
                .of_key(entry.key)
                .filter(|name| self.surely_open((entry.key, name), None, now, now))
                .count();
            let most = self.limits(entry.key, |change| change.start < now);
            assert!(
                i64::try_from(open).unwrap() <= most.unwrap(),
                "{open} of {most:?} after {entry:?}"
            );
        }
    }

    /// What is in the database was asked for, as often as it is there; what was answered is there.
    fn check_database(&self, places: &Places) {
        let keys: HashMap<i64, usize> =
            (0..).zip(self.keys).map(|(at, key)| (key.id, at)).collect();
        for (id, name) in places.keys() {
            assert!(
                self.installations.contains_key(&(keys[id], name.as_str())),
                "nobody asked for {name} on key {id}"
            );
        }
        let nothing = super::Place::default();
        for ((key, name), calls) in &self.installations {
            let place = (self.keys[*key].id, (*name).to_owned());
            let found = places.get(&place).unwrap_or(&nothing);
            let known: HashSet<&str> = found
                .open
                .iter()
                .chain(&found.released)
                .map(String::as_str)
                .collect();
            let made: Vec<&str> = calls
                .iter()
                .filter(|call| call.said.as_ref().is_some_and(|said| said.status == 201))
                .filter_map(|call| activated(call))
                .collect();
            let distinct: HashSet<&str> = made.iter().copied().collect();
            assert_eq!(
                distinct.len(),
                made.len(),
                "an id was given twice: {place:?}"
            );
            for id in calls.iter().filter_map(|call| activated(call)) {
                assert!(
                    known.contains(id),
                    "{id} of {place:?} was answered and is not there"
                );
            }
            let unknown = calls
                .iter()
                .filter(|call| may_activate(call) && call.end == NEVER)
                .count();
            assert!(
                (made.len()..=made.len() + unknown).contains(&known.len()),
                "{place:?}: {known:?} for {} answers and {unknown} calls without one",
                made.len()
            );
            let releases = calls.iter().filter(|call| may_release(call)).count();
            assert!(found.released.len() <= releases, "{place:?}: {found:?}");
            if self.surely_open((*key, name), None, NEVER - 1, NEVER) {
                assert!(found.open.is_some(), "{place:?} is lost: {found:?}");
            }
            if self.surely_closed((*key, name), NEVER, NEVER) {
                assert_eq!(found.open, None, "{place:?} is back");
            }
        }
    }
}

/// The id of the activation that was answered.
fn activated<'a>(entry: &&'a Entry) -> Option<&'a str> {
    match (&entry.what, &entry.said) {
        (What::Activate(_), Some(said)) => said.activation_id.as_deref(),
        _ => None,
    }
}

fn may_activate(entry: &Entry) -> bool {
    let happened = entry.said.as_ref().is_none_or(|said| said.code == "ok");
    matches!(entry.what, What::Activate(_)) && happened
}

fn may_release(entry: &Entry) -> bool {
    let happened = entry.said.as_ref().is_none_or(|said| said.status == 204);
    matches!(entry.what, What::Release(_)) && happened
}
