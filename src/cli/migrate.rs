//! `countersign migrate`

use clap::Args;

use super::print_line;
use crate::config::Config;
use crate::db::{self, Access, DatabaseUrl};
use crate::lock::DatabaseLock;

/// Migrations; `serve` applies them by itself.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Take the newest migration back instead, with everything stored in what it made
    #[arg(long)]
    revert: bool,
}

impl Migrate {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        let url = DatabaseUrl::parse(&config.database_url())?;
        let _lock = DatabaseLock::for_serving(&url)?;
        let mut conn = db::open(&url, Access::Write)?;
        if self.revert {
            match db::revert_newest(&mut conn)? {
                Some(version) => print_line(format_args!("took back {version}")),
                None => print_line("there is nothing to take back"),
            }
            return Ok(());
        }
        let done = db::migrate(&mut conn)?;
        if done.applied.is_empty() {
            print_line("the database is up to date");
        }
        for version in done.applied {
            print_line(format_args!("applied {version}"));
        }
        Ok(())
    }
}
