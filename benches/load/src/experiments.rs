//! What is compared with what, and the goals.

use std::time::Duration;

use anyhow::Context;

use crate::bench::{Bench, Group, Stand, Turn};
use crate::bulk::Tool;
use crate::ceiling_postgres::{self, Script};
use crate::ceiling_sqlite;
use crate::client::Load;
use crate::database::{Database, Kind};
use crate::figures::{Goal, Point, Round, Series, Spread};
use crate::keys;
use crate::site::Site;
use crate::workload::Call;

/// Connections of everything that does not say otherwise.
const USUAL: usize = 64;
/// Clients of pgbench with which it does most.
const PGBENCH: usize = 16;
/// Keys for any number of installations: one that is filled first, and one for each round.
const UNLIMITED: u64 = 16;
/// The server's configuration as it comes.
const CONFIGURATION: &str = include_str!("../../../config/default.toml");
/// MiB that SQLite's pages take beside what is configured: 2 for each of 8 connections that read.
const READERS_MIB: f64 = 16.0;
/// Orders that all rounds together may take.
const ORDERS: u64 = 50_000;
/// What the server may take beside that.
const MEMORY_MIB: f64 = 100.0;

/// Everything on one database.
///
/// # Errors
/// When something fails.
pub(crate) fn run(bench: &mut Bench, kind: Kind) -> anyhow::Result<()> {
    let sizes = bench.plan.keys.clone();
    let needs_keys = [
        Group::Hot,
        Group::Activate,
        Group::Connections,
        Group::Growth,
        Group::Contended,
        Group::Soak,
    ];
    if needs_keys.into_iter().any(|group| bench.wants(group)) {
        let mut smallest: Option<Site> = None;
        for (place, keys) in sizes.iter().enumerate() {
            let is_last = place + 1 == sizes.len();
            let mut site = filled(bench, kind, *keys)?;
            at_size(bench, &mut site)?;
            if let Some(smallest) = smallest.as_mut().filter(|_| bench.wants(Group::Growth)) {
                growth(bench, &mut site, smallest)?;
            }
            if is_last {
                at_largest(bench, &mut site)?;
            }
            bench.note_memory(&site);
            if place == 0 && !is_last {
                smallest = Some(site);
            } else {
                site.close()?;
            }
        }
        if let Some(smallest) = smallest {
            smallest.close()?;
        }
        memory(bench, kind);
    }
    if bench.wants(Group::Issue) {
        issue(bench, kind)?;
    }
    if bench.wants(Group::Bulk) {
        bulk(bench, kind)?;
    }
    Ok(())
}

fn filled(bench: &mut Bench, kind: Kind, keys: u64) -> anyhow::Result<Site> {
    bench.say(format_args!("{}: selling {keys} keys", kind.name()));
    let mut site = bench.site(kind, &keys.to_string())?;
    site.fill(keys, bench.plan.hot, UNLIMITED)?;
    Ok(site)
}

/// What is measured at each size.
fn at_size(bench: &mut Bench, site: &mut Site) -> anyhow::Result<()> {
    let has_ceilings = site.has_ceilings();
    if !has_ceilings {
        bench.say("this server was built without the feature `bench`: no ceilings under /bench");
    }
    let mut stand = Stand::alone(site);
    prepare_ceiling(bench, &mut stand)?;
    if bench.wants(Group::Hot) {
        match stand.site.database.kind() {
            Kind::Sqlite if has_ceilings => hot_sqlite(bench, &mut stand)?,
            Kind::Sqlite => {
                let turns = [Call::Validate, Call::ValidateSigned, Call::Renew];
                bench.take_turns(&mut stand, &turns.map(|call| Turn::Call(call, USUAL)))?;
            }
            Kind::Postgres => hot_postgres(bench, &mut stand)?,
        }
    }
    if bench.wants(Group::Activate) {
        activate(bench, &mut stand)?;
    }
    Ok(())
}

fn prepare_ceiling(bench: &Bench, stand: &mut Stand<'_>) -> anyhow::Result<()> {
    let keys = stand.site.stage.keys;
    match &stand.site.database {
        Database::Sqlite(path) if bench.wants(Group::Activate) => {
            bench.say("SQLite: copying the database for its ceiling");
            stand.sqlite = Some(ceiling_sqlite::Ceiling::copy(path, keys)?);
        }
        Database::Postgres(postgres) if bench.wants(Group::Activate) || bench.wants(Group::Hot) => {
            bench.say("PostgreSQL: copying the tables for its ceiling");
            let hot = bench.plan.hot.min(keys);
            let folder = stand.site.server.folder();
            stand.postgres = Some(ceiling_postgres::Ceiling::build(
                postgres, folder, keys, hot,
            )?);
        }
        _ => {}
    }
    Ok(())
}

fn hot_sqlite(bench: &mut Bench, stand: &mut Stand<'_>) -> anyhow::Result<()> {
    let keys = stand.site.stage.keys;
    let calls = [
        Call::Hello,
        Call::ParseOnly,
        Call::Validate,
        Call::SignOnly,
        Call::ValidateSigned,
        Call::VerifyAndSign,
        Call::Renew,
    ];
    let mut turns = calls.map(|call| Turn::Call(call, USUAL)).to_vec();
    turns.push(Turn::Call(Call::ValidateAny, USUAL));
    turns.push(Turn::CallCold(Call::ValidateAny, USUAL));
    let places = bench.take_turns(stand, &turns)?;
    let [_, parse, validate, sign, signed, verify, renew, any, cold] = places[..] else {
        return Ok(());
    };
    let name = |what: &str| format!("{what} [{keys} keys]");
    bench.ratio(
        name("validate (unsigned), hot, SQLite / parse-only"),
        validate,
        parse,
        0.45,
    );
    bench.ratio(
        name("validate with nonce, hot, SQLite / sign-only"),
        signed,
        sign,
        0.65,
    );
    bench.ratio(
        name("validate with nonce, any key, SQLite / sign-only"),
        any,
        sign,
        0.45,
    );
    bench.ratio(
        name("validate with nonce, uncached pages, SQLite / sign-only"),
        cold,
        sign,
        0.45,
    );
    bench.ratio(
        name("renew by token, SQLite / verify-and-sign"),
        renew,
        verify,
        0.65,
    );
    Ok(())
}

fn hot_postgres(bench: &mut Bench, stand: &mut Stand<'_>) -> anyhow::Result<()> {
    let keys = stand.site.stage.keys;
    let turns = [
        Turn::Pgbench(Script::Select, PGBENCH),
        Turn::Call(Call::Validate, USUAL),
        Turn::Call(Call::ValidateSigned, USUAL),
        Turn::Call(Call::Renew, USUAL),
    ];
    let places = bench.take_turns(stand, &turns)?;
    let name = format!("validate, PostgreSQL / pgbench running the same SELECT [{keys} keys]");
    bench.ratio(name, places[1], places[0], 0.70);
    Ok(())
}

fn activate(bench: &mut Bench, stand: &mut Stand<'_>) -> anyhow::Result<()> {
    let keys = stand.site.stage.keys;
    let activate = Turn::Call(Call::Activate, USUAL);
    if stand.sqlite.is_some() {
        let places = bench.take_turns(stand, &[Turn::Batch(64), activate, Turn::Batch(1)])?;
        let name = format!(
            "activate, SQLite, 64 clients / same statements in-process, batch 64 [{keys} keys]"
        );
        bench.ratio(name, places[1], places[0], 0.50);
    } else {
        let turns = [
            Turn::Pgbench(Script::OneStatement, PGBENCH),
            activate,
            Turn::Pgbench(Script::OneStatement, USUAL),
            Turn::Pgbench(Script::RoundTrips, PGBENCH),
        ];
        let places = bench.take_turns(stand, &turns)?;
        let name =
            format!("activate, PostgreSQL, 64 clients / pgbench one statement each [{keys} keys]");
        // Whichever number of clients pgbench does more with.
        let rate = |place: usize| bench.series[place].rate().median;
        let best = if rate(places[2]) > rate(places[0]) {
            places[2]
        } else {
            places[0]
        };
        bench.ratio(name, places[1], best, 1.3);
    }
    Ok(())
}

/// The same calls where there are many keys and where there are few, by turns.
fn growth(bench: &mut Bench, site: &mut Site, smallest: &mut Site) -> anyhow::Result<()> {
    let (many, few) = (site.stage.keys, smallest.stage.keys);
    let kind = site.database.kind().name();
    let mut stand = Stand::alone(site);
    stand.other = Some(smallest);
    let turns = [
        Turn::Call(Call::Activate, USUAL),
        Turn::CallOther(Call::Activate, USUAL),
    ];
    let places = bench.take_turns(&mut stand, &turns)?;
    let name = format!("activate with {many} keys / with {few} keys, warm pages, {kind}");
    bench.ratio(name, places[0], places[1], 0.60);
    Ok(())
}

/// What is measured once, where there are most keys.
fn at_largest(bench: &mut Bench, site: &mut Site) -> anyhow::Result<()> {
    if bench.wants(Group::Connections) {
        connections(bench, site)?;
    }
    if bench.wants(Group::Contended) {
        contended(bench, site)?;
    }
    if let Some(time) = bench.plan.soak.filter(|_| bench.wants(Group::Soak)) {
        soak(bench, site, time)?;
    }
    Ok(())
}

fn connections(bench: &mut Bench, site: &mut Site) -> anyhow::Result<()> {
    let calls = [Call::ValidateSigned, Call::Renew, Call::Activate];
    let counts = bench.plan.connections.clone();
    let turns: Vec<Turn> = counts
        .iter()
        .flat_map(|count| calls.map(|call| Turn::Call(call, *count)))
        .collect();
    let kind = site.database.kind().name();
    let places = bench.take_turns(&mut Stand::alone(site), &turns)?;
    for (turn, place) in turns.iter().zip(places) {
        if *turn == Turn::Call(Call::Activate, 256) {
            let p99 = bench.series[place].p99();
            bench.figure(
                format!("p99 of activate, 256 clients, {kind}"),
                p99,
                Goal::Below(50.0),
                "ms",
            );
        }
    }
    Ok(())
}

/// The first activations on an unlimited key against those after very many.
fn contended(bench: &mut Bench, site: &mut Site) -> anyhow::Result<()> {
    let count = bench.plan.on_one_key;
    let kind = site.database.kind().name();
    bench.say(format_args!("{kind}: {count} activations on one key"));
    site.make(Call::ActivateOn(0), count)?;
    site.settle()?;
    // A fresh key each round, and no warm-up, or it would not be the first ones.
    let load = Load {
        connections: USUAL,
        warm_up: Duration::ZERO,
        measured: bench.plan.measured / 2,
    };
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 1..=u64::from(bench.plan.rounds).min(UNLIMITED - 1) {
        for (key, rounds) in [round, 0].into_iter().zip(&mut rounds) {
            let (outcome, foreign) = site.measure(Call::ActivateOn(key), load)?;
            rounds.push(Round::of(&outcome, foreign));
        }
    }
    let [first, late] = rounds;
    let point = |what: String| Point {
        what,
        database: Some(site.database.kind()),
        keys: site.stage.keys,
        connections: USUAL,
    };
    let first = Series {
        point: point("the first activations on one unlimited key".to_owned()),
        rounds: first,
    };
    let late = Series {
        point: point(format!("activations on one unlimited key that has {count}")),
        rounds: late,
    };
    bench.series.extend([first, late]);
    let last = bench.series.len() - 1;
    let name = format!("activation number {count} on one unlimited key / the first, {kind}");
    bench.ratio(name, last, last - 1, 0.80);
    Ok(())
}

/// A mixture of everything for a long time.
fn soak(bench: &mut Bench, site: &mut Site, time: Duration) -> anyhow::Result<()> {
    let kind = site.database.kind().name();
    bench.say(format_args!(
        "{kind}: the mixed run of {} s",
        time.as_secs()
    ));
    // Enough to sell, also at a rate that nobody reaches.
    site.stock(keys::Kind::Stock, time.as_secs().max(1) * 1000)?;
    site.settle()?;
    let load = Load {
        connections: USUAL,
        warm_up: bench.plan.warm_up,
        measured: time,
    };
    let (outcome, foreign) = site.measure(Call::Mixed, load)?;
    let round = Round::of(&outcome, foreign);
    let most = round.latency.map_or(f64::NAN, |latency| latency.most);
    let noisy = round.is_noisy();
    let point = Point {
        what: format!("mixed: {MIXTURE}"),
        database: Some(site.database.kind()),
        keys: site.stage.keys,
        connections: USUAL,
    };
    bench.series.push(Series {
        point,
        rounds: vec![round],
    });
    let name = format!(
        "slowest answer of the mixed run of {} s, {kind}",
        time.as_secs()
    );
    bench.figure(name, Spread::single(most, noisy), Goal::Below(500.0), "ms");
    Ok(())
}

const MIXTURE: &str = "70 % renew, 20 % validate, 8 % activate, 2 % issue and revoke";

fn memory(bench: &mut Bench, kind: Kind) {
    let most = bench
        .memory
        .iter()
        .filter(|record| record.database == kind)
        .map(|record| record.memory.most)
        .max();
    let mib = most.unwrap_or(0) as f64 / f64::from(1 << 20);
    let cache = if kind == Kind::Sqlite {
        configured_cache() + READERS_MIB
    } else {
        0.0
    };
    let name = format!("resident memory at most, {}", kind.name());
    bench.figure(
        name,
        Spread::single(mib, false),
        Goal::Below(MEMORY_MIB + cache),
        "MiB",
    );
}

/// MiB that the server gives SQLite for its pages.
fn configured_cache() -> f64 {
    let mut lines = CONFIGURATION.lines();
    let value = lines.find_map(|line| line.strip_prefix("cache_mib = "));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// Orders of one key: from a pool that was nearly sold out and from one of which nothing was sold, against
/// activations.
fn issue(bench: &mut Bench, kind: Kind) -> anyhow::Result<()> {
    let pool = bench.plan.pool;
    // What is left must outlast the rounds: without stock an order would be something else.
    let gone = pool - (pool / 10).max(ORDERS);
    let mut site = bench.site(kind, "pool")?;
    site.fill(bench.plan.keys.first().copied().unwrap_or(pool), 1000, 1)?;
    bench.say(format_args!(
        "{}: a pool of {pool} keys, of which {gone} are sold",
        kind.name()
    ));
    site.stock(keys::Kind::Stock, pool - gone)?;
    site.stock(keys::Kind::OldStock, pool)?;
    site.make(Call::IssueThousand, gone / 1000)?;
    // PostgreSQL cleans up after itself by and by; what is measured is what it left.
    let old = Call::Issue(keys::Kind::OldStock);
    let new = Call::Issue(keys::Kind::Stock);
    let turns = [old, Call::Activate, new].map(|call| Turn::Call(call, USUAL));
    let places = bench.take_turns(&mut Stand::alone(&mut site), &turns)?;
    let name = format!(
        "issue, pool of {pool}, {gone} gone / activate, {}",
        kind.name()
    );
    bench.ratio(name, places[0], places[1], 0.5);
    let name = format!(
        "issue, pool of {}, none gone / activate, {}",
        pool - gone,
        kind.name()
    );
    bench.ratio(name, places[2], places[1], 0.5);
    site.close()
}

/// Imports, by turns with the database's own tool.
fn bulk(bench: &mut Bench, kind: Kind) -> anyhow::Result<()> {
    let keys = bench.plan.import;
    bench.say(format_args!("{}: importing {keys} keys", kind.name()));
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut tool = None;
    let mut first = None;
    for round in 0..bench.plan.imports {
        let site = bench.site(kind, &format!("import{round}"))?;
        let processes = site.processes();
        let before = crate::noise::Moment::now(&processes);
        let took = site.stock(keys::Kind::Import(round), keys)?;
        let foreign = crate::noise::Moment::now(&processes).foreign_since(&before);
        let rate = |took: Duration| keys as f64 / took.as_secs_f64().max(1e-9);
        ours.push(Round::counted(rate(took), foreign));
        if tool.is_none() {
            tool = Some(Tool::prepare(&site.database, &bench.folder)?);
        }
        let (took, foreign) = tool.as_ref().context("there is a tool")?.measure()?;
        theirs.push(Round::counted(rate(took), foreign));
        // The tool of PostgreSQL works beside the first one's tables.
        match first {
            None => first = Some(site),
            Some(_) => site.close()?,
        }
    }
    if let Some(first) = first {
        first.close()?;
    }
    let Some(tool) = tool else { return Ok(()) };
    let goal = if kind == Kind::Sqlite { 1.3 } else { 0.8 };
    let point = |what: &str| Point {
        what: what.to_owned(),
        database: Some(kind),
        keys,
        connections: 1,
    };
    bench.series.push(Series {
        point: point("import, keys"),
        rounds: ours,
    });
    bench.series.push(Series {
        point: point(&format!("{}, keys", tool.name())),
        rounds: theirs,
    });
    let last = bench.series.len() - 1;
    let name = format!(
        "import of {keys} keys with encryption and blind index / {}",
        tool.name()
    );
    bench.ratio(name, last - 1, last, goal);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_configured_cache_is_known() {
        assert!(super::configured_cache() > 0.0);
    }
}
