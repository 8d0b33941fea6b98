//! `countersign token`

use anyhow::bail;
use clap::Subcommand;

use super::{command, print_line};
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::db::models::account::Role;

/// API tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make an API token and print it, alone, on standard output; also while the server runs
    Create {
        /// What it may do: admin (everything), viewer (sees everything), shop (its own orders), importer (pushes
        /// keys into the sequences named for it), partner (resells)
        #[arg(long)]
        role: Role,
        /// The name of the account that it speaks for; made if there is none
        #[arg(long)]
        account: String,
        /// What it is used for
        #[arg(long, default_value = "made at the command line")]
        label: String,
    },
}

impl Token {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        let Self::Create {
            role,
            account,
            label,
        } = self;
        for (name, value) in [("--account", &account), ("--label", &label)] {
            if let Err(problem) = crate::licensing::text::Name::parse(value.as_str()) {
                bail!("{name} {problem}");
            }
        }
        match command::run(
            config,
            Command::CreateToken {
                account,
                role,
                label,
            },
        )? {
            Reply::Token { token } => print_line(token),
            other => bail!("the server answered {other:?}, which is no token"),
        }
        Ok(())
    }
}
