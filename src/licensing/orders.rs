//! Orders: what a shop reports, and what follows from it.
//!
//! `reported_status` is what the shop said last; `status` is where the order stands, which may be
//! further. A report is compared with the last report, so repeating one changes nothing, and a late
//! older one (`occurred_at`) changes nothing either.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::accounts::account_not_found;
use super::context::Context;
use super::events::{self, Subject};
use super::issue::{self, LineWithProduct, MAX_KEYS_PER_ORDER, keys_needed};
use super::readiness;
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::UnknownSku;
use crate::db::DbConnection;
use crate::db::models::account::{Account, AccountId};
use crate::db::models::customer::Customer;
use crate::db::models::key::{Key, KeyStatus};
use crate::db::models::order::{
    IssueState, NewOrderLine, Order, OrderId, OrderLine, OrderState, OrderStatus,
};
use crate::db::models::product::{Product, ProductId, ProductStatus};
use crate::db::models::sequence::SequenceId;
use crate::db::types::JsonObject;
use crate::error::{Code, Error, FieldError, Refusal, Result};

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

/// The buyer.
#[derive(Clone, Debug)]
pub(crate) struct CustomerReport {
    pub email: Option<String>,
    pub name: Option<String>,
    pub reference: Option<String>,
    pub locale: Option<String>,
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

/// Which order a caller means.
#[derive(Clone, Debug)]
pub(crate) struct OrderName {
    pub reference: String,
    /// The shop; `None` for staff who leave it open.
    pub account: Option<AccountId>,
}

/// Takes an order report. Says which order it is and whether it is new.
///
/// # Errors
/// Which members are wrong; nothing of the report is stored then.
pub(crate) fn report_order(
    tx: &mut DbConnection,
    cx: &Context,
    unknown_sku: UnknownSku,
    report: &OrderReport,
) -> Result<(OrderId, bool)> {
    let status = find_status(tx, &report.status)?;
    let pending = OrderStatus::default_of(tx, OrderState::Pending)?;
    let (mut order, created) =
        Order::find_or_insert(tx, report.account, &report.reference, &pending, cx.now)?;
    let existing = OrderLine::of_orders(tx, &[order.id])?;
    let lines = check_lines(tx, unknown_sku, &report.lines, &existing)?;
    if report.occurred_at.is_some() && report.occurred_at < order.occurred_at {
        return Ok((order.id, false));
    }
    let before = order.clone();
    if let Some(customer) = &report.customer {
        order.customer_id = save_customer(tx, report.account, customer, cx.now)?;
    }
    order.payment_method.clone_from(&report.payment_method);
    order.extra = report.extra.clone();
    order.occurred_at = report.occurred_at.or(order.occurred_at);
    let lines_changed = save_lines(tx, &order, existing, lines, cx.now)?;
    update(tx, cx, &mut order, Some(&status))?;
    finish(
        tx,
        cx,
        order,
        &before,
        Changed {
            created,
            lines: lines_changed,
        },
    )?;
    Ok((before.id, created))
}

/// Changes an order's own members.
///
/// # Errors
/// `order_not_found`, or which member is wrong.
pub(crate) fn patch_order(
    tx: &mut DbConnection,
    cx: &Context,
    name: &OrderName,
    patch: &OrderPatch,
) -> Result<OrderId> {
    let mut order = lock(tx, name)?;
    let before = order.clone();
    let status = patch
        .status
        .as_deref()
        .map(|id| find_status(tx, id))
        .transpose()?;
    if let Some(method) = &patch.payment_method {
        order.payment_method.clone_from(method);
    }
    if let Some(extra) = &patch.extra {
        order.extra = extra.clone();
    }
    update(tx, cx, &mut order, status.as_ref())?;
    finish(
        tx,
        cx,
        order,
        &before,
        Changed {
            created: false,
            lines: false,
        },
    )?;
    Ok(before.id)
}

/// Goes on with what the order is owed, because somebody asks to.
///
/// # Errors
/// `order_not_found`, `order_not_payable`. A shortage is no error here: it stands on the order.
pub(crate) fn issue_again(
    tx: &mut DbConnection,
    cx: &Context,
    name: &OrderName,
) -> Result<OrderId> {
    let mut order = lock(tx, name)?;
    if !order.state.is_paid() {
        let detail = format!(
            "The order is {}; keys are issued once it is paid.",
            order.state
        );
        return Err(Refusal::because(Code::OrderNotPayable, detail).into());
    }
    let before = order.clone();
    update(tx, cx, &mut order, None)?;
    finish(
        tx,
        cx,
        order,
        &before,
        Changed {
            created: false,
            lines: false,
        },
    )?;
    Ok(before.id)
}

/// Goes on with what the order is owed, because there is new stock.
///
/// # Errors
/// The database's.
pub(crate) fn serve_waiting_order(tx: &mut DbConnection, cx: &Context, id: OrderId) -> Result<()> {
    let Some(mut order) = Order::lock(tx, id)? else {
        return Ok(());
    };
    let before = order.clone();
    update(tx, cx, &mut order, None)?;
    finish(
        tx,
        cx,
        order,
        &before,
        Changed {
            created: false,
            lines: false,
        },
    )
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
/// `account_not_found`.
pub(crate) fn shop(conn: &mut DbConnection, name: &str) -> Result<AccountId> {
    Ok(Account::find_by_name(conn, name)?
        .ok_or_else(|| account_not_found(name))?
        .id)
}

fn lock(tx: &mut DbConnection, name: &OrderName) -> Result<Order> {
    let id = find(tx, name)?.id;
    Order::lock(tx, id)?.ok_or_else(|| Code::OrderNotFound.into())
}

fn find_status(conn: &mut DbConnection, id: &str) -> Result<OrderStatus> {
    if let Some(status) = OrderStatus::find(conn, id)? {
        return Ok(status);
    }
    let detail = format!("`{id}` is none of {}", OrderStatus::ids(conn)?.join(", "));
    Err(Refusal::invalid(vec![FieldError::new("status", "unknown_status", detail)]).into())
}

/// A reported line with its product and its reference settled.
struct CheckedLine {
    reference: String,
    sku: String,
    product: Option<ProductId>,
    quantity: i64,
    managed: bool,
    extra: JsonObject,
}

fn check_lines(
    conn: &mut DbConnection,
    unknown_sku: UnknownSku,
    reported: &[LineReport],
    existing: &[OrderLine],
) -> Result<Vec<CheckedLine>> {
    let skus: Vec<String> = reported
        .iter()
        .filter(|line| line.managed)
        .map(|line| line.sku.clone())
        .collect();
    let products: HashMap<String, Product> = Product::find_many(conn, &skus)?
        .into_iter()
        .map(|product| (product.sku.clone(), product))
        .collect();
    let mut errors = Vec::new();
    let mut references = HashSet::new();
    let mut keys = 0i64;
    let mut lines = Vec::with_capacity(reported.len());
    for (index, line) in reported.iter().enumerate() {
        let field = |name: &str| format!("lines[{index}].{name}");
        if !(1..=1_000_000).contains(&line.quantity) {
            errors.push(FieldError::new(
                field("quantity"),
                "out_of_range",
                "must be from 1 to 1,000,000",
            ));
        }
        let product = products.get(&line.sku).filter(|_| line.managed);
        if line.managed && product.is_none() && unknown_sku == UnknownSku::Refuse {
            let detail = format!("there is no product `{}`", line.sku);
            errors.push(FieldError::new(field("sku"), "unknown_product", detail));
        }
        let reference = settle_reference(line, &references);
        if !references.insert(reference.clone()) {
            let detail = format!("the line `{reference}` occurs twice");
            errors.push(FieldError::new(field("ref"), "duplicate", detail));
        }
        if let Some(product) = product {
            let bought_before = existing
                .iter()
                .any(|line| line.product_id == Some(product.id));
            if product.status == ProductStatus::Draft && !bought_before {
                let detail = format!(
                    "the product `{}` is a draft and cannot be bought",
                    product.sku
                );
                errors.push(FieldError::new(field("sku"), "product_is_draft", detail));
            }
            keys = keys.saturating_add(keys_needed(product, line.quantity));
        }
        lines.push(CheckedLine {
            reference,
            sku: line.sku.clone(),
            product: product.map(|product| product.id),
            quantity: line.quantity,
            managed: product.is_some(),
            extra: line.extra.clone(),
        });
    }
    if keys > MAX_KEYS_PER_ORDER {
        let detail = format!(
            "the order needs {keys} keys; at most {MAX_KEYS_PER_ORDER} are issued for one order"
        );
        errors.push(FieldError::new("lines", "too_many_keys", detail));
    }
    if errors.is_empty() {
        Ok(lines)
    } else {
        Err(Refusal::invalid(errors).into())
    }
}

/// The shop's name for the line, or its sku, or the sku with the first number that is free.
fn settle_reference(line: &LineReport, used: &HashSet<String>) -> String {
    if let Some(reference) = &line.reference {
        return reference.clone();
    }
    let numbered = (2..).map(|number| format!("{}#{number}", line.sku));
    std::iter::once(line.sku.clone())
        .chain(numbered)
        .find(|name| !used.contains(name))
        .unwrap_or_default()
}

/// Stores the lines as reported; says whether that changed anything. Lines that the report leaves out
/// are marked as removed; their keys stay [UC-19].
fn save_lines(
    tx: &mut DbConnection,
    order: &Order,
    existing: Vec<OrderLine>,
    reported: Vec<CheckedLine>,
    now: Timestamp,
) -> Result<bool> {
    let mut left: HashMap<String, OrderLine> = existing
        .into_iter()
        .map(|line| (line.reference.clone(), line))
        .collect();
    let mut changed = false;
    for (position, line) in (0..).zip(reported) {
        if let Some(stored) = left.remove(&line.reference) {
            let updated = OrderLine {
                position,
                product_id: line.product,
                sku: line.sku,
                quantity: line.quantity,
                managed: line.managed,
                extra: line.extra,
                removed_at: None,
                ..stored.clone()
            };
            if updated != stored {
                updated.save(tx)?;
                changed = true;
            }
        } else {
            let new = NewOrderLine {
                order_id: order.id,
                reference: line.reference,
                position,
                product_id: line.product,
                sku: line.sku,
                quantity: line.quantity,
                managed: line.managed,
                extra: line.extra,
            };
            OrderLine::insert(tx, &new)?;
            changed = true;
        }
    }
    for line in left.into_values().filter(|line| line.removed_at.is_none()) {
        OrderLine {
            removed_at: Some(now),
            ..line
        }
        .save(tx)?;
        changed = true;
    }
    Ok(changed)
}

fn save_customer(
    tx: &mut DbConnection,
    account: AccountId,
    report: &CustomerReport,
    now: Timestamp,
) -> Result<Option<crate::db::models::customer::CustomerId>> {
    let (reference, email) = (report.reference.as_deref(), report.email.as_deref());
    if reference.is_none() && email.is_none() {
        return Ok(None);
    }
    Customer::insert(tx, account, reference, email, now)?;
    let stored = Customer::find_in_shop(tx, account, reference, email)?
        .ok_or_else(|| Error::internal("a customer was stored and is not found"))?;
    let updated = Customer {
        email: report.email.clone().or_else(|| stored.email.clone()),
        name: report.name.clone().or_else(|| stored.name.clone()),
        locale: report.locale.clone().or_else(|| stored.locale.clone()),
        ..stored.clone()
    };
    if updated != stored {
        updated.save(tx, now)?;
    }
    Ok(Some(stored.id))
}

/// Moves the order to a newly reported status, and goes on with what it is owed.
fn update(
    tx: &mut DbConnection,
    cx: &Context,
    order: &mut Order,
    reported: Option<&OrderStatus>,
) -> Result<()> {
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
    let lines = lines_with_products(tx, order.id)?;
    if matches!(
        order.issue_state,
        IssueState::Wanted | IssueState::WaitingStock
    ) {
        issue::issue_order(tx, cx, order, &lines)?;
    }
    move_on_after_payment(tx, order, &lines)
}

/// Refund and cancel disable the order's keys; paid again, exactly those are enabled again.
fn follow_money(
    tx: &mut DbConnection,
    cx: &Context,
    order: &mut Order,
    old: OrderState,
) -> Result<()> {
    let is_undone = |state| matches!(state, OrderState::Cancelled | OrderState::Refunded);
    if is_undone(order.state) {
        if order.issue_state != IssueState::Done {
            order.issue_state = IssueState::None;
            order.issue_wanted_at = None;
            order.issue_error = None;
        }
        for mut key in Key::of_orders(tx, &[order.id])? {
            if key.status != KeyStatus::Disabled {
                key.status_before = Some(key.status);
                key.status = KeyStatus::Disabled;
                key.disabled_by_order = true;
                key.updated_at = cx.now;
                key.save_standing(tx)?;
                events::record(
                    tx,
                    cx,
                    "key.disabled",
                    Subject::Key(key.id),
                    json!({ "by_order": order.id }),
                )?;
            }
        }
    } else if order.state.is_paid() && is_undone(old) {
        for mut key in Key::of_orders(tx, &[order.id])? {
            if let (true, Some(before)) = (key.disabled_by_order, key.status_before) {
                key.status = before;
                key.status_before = None;
                key.disabled_by_order = false;
                key.updated_at = cx.now;
                key.save_standing(tx)?;
                events::record(
                    tx,
                    cx,
                    "key.enabled",
                    Subject::Key(key.id),
                    json!({ "by_order": order.id }),
                )?;
            }
        }
    }
    Ok(())
}

/// After payment, and once nothing is owed, an order whose every line is virtual or downloadable is
/// completed; another is to be processed by the merchant [SHOP-65, 66].
fn move_on_after_payment(
    tx: &mut DbConnection,
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
    let status = OrderStatus::default_of(tx, state)?;
    order.status = status.id;
    order.state = state;
    Ok(())
}

fn lines_with_products(conn: &mut DbConnection, order: OrderId) -> Result<Vec<LineWithProduct>> {
    OrderLine::of_orders(conn, &[order])?
        .into_iter()
        .map(|line| {
            let product = line
                .product_id
                .map(|id| Product::find(conn, id))
                .transpose()?;
            Ok(LineWithProduct { line, product })
        })
        .collect()
}

struct Changed {
    created: bool,
    lines: bool,
}

/// Saves the order and writes its event, if anything is new.
fn finish(
    tx: &mut DbConnection,
    cx: &Context,
    mut order: Order,
    before: &Order,
    changed: Changed,
) -> Result<()> {
    if order == *before && !changed.lines && !changed.created {
        return Ok(());
    }
    order.revision += 1;
    order.updated_at = cx.now;
    order.save(tx)?;
    let action = if changed.created {
        "order.created"
    } else {
        "order.updated"
    };
    let standing =
        |order: &Order| json!({ "status": order.status, "issue_state": order.issue_state });
    let detail = json!({ "before": standing(before), "after": standing(&order) });
    events::record(tx, cx, action, Subject::Order(order.id), detail)
}

impl App {
    /// Serves the orders that wait for keys of this sequence, oldest first, each in a transaction of
    /// its own.
    ///
    /// # Errors
    /// The database's; orders served by then stay served.
    pub(crate) async fn serve_waiting_orders(&self, sequence: SequenceId) -> Result<()> {
        const PAGE: i64 = 100;
        let mut after = (Timestamp::from_micros(i64::MIN), OrderId(0));
        loop {
            let waiting = self
                .db
                .read(move |conn| Ok(Order::waiting_for(conn, sequence, after, PAGE)?))
                .await?;
            let Some(last) = waiting.last() else {
                return Ok(());
            };
            after = *last;
            for (_, id) in waiting {
                let cx = Context::system(self.clock.now());
                self.db
                    .write(move |tx| serve_waiting_order(tx, &cx, id))
                    .await?;
            }
        }
    }
}
