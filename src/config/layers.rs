//! The layers of settings, laid one over the other, and which of them is to blame.

use std::path::Path;

use toml::{Table, Value};

use super::{ConfigError, Overrides, from_table};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What the names of the variables begin with.
pub(super) const PREFIX: &str = "COUNTERSIGN_";

/// The defaults with everything laid over them that is set elsewhere.
pub(super) fn merged(
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

/// Says where a setting stands that cannot be used: each place is tried alone.
pub(super) fn blame(
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

/// The defaults that are compiled in.
pub(super) fn defaults() -> Table {
    DEFAULTS
        .parse()
        .expect("config/default.toml is compiled in and a test reads it")
}

/// A file of settings.
pub(super) fn read_file(path: &Path) -> Result<Table, ConfigError> {
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
pub(super) fn is_of_a_cluster(name: &str) -> bool {
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
