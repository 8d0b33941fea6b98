//! `countersign import`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::serve::runtime;
use super::work::{Standing, Worker, ask, list, unless_failed};
use super::{note, print_line};
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::control::work::{ImportWork, Outcome, Pieces, Work};
use crate::licensing::import_format::Format;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// What to import, and how.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file to read; - for standard input
    file: PathBuf,
    /// The sequence that the keys go into; left out when the text names the sequences
    #[arg(long)]
    sequence: Option<String>,
    /// lines (one key per line), csv, tsv or block; lines by default, tsv when the text names the sequences
    #[arg(long)]
    format: Option<Format>,
    /// For block: the line that ends a key
    #[arg(long, value_name = "LINE", default_value = ".")]
    end_mark: String,
    /// For csv and tsv: the names of the columns, with commas between them (key, sequence, and so on as
    /// the API names them; others go into the keys' extra members)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// For csv and tsv: the first row names the columns
    #[arg(long)]
    header: bool,
    #[command(flatten)]
    standing: Standing,
    /// When the keys stop to admit activations, for instance 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    expires_at: Option<Timestamp>,
    /// Days that each key is valid from its purchase on
    #[arg(long, value_name = "DAYS")]
    valid_for_days: Option<i64>,
    /// How many installations each key admits at once
    #[arg(long, value_name = "COUNT")]
    max_activations: Option<i64>,
    /// Make sequences that are not there
    #[arg(long)]
    create_missing: bool,
    /// Only say what would come of it
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        let mut text = Text::open(&self.file)?;
        let is_dry_run = self.dry_run;
        let work = self.work();
        let worker = Worker::find(config)?;
        let outcome = runtime()?.block_on(async {
            match worker {
                Worker::Here(app) => {
                    let outcome = import_here(&app, work, &mut text).await;
                    app.close().await;
                    Ok(outcome)
                }
                Worker::Server(socket) => import_there(&socket, work, &mut text).await,
            }
        });
        text.bar.finish_and_clear();
        match unless_failed(outcome?)? {
            Outcome::Imported {
                added,
                duplicates,
                failures,
                failed,
            } => {
                let (would, also) = if is_dry_run {
                    ("would add", format!(", {failures} lines wrong"))
                } else {
                    ("added", String::new())
                };
                print_line(format_args!(
                    "{would} {added}, duplicates {duplicates}{also}"
                ));
                list(&failed);
                if failures > 0 {
                    bail!("an import of this text would be refused");
                }
                Ok(())
            }
            other => bail!("the server answered {other:?}, which is no import"),
        }
    }

    fn work(self) -> ImportWork {
        let by_default = if self.sequence.is_some() {
            Format::Lines
        } else {
            Format::Tsv
        };
        let format = self.format.unwrap_or(by_default);
        ImportWork {
            format,
            end_mark: (format == Format::Block).then_some(self.end_mark),
            columns: self.columns,
            header: self.header,
            sequence: self.sequence,
            order: self.standing.order(),
            product: self.standing.product,
            status: self.standing.status,
            expires_at: self.expires_at,
            valid_for_days: self.valid_for_days,
            max_activations: self.max_activations,
            create_missing: self.create_missing,
            dry_run: self.dry_run,
        }
    }
}

async fn import_here(app: &Arc<App>, work: ImportWork, text: &mut Text) -> Outcome {
    Outcome::of_import(app.import_text(work, text, async || Ok(())).await)
}

async fn import_there(socket: &Path, work: ImportWork, text: &mut Text) -> anyhow::Result<Outcome> {
    let mut server = ask(socket, &Work::Import(work)).await?;
    let gone = "the server went away during the import; nothing was imported";
    match server.outcome().await.context(gone)? {
        Outcome::Ready => {}
        other => return Ok(other),
    }
    while let Some(piece) = text.next().await.context("the text cannot be read")? {
        server.send(&piece).await.context(gone)?;
    }
    server.send(&[]).await.context(gone)?;
    server.outcome().await.context(gone)
}

/// The text and how much of it has been read.
struct Text {
    source: Box<dyn Read + Send>,
    bar: ProgressBar,
}

impl Text {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            let style = ProgressStyle::with_template("{spinner} {bytes} read, {bytes_per_sec}")?;
            return Ok(Self {
                source: Box::new(io::stdin()),
                bar: ProgressBar::new_spinner().with_style(style),
            });
        }
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let length = file.metadata()?.len();
        let style =
            ProgressStyle::with_template("{bar:40} {percent}% {bytes_per_sec}, {eta} left")?;
        if length == 0 {
            note("note: the file is empty");
        }
        Ok(Self {
            source: Box::new(file),
            bar: ProgressBar::new(length).with_style(style),
        })
    }
}

impl Pieces for Text {
    /// Reading blocks: nothing else runs on this thread.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = vec![0; PIECE];
        let length = loop {
            match self.source.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        piece.truncate(length);
        self.bar.inc(u64::try_from(length).unwrap_or(0));
        Ok((length > 0).then(|| piece.into()))
    }
}
