//! The one place that asks what time it is.
//!
//! Instants are UTC with microsecond precision and always come from the application, never from a
//! database default, so that both databases store the same thing and tests can set the time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use diesel_derive_newtype::DieselNewType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// An instant: microseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339, stored as `BIGINT`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, DieselNewType)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every other instant.
    pub const EARLIEST: Self = Self(i64::MIN);

    /// The instant `micros` microseconds after the epoch.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down, as the claims of a token count them.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// Days since the epoch, in UTC.
    pub fn day(self) -> i64 {
        self.seconds().div_euclid(SECONDS_PER_DAY)
    }

    /// This instant moved on by `seconds` (back when negative).
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(
            self.0
                .saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)),
        )
    }

    /// This instant moved on by `days` of 24 hours.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Self {
        self.plus_seconds(days.saturating_mul(SECONDS_PER_DAY))
    }

    /// The first instant of this instant's calendar month, in UTC.
    #[must_use]
    pub fn start_of_month(self) -> Self {
        use chrono::Datelike;
        let date = self.to_chrono().date_naive();
        let first = date.with_day(1).unwrap_or(date);
        Self(
            first
                .and_time(chrono::NaiveTime::MIN)
                .and_utc()
                .timestamp_micros(),
        )
    }

    /// Reads an RFC 3339 text in any offset.
    ///
    /// # Errors
    /// The parser's message when the text is no RFC 3339 date and time.
    pub fn parse(text: &str) -> Result<Self, String> {
        DateTime::parse_from_rfc3339(text)
            .map(|at| Self(at.timestamp_micros()))
            .map_err(|error| format!("is no RFC 3339 time such as 2026-11-22T10:00:00Z ({error})"))
    }

    fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .to_chrono()
                .to_rfc3339_opts(SecondsFormat::AutoSi, true),
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from: the system, or a value that a test sets.
#[derive(Clone, Debug)]
pub struct Clock {
    /// `None` asks the system.
    fixed: Option<Arc<AtomicI64>>,
    /// What [`Clock::elapsed`] counts from.
    started: Instant,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self {
            fixed: None,
            started: Instant::now(),
        }
    }

    /// A clock that stands at `at` until it is set.
    pub fn fixed(at: Timestamp) -> Self {
        Self {
            fixed: Some(Arc::new(AtomicI64::new(at.micros()))),
            ..Self::system()
        }
    }

    /// Sets a fixed clock; the system's clock is left alone.
    pub fn set(&self, at: Timestamp) {
        if let Some(fixed) = &self.fixed {
            fixed.store(at.micros(), Ordering::SeqCst);
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.fixed {
            Some(fixed) => Timestamp(fixed.load(Ordering::SeqCst)),
            None => Timestamp(Utc::now().timestamp_micros()),
        }
    }

    /// The time since some moment that stays the same: for what is counted per minute, which must not
    /// stand still or jump when somebody sets the system's clock.
    pub fn elapsed(&self) -> Duration {
        match &self.fixed {
            Some(fixed) => {
                let micros = fixed.load(Ordering::SeqCst);
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }
            None => self.started.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_back_from_its_own_text() {
        for micros in [0, 1, 1_795_000_000_000_000, 1_795_000_000_123_456] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
        }
    }

    #[test]
    fn another_offset_is_read_as_the_same_instant_in_utc() {
        let at = Timestamp::parse("2026-11-22T12:30:00+02:30").unwrap();
        assert_eq!(at.to_string(), "2026-11-22T10:00:00Z");
    }

    #[test]
    fn a_month_starts_at_midnight_of_its_first_day() {
        let at = Timestamp::parse("2028-02-29T23:59:59.999999Z").unwrap();
        assert_eq!(at.start_of_month().to_string(), "2028-02-01T00:00:00Z");
    }
}
