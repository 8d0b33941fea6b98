//! `countersign completions`

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// What a shell needs to complete the commands and options of this program.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that it is for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "countersign", &mut script);
        std::io::stdout().lock().write_all(&script)?;
        Ok(())
    }
}
