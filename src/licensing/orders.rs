//! Orders: what a shop reports, and what follows from it.
//!
//! `reported_status` is what the shop said last; `status` is where the order stands, which may be
//! further. A report is compared with the last report, so repeating one changes nothing, and a late
//! older one (`occurred_at`) changes nothing either.

use serde_json::json;

use super::accounts::account_not_found;
use super::context::Context;
use super::customers::{self, CustomerReport};
use super::events::{self, Subject};
use super::mint::Mint;
use super::order_lines::{check_lines, save_lines};
use super::order_progress::{Going, follow_hand, move_order, want_keys_if_owed};
use crate::clock::Timestamp;
use crate::config::UnknownSku;
use crate::db::DbConnection;
use crate::db::models::account::{Account, AccountId, Role};
use crate::db::models::order::{Order, OrderState, OrderStatus, OrderStatuses};
use crate::db::models::order_line::OrderLine;
use crate::db::types::JsonObject;
use crate::error::{Code, Refusal, Result};

/// How far a shop's clock may be ahead of ours.
const MAX_DAYS_AHEAD: i64 = 1;

/// An order as its shop reports it, whole.
#[derive(Clone, Debug)]
pub(crate) struct OrderReport {
    pub account: AccountId,
    pub reference: String,
    pub status: String,
    pub payment_method: Option<String>,
    pub customer: Option<CustomerReport>,
    pub lines: Vec<LineReport>,
    pub occurred_at: Option<Timestamp>,
    pub extra: JsonObject,
}

/// A change of an order's own members; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderPatch {
    pub status: Option<String>,
    pub payment_method: Option<Option<String>>,
    pub extra: Option<JsonObject>,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct LineReport {
    /// The shop's name for the line; the sku where it gives none.
    pub reference: Option<String>,
    pub sku: String,
    pub quantity: i64,
    /// Off: a physical or foreign article, which issues nothing.
    pub managed: bool,
    pub extra: JsonObject,
}

/// What taking a report needs beside it.
#[derive(Clone, Debug)]
pub(crate) struct Reporting {
    pub unknown_sku: UnknownSku,
    pub mint: Mint,
}

/// Which order a caller means.
#[derive(Clone, Debug)]
pub(crate) struct OrderName {
    pub reference: String,
    /// The shop; `None` for staff who leave it open.
    pub account: Option<AccountId>,
}

/// Takes an order report. Says where the order stands now and whether it is new.
///
/// # Errors
/// Which members are wrong; nothing of the report is stored then.
pub(crate) fn report_order(
    tx: &mut DbConnection,
    cx: &Context,
    how: &Reporting,
    report: &OrderReport,
) -> Result<(Order, bool)> {
    if report
        .occurred_at
        .is_some_and(|at| at > cx.now.plus_days(MAX_DAYS_AHEAD))
    {
        let detail = "lies more than a day ahead; later reports would count as older";
        return Err(Refusal::wrong("occurred_at", "in_the_future", detail).into());
    }
    let statuses = OrderStatuses::load(tx)?;
    let status = find_status(&statuses, &report.status)?;
    let pending = statuses.default_of(OrderState::Pending)?;
    let (mut order, created) =
        Order::find_or_insert(tx, report.account, &report.reference, pending, cx.now)?;
    let existing = match created {
        true => Vec::new(),
        false => OrderLine::of_orders(tx, &[order.id])?,
    };
    let lines = check_lines(tx, how.unknown_sku, &report.lines, &existing)?;
    if report.occurred_at.is_some() && report.occurred_at < order.occurred_at {
        return Ok((order, false));
    }
    let before = order.clone();
    if let Some(customer) = &report.customer {
        order.customer_id = Some(customers::save_reported(tx, &order, customer, cx.now)?);
    }
    order.payment_method.clone_from(&report.payment_method);
    order.extra = report.extra.clone();
    order.occurred_at = report.occurred_at.or(order.occurred_at);
    let saved = save_lines(tx, &order, existing, lines, cx.now)?;
    let going = Going {
        cx,
        mint: &how.mint,
        statuses: &statuses,
    };
    move_order(tx, &going, &mut order, Some(status), Some(saved.lines))?;
    let how = match (created, saved.changed) {
        (true, _) => Saved::New,
        (false, true) => Saved::WithLines,
        (false, false) => Saved::Alone,
    };
    Ok((finish(tx, cx, order, &before, how)?, created))
}

/// Changes an order's own members.
///
/// # Errors
/// `order_not_found`, or which member is wrong.
pub(crate) fn patch_order(
    tx: &mut DbConnection,
    cx: &Context,
    mint: &Mint,
    name: &OrderName,
    patch: &OrderPatch,
) -> Result<Order> {
    let mut order = lock(tx, name)?;
    let before = order.clone();
    let statuses = OrderStatuses::load(tx)?;
    let status = patch
        .status
        .as_deref()
        .map(|id| find_status(&statuses, id))
        .transpose()?;
    if let Some(method) = &patch.payment_method {
        order.payment_method.clone_from(method);
    }
    if let Some(extra) = &patch.extra {
        order.extra = extra.clone();
    }
    if status.is_some_and(|status| status.id != order.reported_status) {
        // It happens now: a report of something earlier comes too late.
        order.occurred_at = order.occurred_at.max(Some(cx.now));
    }
    let going = Going {
        cx,
        mint,
        statuses: &statuses,
    };
    move_order(tx, &going, &mut order, status, None)?;
    finish(tx, cx, order, &before, Saved::Alone)
}

/// Goes on with what the order is owed, because somebody asks to; also when its lines came to need
/// keys only after it was paid.
///
/// # Errors
/// `order_not_found`, `order_not_payable`. A shortage is no error here: it stands on the order.
pub(crate) fn issue_again(
    tx: &mut DbConnection,
    cx: &Context,
    mint: &Mint,
    name: &OrderName,
) -> Result<Order> {
    let mut order = lock(tx, name)?;
    if !order.state.is_paid() {
        let detail = format!(
            "The order is {}; keys are issued once it is paid.",
            order.state
        );
        return Err(Refusal::because(Code::OrderNotPayable, detail).into());
    }
    let before = order.clone();
    want_keys_if_owed(tx, cx, &mut order)?;
    let statuses = OrderStatuses::load(tx)?;
    let going = Going {
        cx,
        mint,
        statuses: &statuses,
    };
    move_order(tx, &going, &mut order, None, None)?;
    finish(tx, cx, order, &before, Saved::Alone)
}

/// Follows what staff did by hand with the keys of an order whose row the caller holds.
///
/// # Errors
/// The database's.
pub(crate) fn follow_keys(tx: &mut DbConnection, cx: &Context, mut order: Order) -> Result<()> {
    let before = order.clone();
    follow_hand(tx, cx, &mut order)?;
    finish(tx, cx, order, &before, Saved::Alone)?;
    Ok(())
}

/// The order of this name.
///
/// # Errors
/// `order_not_found`, or `ambiguous` where staff left the shop open and two have it.
pub(crate) fn find(conn: &mut DbConnection, name: &OrderName) -> Result<Order> {
    let mut orders = Order::find_by_ref(conn, name.account, &name.reference)?;
    match (orders.pop(), orders.pop()) {
        (Some(order), None) => Ok(order),
        (Some(_), Some(_)) => Err(Code::Ambiguous.into()),
        (None, _) => Err(Refusal::because(
            Code::OrderNotFound,
            format!("There is no order `{}`.", name.reference),
        )
        .into()),
    }
}

/// The account of the shop of this name.
///
/// # Errors
/// `account_not_found`, also for an account that sells nothing.
pub(crate) fn shop(conn: &mut DbConnection, name: &str) -> Result<AccountId> {
    let account = Account::find_by_name(conn, name)?
        .filter(|account| matches!(account.role, Role::Admin | Role::Shop));
    Ok(account.ok_or_else(|| account_not_found(name))?.id)
}

fn lock(tx: &mut DbConnection, name: &OrderName) -> Result<Order> {
    let id = find(tx, name)?.id;
    Order::lock(tx, id)?.ok_or_else(|| Code::OrderNotFound.into())
}

fn find_status<'a>(statuses: &'a OrderStatuses, id: &str) -> Result<&'a OrderStatus> {
    let found = statuses.find(id);
    Ok(found.ok_or_else(|| {
        let detail = format!("`{id}` is none of {}", statuses.ids().join(", "));
        Refusal::wrong("status", "unknown_status", detail)
    })?)
}

/// What an order is saved with.
pub(super) enum Saved {
    New,
    WithLines,
    Alone,
}

/// Saves the order and writes its event, if anything is new. Returns it as it is stored now.
pub(super) fn finish(
    tx: &mut DbConnection,
    cx: &Context,
    mut order: Order,
    before: &Order,
    how: Saved,
) -> Result<Order> {
    let action = match how {
        Saved::Alone if order == *before => return Ok(order),
        Saved::New => "order.created",
        Saved::WithLines | Saved::Alone => "order.updated",
    };
    order.revision += 1;
    order.updated_at = cx.now;
    order.save(tx)?;
    let standing =
        |order: &Order| json!({ "status": order.status, "issue_state": order.issue_state });
    let detail = json!({ "before": standing(before), "after": standing(&order) });
    events::record(tx, cx, action, Subject::Order(order.id), detail)?;
    Ok(order)
}
