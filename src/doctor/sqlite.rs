//! The embedded database: whether the file is whole, how it is used, how its library was built.

use super::Finding;
use crate::db::DbConnection;
use crate::db::inspect::{SqliteFacts, sqlite_facts};

/// The flags with which SQLite is to be built.
const BUILD_SETTINGS: &str = include_str!("../../.cargo/config.toml");

pub(super) fn examine(conn: &mut DbConnection, findings: &mut Vec<Finding>) {
    match sqlite_facts(conn) {
        Ok(facts) => findings.extend([
            integrity(&facts.damage),
            journal(&facts.journal_mode),
            build(&facts),
        ]),
        Err(error) => findings.push(Finding::problem(
            "integrity",
            format!("the database cannot be read: {error}"),
            "restore it from your backup",
        )),
    }
}

fn integrity(damage: &[String]) -> Finding {
    if damage.is_empty() {
        return Finding::ok("integrity", "quick_check finds the file whole");
    }
    Finding::problem(
        "integrity",
        format!("the database is damaged: {}", damage.join("; ")),
        "stop the server, keep a copy of the files as they are, and restore your backup",
    )
}

fn journal(mode: &str) -> Finding {
    if mode == "wal" {
        return Finding::ok(
            "journal",
            "WAL mode, so readers and the writer do not wait for each other",
        );
    }
    Finding::warning(
        "journal",
        format!("the file is in {mode} mode"),
        "the next start puts it into WAL mode",
    )
}

fn build(facts: &SqliteFacts) -> Finding {
    let wrong = deviations(BUILD_SETTINGS, &facts.compile_options);
    if wrong.is_empty() {
        return Finding::ok(
            "sqlite",
            format!("version {}, compiled as it should be", facts.version),
        );
    }
    Finding::warning(
        "sqlite",
        format!(
            "version {}, compiled otherwise than it should be: {}",
            facts.version,
            wrong.join(", ")
        ),
        "readers get slower; run cargo inside the project's folder, where .cargo/config.toml takes effect",
    )
}

/// What a library's options have and should not, or lack, going by the flags of the build.
fn deviations(build_settings: &str, options: &[String]) -> Vec<String> {
    let settings: toml::Table = build_settings.parse().unwrap_or_default();
    let flags = settings
        .get("env")
        .and_then(|env| env.get("LIBSQLITE3_FLAGS"))
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let has = |wanted: &str| options.iter().any(|option| option == wanted);
    flags
        .split_whitespace()
        .filter_map(|flag| {
            if let Some(name) = flag.strip_prefix("-USQLITE_") {
                has(name).then(|| format!("with {name}"))
            } else {
                let name = flag.strip_prefix("-DSQLITE_")?;
                (!has(name)).then(|| format!("without {name}"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_build_takes_out_must_be_missing_and_what_it_puts_in_must_be_there() {
        let options = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let good = options(&["DEFAULT_MEMSTATUS=0", "ENABLE_QPSG", "THREADSAFE=1"]);
        assert!(deviations(BUILD_SETTINGS, &good).is_empty());
        let bad = options(&["ENABLE_MEMORY_MANAGEMENT", "THREADSAFE=1"]);
        assert_eq!(
            deviations(BUILD_SETTINGS, &bad),
            [
                "with ENABLE_MEMORY_MANAGEMENT",
                "without DEFAULT_MEMSTATUS=0",
                "without ENABLE_QPSG"
            ]
        );
    }
}
