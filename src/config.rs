//! Settings: `config/default.toml`, then a file, then the environment, then flags.
//!
//! The names of the variables follow from walking the defaults, and the default's type decides how a
//! variable is read. A name that the defaults do not have is an error that says where it stands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::licensing::number;

mod origin;
mod rate_limit;
mod server;

pub use origin::{Setting, settings_in_force};
pub use rate_limit::{Rate, RateLimit};
pub use server::{Network, ProxyHeader, Server};

const DEFAULTS: &str = include_str!("../config/default.toml");
const PREFIX: &str = "COUNTERSIGN_";

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
    /// Memory for pages of the database, in MiB.
    pub cache_mib: u32,
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

/// The defaults with everything laid over them that is set elsewhere.
fn merged(
    overrides: &Overrides,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Table, ConfigError> {
    let mut table = defaults();
    if let Some(path) = &overrides.file {
        merge(&mut table, read_file(path)?, "").map_err(|name| {
            ConfigError(format!("{}: there is no setting `{name}`", path.display()))
        })?;
    }
    for (name, value) in environment {
        if let Some(rest) = name
            .strip_prefix(PREFIX)
            .filter(|rest| !is_of_a_cluster(rest))
        {
            set_variable(&mut table, rest, &value)
                .map_err(|problem| ConfigError(format!("{name}: {problem}")))?;
        }
    }
    for (name, value) in overrides.flags() {
        if let Some(value) = value {
            table.insert(name.to_owned(), Value::String(value));
        }
    }
    Ok(table)
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

/// Says where a setting stands that cannot be used: each place is tried alone.
fn blame(
    overrides: &Overrides,
    environment: &[(String, String)],
    error: ConfigError,
) -> ConfigError {
    let alone = |overrides: &Overrides, variable: Option<&(String, String)>| {
        let table = merged(overrides, variable.cloned().into_iter());
        table.and_then(from_table).err()
    };
    let mut nothing = Overrides::default();
    let of_file = Overrides {
        file: overrides.file.clone(),
        ..Overrides::default()
    };
    if let (Some(path), Some(ConfigError(problem))) = (&overrides.file, alone(&of_file, None)) {
        return ConfigError(format!("{}: {problem}", path.display()));
    }
    for variable in environment {
        if let Some(ConfigError(problem)) = alone(&nothing, Some(variable)) {
            return ConfigError(format!("{}: {problem}", variable.0));
        }
    }
    // Of the flags only this one can be wrong.
    nothing.listen.clone_from(&overrides.listen);
    match alone(&nothing, None) {
        Some(ConfigError(problem)) => ConfigError(format!("--listen: {problem}")),
        None => error,
    }
}

fn defaults() -> Table {
    DEFAULTS
        .parse()
        .expect("config/default.toml is compiled in and a test reads it")
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError(format!(
            "cannot read the settings file {}: {error}",
            path.display()
        ))
    })?;
    text.parse()
        .map_err(|error: toml::de::Error| ConfigError(format!("{}: {error}", path.display())))
}

/// Lays `over` on `base`; the error is the dotted name of the first setting that `base` does not have.
fn merge(base: &mut Table, over: Table, path: &str) -> Result<(), String> {
    for (name, value) in over {
        let dotted = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match (base.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over, &dotted)?,
            (Some(slot), value) => *slot = value,
            (None, _) => return Err(dotted),
        }
    }
    Ok(())
}

/// Sets the one setting that `name` (without the prefix) stands for.
fn set_variable(table: &mut Table, name: &str, value: &str) -> Result<(), String> {
    let slot = find_setting(table, name)
        .ok_or("there is no setting of this name; see config/default.toml")?;
    set_value(slot, value)
}

/// What Kubernetes sets for a service that is called countersign.
fn is_of_a_cluster(name: &str) -> bool {
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].iter().any(|kind| {
        name == *kind
            || name
                .strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with('_'))
    })
}

/// The setting whose dotted name, in capitals and joined with underscores, is `name`.
fn find_setting<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Value> {
    table.iter_mut().find_map(|(key, slot)| {
        let rest = name.strip_prefix(&key.to_uppercase())?;
        match slot {
            Value::Table(inner) => find_setting(inner, rest.strip_prefix('_')?),
            slot => rest.is_empty().then_some(slot),
        }
    })
}

/// Reads `value` as the default's type; a list has its values between commas.
fn set_value(slot: &mut Value, value: &str) -> Result<(), String> {
    *slot = match slot {
        Value::Integer(_) => Value::Integer(
            value
                .parse()
                .map_err(|error| format!("`{value}` is no whole number ({error})"))?,
        ),
        Value::Boolean(_) => Value::Boolean(
            value
                .parse()
                .map_err(|_| format!("`{value}` is neither true nor false"))?,
        ),
        Value::Array(_) => {
            let values = value.split(',').map(str::trim);
            let values = values.filter(|value| !value.is_empty());
            Value::Array(
                values
                    .map(|value| Value::String(value.to_owned()))
                    .collect(),
            )
        }
        _ => Value::String(value.to_owned()),
    };
    Ok(())
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
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(&Overrides::default(), pairs)
    }

    #[test]
    fn the_defaults_are_complete() {
        let config = load(&[]).unwrap();
        assert_eq!(config.database_url(), "sqlite://data/countersign.db");
        assert_eq!(config.tokens.renew_past_expiry_days, 180);
    }

    #[test]
    fn a_variable_is_read_as_the_type_of_its_default() {
        let config = load(&[
            ("COUNTERSIGN_TOKENS_ISSUER", "123"),
            ("COUNTERSIGN_TOKENS_RENEW_PAST_EXPIRY_DAYS", "7"),
            ("COUNTERSIGN_KEYS_ALLOW_GROUP_READ", "true"),
            ("COUNTERSIGN_KEYS_DIR", "elsewhere"),
        ])
        .unwrap();
        assert_eq!(config.tokens.issuer, "123");
        assert_eq!(config.tokens.renew_past_expiry_days, 7);
        assert!(config.keys.allow_group_read);
        assert_eq!(config.keys_dir, PathBuf::from("elsewhere"));
    }

    #[test]
    fn a_value_that_cannot_be_used_is_refused_with_where_it_stands() {
        for (name, value) in [
            ("COUNTERSIGN_LISTEN", "nowhere"),
            ("COUNTERSIGN_TOKENS_RENEW_PAST_EXPIRY_DAYS", "-4"),
            ("COUNTERSIGN_RATE_LIMIT_ADDRESS_BURST", "0"),
            ("COUNTERSIGN_PRODUCTS_NUMBER_PREFIX", "A B"),
            ("COUNTERSIGN_TOKENS_ISSUER", ""),
        ] {
            let message = load(&[("COUNTERSIGN_LOG_LEVEL", "warn"), (name, value)])
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(&format!("{name}: ")), "{message}");
            assert!(!message.contains("u32"), "{message}");
        }
        let overrides = Overrides {
            listen: Some("nowhere".into()),
            ..Overrides::default()
        };
        let message = Config::load(&overrides, std::iter::empty()).unwrap_err();
        assert!(message.to_string().starts_with("--listen: "), "{message}");
    }

    #[test]
    fn a_list_in_a_variable_has_commas() {
        let name = "COUNTERSIGN_SERVER_TRUSTED_PROXIES";
        let config = load(&[(name, "127.0.0.1, 10.0.0.0/8,,2001:db8::/32")]).unwrap();
        assert_eq!(config.server.trusted_proxies.len(), 3);
        assert!(config.server.trusts("10.1.2.3".parse().unwrap()));
        assert!(
            load(&[(name, "")])
                .unwrap()
                .server
                .trusted_proxies
                .is_empty()
        );
        let message = load(&[(name, "127.0.0.1,localhost")]).unwrap_err();
        assert!(message.to_string().contains("`localhost`"), "{message}");
    }

    #[test]
    fn a_rate_of_zero_is_refused_by_name() {
        let name = "COUNTERSIGN_RATE_LIMIT_ADDRESS_UNKNOWN_KEYS_PER_MINUTE";
        let message = load(&[(name, "0")]).unwrap_err().to_string();
        let setting = "rate_limit.address_unknown_keys_per_minute";
        assert!(message.contains(setting), "{message}");
        assert!(load(&[(name, "1")]).unwrap().rate_limit.enabled);
    }

    #[test]
    fn an_unknown_variable_and_a_wrong_value_are_refused_by_name() {
        for (name, value) in [
            ("COUNTERSIGN_TOKENS_ISUER", "x"),
            ("COUNTERSIGN_NOTHING", "x"),
            ("COUNTERSIGN_IMPORTS_MAX_BYTES", "many"),
            ("COUNTERSIGN_KEYS_ALLOW_GROUP_READ", "yes"),
        ] {
            let message = load(&[(name, value)]).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn a_file_is_laid_over_the_defaults_and_an_unknown_name_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "[orders]\nunknown_sku = \"unmanaged\"\n").unwrap();
        let overrides = Overrides {
            file: Some(path.clone()),
            ..Overrides::default()
        };
        let config = Config::load(&overrides, std::iter::empty()).unwrap();
        assert_eq!(config.orders.unknown_sku, UnknownSku::Unmanaged);

        std::fs::write(&path, "[orders]\nunknown_skus = \"unmanaged\"\n").unwrap();
        let message = Config::load(&overrides, std::iter::empty())
            .unwrap_err()
            .to_string();
        assert!(message.contains("orders.unknown_skus"), "{message}");
    }
}
