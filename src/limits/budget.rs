//! The three ways of counting: calls that are paid for before they are made, failures that are paid for
//! afterwards, and what is merely remembered for a while.

use std::hash::Hash;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use super::table::Table;
use crate::clock::Clock;
use crate::config::Rate;

/// Our clock, as governor asks for the time.
#[derive(Clone, Debug)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        nanos(self.0.elapsed()).into()
    }
}

/// A budget that is asked before each call and pays for it then.
#[derive(Debug)]
pub(super) struct Budget<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Table<K>, Ticks, NoOpMiddleware<Nanos>>,
}

impl<K: Hash + Eq + Clone> Budget<K> {
    pub(super) fn new(rate: Rate, capacity: usize, clock: &Clock) -> Self {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::new(quota, Table::new(capacity), Ticks(clock.clone())),
        }
    }

    /// Pays for a call of `key`; the error is how long to wait before the next can be paid for.
    pub(super) fn take(&self, key: &K) -> Result<(), Duration> {
        self.limiter
            .check_key(key)
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// Forgets whose budget is full again.
    pub(super) fn forget(&self) {
        self.limiter.retain_recent();
    }
}

/// A budget of failures, which are known only once they have happened: asked beforehand whether
/// anything is left, charged afterwards.
///
/// It counts as governor does (GCRA), with one difference: it goes into debt. Whoever has many calls on
/// the way at once may fail with each of them, but waits the longer for the next; over time no more
/// failures happen than the rate says.
#[derive(Debug)]
pub(super) struct Failures<K> {
    table: Table<K>,
    clock: Clock,
    /// Nanoseconds that one failure costs.
    cost: u64,
    /// How far ahead of the time the moment may be, for all but the last failure of a burst.
    tolerance: u64,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    pub(super) fn new(rate: Rate, capacity: usize, clock: &Clock) -> Self {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        let cost = nanos(quota.replenish_interval());
        Self {
            table: Table::new(capacity),
            clock: clock.clone(),
            cost,
            tolerance: cost.saturating_mul(u64::from(rate.burst.get()) - 1),
        }
    }

    /// Whether another failure can be afforded; the error is how long to wait until it can.
    pub(super) fn look(&self, key: &K) -> Result<(), Duration> {
        let now = nanos(self.clock.elapsed());
        let paid_until = self.table.get(key).unwrap_or(now);
        match paid_until.saturating_sub(self.tolerance) {
            earliest if now < earliest => Err(Duration::from_nanos(earliest - now)),
            _ => Ok(()),
        }
    }

    /// Charges a failure.
    pub(super) fn charge(&self, key: &K) {
        let now = nanos(self.clock.elapsed());
        let charged: Result<(), std::convert::Infallible> = self.table.update(key, |paid_until| {
            let paid_until = paid_until.unwrap_or(now).max(now);
            Ok(((), paid_until.saturating_add(self.cost)))
        });
        let Ok(()) = charged;
    }

    /// Forgets whose budget is full again.
    pub(super) fn forget(&self) {
        self.table.drop_until(nanos(self.clock.elapsed()));
    }
}

/// What was seen within the last `lifetime`, as far as there is room for it.
#[derive(Debug)]
pub(super) struct Memory<K> {
    table: Table<K>,
    clock: Clock,
    lifetime: Duration,
}

impl<K: Hash + Eq + Clone> Memory<K> {
    pub(super) fn new(lifetime: Duration, capacity: usize, clock: &Clock) -> Self {
        Self {
            table: Table::new(capacity),
            clock: clock.clone(),
            lifetime,
        }
    }

    pub(super) fn knows(&self, key: &K) -> bool {
        let now = nanos(self.clock.elapsed());
        self.table.get(key).is_some_and(|until| now < until)
    }

    /// Remembers `key` from now on; says whether it was not known.
    pub(super) fn remember(&self, key: &K) -> Recall {
        let now = nanos(self.clock.elapsed());
        let until = now.saturating_add(nanos(self.lifetime));
        let recall: Result<_, std::convert::Infallible> = self.table.update(key, |known_until| {
            let recall = match known_until {
                Some(known_until) if now < known_until => Recall::Known,
                _ => Recall::New,
            };
            Ok((recall, until))
        });
        let Ok(recall) = recall;
        recall
    }

    pub(super) fn lose(&self, key: &K) {
        self.table.remove(key);
    }

    /// Forgets what is older than its lifetime.
    pub(super) fn forget(&self) {
        self.table.drop_until(nanos(self.clock.elapsed()));
    }
}

/// Whether something was remembered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    Known,
    New,
}

/// As a number: 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::clock::Timestamp;

    fn clock() -> Clock {
        Clock::fixed(Timestamp::from_micros(1_795_000_000_000_000))
    }

    fn pass(clock: &Clock, seconds: i64) {
        clock.set(clock.now().plus_seconds(seconds));
    }

    fn rate(per_minute: u32, burst: u32) -> Rate {
        Rate {
            per_minute: NonZeroU32::new(per_minute).expect("not 0"),
            burst: NonZeroU32::new(burst).expect("not 0"),
        }
    }

    #[test]
    fn a_budget_gives_its_burst_at_once_and_then_its_rate() {
        let clock = clock();
        let budget = Budget::new(rate(6, 3), 100, &clock);
        for _ in 0..3 {
            assert_eq!(budget.take(&"a"), Ok(()));
        }
        assert_eq!(budget.take(&"a"), Err(Duration::from_secs(10)));
        assert_eq!(budget.take(&"b"), Ok(()), "others have their own");
        pass(&clock, 9);
        assert_eq!(budget.take(&"a"), Err(Duration::from_secs(1)));
        pass(&clock, 1);
        assert_eq!(budget.take(&"a"), Ok(()));
        assert_eq!(budget.take(&"a"), Err(Duration::from_secs(10)));
    }

    #[test]
    fn whose_budget_is_full_again_is_forgotten() {
        let clock = clock();
        let budget = Budget::new(rate(6, 3), 100, &clock);
        budget.take(&"a").expect("it is full");
        budget.forget();
        assert_eq!(budget.limiter.len(), 1);
        pass(&clock, 60);
        budget.forget();
        assert_eq!(budget.limiter.len(), 0);
    }

    #[test]
    fn failures_are_seen_before_the_next_and_debts_are_waited_for() {
        let clock = clock();
        let failures = Failures::new(rate(6, 3), 100, &clock);
        for _ in 0..3 {
            assert_eq!(failures.look(&"a"), Ok(()));
            failures.charge(&"a");
        }
        assert_eq!(failures.look(&"a"), Err(Duration::from_secs(10)));
        // Five that were on the way already.
        for _ in 0..5 {
            failures.charge(&"a");
        }
        assert_eq!(failures.look(&"a"), Err(Duration::from_secs(60)));
        assert_eq!(failures.look(&"b"), Ok(()));
        pass(&clock, 60);
        assert_eq!(failures.look(&"a"), Ok(()));
        failures.forget();
        assert_eq!(failures.table.len(), 1, "it is not full again");
        pass(&clock, 30);
        failures.forget();
        assert_eq!(failures.table.len(), 0);
    }

    #[test]
    fn a_memory_ends() {
        let clock = clock();
        let memory = Memory::new(Duration::from_secs(60), 100, &clock);
        assert_eq!(memory.remember(&1), Recall::New);
        assert_eq!(memory.remember(&1), Recall::Known);
        pass(&clock, 59);
        assert!(memory.knows(&1) && !memory.knows(&2));
        pass(&clock, 1);
        assert!(!memory.knows(&1));
        memory.forget();
        assert_eq!(memory.table.len(), 0);
    }
}
