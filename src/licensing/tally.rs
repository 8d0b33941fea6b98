//! What is counted in memory and written now and then: when installations were last seen, and how
//! often requests were refused. Never one write per refused request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::activation::Activation;
use crate::db::models::key::KeyId;
use crate::db::models::refusal_count;
use crate::error::{Code, Error, Result};

/// Rows written per transaction, so that none holds the writer long.
const SLICE: usize = 500;
/// Entries held at most between two flushes; what comes beyond is not counted by key but as unknown.
const CAPACITY: usize = 100_000;

/// The counts since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    seen: HashMap<(KeyId, String), (i64, Timestamp)>,
    refused: HashMap<(i64, i64, Code), i64>,
}

impl Tally {
    /// Notes that an installation was heard of.
    pub(crate) fn saw(&self, activation: &Activation, now: Timestamp) {
        let mut pending = self.pending();
        let place = (activation.key_id, activation.installation_id.clone());
        if pending.seen.len() < CAPACITY || pending.seen.contains_key(&place) {
            pending.seen.insert(place, (activation.serial, now));
        }
    }

    /// Counts a refusal on its way out.
    ///
    /// # Errors
    /// The result's own.
    pub(crate) fn count_refusal<T>(&self, result: Result<T>, now: Timestamp) -> Result<T> {
        if let Err(Error::Refused(refusal)) = &result {
            let mut pending = self.pending();
            let key = if pending.refused.len() < CAPACITY {
                refusal.key.map_or(0, |key| key.0)
            } else {
                0
            };
            *pending
                .refused
                .entry((now.day(), key, refusal.code))
                .or_default() += 1;
        }
        result
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Writes what was counted since the last flush.
    ///
    /// # Errors
    /// The database's; the counts of the failed slice are lost then, and only those.
    pub async fn flush_tally(&self) -> Result<()> {
        let Pending { seen, refused } = std::mem::take(&mut *self.tally.pending());
        let mut seen: Vec<_> = seen.into_iter().collect();
        // In key order, so that two processes on one database never wait for each other in a circle.
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for slice in seen.chunks(SLICE) {
            let slice = slice.to_vec();
            self.db
                .write(move |tx| {
                    for ((key, installation), (serial, at)) in &slice {
                        Activation::touch(tx, *key, installation, *serial, *at)?;
                    }
                    Ok(())
                })
                .await?;
        }
        let mut refused: Vec<_> = refused.into_iter().collect();
        refused.sort_unstable_by_key(|((day, key, code), _)| (*day, *key, code.as_str()));
        for slice in refused.chunks(SLICE) {
            let slice = slice.to_vec();
            self.db
                .write(move |tx| {
                    for ((day, key, code), count) in &slice {
                        refusal_count::add(tx, *day, *key, code.as_str(), *count)?;
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}
