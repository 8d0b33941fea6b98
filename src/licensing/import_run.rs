//! The course of an import: read, seal, stage, and at the end publish.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::import::{
    CreateMissing, Failures, ImportOptions, ImportReport, Piece, Purpose, ReadSoFar,
};
use super::import_flow::{Flow, Plan, RUN, Room};
use super::import_format::{FailedLine, Parser, Record};
use super::import_target::{self, Place, StagedIn, Target};
use super::mint::Batch;
use super::staging::CHUNK;
use crate::app::App;
use crate::db::models::import::Staged;
use crate::db::models::key::{Key, KeySource};
use crate::error::{Code, Error, Refusal, Result};

/// Sequences that one import may fill: it holds them all when it publishes.
const MAX_SEQUENCES: usize = 10_000;

/// An import under way.
pub(super) struct Run {
    pub(super) app: Arc<App>,
    pub(super) cx: Context,
    pub(super) options: ImportOptions,
    pub(super) target: Target,
    read: Arc<ReadSoFar>,
    /// The sequences that the text has named so far.
    pub(super) places: HashMap<String, Option<Place>>,
    failures: Failures,
    /// How many lines have been read.
    pub(super) lines: i64,
    /// What became of the keys.
    pub(super) staged: Staged,
    plan: Option<Arc<Plan>>,
    flow: Flow,
    /// In a dry run: what the text has held so far. Half of each hash, as two texts of one import that
    /// share so much are not to be feared.
    seen: HashSet<[u8; 16]>,
}

impl Run {
    pub(super) fn new(
        app: Arc<App>,
        cx: Context,
        options: ImportOptions,
        target: Target,
        read: Arc<ReadSoFar>,
    ) -> Self {
        Self {
            flow: Flow::new(Arc::clone(&app)),
            app,
            cx,
            options,
            target,
            read,
            places: HashMap::new(),
            failures: Failures::default(),
            lines: 0,
            staged: Staged::default(),
            plan: None,
            seen: HashSet::new(),
        }
    }

    /// Reads the text, publishes its keys, and takes everything away again when that fails.
    pub(super) async fn carry_out(
        mut self,
        parser: Parser,
        pieces: mpsc::Receiver<Piece>,
        tell_read: oneshot::Sender<()>,
    ) -> Result<ImportReport> {
        let read = self.read_all(parser, pieces).await;
        // Whatever was read: nothing is taken away under those who still store.
        let staged = self.flow.finish().await;
        let read = match staged {
            // Then the reading may have ended because of it.
            Err(why) => Err(why),
            Ok(staged) => {
                self.staged = self.staged + staged;
                read
            }
        };
        // Whoever waited for it may have left.
        let _ = tell_read.send(());
        let ended = match read {
            Err(error) => Err(error),
            Ok(()) if self.options.purpose == Purpose::DryRun => Ok(()),
            Ok(()) if self.failures.count > 0 => {
                Err(std::mem::take(&mut self.failures).refusal().into())
            }
            Ok(()) => self.publish().await,
        };
        if let (Err(error), Some(place)) = (&ended, self.target.place) {
            self.take_away(place, error).await;
        }
        ended.map(|()| ImportReport {
            added: u64::try_from(self.staged.added).unwrap_or(0),
            duplicates: u64::try_from(self.staged.duplicates).unwrap_or(0),
            failures: self.failures.count,
            failed: self.failures.listed,
        })
    }

    async fn read_all(
        &mut self,
        mut parser: Parser,
        mut pieces: mpsc::Receiver<Piece>,
    ) -> Result<()> {
        let mut out = Vec::new();
        let mut pending = Vec::new();
        loop {
            // While keys are stored the next ones come together: the longer it takes, the more at once.
            let piece = tokio::select! {
                room = self.flow.room(), if pending.len() >= CHUNK => {
                    let rest = pending.split_off(pending.len().min(RUN));
                    let records = std::mem::replace(&mut pending, rest);
                    self.take(room?, records).await?;
                    continue;
                }
                piece = pieces.recv(), if pending.len() < RUN => piece,
            };
            match piece {
                Some(Piece::Bytes(bytes)) => parser.push(&bytes, &mut out)?,
                Some(Piece::End) => break,
                None => return Err(Error::Unavailable("the text of the import broke off")),
            }
            self.sort(&mut out, &mut pending);
        }
        parser.finish(&mut out)?;
        self.sort(&mut out, &mut pending);
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(RUN));
            let records = std::mem::replace(&mut pending, rest);
            let room = self.flow.room().await?;
            self.take(room, records).await?;
        }
        Ok(())
    }

    /// Keeps what can be staged and notes what cannot.
    fn sort(&mut self, out: &mut Vec<Result<Record, FailedLine>>, pending: &mut Vec<Record>) {
        self.read.add(u64::try_from(out.len()).unwrap_or(0));
        self.lines += i64::try_from(out.len()).unwrap_or(0);
        for outcome in out.drain(..) {
            match outcome {
                // After a failure nothing will be published: the rest is only looked through.
                Ok(_) if self.is_lost() => {}
                Ok(record) => pending.push(record),
                Err(failed) => self.failures.add(failed),
            }
        }
    }

    /// Whether the import can only be refused.
    fn is_lost(&self) -> bool {
        self.failures.count > 0 && self.options.purpose == Purpose::Import
    }

    async fn take(&mut self, room: Room, records: Vec<Record>) -> Result<()> {
        self.app.go_on_unless_stopping()?;
        let records = self.find_places(records).await?;
        if records.is_empty() || self.is_lost() {
            return Ok(());
        }
        match self.target.place {
            Some(place) => {
                let plan = self.plan(place);
                self.flow.begin(room, plan, records, self.lines).await?;
            }
            None => self.count(records).await?,
        }
        Ok(())
    }

    fn plan(&mut self, place: StagedIn) -> Arc<Plan> {
        let plan = self.plan.get_or_insert_with(|| {
            let batch = Batch {
                source: KeySource::Import,
                generator: None,
                lot: Some(place.lot),
                product: self.target.product.clone(),
                standing: self.target.standing,
                terms: self.options.terms,
                now: self.cx.now,
            };
            Arc::new(Plan::new(&self.app, place, batch))
        });
        Arc::clone(plan)
    }

    /// Finds where each record goes; those that go nowhere fail.
    async fn find_places(&mut self, records: Vec<Record>) -> Result<Vec<(Record, Place)>> {
        let unknown: BTreeSet<String> = records
            .iter()
            .filter_map(|record| Some(record.sequence.as_ref()?.as_str()))
            .filter(|name| !self.places.contains_key(*name))
            .map(ToOwned::to_owned)
            .collect();
        if !unknown.is_empty() && self.target.sequence.is_none() {
            self.look_up(unknown.into_iter().collect()).await?;
        }
        let mut found = Vec::with_capacity(records.len());
        for record in records {
            if let Err(failed) = self.check_standing(&record) {
                self.failures.add(failed);
                continue;
            }
            match self.place_of(&record) {
                Ok(place) => found.push((record, place)),
                Err(failed) => self.failures.add(failed),
            }
        }
        Ok(found)
    }

    /// A key that somebody had elsewhere must not come in as stock, nor one that nobody could use.
    fn check_standing(&self, record: &Record) -> Result<(), FailedLine> {
        let standing = &self.target.standing;
        let is_assigned = standing.assigned_at.is_some();
        let (code, detail) = if record
            .status
            .is_some_and(|status| status != standing.status)
        {
            let detail = format!("has another status than `{}`", standing.status);
            ("other_status", detail)
        } else if !is_assigned && !record.is_stock {
            (
                "not_stock",
                "was assigned, suspended, revoked or terminated".to_owned(),
            )
        } else if !is_assigned && record.expires_at.is_some_and(|at| at <= self.cx.now) {
            (
                "in_the_past",
                "expires in the past: nobody could use it".to_owned(),
            )
        } else {
            return Ok(());
        };
        Err(FailedLine::new(record.line, code, detail))
    }

    async fn look_up(&mut self, names: Vec<String>) -> Result<()> {
        if self.places.len() + names.len() > MAX_SEQUENCES {
            let detail = format!(
                "The text names more than {MAX_SEQUENCES} sequences; import it in several parts."
            );
            return Err(Refusal::because(Code::ImportFailed, detail).into());
        }
        let (cx, asked) = (self.cx.clone(), names.clone());
        let make = self.options.create_missing;
        let mut found = match self.options.purpose {
            Purpose::Import => {
                self.app
                    .db
                    .write(move |tx| import_target::places(tx, &cx, &asked, make))
                    .await?
            }
            Purpose::DryRun => {
                self.app
                    .db
                    .read(move |conn| import_target::places(conn, &cx, &asked, CreateMissing::No))
                    .await?
            }
        };
        for name in names {
            let would_be_made = self.options.purpose == Purpose::DryRun
                && make == CreateMissing::Yes
                && self.cx.actor.may_make_sequences();
            let place = found
                .remove(&name)
                .or(would_be_made.then_some(Place::Missing));
            self.places.insert(name, place);
        }
        Ok(())
    }

    fn place_of(&self, record: &Record) -> Result<Place, FailedLine> {
        let failed = |code, detail: &str| FailedLine::new(record.line, code, detail);
        let place = match (self.target.sequence, &record.sequence) {
            (Some(_), Some(name)) if Some(name.as_str()) != self.options.sequence.as_deref() => {
                return Err(failed(
                    "other_sequence",
                    "names another sequence than the import",
                ));
            }
            (Some(place), _) => place,
            (None, None) => return Err(failed("no_sequence", "names no sequence")),
            (None, Some(name)) => match self.places.get(name.as_str()) {
                Some(Some(place)) => *place,
                _ => {
                    return Err(failed(
                        "unknown_sequence",
                        "names a sequence that is not there",
                    ));
                }
            },
        };
        match &self.target.product {
            Some(product) if !import_target::takes(product, place) => {
                let detail = "names a sequence that the product does not use";
                Err(failed("other_sequence", detail))
            }
            _ => Ok(place),
        }
    }

    /// What a dry run does instead of staging.
    async fn count(&mut self, records: Vec<(Record, Place)>) -> Result<()> {
        let vault = Arc::clone(&self.app.vault);
        let hashes: Vec<[u8; 32]> = tokio::task::spawn_blocking(move || {
            let texts = records.iter().map(|(record, _)| record.key.as_str());
            texts.map(|text| vault.hash(text)).collect()
        })
        .await
        .map_err(|error| Error::internal(format!("hashing keys ended early: {error}")))?;
        let asked = hashes.clone();
        let taken = self
            .app
            .db
            .read(move |conn| Ok(Key::taken_texts(conn, &asked)?))
            .await?;
        let mut added = 0;
        for hash in &hashes {
            let (half, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
            if self.seen.insert(*half) && !taken.contains(hash.as_slice()) {
                added += 1;
            }
        }
        self.staged = self.staged + Staged::of(hashes.len(), added);
        Ok(())
    }
}
