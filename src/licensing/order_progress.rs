//! How an order moves: to a reported status, to what follows from payment, refund and cancellation.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use super::issue::{self, LineWithProduct};
use super::key_actions::{self, Restocked};
use super::key_moves::{self, Moved};
use super::mint::Mint;
use super::readiness;
use crate::db::DbConnection;
use crate::db::models::key::Key;
use crate::db::models::order::{
    IssueState, Order, OrderId, OrderState, OrderStatus, OrderStatuses,
};
use crate::db::models::order_line::OrderLine;
use crate::db::models::product::{Product, ProductId};
use crate::error::Result;

/// What an order goes on with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Going<'a> {
    pub cx: &'a Context,
    pub mint: &'a Mint,
    pub statuses: &'a OrderStatuses,
}

/// Moves the order to a newly reported status, if there is one, and goes on with what it is owed. The
/// caller holds the order's row and saves it; `lines` are read where the caller does not know them.
///
/// # Errors
/// The database's.
pub(crate) fn move_order(
    tx: &mut DbConnection,
    going: &Going<'_>,
    order: &mut Order,
    reported: Option<&OrderStatus>,
    lines: Option<Vec<LineWithProduct>>,
) -> Result<()> {
    let Going { cx, mint, statuses } = *going;
    if let Some(status) = reported.filter(|status| status.id != order.reported_status) {
        let old = order.state;
        order.reported_status.clone_from(&status.id);
        order.status.clone_from(&status.id);
        order.state = status.state;
        if readiness::is_ready(old, order.state) && order.issue_state == IssueState::None {
            order.issue_state = IssueState::Wanted;
            order.issue_wanted_at = Some(cx.now);
        }
        follow_money(tx, cx, order, old)?;
    }
    if !order.state.is_paid() {
        return Ok(());
    }
    let lines = match lines {
        Some(lines) => lines,
        None => lines_with_products(tx, order.id)?,
    };
    if matches!(
        order.issue_state,
        IssueState::Wanted | IssueState::WaitingStock
    ) {
        issue::issue_order(tx, cx, mint, order, &lines)?;
    }
    move_on_after_payment(statuses, order, &lines)
}

/// Makes a paid order that never got keys want them, when its lines need some.
///
/// # Errors
/// The database's.
pub(crate) fn want_keys_if_owed(
    tx: &mut DbConnection,
    cx: &Context,
    order: &mut Order,
) -> Result<()> {
    if order.issue_state == IssueState::None && is_owed_keys(tx, order.id)? {
        order.issue_state = IssueState::Wanted;
        order.issue_wanted_at = Some(cx.now);
    }
    Ok(())
}

/// Brings what an order is owed in line with the keys that staff have given it or taken off it by hand:
/// one that has a key is owed none, and one that has none any more may be issued again when somebody
/// asks for it. The caller holds the order's row and saves it.
///
/// # Errors
/// The database's.
pub(crate) fn follow_hand(tx: &mut DbConnection, cx: &Context, order: &mut Order) -> Result<()> {
    let has_keys = !Key::of_orders(tx, &[order.id])?.is_empty();
    if has_keys && order.issue_state != IssueState::Done {
        order.issue_state = IssueState::Done;
        order.issue_wanted_at = None;
        order.issue_error = None;
        order.keys_issued_at = Some(cx.now);
        if order.state.is_paid() {
            let lines = lines_with_products(tx, order.id)?;
            return move_on_after_payment(&OrderStatuses::load(tx)?, order, &lines);
        }
        return Ok(());
    }
    if !has_keys && order.issue_state == IssueState::Done {
        order.issue_state = IssueState::None;
        order.keys_issued_at = None;
    }
    Ok(())
}

/// Whether it is of no use to try and issue an order's keys now.
///
/// # Errors
/// The database's.
pub(crate) fn is_hopeless(conn: &mut DbConnection, order: OrderId) -> Result<bool> {
    let lines = lines_with_products(conn, order)?;
    issue::is_hopeless(conn, &lines)
}

/// Whether the lines of an order need keys as they and their products are now.
///
/// # Errors
/// The database's.
pub(crate) fn is_owed_keys(conn: &mut DbConnection, order: OrderId) -> Result<bool> {
    Ok(issue::is_owed_keys(&lines_with_products(conn, order)?))
}

/// Refund and cancel disable the order's keys; paid again, exactly those are enabled again.
fn follow_money(
    tx: &mut DbConnection,
    cx: &Context,
    order: &mut Order,
    old: OrderState,
) -> Result<()> {
    if !order.state.is_paid() && order.issue_state != IssueState::Done {
        order.issue_state = IssueState::None;
        order.issue_wanted_at = None;
        order.issue_error = None;
    }
    if order.state.is_void() {
        change_keys(tx, cx, order, "key.disabled", key_moves::disable_by_order)
    } else if order.state.is_paid() && !old.is_paid() {
        change_keys(tx, cx, order, "key.enabled", key_moves::enable_by_order)
    } else {
        Ok(())
    }
}

/// Changes the keys of an order that `change` says it has changed, each locked before it is looked at:
/// staff may be changing it, too.
fn change_keys(
    tx: &mut DbConnection,
    cx: &Context,
    order: &Order,
    action: &str,
    change: fn(&mut Key) -> Moved,
) -> Result<()> {
    if order.is_new() {
        return Ok(());
    }
    let order = order.id;
    let ids: Vec<_> = Key::of_orders(tx, &[order])?
        .into_iter()
        .map(|key| key.id)
        .collect();
    for before in Key::lock_many(tx, &ids)? {
        // Staff may have given it to another order a moment ago.
        if before.order_id != Some(order) {
            continue;
        }
        let mut key = before.clone();
        if change(&mut key) == Moved::Changed {
            key_actions::save(tx, cx, &before, key, &mut Restocked::new())?;
            events::record(
                tx,
                cx,
                action,
                Subject::Key(before.id),
                json!({ "by_order": order }),
            )?;
        }
    }
    Ok(())
}

/// After payment, and once nothing is owed, an order whose every line is virtual or downloadable is
/// completed; another is to be processed by the merchant [SHOP-65, 66].
fn move_on_after_payment(
    statuses: &OrderStatuses,
    order: &mut Order,
    lines: &[LineWithProduct],
) -> Result<()> {
    let owed = !matches!(order.issue_state, IssueState::None | IssueState::Done);
    let mut lines = lines
        .iter()
        .filter(|line| line.line.removed_at.is_none())
        .peekable();
    if order.state != OrderState::PaymentReceived || owed || lines.peek().is_none() {
        return Ok(());
    }
    let needs_no_shipping = |line: &LineWithProduct| {
        line.product
            .as_ref()
            .is_some_and(|product| product.is_virtual || product.downloadable)
    };
    let state = if lines.all(needs_no_shipping) {
        OrderState::Completed
    } else {
        OrderState::Processing
    };
    order.status.clone_from(&statuses.default_of(state)?.id);
    order.state = state;
    Ok(())
}

fn lines_with_products(conn: &mut DbConnection, order: OrderId) -> Result<Vec<LineWithProduct>> {
    let lines = OrderLine::of_orders(conn, &[order])?;
    let ids: BTreeSet<ProductId> = lines.iter().filter_map(|line| line.product_id).collect();
    let ids: Vec<ProductId> = ids.into_iter().collect();
    let products: HashMap<ProductId, Product> = Product::find_all(conn, &ids)?
        .into_iter()
        .map(|product| (product.id, product))
        .collect();
    let lines = lines.into_iter().map(|line| {
        let product = line.product_id.and_then(|id| products.get(&id)).cloned();
        LineWithProduct { line, product }
    });
    Ok(lines.collect())
}
