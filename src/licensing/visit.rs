//! A call of shipped software: let in within the budgets, and counted by what it came to.

use super::context::Context;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Code, Error, Refusal, Result};
use crate::limits::{Client, Outcome, PresentedKey};

/// What shipped software asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    Activate,
    Renew,
    Release,
    Validate,
}

impl Wish {
    /// The word for metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Validate => "validate",
        }
    }
}

/// A call that was let in; it ends with [`App::conclude`].
#[derive(Debug)]
pub(crate) struct Visit {
    wish: Wish,
    client: Client,
    key: PresentedKey,
    now: Timestamp,
}

impl App {
    /// Lets a call with this key in.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn let_in(&self, wish: Wish, cx: &Context, key: PresentedKey) -> Result<Visit> {
        let client = Client::at(cx.address);
        if let Err(limited) = self.limits.allow_key(client, key) {
            self.metrics.verdict(wish, Code::RateLimited.as_str());
            return Err(self.refuse_limited(limited, cx.now));
        }
        Ok(Visit {
            wish,
            client,
            key,
            now: cx.now,
        })
    }

    /// Counts what a call came to.
    ///
    /// # Errors
    /// The result's own.
    pub(crate) fn conclude<T>(&self, visit: &Visit, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => self.conclude_verdict(visit, None),
            Err(Error::Refused(refusal)) => self.conclude_verdict(visit, Some(refusal)),
            Err(error) => self.metrics.verdict(visit.wish, error.code().as_str()),
        }
        result
    }

    /// Counts a verdict, which may be a refusal.
    pub(crate) fn conclude_verdict(&self, visit: &Visit, refusal: Option<&Refusal>) {
        let outcome = match refusal.map(|refusal| refusal.code) {
            None => Outcome::Good,
            Some(Code::KeyNotFound) => Outcome::Unknown,
            Some(_) => Outcome::Refused,
        };
        self.limits.note_key(visit.client, visit.key, outcome);
        self.count_verdict(visit.wish, refusal, visit.now);
    }

    /// Counts a verdict on what has not come as far as to name a key.
    pub(crate) fn count_verdict(&self, wish: Wish, refusal: Option<&Refusal>, now: Timestamp) {
        let code = refusal.map_or("ok", |refusal| refusal.code.as_str());
        self.metrics.verdict(wish, code);
        if let Some(refusal) = refusal {
            self.tally.refused(refusal.key, refusal.code, now);
        }
    }
}
