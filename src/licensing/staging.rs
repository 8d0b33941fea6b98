//! Staging: keys that come in together are stored in short transactions, as a lot that nobody sees, and
//! become visible by one flip. So neither an activation waits for a million keys, nor are half of them
//! ever seen or sold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::issue::MAX_KEYS_PER_ORDER;
use super::mint::NewStanding;
use super::orders::{self, OrderName};
use super::stock;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::customer::CustomerId;
use crate::db::models::job::{self, Job};
use crate::db::models::key::{Key, KeyStatus};
use crate::db::models::lot::{Lot, LotId};
use crate::db::models::new_key::{NewKey, NewKeysShare};
use crate::db::models::order::{Order, OrderId};
use crate::db::models::order_line::{OrderLine, OrderLineId};
use crate::db::models::product::Product;
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::models::stock::StockRow;
use crate::error::{Code, Error, Refusal, Result};

/// Keys per step, after which it is looked whether others wait: a transaction stays short.
pub(super) const CHUNK: usize = 1000;

/// Puts keys into the order of the index over their texts, so that storing them walks it instead of jumping
/// about in it, and so that two who store the same texts wait for each other one way round only. Of two keys
/// with one text the one that came first stays first.
pub(super) fn sort_for_index(rows: &mut [NewKey]) {
    rows.sort_by_key(|row| row.text_hash);
}

/// Stores keys in a lot that is open, [`CHUNK`] after [`CHUNK`] as long as `go_on` says so of the number that
/// is done; returns that number, and how many of their texts are new.
///
/// # Errors
/// [`Error::Unavailable`] when the lot was given up meanwhile.
pub(super) fn stage(
    tx: &mut DbConnection,
    lot: LotId,
    (share, rows): (&NewKeysShare, &[NewKey]),
    now: Timestamp,
    go_on: impl Fn(usize) -> bool,
) -> Result<(usize, usize)> {
    let is_deleting = Job::is_pending(tx, job::DELETE_KEYS)?;
    let (mut done, mut new) = (0, 0);
    for rows in rows.chunks(CHUNK) {
        // A deleted sequence's keys go in small steps: their texts are free all the same.
        if is_deleting {
            let hashes: Vec<&[u8]> = rows.iter().map(|row| row.text_hash.as_slice()).collect();
            Key::delete_doomed(tx, &hashes)?;
        }
        new += stage_chunk(tx, lot, share, rows)?;
        done += rows.len();
        if !go_on(done) {
            break;
        }
    }
    if !Lot::beat(tx, lot, i64::try_from(new).unwrap_or(i64::MAX), now)? {
        return Err(gave_up());
    }
    Ok((done, new))
}

fn stage_chunk(
    tx: &mut DbConnection,
    lot: LotId,
    share: &NewKeysShare,
    rows: &[NewKey],
) -> Result<usize> {
    let mut stored = share.insert_new(tx, rows)?;
    if share.status == KeyStatus::Active {
        stored.sort_unstable();
        let mut for_sale: Vec<StockRow> = rows
            .iter()
            .filter(|row| stored.binary_search(&row.id).is_ok())
            .filter_map(|row| {
                let sequence = row.sequence_id?;
                Some(StockRow::new(sequence, share.product_id, lot, row.id))
            })
            .collect();
        for_sale.sort_unstable_by_key(|row| row.key_id);
        StockRow::insert_all(tx, &for_sale)?;
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

/// An order as people name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedOrder {
    pub(crate) reference: String,
    /// The name of the shop; `None` where only one has such an order.
    pub(crate) shop: Option<String>,
}

/// The order that keys are for which come in assigned [SHOP-30, SHOP-49].
#[derive(Clone, Copy, Debug)]
pub(super) struct ForOrder {
    pub(super) order: OrderId,
    line: Option<OrderLineId>,
    customer: Option<CustomerId>,
}

impl ForOrder {
    /// Finds an order by its name, and the line of it that the product is on.
    ///
    /// # Errors
    /// `order_not_found`, `ambiguous`, or that a product is missing.
    pub(super) fn find(
        conn: &mut DbConnection,
        named: &NamedOrder,
        product: Option<&Product>,
    ) -> Result<Self> {
        let account = match &named.shop {
            Some(shop) => Some(orders::shop(conn, shop)?),
            None => None,
        };
        let reference = named.reference.clone();
        let order = orders::find(conn, &OrderName { reference, account })?;
        if order.state.is_void() {
            let detail = format!("the order is {}: its keys are disabled", order.state);
            return Err(Refusal::wrong("order", "not_payable", &detail).into());
        }
        let Some(product) = product else {
            let detail = "is required with an order: what was bought is a product";
            return Err(Refusal::wrong("product", "required", detail).into());
        };
        Ok(Self {
            order: order.id,
            line: OrderLine::of_product(conn, order.id, Some(product.id))?,
            customer: order.customer_id,
        })
    }

    /// Holds the order before its keys become visible, and refuses more than an order can have.
    ///
    /// # Errors
    /// `validation_failed`.
    pub(super) fn lock(&self, tx: &mut DbConnection, more: usize) -> Result<Order> {
        let order = Order::lock(tx, self.order)?.ok_or(Error::from(Code::OrderNotFound))?;
        let keys = Key::of_orders(tx, &[order.id])?.len() + more;
        if i64::try_from(keys).unwrap_or(i64::MAX) > MAX_KEYS_PER_ORDER {
            let detail =
                format!("would have {keys} keys; an order has at most {MAX_KEYS_PER_ORDER}");
            return Err(Refusal::wrong("order", "too_many_keys", &detail).into());
        }
        Ok(order)
    }
}

/// Where keys stand that come in with this status, for this product if they are bound to one, and for
/// this order if they are for one. A status that means "assigned" is an assignment, and so is an order;
/// a disabled key remembers what it was before.
///
/// # Errors
/// Which member is missing, or does not go with the others.
pub(super) fn standing(
    status: Option<KeyStatus>,
    product: Option<&Product>,
    order: Option<ForOrder>,
    now: Timestamp,
) -> Result<NewStanding> {
    use KeyStatus::{Active, Delivered, Disabled, Inactive, Sold};
    let bought = match product {
        Some(product) if product.auto_deliver => Delivered,
        _ => Sold,
    };
    let (status, before) = match (status, order) {
        (None, None) => (Active, None),
        (None, Some(_)) => (bought, None),
        (Some(Disabled), None) => (Disabled, Some(Inactive)),
        (Some(Disabled), Some(_)) => (Disabled, Some(bought)),
        (Some(status @ (Active | Inactive)), Some(_)) => {
            let detail = format!("keys of an order are sold or delivered, not {status}");
            return Err(Refusal::wrong("status", "invalid", &detail).into());
        }
        (Some(status), _) => (status, None),
    };
    let value = before.unwrap_or(status);
    let is_assigned = matches!(value, Sold | Delivered);
    if is_assigned && product.is_none() {
        let detail = format!("is required with the status `{status}`: what was sold is a product");
        return Err(Refusal::wrong("product", "required", &detail).into());
    }
    Ok(NewStanding {
        status,
        status_before: before,
        assigned_at: is_assigned.then_some(now),
        delivered_at: (value == Delivered).then_some(now),
        order: order.map(|order| order.order),
        line: order.and_then(|order| order.line),
        customer: order.and_then(|order| order.customer),
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
