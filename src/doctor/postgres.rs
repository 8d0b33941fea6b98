//! PostgreSQL: whether it keeps what it was told, has room for this process, and tells the same time.

use super::Finding;
use crate::clock::Clock;
use crate::db::inspect::{PostgresFacts, postgres_facts};
use crate::db::{CONNECTIONS, DbConnection};
use crate::readiness::{MAX_SKEW_SECONDS, database_clock};

/// The oldest version that is tried out, as `server_version_num` writes it.
const OLDEST: i64 = 130_000;

pub(super) fn examine(conn: &mut DbConnection, clock: &Clock, findings: &mut Vec<Finding>) {
    let facts = match conn {
        DbConnection::Postgres(inner) => postgres_facts(inner),
        DbConnection::Sqlite(_) => return,
    };
    match facts {
        Ok(facts) => findings.extend([
            version(&facts),
            encoding(&facts.encoding),
            durability(&facts),
            connections(facts.max_connections, facts.connections),
        ]),
        Err(error) => findings.push(Finding::failed("postgres", error)),
    }
    findings.push(clocks(conn, clock));
}

fn version(facts: &PostgresFacts) -> Finding {
    if facts.version_number >= OLDEST {
        return Finding::ok("postgres", format!("version {}", facts.version));
    }
    Finding::warning(
        "postgres",
        format!(
            "version {} is older than any that this is tried out with",
            facts.version
        ),
        "move to a version that its makers still maintain",
    )
}

fn encoding(encoding: &str) -> Finding {
    if encoding == "UTF8" {
        return Finding::ok("encoding", "UTF8");
    }
    Finding::problem(
        "encoding",
        format!("the database stores {encoding}, which has not every character"),
        "make one with `createdb --encoding=UTF8 --template=template0` and move there",
    )
}

fn durability(facts: &PostgresFacts) -> Finding {
    let off: Vec<&str> = [
        ("fsync", &facts.fsync),
        ("full_page_writes", &facts.full_page_writes),
        ("synchronous_commit", &facts.synchronous_commit),
    ]
    .into_iter()
    .filter_map(|(name, value)| (value == "off").then_some(name))
    .collect();
    if off.is_empty() {
        return Finding::ok(
            "durability",
            format!(
                "fsync and full_page_writes are on, synchronous_commit is {}",
                facts.synchronous_commit
            ),
        );
    }
    Finding::problem(
        "durability",
        format!(
            "{} is off: what was answered can be lost",
            off.join(" and ")
        ),
        "switch it on in postgresql.conf",
    )
}

fn connections(allowed: i64, used: i64) -> Finding {
    let needed = i64::from(CONNECTIONS);
    let detail = format!("{used} of {allowed} are in use; a process takes up to {needed}");
    if allowed < needed {
        Finding::problem("connections", detail, "raise max_connections")
    } else if allowed - used < needed {
        Finding::warning(
            "connections",
            detail,
            "before another process is started, raise max_connections",
        )
    } else {
        Finding::ok("connections", detail)
    }
}

fn clocks(conn: &mut DbConnection, clock: &Clock) -> Finding {
    let before = clock.now();
    let theirs = match database_clock(conn) {
        Ok(Some(theirs)) => theirs,
        Ok(None) => before,
        Err(error) => return Finding::failed("clocks", error),
    };
    let after = clock.now();
    // Only what the way there and back does not explain.
    let apart = (before.micros() - theirs.micros())
        .max(theirs.micros() - after.micros())
        .max(0);
    let milliseconds = apart / 1000;
    if apart <= MAX_SKEW_SECONDS * 1_000_000 {
        return Finding::ok(
            "clocks",
            format!("this machine's and the database's are {milliseconds} ms apart"),
        );
    }
    Finding::problem(
        "clocks",
        format!("the database's says {theirs}, this machine's {after}: {milliseconds} ms apart"),
        "have both follow a time server; more than a second apart, a server is not ready",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn connections_must_be_enough_for_one_process_and_should_be_for_one_more() {
        assert_eq!(connections(97, 1).state, State::Ok);
        assert_eq!(connections(97, 90).state, State::Warning);
        assert_eq!(connections(10, 1).state, State::Problem);
    }

    #[test]
    fn a_server_that_may_forget_is_a_problem_by_name() {
        let mut facts = PostgresFacts {
            version: "15.1".into(),
            version_number: 150_001,
            encoding: "UTF8".into(),
            synchronous_commit: "on".into(),
            fsync: "on".into(),
            full_page_writes: "on".into(),
            max_connections: 97,
            connections: 1,
        };
        assert_eq!(durability(&facts).state, State::Ok);
        facts.fsync = "off".into();
        let found = durability(&facts);
        assert_eq!(found.state, State::Problem);
        assert!(found.detail.contains("fsync"), "{}", found.detail);
        assert_eq!(encoding("SQL_ASCII").state, State::Problem);
        facts.version_number = 90_600;
        assert_eq!(version(&facts).state, State::Warning);
    }
}
