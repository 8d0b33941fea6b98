//! A map of bounded size: who is counted, and up to which moment.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// Parts with a lock of their own, so that requests seldom wait for each other.
const SHARDS: usize = 64;

/// Moments (in nanoseconds) by key, at most as many as it was made for.
///
/// When there is no room, the entry of the earliest moment goes: the one that is nearest to meaning
/// nothing. So a flood of new keys locks nobody out and lets nobody do more than with a table without
/// bounds, where every new key had a full budget, too.
#[derive(Debug)]
pub(super) struct Table<K> {
    shards: Box<[Mutex<HashMap<K, u64>>]>,
    room: usize,
    // Its seed is secret: nobody can choose keys that meet in one shard.
    hasher: RandomState,
}

impl<K: Hash + Eq + Clone> Table<K> {
    /// A table for `capacity` keys.
    pub(super) fn new(capacity: usize) -> Self {
        let shards = if capacity < SHARDS * SHARDS {
            1
        } else {
            SHARDS
        };
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            room: (capacity / shards).max(1),
            hasher: RandomState::new(),
        }
    }

    /// The moment noted for `key`.
    pub(super) fn get(&self, key: &K) -> Option<u64> {
        self.shard(key).get(key).copied()
    }

    /// Notes what `decide` makes of the moment that was noted before; nothing when it refuses.
    pub(super) fn update<T, E>(
        &self,
        key: &K,
        decide: impl FnOnce(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let mut shard = self.shard(key);
        let (answer, moment) = decide(shard.get(key).copied())?;
        if let Some(slot) = shard.get_mut(key) {
            *slot = moment;
        } else {
            if shard.len() >= self.room {
                drop_earliest(&mut shard);
            }
            shard.insert(key.clone(), moment);
        }
        Ok(answer)
    }

    /// Forgets `key`.
    pub(super) fn remove(&self, key: &K) {
        self.shard(key).remove(key);
    }

    /// Forgets every moment up to `last`, and gives back the memory that is not needed.
    pub(super) fn drop_until(&self, last: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, moment| *moment > last);
            if shard.capacity() > 4 * shard.len() {
                shard.shrink_to_fit();
            }
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, u64>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        lock(&self.shards[hash % self.shards.len()])
    }
}

/// Takes out the entry of the earliest moment; a shard is small enough to look at whole.
fn drop_earliest<K: Hash + Eq + Clone>(shard: &mut HashMap<K, u64>) {
    let earliest = shard
        .iter()
        .min_by_key(|(_, moment)| **moment)
        .map(|(key, _)| key.clone());
    if let Some(key) = earliest {
        shard.remove(&key);
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As the store of a rate limiter: a moment is then the theoretical arrival time of its algorithm.
impl<K: Hash + Eq + Clone> StateStore for Table<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.update(key, |moment| {
            decide(moment.map(Nanos::from)).map(|(answer, moment)| (answer, moment.as_u64()))
        })
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Table<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.drop_until(drop_below.as_u64());
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &Table<u32>, key: u32, moment: u64) {
        table
            .update(&key, |_| Ok::<_, ()>(((), moment)))
            .expect("it never refuses");
    }

    #[test]
    fn a_full_table_gives_up_the_earliest_moment_and_never_grows() {
        let table = Table::new(3);
        for (key, moment) in [(1, 50), (2, 10), (3, 30), (4, 20)] {
            put(&table, key, moment);
        }
        assert_eq!(table.len(), 3);
        assert_eq!((table.get(&2), table.get(&4)), (None, Some(20)));
        let table = Table::new(6400);
        for key in 0..20_000 {
            put(&table, key, u64::from(key));
        }
        assert_eq!(table.shards.len(), SHARDS);
        assert_eq!(table.len(), 6400);
    }

    #[test]
    fn what_is_over_is_dropped_and_its_memory_given_back() {
        let table = Table::new(1000);
        for key in 0..1000 {
            put(&table, key, u64::from(key));
        }
        table.drop_until(989);
        assert_eq!(table.len(), 10);
        assert!(lock(&table.shards[0]).capacity() < 100);
    }

    #[test]
    fn a_refusal_notes_nothing() {
        let table = Table::new(10);
        put(&table, 1, 7);
        let refuse = Err::<((), u64), _>;
        assert_eq!(table.update(&1, refuse), Err(Some(7)));
        assert_eq!(table.update(&2, refuse), Err(None));
        assert_eq!((table.get(&1), table.get(&2)), (Some(7), None));
    }
}
