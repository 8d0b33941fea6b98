//! Who asked for what, from when to when, and what was answered. A moment is a number that grows with every
//! call that begins or is answered, so of two calls one came after the other or they overlapped.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::support::persona::Answer;

/// The end of a call that was never answered: it may happen at any time.
pub(super) const NEVER: u64 = u64::MAX;

/// What was asked of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Activate(String),
    /// With the id of the activation when it was named by its token.
    Renew(String, Option<String>),
    Validate(String),
    Release(String),
    /// Revoke, or take that back.
    Revoked(bool),
    /// Disable, or enable.
    Disabled(bool),
    /// Raise the limit to this.
    Limit(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The place of the key in the list of keys.
    pub(super) key: usize,
    pub(super) what: What,
    pub(super) start: u64,
    pub(super) end: u64,
    /// `None` when nobody knows whether it happened: no answer came, or one that says so.
    pub(super) said: Option<Said>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    /// `ok`, or the code of the refusal.
    pub(super) code: String,
    pub(super) activation_id: Option<String>,
    pub(super) activations: Option<i64>,
    pub(super) max_activations: Option<i64>,
}

#[derive(Default)]
pub(super) struct Ledger {
    moment: AtomicU64,
    entries: Mutex<Vec<Entry>>,
}

impl Ledger {
    /// A call begins.
    pub(super) fn begin(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }

    /// A call is over; says what was answered.
    pub(super) fn end(
        &self,
        key: usize,
        what: What,
        start: u64,
        answer: Option<&Answer>,
    ) -> Option<Said> {
        let said = answer.and_then(|answer| read(&what, answer));
        let end = match said {
            Some(_) => self.moment.fetch_add(1, Ordering::SeqCst),
            None => NEVER,
        };
        let entry = Entry {
            key,
            what,
            start,
            end,
            said: said.clone(),
        };
        self.entries.lock().unwrap().push(entry);
        said
    }

    pub(super) fn take_entries(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock().unwrap())
    }
}

/// `None` for a 503, whose change may have been made by a database that went away before it said so.
fn read(what: &What, answer: &Answer) -> Option<Said> {
    // A connection whose request did not come in time, on a machine that is too busy.
    if answer.status == 408 {
        return None;
    }
    if answer.status == 503 {
        assert!(
            answer.headers.contains_key("retry-after"),
            "{}",
            answer.text
        );
        return None;
    }
    let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or("ok");
    let expected: &[(u16, &str)] = match what {
        What::Activate(_) => &[
            (201, "ok"),
            (200, "ok"),
            (409, "activation_limit_reached"),
            (403, "key_revoked"),
            (403, "key_disabled"),
        ],
        What::Renew(..) => &[
            (200, "ok"),
            (404, "activation_not_found"),
            (403, "key_revoked"),
            (403, "key_disabled"),
        ],
        What::Validate(_) => &[
            (200, "ok"),
            (200, "installation_not_activated"),
            (200, "key_revoked"),
            (200, "key_disabled"),
        ],
        What::Release(_) => &[(204, "ok"), (404, "activation_not_found")],
        What::Revoked(_) | What::Disabled(_) | What::Limit(_) => &[(200, "ok")],
    };
    assert!(
        expected.contains(&(answer.status, code)),
        "{what:?} was answered {} {}",
        answer.status,
        answer.text
    );
    let key = match what {
        What::Revoked(_) | What::Disabled(_) | What::Limit(_) => &body,
        _ => &body["key"],
    };
    Some(Said {
        status: answer.status,
        code: code.to_owned(),
        activation_id: body["activation_id"].as_str().map(str::to_owned),
        activations: key["activations"].as_i64(),
        max_activations: key["max_activations"].as_i64(),
    })
}
