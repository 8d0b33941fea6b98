//! Settings: `config/default.toml`, then a file, then the environment, then flags.
//!
//! The names of the variables follow from walking the defaults, and the default's type decides how a
//! variable is read. A name that the defaults do not have is an error that says where it stands.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Table;

use self::layers::{blame, merged};
use crate::licensing::number;

mod layers;
mod origin;
mod rate_limit;
mod server;

pub use origin::{Setting, settings_in_force};
pub use rate_limit::{Rate, RateLimit};
pub use server::{Network, ProxyHeader, Server};

/// All settings in force.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port to serve on.
    pub listen: SocketAddr,
    /// The database; empty for the embedded one in `data_dir`.
    pub database_url: String,
    /// Where the embedded database lives.
    pub data_dir: PathBuf,
    /// Where the key files live.
    pub keys_dir: PathBuf,
    /// What stands in front.
    pub server: Server,
    /// Logging.
    pub log: Log,
    /// The embedded database.
    pub sqlite: Sqlite,
    /// Key files.
    pub keys: Keys,
    /// Activation tokens.
    pub tokens: Tokens,
    /// Products.
    pub products: Products,
    /// Orders.
    pub orders: Orders,
    /// Imports.
    pub imports: Imports,
    /// How often may be called.
    pub rate_limit: RateLimit,
    /// Metrics.
    pub metrics: Metrics,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter.
    pub level: String,
    /// Text or JSON lines.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[sqlite]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// Memory for pages of the database that are being written, in MiB.
    pub cache_mib: u32,
    /// How much of the file is mapped into memory for reading, in MiB.
    pub map_mib: u32,
}

/// `[keys]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Whether mode 0640 is accepted.
    pub allow_group_read: bool,
}

/// `[tokens]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// The `iss` claim.
    pub issuer: String,
    /// Days past `exp` within which a token may be renewed.
    pub renew_past_expiry_days: u32,
}

/// `[products]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Products {
    /// The prefix of key numbers unless a product names another.
    pub number_prefix: String,
}

/// `[orders]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// What an unknown sku means.
    pub unknown_sku: UnknownSku,
}

/// What to do with an order line whose sku is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSku {
    /// Refuse the report, naming the line.
    #[default]
    Refuse,
    /// Take the line as an article that has nothing to do with keys.
    Unmanaged,
}

/// `[imports]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imports {
    /// The largest body, in bytes.
    pub max_bytes: usize,
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Whether `/metrics` needs no API token.
    pub public: bool,
}

/// A setting that cannot be used, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Settings that come as flags; each stands above the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// A file with settings.
    pub file: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--database-url`
    pub database_url: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--keys-dir`
    pub keys_dir: Option<PathBuf>,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file, the variable or the flag.
    pub fn load(
        overrides: &Overrides,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let environment: Vec<_> = environment.collect();
        let table = merged(overrides, environment.iter().cloned())?;
        from_table(table).map_err(|error| blame(overrides, &environment, error))
    }

    /// The database URL, filled in when it is left empty.
    pub fn database_url(&self) -> String {
        if self.database_url.is_empty() {
            format!(
                "sqlite://{}",
                self.data_dir.join("countersign.db").display()
            )
        } else {
            self.database_url.clone()
        }
    }
}

impl Overrides {
    /// The settings that have flags, each with the flag's value where it is given.
    fn flags(&self) -> [(&'static str, Option<String>); 4] {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        [
            ("listen", self.listen.clone()),
            ("database_url", self.database_url.clone()),
            ("data_dir", self.data_dir.as_ref().map(text)),
            ("keys_dir", self.keys_dir.as_ref().map(text)),
        ]
    }
}

fn from_table(table: Table) -> Result<Config, ConfigError> {
    let config: Config = table
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError(describe(&error)))?;
    if !number::is_prefix(&config.products.number_prefix) {
        let problem = "`products.number_prefix` must be 1 to 16 letters, digits or hyphens";
        return Err(ConfigError(problem.to_owned()));
    }
    if config.tokens.issuer.is_empty() {
        let problem = "`tokens.issuer` must not be empty: it names you in every token";
        return Err(ConfigError(problem.to_owned()));
    }
    Ok(config)
}

fn describe(error: &toml::de::Error) -> String {
    let mut text = error.to_string().trim().replace('\n', " ");
    for (rust, plain) in [
        ("a nonzero u32", "a whole number from 1 on"),
        ("a nonzero u64", "a whole number from 1 on"),
        ("expected u32", "expected a whole number from 0 on"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected usize", "expected a whole number from 0 on"),
        ("expected a boolean", "expected true or false"),
    ] {
        text = text.replace(rust, plain);
    }
    if let Some((before, rest)) = text.split_once("expected struct ") {
        let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
        text = format!("{before}expected a table of settings {rest}");
    }
    format!("a setting cannot be used (see config/default.toml for examples): {text}")
}

#[cfg(test)]
mod tests;
