//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Overrides};
use crate::licensing::text::Name;

mod backup;
mod command;
mod completions;
mod demo;
mod doctor;
mod export;
mod generate;
mod import;
mod keys;
mod migrate;
mod serve;
mod table;
mod token;
mod user;
mod work;

/// A licensing and activation server: a paid order becomes a product key, a key and an installation
/// become a signed activation token.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    after_help = "`countersign COMMAND --help` says more. Exit codes: 0 done, 1 failed, 2 wrong use."
)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings that every command takes; config/default.toml explains them, COUNTERSIGN_… variables set
/// them, too.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings (also COUNTERSIGN_... variables)")]
struct Settings {
    /// A file with settings, laid over the defaults
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to serve on; port 0 picks a free one
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The database: `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// The folder of the embedded database
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The folder of the signing keys and the vault key
    #[arg(long, global = true, value_name = "FOLDER")]
    keys_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; what is done when no command is given
    Serve,
    /// Play the main job from a paid order to a revoked key on a temporary database
    Demo(demo::Demo),
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Add, list and change the people who sign in to the console
    #[command(subcommand)]
    User(user::User),
    /// Show and rotate the keys that sign tokens
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Import keys from a file or standard input; also while the server runs
    Import(import::Import),
    /// Export keys with their texts; also while the server runs
    Export(export::Export),
    /// Make keys into stock by a generator; also while the server runs
    Generate(generate::Generate),
    /// Bring the database to this program's schema
    Migrate(migrate::Migrate),
    /// Write one archive with the database, the key files and their checksums; also while a server runs
    Backup(backup::Backup),
    /// Put an archive of `backup` where nothing is yet, after checking all of it
    Restore(backup::Restore),
    /// Look at settings, database, key files, clock and disk, and say what to do; changes nothing
    Doctor(doctor::Doctor),
    /// Print what a shell needs to complete commands and options
    Completions(completions::Completions),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// One line for the person who typed it: what is wrong and what to do.
    pub fn run(self) -> anyhow::Result<()> {
        let load = || self.settings.load();
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(load()?),
            Command::Demo(demo) => demo.run(load()?),
            Command::Token(token) => token.run(&load()?),
            Command::User(user) => user.run(&load()?),
            Command::Keys(keys) => keys.run(&load()?),
            Command::Import(import) => import.run(&load()?),
            Command::Export(export) => export.run(&load()?),
            Command::Generate(generate) => generate.run(&load()?),
            Command::Migrate(migrate) => migrate.run(&load()?),
            Command::Backup(backup) => backup.run(&load()?),
            Command::Restore(restore) => restore.run(&load()?),
            // These two do not fail because of wrong settings.
            Command::Doctor(doctor) => doctor.run(&self.settings.overrides(), &environment()),
            Command::Completions(completions) => completions.run(),
        }
    }
}

impl Settings {
    fn overrides(&self) -> Overrides {
        Overrides {
            file: self.config.clone(),
            listen: self.listen.clone(),
            database_url: self.database_url.clone(),
            data_dir: self.data_dir.clone(),
            keys_dir: self.keys_dir.clone(),
        }
    }

    fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.overrides(), environment().into_iter())?)
    }
}

/// The variables of this process. One that is not text is none of ours.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// One of the words of an enum, so that help and completions name them all.
fn one_of<T>(words: impl Iterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}

/// A name given as an argument.
fn name(text: &str) -> Result<Name, String> {
    Name::parse(text)
}

/// Prints a line for people or scripts.
pub(crate) fn print_line(text: impl std::fmt::Display) {
    use std::io::Write;
    // A reader that went away is no reason to fail.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line beside the output.
pub(crate) fn note(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
