//! Which settings are in force, and where each comes from.

use serde::Serialize;
use toml::{Table, Value};

use super::layers::{PREFIX, defaults, is_of_a_cluster, merged, read_file};
use super::{ConfigError, Overrides};
use crate::db::DatabaseUrl;

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its dotted name, such as `tokens.issuer`.
    pub name: String,
    /// Its value, or that there is one where it is a secret.
    pub value: String,
    /// What set it: a flag, a variable, a file; `None` for the default.
    pub origin: Option<String>,
}

/// Every setting with its value and what set it, in the order of their names.
///
/// # Errors
/// As [`Config::load`](super::Config::load).
pub fn settings_in_force(
    overrides: &Overrides,
    environment: &[(String, String)],
) -> Result<Vec<Setting>, ConfigError> {
    let table = merged(overrides, environment.iter().cloned())?;
    let file = match &overrides.file {
        Some(path) => Some((path.display().to_string(), read_file(path)?)),
        None => None,
    };
    let origin = |name: &str| {
        let flags = overrides.flags();
        if let Some((flag, _)) = flags
            .iter()
            .find(|(flag, value)| *flag == name && value.is_some())
        {
            return Some(format!("--{}", flag.replace('_', "-")));
        }
        let variable = format!("{PREFIX}{}", name.replace('.', "_").to_uppercase());
        let is_set = |(given, _): &(String, String)| *given == variable;
        if environment.iter().any(is_set) && !is_of_a_cluster(&variable[PREFIX.len()..]) {
            return Some(variable);
        }
        let (path, table) = file.as_ref()?;
        leaf(table, name).map(|_| path.clone())
    };
    let settings = names(&defaults(), "").into_iter().map(|name| Setting {
        value: leaf(&table, &name).map_or_else(String::new, |value| shown(&name, value)),
        origin: origin(&name),
        name,
    });
    Ok(settings.collect())
}

/// The dotted names of all settings of a table.
fn names(table: &Table, path: &str) -> Vec<String> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(inner) => names(inner, &format!("{path}{name}.")),
            _ => vec![format!("{path}{name}")],
        })
        .collect()
}

fn leaf<'a>(table: &'a Table, name: &str) -> Option<&'a Value> {
    match name.split_once('.') {
        Some((first, rest)) => leaf(table.get(first)?.as_table()?, rest),
        None => table.get(name),
    }
}

/// A value for people; never a secret.
fn shown(name: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let secret = ["password", "secret", "token"]
        .iter()
        .any(|word| last.ends_with(word));
    if secret && !text.is_empty() {
        "(set)".to_owned()
    } else if last.ends_with("url") && !text.is_empty() {
        DatabaseUrl::parse(&text)
            .map_or_else(|_| "(not readable)".to_owned(), |url| url.to_string())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_says_which_flag_variable_or_file_it_comes_from_and_shows_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "listen = \"1.2.3.4:5\"\n[tokens]\nissuer = \"me\"\n").unwrap();
        let overrides = Overrides {
            file: Some(path.clone()),
            listen: Some("127.0.0.1:1".into()),
            ..Overrides::default()
        };
        let variable = "COUNTERSIGN_DATABASE_URL".to_owned();
        let url = "postgres://app:hidden@db.example/x".to_owned();
        let settings = settings_in_force(&overrides, &[(variable, url)]).unwrap();
        let of = |name: &str| {
            settings
                .iter()
                .find(|setting| setting.name == name)
                .unwrap()
        };
        assert_eq!(of("listen").value, "127.0.0.1:1");
        assert_eq!(of("listen").origin.as_deref(), Some("--listen"));
        assert_eq!(of("tokens.issuer").origin, Some(path.display().to_string()));
        let url = of("database_url");
        assert_eq!(url.origin.as_deref(), Some("COUNTERSIGN_DATABASE_URL"));
        assert_eq!(url.value, "postgres://app@db.example/x");
        assert_eq!(of("log.level").origin, None);
    }
}
