//! Issue: assign keys to the lines of an order. All lines or none, in one transaction.

use std::collections::BTreeMap;

use diesel::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use self::claim::{Claim, Claimed, Tried, claim_at_once, claim_patiently, sequences};
use super::context::Context;
use super::events::{self, Subject};
use super::making::{Purchase, make_for_purchase};
use super::mint::Mint;
use super::{number, stock, supply};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::key::{Assignment, Key, KeyId, KeyStatus};
use crate::db::models::order::{IssueState, Order};
use crate::db::models::order_line::{OrderLine, OrderLineId};
use crate::db::models::product::{LimitBasis, Product, ProductId};
use crate::db::models::stock::StockRow;
use crate::db::types::JsonObject;
use crate::error::{Error, Result};

mod claim;

/// The most keys of one order: they are assigned in one transaction, which must stay short.
pub(crate) const MAX_KEYS_PER_ORDER: i64 = 1000;

/// A product of which there are not enough keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shortage {
    /// The product.
    #[schema(example = "editor-pro")]
    pub sku: String,
    /// Keys that the order needs.
    pub needed: i64,
    /// Keys in stock.
    pub available: i64,
}

/// A line of an order with its product, where it has one.
#[derive(Clone, Debug)]
pub(crate) struct LineWithProduct {
    pub line: OrderLine,
    pub product: Option<Product>,
}

/// What a line is owed.
struct Need<'a> {
    line: OrderLineId,
    product: &'a Product,
    keys: usize,
    /// The limit that each key gets; `None` keeps the key's own.
    limit: Option<i64>,
}

/// Keys that one line of `quantity` needs [SHOP-53, 56].
pub(crate) fn keys_needed(product: &Product, quantity: i64) -> i64 {
    match product.activation_limit_basis {
        _ if !product.sells_keys => 0,
        LimitBasis::Key => quantity.saturating_mul(product.delivery_quantity),
        LimitBasis::Quantity => product.delivery_quantity,
    }
}

/// Issues what the order is owed, or notes on it what is missing. The caller holds the order's row, has
/// checked that it is in a paid state, and saves it.
///
/// # Errors
/// The database's.
pub(crate) fn issue_order(
    tx: &mut DbConnection,
    cx: &Context,
    mint: &Mint,
    order: &mut Order,
    lines: &[LineWithProduct],
) -> Result<()> {
    // An order that has keys never gets keys again [UC-70].
    if !order.is_new() && !Key::of_orders(tx, &[order.id])?.is_empty() {
        settle(order, IssueState::Done);
        return Ok(());
    }
    let needs = needs(lines);
    if needs.is_empty() {
        settle(order, IssueState::None);
        return Ok(());
    }
    let claimed = match claim_at_once(tx, &needs, cx.now)? {
        Claim::Short(_) => claim_patiently(tx, &needs, cx.now)?,
        enough => enough,
    };
    let shortages = match claimed {
        Claim::Short(shortages) => shortages,
        Claim::Enough(claimed) => match make_missing(tx, mint, &needs, claimed, cx.now)? {
            Ok(claimed) => return assign(tx, cx, order, &needs, claimed),
            Err(used_up) => vec![used_up],
        },
    };
    note_shortage(tx, cx, order, &needs, &shortages)
}

/// Whether it is of no use to try: a sequence that the lines need keys of is empty, and nothing makes
/// any.
///
/// # Errors
/// The database's.
pub(crate) fn is_hopeless(conn: &mut DbConnection, lines: &[LineWithProduct]) -> Result<bool> {
    for need in needs(lines) {
        if !supply::may_supply(conn, need.product)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the lines need keys at all.
pub(crate) fn is_owed_keys(lines: &[LineWithProduct]) -> bool {
    !needs(lines).is_empty()
}

fn needs(lines: &[LineWithProduct]) -> Vec<Need<'_>> {
    lines
        .iter()
        .filter(|line| line.line.managed && line.line.removed_at.is_none())
        .filter_map(|LineWithProduct { line, product }| {
            let product = product.as_ref()?;
            let keys = usize::try_from(keys_needed(product, line.quantity)).ok()?;
            let limit =
                (product.activation_limit_basis == LimitBasis::Quantity).then_some(line.quantity);
            (keys > 0).then_some(Need {
                line: line.id,
                product,
                keys,
                limit,
            })
        })
        .collect()
}

/// Makes what stock lacks. When a pattern is used up, nothing of it is left and it says what is short.
fn make_missing(
    tx: &mut DbConnection,
    mint: &Mint,
    needs: &[Need<'_>],
    mut claimed: BTreeMap<ProductId, Claimed>,
    now: Timestamp,
) -> Result<Result<BTreeMap<ProductId, Claimed>, Shortage>> {
    if claimed.values().all(|claimed| claimed.to_make.is_none()) {
        return Ok(Ok(claimed));
    }
    let tried = tx.transaction(|tx| {
        for (id, claimed) in &mut claimed {
            let need = needs.iter().find(|need| need.product.id == *id);
            let (Some(need), Some((wanted, generator))) = (need, claimed.to_make.take()) else {
                continue;
            };
            let Some(sequence) = need.product.sequence_id else {
                continue;
            };
            let purchase = Purchase {
                product: need.product,
                sequence,
                wanted,
                now,
            };
            let made = make_for_purchase(tx, mint, &generator, purchase).map_err(Tried::Failed)?;
            let in_stock = claimed.keys.len();
            claimed.keys.extend(made.ok_or_else(|| {
                Tried::Short(vec![Shortage {
                    sku: need.product.sku.clone(),
                    needed: count(in_stock + wanted),
                    available: count(in_stock),
                }])
            })?);
        }
        Ok(())
    });
    match tried {
        Ok(()) => Ok(Ok(claimed)),
        Err(Tried::Short(mut shortages)) => match shortages.pop() {
            Some(shortage) => Ok(Err(shortage)),
            None => Err(Error::internal("a shortage names nothing")),
        },
        Err(Tried::Failed(error)) => Err(error),
    }
}

fn assign(
    tx: &mut DbConnection,
    cx: &Context,
    order: &mut Order,
    needs: &[Need<'_>],
    mut claimed: BTreeMap<ProductId, Claimed>,
) -> Result<()> {
    let gone = || Error::internal("a key was in stock and could not be assigned");
    let rows: Vec<StockRow> = claimed
        .values()
        .flat_map(|claimed| claimed.rows.iter().copied())
        .collect();
    if !StockRow::take(tx, &rows)? {
        return Err(gone());
    }
    let mut numbers = Vec::new();
    // Keys of one import mostly get the same: one statement for all of them.
    let mut alike: Vec<(Assignment, Vec<KeyId>)> = Vec::new();
    for need in needs {
        let keys = claimed
            .get_mut(&need.product.id)
            .map(|claimed| claimed.keys.drain(..need.keys));
        for mut key in keys.into_iter().flatten() {
            let assignment = assignment(need, order, &key, cx.now);
            key.number_prefix.clone_from(&assignment.number_prefix);
            numbers.push(number::full(&key));
            match alike.last_mut() {
                Some((last, ids)) if *last == assignment => ids.push(key.id),
                _ => alike.push((assignment, vec![key.id])),
            }
        }
    }
    for (assignment, ids) in alike {
        if !Key::assign(tx, &ids, &assignment)? {
            return Err(gone());
        }
    }
    settle(order, IssueState::Done);
    order.keys_issued_at = Some(cx.now);
    events::record(
        tx,
        cx,
        "order.keys_issued",
        Subject::Order(order.id),
        json!({ "keys": numbers }),
    )
}

fn assignment(need: &Need<'_>, order: &Order, key: &Key, now: Timestamp) -> Assignment {
    let product = need.product;
    Assignment {
        product_id: product.id,
        order_id: order.id,
        order_line_id: need.line,
        customer_id: order.customer_id,
        number_prefix: product.number_prefix.clone(),
        status: if product.auto_deliver {
            KeyStatus::Delivered
        } else {
            KeyStatus::Sold
        },
        max_activations: need.limit.or(key.max_activations),
        expires_at: key.terms().at_issue(now).expires_at,
        assigned_at: now,
        delivered_at: product.auto_deliver.then_some(now),
        updated_at: now,
    }
}

fn note_shortage(
    tx: &mut DbConnection,
    cx: &Context,
    order: &mut Order,
    needs: &[Need<'_>],
    shortages: &[Shortage],
) -> Result<()> {
    let error = JsonObject::of(json!({ "code": "out_of_stock", "shortages": shortages }));
    if order.issue_state != IssueState::WaitingStock {
        order.issue_state = IssueState::WaitingStock;
        // What came in since it was looked at passed by this order, which was in our hands.
        for sequence in sequences(needs) {
            stock::wake_waiting_orders(tx, sequence, cx.now)?;
        }
    }
    if order.issue_error.as_ref() == Some(&error) {
        return Ok(());
    }
    order.issue_error = Some(error);
    let detail = json!({ "shortages": shortages });
    events::record(tx, cx, "order.shortage", Subject::Order(order.id), detail)
}

fn settle(order: &mut Order, state: IssueState) {
    order.issue_state = state;
    order.issue_wanted_at = None;
    order.issue_error = None;
}

fn count(keys: usize) -> i64 {
    i64::try_from(keys).unwrap_or(i64::MAX)
}
