//! PostgreSQL's ceiling: pgbench with the same work, prepared, on a twin of the filled tables in the same
//! database. In the twin a key is found by the SHA-256 of its id, which pgbench's scripts can compute.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::client::Load;
use crate::database::{Postgres, output};
use crate::noise::Moment;

/// What pgbench does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Finds a key with its product, its count and one activation, as validate does.
    Select,
    /// An activation in one statement.
    OneStatement,
    /// The same in a round trip for each of its statements.
    RoundTrips,
}

impl Script {
    pub(crate) const ALL: [Self; 3] = [Self::Select, Self::OneStatement, Self::RoundTrips];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Select => "pgbench, the SELECT of validate",
            Self::OneStatement => "pgbench, activate in one statement",
            Self::RoundTrips => "pgbench, activate in round trips",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Select => "select.sql",
            Self::OneStatement => "one-statement.sql",
            Self::RoundTrips => "round-trips.sql",
        }
    }

    fn text(self, keys: u64, hot: u64) -> String {
        match self {
            Self::Select => format!("\\set id random(1, {hot})\n{SELECT}\n"),
            Self::OneStatement => format!("{}{ONE_STATEMENT}\n", draw(keys)),
            Self::RoundTrips => format!("{}{ROUND_TRIPS}\n", draw(keys)),
        }
    }
}

fn draw(keys: u64) -> String {
    format!(
        "\\set id random(1, {keys})\n\\set serial random(1, 9000000000000000000)\n\
         \\set now random(1790000000000000, 1800000000000000)\n"
    )
}

/// What of a key and its product an answer is made from.
macro_rules! columns {
    () => {
        "k.id, k.sequence_id, k.product_id, k.lot_id, k.order_id, k.customer_id, k.number_prefix,
    k.number_version, k.source, k.status, k.max_activations, k.anonymous_activations, k.expires_at,
    k.assigned_at, k.revoked_at, k.suspended_at, k.terminated_at, p.sku, p.activation_managed,
    p.renew_by_days, p.grace_days, p.entitlements"
    };
}

/// Keys of lots that are seen.
macro_rules! published {
    () => {
        "(k.lot_id IS NULL OR k.lot_id NOT IN (SELECT id FROM lots WHERE published_at IS NULL))"
    };
}

const SELECT: &str = concat!(
    "SELECT ",
    columns!(),
    ", a.serial, a.activated_at,
    (SELECT count(*) FROM (SELECT 1 FROM activations o WHERE o.key_id = k.id LIMIT 65) AS few)
FROM keys k LEFT JOIN products p ON p.id = k.product_id
    LEFT JOIN activations a ON a.key_id = k.id
        AND a.installation_id = 'installation-' || lpad(to_hex(:id::bigint), 16, '0')
WHERE ",
    published!(),
    " AND k.text_hash = sha256(int8send(:id::bigint));"
);

const ONE_STATEMENT: &str = concat!(
    "WITH key AS (
    SELECT ", columns!(), " FROM keys k JOIN products p ON p.id = k.product_id
    WHERE ", published!(), " AND k.text_hash = sha256(int8send(:id::bigint))
    FOR NO KEY UPDATE OF k
), open AS (
    SELECT count(*) AS count
    FROM (SELECT 1 FROM activations a, key WHERE a.key_id = key.id LIMIT 65) AS few
), added AS (
    INSERT INTO activations (key_id, installation_id, serial, activated_at, last_seen_at, address)
    SELECT key.id, 'ceiling-' || lpad(to_hex(:serial::bigint), 28, '0'), :serial::bigint, :now::bigint, :now::bigint,
        '127.0.0.1'
    FROM key, open
    WHERE key.activation_managed AND key.terminated_at IS NULL AND key.revoked_at IS NULL
        AND key.status <> 'disabled' AND key.suspended_at IS NULL
        AND (key.expires_at IS NULL OR key.expires_at > :now::bigint)
        AND (key.max_activations IS NULL OR open.count + key.anonymous_activations < key.max_activations)
    ON CONFLICT DO NOTHING
    RETURNING key_id, installation_id, serial, activated_at
), event AS (
    INSERT INTO events (at, action, actor, address, request_id, subject_type, subject_id, detail)
    SELECT activated_at, 'activation.created', 'public', '127.0.0.1', lpad(to_hex(serial), 32, '0'), 'key', key_id,
        '{\"installation_id\":\"' || installation_id || '\"}'
    FROM added
)
SELECT key.*, open.count, added.serial FROM key, open, added;"
);

const ROUND_TRIPS: &str = concat!(
    "BEGIN;
SELECT ", columns!(), " FROM keys k JOIN products p ON p.id = k.product_id
    WHERE ", published!(), " AND k.text_hash = sha256(int8send(:id::bigint)) FOR NO KEY UPDATE OF k;
SELECT serial FROM activations WHERE key_id = :id::bigint LIMIT 65;
SELECT serial, activated_at FROM activations WHERE key_id = :id::bigint
    AND installation_id = 'ceiling-' || lpad(to_hex(:serial::bigint), 28, '0');
INSERT INTO activations (key_id, installation_id, serial, activated_at, last_seen_at, address)
    VALUES (:id::bigint, 'ceiling-' || lpad(to_hex(:serial::bigint), 28, '0'), :serial::bigint, :now::bigint,
    :now::bigint, '127.0.0.1');
INSERT INTO events (at, action, actor, address, request_id, subject_type, subject_id, detail)
    VALUES (:now::bigint, 'activation.created', 'public', '127.0.0.1', lpad(to_hex(:serial::bigint), 32, '0'),
    'key', :id::bigint, '{\"installation_id\":\"ceiling-' || lpad(to_hex(:serial::bigint), 28, '0') || '\"}');
COMMIT;"
);

/// Copies the tables, with their indexes and checks, under the schema `ceiling`.
const TWIN: &str = "
SET client_min_messages = warning;
CREATE SCHEMA ceiling;
CREATE TABLE ceiling.products (LIKE public.products INCLUDING ALL);
INSERT INTO ceiling.products SELECT * FROM public.products;
CREATE TABLE ceiling.keys (LIKE public.keys INCLUDING ALL);
DO $$ DECLARE names text; texts text; BEGIN
    SELECT string_agg(quote_ident(column_name), ','),
        string_agg(CASE column_name WHEN 'text_hash' THEN 'sha256(int8send(id))' ELSE quote_ident(column_name) END, ',')
        INTO names, texts
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'keys';
    EXECUTE format('INSERT INTO ceiling.keys (%s) SELECT %s FROM public.keys', names, texts);
END $$;
CREATE TABLE ceiling.activations (LIKE public.activations INCLUDING ALL);
ALTER TABLE ceiling.activations ADD FOREIGN KEY (key_id) REFERENCES ceiling.keys (id);
CREATE TABLE ceiling.events (LIKE public.events INCLUDING ALL);
INSERT INTO ceiling.activations SELECT id, 'installation-' || lpad(to_hex(id), 16, '0'), id, 0, 0, '127.0.0.1'
    FROM ceiling.keys WHERE id <= ";

/// The twin of a filled database.
#[derive(Debug)]
pub(crate) struct Ceiling {
    postgres: Postgres,
    folder: PathBuf,
}

impl Ceiling {
    /// Makes the twin, with an activation on each of the first `hot` keys.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub(crate) fn build(
        postgres: &Postgres,
        folder: &Path,
        keys: u64,
        hot: u64,
    ) -> anyhow::Result<Self> {
        postgres.sql(&format!("{TWIN}{hot}"))?;
        postgres.sql("VACUUM ANALYZE")?;
        for script in Script::ALL {
            std::fs::write(folder.join(script.file()), script.text(keys, hot))?;
        }
        Ok(Self {
            postgres: postgres.clone(),
            folder: folder.to_owned(),
        })
    }

    /// Runs a script for a while; how many a second, and how much of a processor was somebody else's.
    ///
    /// # Errors
    /// pgbench's, and when the script did not do what it is to do.
    pub(crate) fn measure(
        &self,
        script: Script,
        clients: usize,
        load: Load,
    ) -> anyhow::Result<(f64, f64)> {
        let before = self.count()?;
        let processes = [self.postgres.process];
        let begin = Moment::now(&processes);
        let printed = self.run(script, clients, load)?;
        let foreign = Moment::now(&processes).foreign_since(&begin);
        let done = number_after(&printed, "number of transactions actually processed:")
            .context("pgbench does not say how much it did")?;
        let added = self.count()? - before;
        if script != Script::Select && (added - done).abs() > 0.5 {
            bail!("pgbench made {done} activations, and {added} came in");
        }
        let rate =
            number_after(&printed, "tps = ").context("pgbench does not say how fast it was")?;
        Ok((rate, foreign))
    }

    fn run(&self, script: Script, clients: usize, load: Load) -> anyhow::Result<String> {
        // It takes whole seconds.
        let seconds = load.measured.as_secs().max(1).to_string();
        let clients = clients.to_string();
        let mut pgbench = Command::new(Postgres::tool("pgbench"));
        pgbench
            .args([
                "-n", "-M", "prepared", "-j", "2", "-T", &seconds, "-c", &clients, "-f",
            ])
            .arg(self.folder.join(script.file()))
            // Both by the URL, as variables that speak of another server are taken away.
            .arg(format!(
                "{}?options=-csearch_path%3Dceiling,public",
                self.postgres.url()
            ));
        output(pgbench, "pgbench")
    }

    fn count(&self) -> anyhow::Result<f64> {
        let count = self
            .postgres
            .sql("SELECT count(*) FROM ceiling.activations")?;
        Ok(count.trim().parse()?)
    }
}

/// The number that stands behind a word.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let (_, rest) = text.split_once(word)?;
    let rest = rest.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_prints_is_read() {
        let printed = "number of clients: 16\nnumber of transactions actually processed: 23456\n\
                       number of failed transactions: 0 (0.000%)\nlatency average = 1.365 ms\n\
                       initial connection time = 20.1 ms\ntps = 11723.456789 (without initial connection time)\n";
        assert_eq!(
            number_after(printed, "number of transactions actually processed:"),
            Some(23456.0)
        );
        assert_eq!(number_after(printed, "tps = "), Some(11723.456789));
        assert_eq!(number_after(printed, "nothing"), None);
    }
}
