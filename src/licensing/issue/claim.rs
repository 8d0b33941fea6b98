//! Finding the keys that an order needs, and holding them.

use std::collections::{BTreeMap, BTreeSet};

use diesel::Connection;

use super::{Need, Shortage, count};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::generator::Generator;
use crate::db::models::key::Key;
use crate::db::models::product::{Product, ProductId};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::models::stock::{Held, Prefer, StockRow};
use crate::error::{Error, Result};
use crate::licensing::supply::{self, Fallback};

/// What there is for an order.
pub(super) enum Claim {
    /// For each product as many keys as its lines need.
    Enough(BTreeMap<ProductId, Claimed>),
    /// What is missing; nothing is held.
    Short(Vec<Shortage>),
}

/// Keys for a product.
#[derive(Default)]
pub(super) struct Claimed {
    /// What they are taken out of stock by.
    pub rows: Vec<StockRow>,
    /// Oldest first.
    pub keys: Vec<Key>,
    /// How many more are to be made, and by what.
    pub to_make: Option<(usize, Generator)>,
}

/// Takes the oldest keys that nobody else holds. When they are too few, it holds none of them itself.
pub(super) fn claim_at_once(
    tx: &mut DbConnection,
    needs: &[Need<'_>],
    now: Timestamp,
) -> Result<Claim> {
    let how = (Prefer::Oldest, Held::Skip);
    let keys: usize = needs.iter().map(|need| need.keys).sum();
    // Whoever needs a single key holds none when it is short of one.
    if matches!(tx, DbConnection::Sqlite(_)) || keys == 1 {
        return claim(tx, needs, how, now);
    }
    // Rolling back to here lets go of the rows: two orders that each hold half of what both need would
    // wait for each other.
    let tried = tx.transaction(|tx| match claim(tx, needs, how, now) {
        Ok(Claim::Short(shortages)) => Err(Tried::Short(shortages)),
        Ok(enough) => Ok(enough),
        Err(error) => Err(Tried::Failed(error)),
    });
    match tried {
        Ok(enough) => Ok(enough),
        Err(Tried::Short(shortages)) => Ok(Claim::Short(shortages)),
        Err(Tried::Failed(error)) => Err(error),
    }
}

/// Waits for the keys that others hold, who may let them go, and takes for each product its own keys
/// first: an order of two products must not fail because the first took what only the second could
/// not do without. Only then is it a shortage. One order at a time, so that none waits for another
/// that waits for it.
pub(super) fn claim_patiently(
    tx: &mut DbConnection,
    needs: &[Need<'_>],
    now: Timestamp,
) -> Result<Claim> {
    for sequence in sequences(needs) {
        Sequence::lock(tx, sequence)?;
    }
    claim(tx, needs, (Prefer::Own, Held::Wait), now)
}

/// Why a savepoint is rolled back.
pub(super) enum Tried {
    Short(Vec<Shortage>),
    Failed(Error),
}

impl From<diesel::result::Error> for Tried {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The sequences that the keys come from, in the order in which everybody locks them.
pub(super) fn sequences(needs: &[Need<'_>]) -> BTreeSet<SequenceId> {
    needs
        .iter()
        .filter_map(|need| need.product.sequence_id)
        .collect()
}

/// Finds and locks keys for all lines; takes nothing out of stock yet.
fn claim(
    tx: &mut DbConnection,
    needs: &[Need<'_>],
    how: (Prefer, Held),
    now: Timestamp,
) -> Result<Claim> {
    // What stock lacks is made only when nobody can bring it back any more.
    let fallback = match how.1 {
        Held::Skip => Fallback::NotYet,
        Held::Wait => Fallback::Allowed,
    };
    let mut by_product: BTreeMap<ProductId, (&Product, usize)> = BTreeMap::new();
    for need in needs {
        by_product
            .entry(need.product.id)
            .or_insert((need.product, 0))
            .1 += need.keys;
    }
    let mut taken = Vec::new();
    let mut found = BTreeMap::new();
    let mut shortages = Vec::new();
    for (id, (product, needed)) in by_product {
        let in_stock = match product.sequence_id {
            Some(sequence) => StockRow::first(tx, (sequence, id), needed, &taken, how, now)?,
            None => Vec::new(),
        };
        let missing = needed - in_stock.len();
        let generator = match missing {
            0 => None,
            _ => supply::generator_for(tx, product, fallback)?,
        };
        if missing > 0 && generator.is_none() {
            shortages.push(Shortage {
                sku: product.sku.clone(),
                needed: count(needed),
                available: count(in_stock.len()),
            });
        }
        let (rows, keys): (Vec<_>, Vec<_>) = in_stock.into_iter().unzip();
        taken.extend(&rows);
        let to_make = generator.map(|generator| (missing, generator));
        found.insert(
            id,
            Claimed {
                rows,
                keys,
                to_make,
            },
        );
    }
    Ok(if shortages.is_empty() {
        Claim::Enough(found)
    } else {
        Claim::Short(shortages)
    })
}
