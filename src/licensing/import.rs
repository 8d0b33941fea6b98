//! Import: keys that were made elsewhere, into sequences [UC-8, IPS-5].
//!
//! The text is read as it comes and never held whole: its keys are staged as a lot (see `staging`), and
//! published together at the end. All or nothing: a line that cannot be a key refuses the whole; a
//! text that exists already is a duplicate, counted and left alone [IPS-11].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use utoipa::ToSchema;

use super::context::Context;
use super::import_format::{FailedLine, FormatOptions, Parser};
use super::import_run::Run;
use super::import_target::{self, Target};
use super::mint::Terms;
use super::staging::NamedOrder;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::import::ImportId;
use crate::db::models::key::KeyStatus;
use crate::db::models::lot::LotKind;
use crate::error::{Code, Error, FieldError, Refusal, Result};

/// How long an import waits for the one before it.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// Pieces of the text that wait to be read: the rest waits at the sender.
const PIECES: usize = 4;
/// Failed lines that are listed at most.
const LISTED: usize = 1000;

/// What to import, and how.
#[derive(Clone, Debug)]
pub(crate) struct ImportOptions {
    pub format: FormatOptions,
    /// Where the keys go; `None` when the text says so for each.
    pub sequence: Option<String>,
    /// The sku of the only product that may take them; `None` for any that uses the sequence.
    pub product: Option<String>,
    /// `None` for what goes with the rest: in stock and for sale, or sold to the order.
    pub status: Option<KeyStatus>,
    /// The order that the keys are for.
    pub order: Option<NamedOrder>,
    /// What each key gets unless its own row says otherwise.
    pub terms: Terms,
    pub create_missing: CreateMissing,
    pub purpose: Purpose,
}

/// Whether a sequence that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateMissing {
    Yes,
    No,
}

/// Whether anything is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The keys are imported.
    Import,
    /// Only what would come of it is asked for.
    DryRun,
}

/// What an import came to [SHOP-50].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    /// Keys that are new.
    pub added: u64,
    /// Texts that exist already, in the installation or earlier in the import.
    pub duplicates: u64,
    /// How many lines cannot be a key; more than none only in a dry run.
    pub failures: u64,
    /// The first 1,000 of them.
    pub failed: Vec<FailedLine>,
}

/// Lines that cannot be keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    pub(super) listed: Vec<FailedLine>,
}

/// A piece of the text on its way to the import.
pub(super) enum Piece {
    Bytes(Bytes),
    /// The text was complete. A text that ends without it was broken off.
    End,
}

/// An import that takes its text.
#[derive(Debug)]
pub(crate) struct ImportHandle {
    /// Where its progress can be read; `None` for a dry run.
    pub(crate) id: Option<ImportId>,
    feed: mpsc::Sender<Piece>,
    progress: Arc<ReadSoFar>,
    read: oneshot::Receiver<()>,
    ended: JoinHandle<Result<ImportReport>>,
}

/// How much has been read.
#[derive(Debug, Default)]
pub(crate) struct ReadSoFar {
    lines: AtomicU64,
}

/// An import whose text has been read to its end.
#[derive(Debug)]
pub(crate) struct ReadImport {
    pub(crate) id: Option<ImportId>,
    /// How many lines it had.
    pub(crate) lines: u64,
    ended: JoinHandle<Result<ImportReport>>,
}

impl ImportHandle {
    /// Hands over the next bytes; waits when the import is busy. `false` when it has ended by itself:
    /// [`ImportHandle::finish`] tells why.
    pub(crate) async fn push(&self, bytes: Bytes) -> bool {
        self.feed.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Says that the text is complete, and waits until all of it has been read.
    pub(crate) async fn finish(self) -> ReadImport {
        // Whoever is gone has ended already, and its result says why.
        let _ = self.feed.send(Piece::End).await;
        let _ = self.read.await;
        ReadImport {
            id: self.id,
            lines: self.progress.lines(),
            ended: self.ended,
        }
    }
}

impl ReadImport {
    /// Waits for the end. Without it the import goes on all the same.
    ///
    /// # Errors
    /// `import_failed` with the lines that cannot be keys, or why it could not be done.
    pub(crate) async fn report(self) -> Result<ImportReport> {
        match self.ended.await {
            Ok(report) => report,
            Err(error) => Err(Error::internal(format!("an import ended badly: {error}"))),
        }
    }
}

impl ReadSoFar {
    pub(super) fn add(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }
}

impl Failures {
    pub(super) fn add(&mut self, line: FailedLine) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(line);
        }
    }

    /// The refusal of the whole import.
    pub(super) fn refusal(self) -> Refusal {
        Refusal::because(
            Code::ImportFailed,
            format!(
                "Lines that cannot be keys: {}. Nothing was imported.",
                self.count
            ),
        )
        .with("added", 0)
        .with("failures", self.count)
        .with("failed", json!(self.listed))
    }
}

impl App {
    /// Begins an import: checks the options, waits for its turn, and takes the text from then on. What
    /// has begun goes on when its caller leaves, but ends unpublished when the text was not complete.
    ///
    /// # Errors
    /// `sequence_not_found`, `product_not_found`, `import_in_progress`, or which option is wrong.
    pub(crate) async fn start_import(
        self: &Arc<Self>,
        cx: Context,
        options: ImportOptions,
    ) -> Result<ImportHandle> {
        let parser = Parser::new(options.format.clone())?;
        let turn = match options.purpose {
            Purpose::DryRun => None,
            Purpose::Import => {
                let turn = Arc::clone(&self.imports).lock_owned();
                let turn = tokio::time::timeout(TURN_WITHIN, turn)
                    .await
                    .map_err(|_| Error::from(Code::ImportInProgress))?;
                self.sweep_dead_lot(LotKind::Import).await?;
                Some(turn)
            }
        };
        let cx = Context {
            now: self.clock.now(),
            ..cx
        };
        check_terms(&options, cx.now)?;
        let target: Target = {
            let (cx, options) = (cx.clone(), options.clone());
            match options.purpose {
                Purpose::Import => {
                    self.db
                        .write(move |tx| import_target::open(tx, &cx, &options))
                        .await?
                }
                Purpose::DryRun => {
                    self.db
                        .read(move |conn| import_target::find(conn, &cx, &options))
                        .await?
                }
            }
        };
        let (feed, pieces) = mpsc::channel(PIECES);
        let (tell_read, read) = oneshot::channel();
        let progress = Arc::new(ReadSoFar::default());
        let id = target.place.map(|place| place.import);
        let run = Run::new(Arc::clone(self), cx, options, target, Arc::clone(&progress));
        let ended = tokio::spawn(async move {
            let _turn = turn;
            run.carry_out(parser, pieces, tell_read).await
        });
        Ok(ImportHandle {
            id,
            feed,
            progress,
            read,
            ended,
        })
    }
}

fn check_terms(options: &ImportOptions, now: Timestamp) -> Result<()> {
    let mut errors = Vec::new();
    let is_for_sale = options.order.is_none()
        && matches!(
            options.status,
            None | Some(KeyStatus::Active | KeyStatus::Inactive)
        );
    if is_for_sale && options.terms.expires_at.is_some_and(|at| at <= now) {
        let detail = "lies in the past: nobody could use the keys";
        errors.push(FieldError::new("expires_at", "in_the_past", detail));
    }
    errors.extend(options.terms.check());
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(errors).into())
    }
}
