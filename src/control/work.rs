//! What the command line asks about keys: work that takes the whole application, and an import's text.
//!
//! A running server gets the request as one line of JSON and answers with one. For an import it
//! answers that it is ready first; then the text follows in frames, each a length of four bytes (most
//! significant first) and so many bytes, and an empty one says that the text is complete: a command
//! that is killed must not pass for one that had no more to say.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::generator::GeneratorId;
use crate::db::models::key::KeyStatus;
use crate::error::{Error, Refusal, Result};
use crate::licensing::context::Context;
use crate::licensing::export::{self, Export};
use crate::licensing::generate::{Generate, Generated};
use crate::licensing::import::{CreateMissing, ImportOptions, ImportReport, Purpose};
use crate::licensing::import_format::{Format, FormatOptions, Header};
use crate::licensing::mint::Terms;
use crate::licensing::staging::NamedOrder;

/// The largest frame, in bytes.
const MAX_FRAME: u32 = 1 << 20;

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Import a text that follows.
    Import(ImportWork),
    /// Make keys into stock.
    Generate(GenerateWork),
    /// Write down that keys are exported; whoever asks reads them itself.
    NoteExport(Export),
}

/// How to import.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportWork {
    pub(crate) format: Format,
    pub(crate) end_mark: Option<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) header: bool,
    pub(crate) sequence: Option<String>,
    pub(crate) product: Option<String>,
    pub(crate) status: Option<KeyStatus>,
    pub(crate) order: Option<NamedOrder>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) valid_for_days: Option<i64>,
    pub(crate) max_activations: Option<i64>,
    pub(crate) create_missing: bool,
    pub(crate) dry_run: bool,
}

/// What to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerateWork {
    pub(crate) generator: GeneratorId,
    pub(crate) quantity: i64,
    pub(crate) sequence: Option<String>,
    pub(crate) product: Option<String>,
    pub(crate) status: Option<KeyStatus>,
    pub(crate) order: Option<NamedOrder>,
    pub(crate) valid_for_days: Option<i64>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The text may follow.
    Ready,
    /// The import is done.
    Imported {
        /// Keys that are new.
        added: u64,
        /// Texts that exist already.
        duplicates: u64,
        /// Lines that cannot be keys, in a dry run.
        failures: u64,
        /// The first of them.
        failed: Vec<Line>,
    },
    /// Keys were made.
    Made {
        /// How many.
        made: u64,
    },
    /// It is written down.
    Noted,
    /// It was refused, or failed.
    Failed {
        /// Why, and what to do.
        detail: String,
        /// Lines that cannot be keys.
        #[serde(default)]
        failed: Vec<Line>,
    },
}

/// A line that cannot be a key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// Counted from 1.
    pub line: u64,
    /// For people.
    pub detail: String,
}

/// A text that comes in pieces.
pub(crate) trait Pieces {
    /// The next piece; `None` when the text is complete.
    async fn next(&mut self) -> io::Result<Option<Bytes>>;
}

impl ImportWork {
    fn options(self) -> ImportOptions {
        let format = FormatOptions::new(self.format);
        ImportOptions {
            format: FormatOptions {
                end_mark: self.end_mark.unwrap_or(format.end_mark),
                columns: self.columns,
                header: if self.header {
                    Header::Present
                } else {
                    Header::Absent
                },
                ..format
            },
            sequence: self.sequence,
            product: self.product,
            status: self.status,
            order: self.order,
            terms: Terms {
                expires_at: self.expires_at,
                valid_for_days: self.valid_for_days,
                max_activations: self.max_activations,
            },
            create_missing: if self.create_missing {
                CreateMissing::Yes
            } else {
                CreateMissing::No
            },
            purpose: if self.dry_run {
                Purpose::DryRun
            } else {
                Purpose::Import
            },
        }
    }
}

impl App {
    /// Imports a text.
    ///
    /// # Errors
    /// As [`App::start_import`]; and when the text breaks off.
    pub(crate) async fn import_text(
        self: &Arc<Self>,
        work: ImportWork,
        text: &mut impl Pieces,
        ready: impl AsyncFnOnce() -> io::Result<()>,
    ) -> Result<ImportReport> {
        let cx = Context::command_line(self.now());
        let handle = self.start_import(cx, work.options()).await?;
        let broke_off = |error: io::Error| {
            Error::internal(format!("the text broke off: {error}; nothing was imported"))
        };
        ready().await.map_err(broke_off)?;
        let mut wanted = true;
        while let Some(piece) = text.next().await.map_err(broke_off)? {
            // An import that has ended by itself takes no more; whoever sends is let finish.
            wanted = wanted && handle.push(piece).await;
        }
        handle.finish().await.report().await
    }

    /// Does what needs no text.
    ///
    /// # Errors
    /// The use case's.
    pub(crate) async fn do_work(self: &Arc<Self>, work: Work) -> Result<Outcome> {
        let cx = Context::command_line(self.now());
        match work {
            Work::Import(_) => Err(Error::internal("an import has a text")),
            Work::Generate(work) => {
                let input = Generate {
                    generator: work.generator,
                    quantity: work.quantity,
                    sequence: work.sequence,
                    product: work.product,
                    status: work.status,
                    order: work.order,
                    valid_for_days: work.valid_for_days,
                    repeatable: None,
                };
                let (_, Generated { made }) = self.generate_keys(cx, input).await?;
                Ok(Outcome::Made { made })
            }
            Work::NoteExport(export) => {
                self.db
                    .write(move |tx| export::note_export(tx, &cx, &export))
                    .await?;
                Ok(Outcome::Noted)
            }
        }
    }
}

impl Outcome {
    /// What an import came to.
    pub(crate) fn of_import(result: Result<ImportReport>) -> Self {
        match result {
            Ok(report) => Self::Imported {
                added: report.added,
                duplicates: report.duplicates,
                failures: report.failures,
                failed: report
                    .failed
                    .into_iter()
                    .map(|failed| Line {
                        line: failed.line,
                        detail: failed.detail,
                    })
                    .collect(),
            },
            Err(error) => Self::of_error(&error),
        }
    }

    /// Why it was not done.
    pub(crate) fn of_error(error: &Error) -> Self {
        let failed = match error {
            Error::Refused(refusal) => failed_lines(refusal),
            _ => Vec::new(),
        };
        Self::Failed {
            detail: super::explain(error),
            failed,
        }
    }
}

fn failed_lines(refusal: &Refusal) -> Vec<Line> {
    refusal
        .facts
        .get("failed")
        .and_then(|failed| serde_json::from_value(failed.clone()).ok())
        .unwrap_or_default()
}

/// Does the work in a running server, for whoever is at the other end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    work: Work,
    stream: &mut S,
    app: &Arc<App>,
) -> io::Result<()> {
    let outcome = match work {
        Work::Import(work) => {
            let (reader, mut writer) = tokio::io::split(&mut *stream);
            let ready = async || super::write_line(&mut writer, &Outcome::Ready).await;
            let result = app.import_text(work, &mut Frames(reader), ready).await;
            Outcome::of_import(result)
        }
        work => match app.do_work(work).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::of_error(&error),
        },
    };
    super::write_line(stream, &outcome).await
}

/// A text in frames.
struct Frames<R>(R);

impl<R: AsyncRead + Unpin> Pieces for Frames<R> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let length = self.0.read_u32().await?;
        if length > MAX_FRAME {
            return Err(io::Error::other("a frame is too long"));
        }
        let mut frame = vec![0; usize::try_from(length).unwrap_or(0)];
        self.0.read_exact(&mut frame).await?;
        Ok((length > 0).then(|| frame.into()))
    }
}

/// Sends a piece of a text as a frame; an empty one ends the text.
///
/// # Errors
/// When the other end is gone.
pub(crate) async fn send_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
    stream.write_u32(length).await?;
    stream.write_all(piece).await
}
