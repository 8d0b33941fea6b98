//! `countersign export`

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tempfile::NamedTempFile;

use super::note;
use super::work::{Worker, unless_failed};
use crate::app::key_folder;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::work::{Outcome, Work};
use crate::db::models::key::KeyStatus;
use crate::db::{self, Access, DatabaseUrl};
use crate::licensing::export::{Export as Record, ExportFormat, Formulas, export_page};
use crate::licensing::key_query::KeyQuery;
use crate::signing::vault::{self, Vault};

/// Which keys, and how.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The file to write, which must not be there yet; - for standard output
    file: PathBuf,
    /// csv or jsonl (a JSON object per line)
    #[arg(long, default_value = "csv")]
    format: ExportFormat,
    /// Put an apostrophe before cells that a spreadsheet would take for a formula
    #[arg(long)]
    disarm_formulas: bool,
    /// Only keys of this status
    #[arg(long)]
    status: Option<KeyStatus>,
    /// Only keys of the product of this sku
    #[arg(long)]
    product: Option<String>,
    /// Only keys of this sequence
    #[arg(long)]
    sequence: Option<String>,
    /// Only keys of the order of this ref
    #[arg(long)]
    order: Option<String>,
}

impl Export {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        let mut target = Target::create(&self.file)?;
        let conditions = [
            ("status", self.status.is_some()),
            ("product", self.product.is_some()),
            ("sequence", self.sequence.is_some()),
            ("order", self.order.is_some()),
        ];
        let record = Record {
            format: self.format,
            formulas: if self.disarm_formulas {
                Formulas::Disarm
            } else {
                Formulas::Keep
            },
            conditions: conditions
                .into_iter()
                .filter(|(_, is_given)| *is_given)
                .map(|(name, _)| name.to_owned())
                .collect(),
        };
        let noted = Worker::find(config)?.carry_out(Work::NoteExport(record.clone()))?;
        match unless_failed(noted)? {
            Outcome::Noted => {}
            other => bail!("the server answered {other:?}, which is no record of the export"),
        }
        let query = KeyQuery {
            status: self.status,
            product: self.product,
            sequence: self.sequence,
            order: self.order,
            ..KeyQuery::default()
        };
        write_all(config, &record, &query, target.writer())?;
        target.keep()
    }
}

/// Reads page by page, beside a running server, too: readers need no lock.
fn write_all(
    config: &Config,
    record: &Record,
    query: &KeyQuery,
    file: &mut dyn Write,
) -> anyhow::Result<()> {
    let folder = key_folder(config);
    let vault = Vault::from_file(&folder.read(vault::FILE)?).map_err(anyhow::Error::msg)?;
    let url = DatabaseUrl::parse(&config.database_url())?;
    let mut conn = db::open(&url, Access::Read)?;
    let now = Clock::system().now();
    let mut after = None;
    loop {
        let page = export_page(&mut conn, &vault, record, query, after, now)
            .map_err(|error| anyhow::anyhow!(crate::control::explain(&error)))?;
        file.write_all(&page.bytes)?;
        after = page.next;
        if after.is_none() {
            return Ok(file.flush()?);
        }
    }
}

/// Where the keys are written. A file has its name only once it is complete: a part of it would look as
/// if there were no more keys.
enum Target {
    Output(BufWriter<io::Stdout>),
    File {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
}

impl Target {
    fn create(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Output(BufWriter::new(io::stdout())));
        }
        if path.exists() {
            bail!("{} is there already; name another file", path.display());
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        // Readable by its owner alone.
        let file = tempfile::Builder::new()
            .prefix(".countersign-export-")
            .tempfile_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok(Self::File {
            file: BufWriter::new(file),
            path: path.to_owned(),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Output(output) => output,
            Self::File { file, .. } => file,
        }
    }

    fn keep(self) -> anyhow::Result<()> {
        let Self::File { file, path } = self else {
            return Ok(());
        };
        let file = file.into_inner()?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        note(format_args!(
            "wrote {}, readable by its owner alone: it holds product keys",
            path.display()
        ));
        Ok(())
    }
}
