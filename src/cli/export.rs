//! `countersign export`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

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
        write_all(config, &record, &query, &mut target.file)?;
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

/// Where the keys are written. A file that was not finished is taken away again: it would look as if
/// there were no more keys.
struct Target {
    file: Box<dyn Write>,
    unfinished: Option<PathBuf>,
}

impl Target {
    fn create(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self {
                file: Box::new(BufWriter::new(io::stdout())),
                unfinished: None,
            });
        }
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            file: Box::new(BufWriter::new(file)),
            unfinished: Some(path.to_owned()),
        })
    }

    fn keep(mut self) -> anyhow::Result<()> {
        self.file.flush()?;
        if let Some(path) = self.unfinished.take() {
            note(format_args!(
                "wrote {}, readable by its owner alone: it holds product keys",
                path.display()
            ));
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(path) = &self.unfinished {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}
