//! The stock table: what can be claimed, first in, first out.
//!
//! Claiming deletes the row in the transaction that assigns the key, so a roll-back puts it back where
//! it was. Rows of unpublished lots are stepped over as ranges, never one by one: an import of a
//! million keys may be staged beside the last few that are for sale.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, each_backend};
use crate::db::first::{First, NoLock, SkipLocked, WaitLocked};
use crate::db::models::Columns;
use crate::db::models::key::{Key, KeyStatus};
use crate::db::models::lot::LotId;
use crate::db::models::product::ProductId;
use crate::db::models::sequence::SequenceId;
use crate::db::schema::{keys, lots, stock};

/// The product id of stock that any product of the sequence may take.
const ANY_PRODUCT: i64 = 0;

/// One key in stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, HasQuery, Insertable)]
#[diesel(table_name = stock, check_for_backend(MultiBackend))]
pub(crate) struct StockRow {
    pub sequence_id: SequenceId,
    pub product_id: i64,
    pub lot_id: LotId,
    pub key_id: i64,
}

/// Whether to wait for rows that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Step over them.
    Skip,
    /// Wait for them: they may come back.
    Wait,
}

/// Which keys first, of those kept for the product and those that any product may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// The oldest of both.
    Oldest,
    /// Its own, which leaves others the most.
    Own,
}

impl StockRow {
    /// A key that `product` alone may take, or any product of the sequence.
    pub(crate) fn new(
        sequence: SequenceId,
        product: Option<ProductId>,
        lot: LotId,
        key_id: i64,
    ) -> Self {
        Self {
            sequence_id: sequence,
            product_id: product.map_or(ANY_PRODUCT, |product| product.0),
            lot_id: lot,
            key_id,
        }
    }

    /// The first `count` keys that `product` can take and that have not expired, leaving out those in
    /// `taken`, locked until the transaction ends where the database locks rows. Fewer when there are
    /// fewer.
    pub(crate) fn first(
        conn: &mut DbConnection,
        (sequence, product): (SequenceId, ProductId),
        count: usize,
        taken: &[Self],
        (prefer, held): (Prefer, Held),
        now: Timestamp,
    ) -> QueryResult<Vec<(Self, Key)>> {
        // Taken rows are still in the table: fetch enough to step over them.
        let fetch = count + taken.len();
        let ranges = published_ranges(conn)?;
        let mut found = Vec::new();
        for product_id in [product.0, ANY_PRODUCT] {
            let mut of_product = Vec::new();
            for range in &ranges {
                let left = fetch - of_product.len();
                if left == 0 {
                    break;
                }
                let place = (sequence, product_id);
                of_product.extend(in_range(conn, place, *range, left, held, now)?);
            }
            found.extend(of_product);
        }
        found.retain(|(row, _)| !taken.contains(row));
        found.sort_by_key(|(row, _)| {
            let shared = prefer == Prefer::Own && row.product_id == ANY_PRODUCT;
            (shared, row.lot_id, row.key_id)
        });
        found.truncate(count);
        Ok(found)
    }

    /// Takes the rows out of stock; `false` when one was not there any more.
    pub(crate) fn take(conn: &mut DbConnection, rows: &[Self]) -> QueryResult<bool> {
        if let [one] = rows {
            return one.remove(conn);
        }
        let mut by_lot: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        for row in rows {
            let lot = (row.sequence_id, row.product_id, row.lot_id);
            by_lot.entry(lot).or_default().push(row.key_id);
        }
        for ((sequence, product_id, lot), key_ids) in by_lot {
            let there = stock::table
                .filter(
                    stock::sequence_id
                        .eq(sequence)
                        .and(stock::product_id.eq(product_id)),
                )
                .filter(stock::lot_id.eq(lot).and(stock::key_id.eq_any(&key_ids)));
            let gone = each_backend!(conn, |inner| diesel::delete(there).execute(inner))?;
            if gone != key_ids.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts the keys that could be sold now, exactly: those kept for `product`, or with `None` those
    /// that any product of the sequence may take.
    pub(crate) fn count(
        conn: &mut DbConnection,
        sequence: SequenceId,
        product: Option<ProductId>,
        now: Timestamp,
    ) -> QueryResult<i64> {
        let product_id = product.map_or(ANY_PRODUCT, |product| product.0);
        let mut count = 0;
        for (from, to) in published_ranges(conn)? {
            let rows = stock::table
                .filter(
                    stock::sequence_id
                        .eq(sequence)
                        .and(stock::product_id.eq(product_id)),
                )
                .filter(stock::lot_id.gt(from).and(stock::lot_id.lt(to)));
            // Few or none have expired in stock, and an index finds them: joining every row would cost
            // far more than counting them.
            let expired = rows
                .inner_join(keys::table.on(keys::id.eq(stock::key_id)))
                .filter(keys::expires_at.le(now).and(keys::assigned_at.is_null()));
            count +=
                rows.count().get_result::<i64>(conn)? - expired.count().get_result::<i64>(conn)?;
        }
        Ok(count)
    }

    /// Keys in stock and published, by sequence. One that expired is still among them until it is taken
    /// out of stock.
    pub(crate) fn count_by_sequence(
        conn: &mut DbConnection,
    ) -> QueryResult<HashMap<SequenceId, i64>> {
        let unpublished: Vec<LotId> = lots::table
            .filter(lots::published_at.is_null())
            .select(lots::id)
            .load(conn)?;
        let counts: Vec<(SequenceId, i64)> = stock::table
            .filter(stock::lot_id.ne_all(unpublished))
            .group_by(stock::sequence_id)
            .select((stock::sequence_id, diesel::dsl::count_star()))
            .load(conn)?;
        Ok(counts.into_iter().collect())
    }

    /// Takes up to `slice` keys that have expired out of stock; returns how many it found.
    pub(crate) fn take_expired(
        conn: &mut DbConnection,
        now: Timestamp,
        slice: i64,
    ) -> QueryResult<usize> {
        let expired = stock::table
            .inner_join(keys::table.on(keys::id.eq(stock::key_id)))
            .filter(keys::expires_at.le(now).and(keys::assigned_at.is_null()))
            .limit(slice)
            .select(Self::columns());
        let rows: Vec<Self> = match conn {
            DbConnection::Sqlite(inner) => expired.load(inner)?,
            DbConnection::Postgres(inner) => expired.for_update().skip_locked().load(inner)?,
        };
        Self::take(conn, &rows)?;
        Ok(rows.len())
    }

    /// Whether there is anything in stock, and published, for any product of the sequence.
    pub(crate) fn exists(conn: &mut DbConnection, sequence: SequenceId) -> QueryResult<bool> {
        let unpublished = lots::table
            .filter(lots::published_at.is_null())
            .select(lots::id);
        let rows = stock::table
            .filter(stock::sequence_id.eq(sequence))
            .filter(stock::lot_id.ne_all(unpublished));
        diesel::select(diesel::dsl::exists(rows)).get_result(conn)
    }
}

/// The range of ids that every lot is in.
const EVERYTHING: (LotId, LotId) = (LotId(i64::MIN), LotId(i64::MAX));

/// The ids of published lots as open intervals between the few that are not published.
fn published_ranges(conn: &mut DbConnection) -> QueryResult<Vec<(LotId, LotId)>> {
    let unpublished: Vec<LotId> = each_backend!(conn, |inner| lots::table
        .filter(lots::published_at.is_null())
        .order(lots::id)
        .select(lots::id)
        .load(inner))?;
    let from = std::iter::once(EVERYTHING.0).chain(unpublished.iter().copied());
    let to = unpublished
        .iter()
        .copied()
        .chain(std::iter::once(EVERYTHING.1));
    Ok(from.zip(to).collect())
}

fn in_range(
    conn: &mut DbConnection,
    (sequence, product_id): (SequenceId, i64),
    (from, to): (LotId, LotId),
    limit: usize,
    held: Held,
    now: Timestamp,
) -> QueryResult<Vec<(StockRow, Key)>> {
    // The ranges were read a statement ago: a lot that was opened since is in one of them.
    let unpublished = lots::table
        .filter(lots::published_at.is_null())
        .select(lots::id);
    let rows = stock::table
        .inner_join(keys::table.on(keys::id.eq(stock::key_id)))
        .filter(stock::lot_id.ne_all(unpublished))
        .filter(stock::sequence_id.eq(sequence))
        .filter(stock::product_id.eq(product_id))
        .filter(keys::expires_at.is_null().or(keys::expires_at.gt(now)))
        // What stands here is for sale. Should it not be, one row must not stop everybody.
        .filter(
            keys::status
                .eq(KeyStatus::Active)
                .and(keys::assigned_at.is_null()),
        )
        .order((stock::lot_id, stock::key_id))
        .select((StockRow::columns(), Key::columns()));
    // Nearly always there is one range, which is everything, and one key is wanted. Without the bounds
    // PostgreSQL sees that it need not plan this each time.
    if limit == 1 && (from, to) == EVERYTHING {
        return match (conn, held) {
            (DbConnection::Sqlite(inner), _) => First::<_, NoLock>::of(rows).load(inner),
            (DbConnection::Postgres(inner), Held::Skip) => {
                First::<_, SkipLocked>::of(rows).load(inner)
            }
            (DbConnection::Postgres(inner), Held::Wait) => {
                First::<_, WaitLocked>::of(rows).load(inner)
            }
        };
    }
    let rows = rows
        .filter(stock::lot_id.gt(from).and(stock::lot_id.lt(to)))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX));
    match conn {
        DbConnection::Sqlite(inner) => rows.load(inner),
        DbConnection::Postgres(inner) => match held {
            Held::Skip => rows.for_update().skip_locked().load(inner),
            Held::Wait => rows.for_update().load(inner),
        },
    }
}
