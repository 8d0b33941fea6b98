//! SQLite's ceiling: the statements of an activation on a copy of the filled database, in this process, with
//! the settings of the server's writer and nothing around them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rusqlite::{Connection, params};

use crate::client::Load;
use crate::keys::Chance;
use crate::noise::Moment;

/// As in the server's `db/connection.rs`, for its writer.
const SETTINGS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
    PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;";

/// As in the server's `db/models/issued_key.rs`: the key with its product, its count and the installation.
const LOOK_UP: &str = "SELECT 1, k.id, k.order_id, k.status, k.number_prefix, k.number_version,
        k.max_activations, k.anonymous_activations, k.expires_at, k.revoked_at, k.suspended_at, k.terminated_at,
        p.sku, p.activation_managed, p.renew_by_days, p.grace_days, p.self_release, p.releases_per_month,
        p.entitlements, COALESCE(c.open, (SELECT COUNT(*) FROM activations n WHERE n.key_id = k.id)),
        a.serial, a.activated_at, a.last_seen_at, a.address
    FROM keys k JOIN products p ON p.id = k.product_id
        LEFT JOIN activation_counts c ON c.key_id = k.id
        LEFT JOIN activations a ON a.key_id = k.id AND a.installation_id = ?1
    WHERE k.assigned_at IS NOT NULL AND (k.lot_id IS NULL OR EXISTS
        (SELECT 1 FROM lots l WHERE l.id = k.lot_id AND l.published_at IS NOT NULL)) AND k.text_hash = ?2";
const ADD_ACTIVATION: &str = "INSERT INTO activations
        (key_id, installation_id, serial, activated_at, last_seen_at, address)
    VALUES (?1, ?2, ?3, ?4, ?4, '127.0.0.1')";
const ADD_EVENT: &str = "INSERT INTO events
        (at, action, actor, account_id, address, request_id, subject_type, subject_id, detail)
    VALUES (?1, 'activation.created', 'public', NULL, '127.0.0.1', ?2, 'key', ?3, ?4)";

/// At most so many keys are drawn from; spread over all.
const KEYS: u64 = 1_000_000;

/// A copy of a filled database.
#[derive(Debug)]
pub(crate) struct Ceiling {
    conn: Connection,
    path: PathBuf,
    hashes: Vec<[u8; 32]>,
    chance: Chance,
    made: u64,
}

impl Ceiling {
    /// Copies the database of a server that has nothing to do.
    ///
    /// # Errors
    /// SQLite's, and those of copying.
    pub(crate) fn copy(database: &Path, keys: u64) -> anyhow::Result<Self> {
        let path = database.with_extension("ceiling.db");
        {
            // Everything is in the one file, and nobody adds to it meanwhile.
            let original = Connection::open(database)?;
            original.busy_timeout(Duration::from_secs(10))?;
            original.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            original.execute_batch("BEGIN IMMEDIATE")?;
            std::fs::copy(database, &path).context("cannot copy the database")?;
            original.execute_batch("ROLLBACK")?;
        }
        let conn = Connection::open(&path)?;
        conn.execute_batch(SETTINGS)?;
        let every = (keys / KEYS).max(1);
        let hashes = conn
            .prepare(
                "SELECT text_hash FROM keys WHERE max_activations IS NOT NULL AND id % ?1 = 0",
            )?
            .query_map([i64::try_from(every)?], |row| row.get(0))?
            .collect::<Result<Vec<[u8; 32]>, _>>()?;
        if hashes.is_empty() {
            bail!("the copy has no keys");
        }
        Ok(Self {
            conn,
            path,
            hashes,
            chance: Chance::new(0),
            made: 0,
        })
    }

    /// Activates for a while, `batch` in a transaction; how many a second, and how much of a processor was
    /// somebody else's.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn measure(&mut self, batch: u32, load: Load) -> anyhow::Result<(f64, f64)> {
        let warm = Instant::now() + load.warm_up;
        while Instant::now() < warm {
            self.transaction(batch)?;
        }
        let (before, began, mut made) = (Moment::now(&[]), Instant::now(), 0.0);
        while began.elapsed() < load.measured {
            self.transaction(batch)?;
            made += f64::from(batch);
        }
        let rate = made / began.elapsed().as_secs_f64();
        Ok((rate, Moment::now(&[]).foreign_since(&before)))
    }

    fn transaction(&mut self, batch: u32) -> anyhow::Result<()> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..batch {
            self.activate()?;
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn activate(&mut self) -> anyhow::Result<()> {
        let drawn = self.chance.below(u64::try_from(self.hashes.len())?);
        let hash = &self.hashes[usize::try_from(drawn)?];
        let now = micros();
        self.made += 1;
        let mixed = self.chance.next();
        let installation = format!("ceiling-{:010x}-{mixed:016x}", self.made);
        let (key, most, open, serial): (i64, Option<i64>, i64, Option<i64>) = self
            .conn
            .prepare_cached(LOOK_UP)?
            .query_row(params![installation, &hash[..]], |row| {
                Ok((row.get(1)?, row.get(6)?, row.get(19)?, row.get(20)?))
            })?;
        if serial.is_some() {
            bail!("an installation came twice");
        }
        if most.is_some_and(|most| open >= most) {
            bail!("a key is used up");
        }
        let serial = i64::from_ne_bytes(mixed.to_ne_bytes());
        self.conn.prepare_cached(ADD_ACTIVATION)?.execute(params![
            key,
            installation,
            serial,
            now
        ])?;
        let request = format!("{:016x}{mixed:016x}", self.made);
        let detail = format!("{{\"installation_id\":\"{installation}\"}}");
        self.conn
            .prepare_cached(ADD_EVENT)?
            .execute(params![now, request, key, detail])?;
        Ok(())
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        // It lies in a temporary folder; this only makes room earlier.
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.path.display()));
        }
    }
}

fn micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0))
}
