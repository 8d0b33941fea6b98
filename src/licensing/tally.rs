//! What is counted in memory and written now and then: when installations were last seen, and how
//! often requests were refused. Never one write per refused request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::activation::Activation;
use crate::db::models::key::KeyId;
use crate::db::models::refusal_count;
use crate::error::{Code, Result};

/// Rows written per transaction, so that none holds the writer long.
const SLICE: usize = 500;
/// Entries held at most between two flushes; what comes beyond is not counted by key but as unknown.
const CAPACITY: usize = 100_000;

/// The counts since the last flush.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pending: Mutex<Pending>,
}

/// A key and an installation.
type Place = (KeyId, String);
/// Which activation it is, and when it was last heard of.
type Seen = (i64, Timestamp);

#[derive(Debug, Default)]
struct Pending {
    seen: HashMap<Place, Seen>,
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

    /// Counts a refusal; `None` for a key that is not known.
    pub(crate) fn refused(&self, key: Option<i64>, code: Code, now: Timestamp) {
        let mut pending = self.pending();
        let key = key
            .filter(|_| pending.refused.len() < CAPACITY)
            .unwrap_or(0);
        *pending.refused.entry((now.day(), key, code)).or_default() += 1;
    }

    /// Keeps what could not be written, beside what has come in since.
    fn take_back(&self, seen: Vec<(Place, Seen)>, refused: Vec<((i64, i64, Code), i64)>) {
        let mut pending = self.pending();
        for (place, at) in seen {
            // What came in since is newer.
            pending.seen.entry(place).or_insert(at);
        }
        for (about, count) in refused {
            *pending.refused.entry(about).or_default() += count;
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Writes what was counted since the last flush.
    ///
    /// # Errors
    /// The database's; what was not written is kept for the next time.
    pub async fn flush_tally(&self) -> Result<()> {
        let Pending { seen, refused } = std::mem::take(&mut *self.tally.pending());
        let mut seen: Vec<_> = seen.into_iter().collect();
        // In key order, so that two processes on one database never wait for each other in a circle.
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut refused: Vec<_> = refused.into_iter().collect();
        refused.sort_unstable_by_key(|((day, key, code), _)| (*day, *key, code.as_str()));

        while let Some(slice) = next_slice(&seen) {
            let rows = slice.to_vec();
            let written = self.db.write(move |tx| write_seen(tx, &rows)).await;
            if written.is_err() {
                self.tally.take_back(seen, refused);
                return written;
            }
            seen.drain(..slice_len(&seen));
        }
        while let Some(slice) = next_slice(&refused) {
            let rows = slice.to_vec();
            let written = self.db.write(move |tx| write_refused(tx, &rows)).await;
            if written.is_err() {
                self.tally.take_back(seen, refused);
                return written;
            }
            refused.drain(..slice_len(&refused));
        }
        Ok(())
    }
}

fn slice_len<T>(rows: &[T]) -> usize {
    rows.len().min(SLICE)
}

fn next_slice<T>(rows: &[T]) -> Option<&[T]> {
    rows.get(..slice_len(rows))
        .filter(|slice| !slice.is_empty())
}

fn write_seen(tx: &mut DbConnection, rows: &[(Place, Seen)]) -> Result<()> {
    for ((key, installation), (serial, at)) in rows {
        Activation::touch(tx, *key, installation, *serial, *at)?;
    }
    Ok(())
}

fn write_refused(tx: &mut DbConnection, rows: &[((i64, i64, Code), i64)]) -> Result<()> {
    for ((day, key, code), count) in rows {
        refusal_count::add(tx, *day, *key, code.as_str(), *count)?;
    }
    Ok(())
}
