//! Staging: keys that come in together are stored in short transactions, as a lot that nobody sees, and
//! become visible by one flip. So neither an activation waits for a million keys, nor are half of them
//! ever seen or sold.

use std::collections::BTreeSet;

use super::mint::NewStanding;
use super::stock;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::job::{self, Job};
use crate::db::models::key::{Key, KeyStatus, NewKey};
use crate::db::models::lot::{Lot, LotId};
use crate::db::models::product::Product;
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::models::stock::StockRow;
use crate::error::{Code, Error, FieldError, Refusal, Result};

/// Keys per transaction: it stays short.
pub(super) const CHUNK: usize = 1000;

/// Stores keys in a lot that is open; returns how many of their texts are new.
///
/// # Errors
/// [`Error::Unavailable`] when the lot was given up meanwhile.
pub(super) fn stage(
    tx: &mut DbConnection,
    lot: LotId,
    rows: &[NewKey],
    now: Timestamp,
) -> Result<usize> {
    // A deleted sequence's keys go in small steps: their texts are free all the same.
    if Job::is_pending(tx, job::DELETE_KEYS)? {
        let hashes: Vec<&[u8]> = rows.iter().map(|row| row.text_hash.as_slice()).collect();
        Key::delete_doomed(tx, &hashes)?;
    }
    let stored: BTreeSet<i64> = Key::insert_new(tx, rows)?.into_iter().collect();
    let for_sale: Vec<StockRow> = rows
        .iter()
        .filter(|row| row.status == KeyStatus::Active && stored.contains(&row.id))
        .filter_map(|row| {
            let sequence = row.sequence_id?;
            Some(StockRow::new(sequence, row.product_id, lot, row.id))
        })
        .collect();
    StockRow::insert_all(tx, &for_sale)?;
    if !Lot::beat(
        tx,
        lot,
        i64::try_from(stored.len()).unwrap_or(i64::MAX),
        now,
    )? {
        return Err(gave_up());
    }
    Ok(stored.len())
}

/// The flip: makes every key of the lot visible, and lets the orders that wait for them be served.
/// The sequences are held meanwhile, in the order in which everybody does.
///
/// # Errors
/// `sequence_not_found` when one was deleted meanwhile.
pub(super) fn publish_lot(
    tx: &mut DbConnection,
    lot: LotId,
    sequences: &BTreeSet<SequenceId>,
    now: Timestamp,
) -> Result<()> {
    for id in sequences {
        let sequence = Sequence::lock(tx, *id)?;
        if sequence.deleted_at.is_some() {
            let detail = format!("The sequence `{}` was deleted meanwhile.", sequence.name);
            return Err(Refusal::because(Code::SequenceNotFound, detail).into());
        }
    }
    if !Lot::publish(tx, lot, now)? {
        return Err(gave_up());
    }
    for id in sequences {
        stock::wake_waiting_orders(tx, *id, now)?;
    }
    Ok(())
}

/// Where keys stand that come in with this status, and with this product if they are bound to one
/// (design: a status that means "assigned" is one, and a disabled key remembers what it was before).
///
/// # Errors
/// Which member is missing.
pub(super) fn standing(
    status: KeyStatus,
    product: Option<&Product>,
    now: Timestamp,
) -> Result<NewStanding> {
    let is_assigned = matches!(status, KeyStatus::Sold | KeyStatus::Delivered);
    if is_assigned && product.is_none() {
        let detail = format!("is required with the status `{status}`: what was sold is a product");
        return Err(Refusal::invalid(vec![FieldError::new("product", "required", detail)]).into());
    }
    Ok(NewStanding {
        status_before: (status == KeyStatus::Disabled).then_some(KeyStatus::Inactive),
        assigned_at: is_assigned.then_some(now),
        delivered_at: (status == KeyStatus::Delivered).then_some(now),
        ..NewStanding::in_stock(status)
    })
}

fn gave_up() -> Error {
    Error::Unavailable("the import stood still for too long and was given up")
}

impl App {
    /// Serves the orders that wait for keys of these sequences. Before the caller is answered, so that
    /// nobody who hears of the new keys gets them before those who wait; what this does not come to is
    /// the queued jobs'.
    pub(super) async fn serve_after_publishing(&self, sequences: &BTreeSet<SequenceId>) {
        for sequence in sequences {
            if let Err(error) = self.serve_waiting_orders(*sequence).await {
                tracing::warn!(%error, "waiting orders are left to the job");
            }
        }
        self.nudge_jobs();
    }
}
