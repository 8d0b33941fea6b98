//! `countersign backup` and `countersign restore`

use std::path::PathBuf;

use clap::Args;

use super::{note, print_line};
use crate::backup::{self, Existing, Manifest};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::DatabaseUrl;
use crate::doctor::size;

/// A backup to make.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The archive to write, such as backup.tar.gz. It holds secrets: keep it as safe as the keys themselves
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// A backup to restore.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// An archive that `countersign backup` wrote
    #[arg(value_name = "FILE")]
    archive: PathBuf,
}

impl Backup {
    pub(super) fn run(&self, config: &Config) -> anyhow::Result<()> {
        let existing = if self.force {
            Existing::Replace
        } else {
            Existing::Keep
        };
        let made = backup::make_backup(config, &self.archive, existing, &Clock::system())?;
        let archive = self.archive.display();
        print_line(format_args!(
            "{archive}: {}; {} packed",
            content(&made.manifest),
            size(made.bytes)
        ));
        let url = DatabaseUrl::parse(&config.database_url())?;
        if let Some(command) = backup::dump_command(&url, &self.archive) {
            print_line(format_args!(
                "The database is not in it. Copy it now, with PostgreSQL's own tool:\n  {command}"
            ));
            about_passwords(config);
        }
        Ok(())
    }
}

impl Restore {
    pub(super) fn run(&self, config: &Config) -> anyhow::Result<()> {
        let restored = backup::restore_backup(config, &self.archive)?;
        let manifest = &restored.manifest;
        print_line(format_args!(
            "restored the backup of {}, made by version {}: {}",
            manifest.made_at,
            manifest.program,
            content(manifest)
        ));
        let command = backup::restore_command(&restored.database, &self.archive);
        if let Some(command) = command.filter(|_| restored.database_is_empty) {
            print_line(format_args!(
                "The database is empty. Fill it before the server is started, with PostgreSQL's own tool:\n  {command}"
            ));
            about_passwords(config);
        }
        Ok(())
    }
}

fn content(manifest: &Manifest) -> String {
    let keys = manifest.key_files().count();
    let database = manifest
        .files
        .iter()
        .find(|file| file.name.ends_with(".db"))
        .map_or_else(String::new, |file| {
            format!("database {}, ", size(file.bytes))
        });
    format!("{database}schema {}, {keys} key files", manifest.schema)
}

fn about_passwords(config: &Config) {
    if DatabaseUrl::holds_password(&config.database_url()) {
        note("It takes the password from PGPASSWORD or ~/.pgpass; it is not shown here.");
    }
}
