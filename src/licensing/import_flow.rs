//! Storing the keys of an import while more of its text is read: a run of keys is sealed while the one
//! before it is written.
//!
//! Runs are written in their order, so that of two keys with one text the first is stored. What a run
//! holds follows from how long the one before it takes: keys that come slowly are stored soon, many that
//! come at once in long transactions, which cost the index over the texts far less. On SQLite, where one
//! transaction writes at a time, such a transaction ends as soon as anybody else wants to write. On
//! PostgreSQL several share a run, each with the texts of its own part of the index.

use std::ops::Range;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::import_format::Record;
use super::import_target::{Place, StagedIn};
use super::mint::{Batch, Terms};
use super::staging::{self, CHUNK};
use crate::app::App;
use crate::db::ids;
use crate::db::models::import::{Import, Staged};
use crate::db::models::new_key::{NewKey, NewKeysShare};
use crate::error::{Error, Result};

/// Keys of a run at most.
pub(super) const RUN: usize = 16 * CHUNK;
/// Runs under way: one is written, one is sealed, and one waits for its ids, which on SQLite it gets between
/// the transactions of the others.
const RUNS: usize = 3;
/// Transactions that share a run on PostgreSQL. Others need its processors, too.
const PARTS: usize = 2;
/// Keys of a transaction at most where others do not wait for its end.
const LONGEST: usize = 4 * CHUNK;

/// Records with the ids of their keys.
type Numbered = Vec<(i64, (Record, Place))>;

/// Leave to begin a run.
pub(super) type Room = OwnedSemaphorePermit;

/// What all keys of an import are stored with.
#[derive(Debug)]
pub(super) struct Plan {
    place: StagedIn,
    batch: Batch,
    share: NewKeysShare,
}

/// The runs under way.
#[derive(Debug)]
pub(super) struct Flow {
    app: Arc<App>,
    room: Arc<Semaphore>,
    /// The newest run, which waits for those before it: what became of all keys so far.
    newest: Option<JoinHandle<Result<Staged>>>,
}

impl Plan {
    pub(super) fn new(app: &App, place: StagedIn, batch: Batch) -> Self {
        let share = app.mint().share(&batch);
        Self {
            place,
            batch,
            share,
        }
    }
}

impl Flow {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self {
            app,
            room: Arc::new(Semaphore::new(RUNS)),
            newest: None,
        }
    }

    /// Waits until another run can begin. May be given up and asked again.
    ///
    /// # Errors
    /// When a run has failed; [`Flow::finish`] tells why.
    pub(super) async fn room(&self) -> Result<Room> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        room.map_err(|_| Error::Unavailable("keys of the import were not stored"))
    }

    /// Begins to store keys, with which `lines` lines have been read.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn begin(
        &mut self,
        room: Room,
        plan: Arc<Plan>,
        records: Vec<(Record, Place)>,
        lines: i64,
    ) -> Result<()> {
        // Before the next run is: the order of the ids is that of the lines.
        let count = records.len();
        let ids = self
            .app
            .db
            .write_part(move |tx| Ok(ids::take_key_ids(tx, count)?))
            .await?;
        let records = ids.into_iter().zip(records).collect();
        let (app, gate) = (Arc::clone(&self.app), Arc::clone(&self.room));
        let before = self.newest.take();
        self.newest = Some(tokio::spawn(async move {
            let staged = run(&app, &plan, before, records, lines).await;
            if staged.is_err() {
                gate.close();
            }
            drop(room);
            staged
        }));
        Ok(())
    }

    /// Waits for all runs; returns what became of their keys.
    ///
    /// # Errors
    /// The first failure.
    pub(super) async fn finish(&mut self) -> Result<Staged> {
        match self.newest.take() {
            Some(run) => run.await.map_err(ended_badly)?,
            None => Ok(Staged::default()),
        }
    }
}

fn ended_badly(error: tokio::task::JoinError) -> Error {
    Error::internal(format!("storing keys ended early: {error}"))
}

async fn run(
    app: &App,
    plan: &Arc<Plan>,
    before: Option<JoinHandle<Result<Staged>>>,
    records: Numbered,
    lines: i64,
) -> Result<Staged> {
    let sealed = seal(app, plan, records).await;
    let before = match before {
        Some(run) => run.await.map_err(ended_badly)??,
        None => Staged::default(),
    };
    let rows = Arc::new(sealed?);
    let parts = parts(app, &rows)
        .into_iter()
        .map(|part| store(app, plan, &rows, part, lines));
    // All of them, also when one fails: afterwards nobody stores any more.
    let stored: Vec<_> = join_all(parts).await;
    stored
        .into_iter()
        .try_fold(before, |sum, part| Ok(sum + part?))
}

/// Seals the texts, which is work for a processor and not for a transaction.
async fn seal(app: &App, plan: &Arc<Plan>, records: Numbered) -> Result<Vec<NewKey>> {
    let (mint, plan) = (app.mint(), Arc::clone(plan));
    tokio::task::spawn_blocking(move || {
        let batch = &plan.batch;
        let mut rows: Vec<NewKey> = records
            .into_iter()
            .map(|(id, (record, place))| {
                let terms = batch.terms.overridden(own_terms(&record));
                let terms = match batch.standing.assigned_at {
                    Some(at) => terms.at_issue(at),
                    None => terms,
                };
                let extra = (!record.extra.0.is_empty()).then_some(record.extra);
                mint.key(id, record.key.as_str(), place.id(), terms, extra)
            })
            .collect();
        staging::sort_for_index(&mut rows);
        rows
    })
    .await
    .map_err(|error| Error::internal(format!("sealing keys ended early: {error}")))
}

/// The parts of a run that are stored at the same time. A text always belongs to the same part.
fn parts(app: &App, rows: &[NewKey]) -> Vec<Range<usize>> {
    let parts = if app.db.is_embedded() { 1 } else { PARTS };
    let begin = |part: usize| {
        rows.partition_point(|row| usize::from(row.text_hash[0]) * parts < 256 * part)
    };
    (0..parts)
        .map(|part| begin(part)..begin(part + 1))
        .filter(|part| !part.is_empty())
        .collect()
}

/// Stores a part of a run in as few transactions as others allow.
async fn store(
    app: &App,
    plan: &Arc<Plan>,
    rows: &Arc<Vec<NewKey>>,
    mut part: Range<usize>,
    lines: i64,
) -> Result<Staged> {
    let mut staged = Staged::default();
    let longest = if app.db.is_embedded() { RUN } else { LONGEST };
    while !part.is_empty() {
        let (plan, rows, part_left) = (Arc::clone(plan), Arc::clone(rows), part.clone());
        let (clock, hurried) = (app.clock.clone(), app.db.hurried());
        let (done, more) = app
            .db
            .write_part(move |tx| {
                let now = clock.now();
                let left = (&plan.share, &rows[part_left.clone()]);
                let go_on = |done| done < longest && !hurried.is_any();
                let (done, new) = staging::stage(tx, plan.place.lot, left, now, go_on)?;
                let more = Staged::of(done, new);
                Import::note(tx, plan.place.import, lines, more, now)?;
                Ok((done, more))
            })
            .await?;
        staged = staged + more;
        part.start += done;
    }
    Ok(staged)
}

fn own_terms(record: &Record) -> Terms {
    Terms {
        expires_at: record.expires_at,
        valid_for_days: record.valid_for_days,
        max_activations: record.max_activations,
    }
}
