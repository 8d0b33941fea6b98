//! The lines of an order: checked as a whole, then stored as reported.

use std::collections::{HashMap, HashSet};

use super::issue::{LineWithProduct, MAX_KEYS_PER_ORDER, keys_needed};
use super::orders::LineReport;
use crate::clock::Timestamp;
use crate::config::UnknownSku;
use crate::db::DbConnection;
use crate::db::models::order::Order;
use crate::db::models::order_line::{NewOrderLine, OrderLine};
use crate::db::models::product::{Product, ProductStatus};
use crate::db::types::JsonObject;
use crate::error::{FieldError, Refusal, Result};

/// The most lines of an order: they are stored in one transaction, which must stay short.
const MAX_LINES: usize = 1000;
/// The largest quantity of a line.
const MAX_QUANTITY: i64 = 1_000_000;

/// A reported line with its product and its reference settled.
#[derive(Debug)]
pub(crate) struct CheckedLine {
    reference: String,
    sku: String,
    product: Option<Product>,
    quantity: i64,
    managed: bool,
    extra: JsonObject,
}

/// Checks all lines of a report against the products and against each other.
///
/// # Errors
/// Every line that is wrong, and why.
pub(crate) fn check_lines(
    conn: &mut DbConnection,
    unknown_sku: UnknownSku,
    reported: &[LineReport],
    existing: &[OrderLine],
) -> Result<Vec<CheckedLine>> {
    if reported.len() > MAX_LINES {
        let detail = format!(
            "an order has at most {MAX_LINES} lines; this one has {}",
            reported.len()
        );
        return Err(Refusal::wrong("lines", "too_many_lines", detail).into());
    }
    let skus: Vec<String> = reported
        .iter()
        .filter(|line| line.managed)
        .map(|line| line.sku.clone())
        .collect();
    let products = Product::find_many(conn, &skus)?;
    let products = products
        .into_iter()
        .map(|product| (product.sku.clone(), product))
        .collect();
    let mut check = Check {
        unknown_sku,
        products,
        existing,
        ..Check::default()
    };
    let lines = reported
        .iter()
        .enumerate()
        .map(|(index, line)| check.line(index, line))
        .collect();
    if check.keys > MAX_KEYS_PER_ORDER {
        let detail = format!(
            "the order needs {} keys; at most {MAX_KEYS_PER_ORDER} are issued for one order",
            check.keys
        );
        check
            .errors
            .push(FieldError::new("lines", "too_many_keys", detail));
    }
    if check.errors.is_empty() {
        Ok(lines)
    } else {
        Err(Refusal::invalid(check.errors).into())
    }
}

/// What is known so far of the lines of one report.
#[derive(Default)]
struct Check<'a> {
    unknown_sku: UnknownSku,
    products: HashMap<String, Product>,
    existing: &'a [OrderLine],
    references: HashSet<String>,
    keys: i64,
    errors: Vec<FieldError>,
}

impl Check<'_> {
    fn line(&mut self, index: usize, line: &LineReport) -> CheckedLine {
        if !(1..=MAX_QUANTITY).contains(&line.quantity) {
            let detail = format!("must be from 1 to {MAX_QUANTITY}");
            self.refuse(index, "quantity", "out_of_range", detail);
        }
        let reference = self.settle_reference(index, line);
        let product = self.settle_product(index, line);
        CheckedLine {
            reference,
            sku: line.sku.clone(),
            managed: product.is_some(),
            product,
            quantity: line.quantity,
            extra: line.extra.clone(),
        }
    }

    /// The product of a managed line, which must be one that can be bought.
    fn settle_product(&mut self, index: usize, line: &LineReport) -> Option<Product> {
        if !line.managed {
            return None;
        }
        let Some(product) = self.products.get(&line.sku).cloned() else {
            if self.unknown_sku == UnknownSku::Refuse {
                let detail = format!("there is no product `{}`", line.sku);
                self.refuse(index, "sku", "unknown_product", detail);
            }
            return None;
        };
        let id = product.id;
        self.keys = self
            .keys
            .saturating_add(keys_needed(&product, line.quantity));
        let bought_before = self.existing.iter().any(|line| line.product_id == Some(id));
        if product.status == ProductStatus::Draft && !bought_before {
            let detail = format!(
                "the product `{}` is a draft and cannot be bought",
                product.sku
            );
            self.refuse(index, "sku", "product_is_draft", detail);
        }
        Some(product)
    }

    /// The shop's name for the line, or its sku, or the sku with the first number that is free.
    fn settle_reference(&mut self, index: usize, line: &LineReport) -> String {
        let reference = line.reference.clone().unwrap_or_else(|| {
            let numbered = (2..).map(|number| format!("{}#{number}", line.sku));
            let mut names = std::iter::once(line.sku.clone()).chain(numbered);
            names
                .find(|name| !self.references.contains(name))
                .unwrap_or_default()
        });
        if !self.references.insert(reference.clone()) {
            let detail = format!("the line `{reference}` occurs twice");
            self.refuse(index, "ref", "duplicate", detail);
        }
        reference
    }

    fn refuse(&mut self, index: usize, member: &str, code: &'static str, detail: String) {
        self.errors.push(FieldError::new(
            format!("lines[{index}].{member}"),
            code,
            detail,
        ));
    }
}

/// The lines of an order as they are stored now.
#[derive(Debug)]
pub(crate) struct SavedLines {
    /// Those that the report names.
    pub lines: Vec<LineWithProduct>,
    /// Whether storing them changed anything.
    pub changed: bool,
}

/// Stores the lines as reported. Lines that the report leaves out are marked as removed; their keys stay
/// [UC-19].
///
/// # Errors
/// The database's.
pub(crate) fn save_lines(
    tx: &mut DbConnection,
    order: &Order,
    existing: Vec<OrderLine>,
    reported: Vec<CheckedLine>,
    now: Timestamp,
) -> Result<SavedLines> {
    let mut left: HashMap<String, OrderLine> = existing
        .into_iter()
        .map(|line| (line.reference.clone(), line))
        .collect();
    let mut changed = false;
    let mut lines = Vec::with_capacity(reported.len());
    for (position, line) in (0..).zip(reported) {
        let product_id = line.product.as_ref().map(|product| product.id);
        let stored = if let Some(stored) = left.remove(&line.reference) {
            let updated = OrderLine {
                position,
                product_id,
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
            updated
        } else {
            let new = NewOrderLine {
                order_id: order.id,
                reference: line.reference,
                position,
                product_id,
                sku: line.sku,
                quantity: line.quantity,
                managed: line.managed,
                extra: line.extra,
            };
            changed = true;
            OrderLine::insert(tx, &new)?
        };
        lines.push(LineWithProduct {
            line: stored,
            product: line.product,
        });
    }
    for line in left.into_values().filter(|line| line.removed_at.is_none()) {
        OrderLine {
            removed_at: Some(now),
            ..line
        }
        .save(tx)?;
        changed = true;
    }
    Ok(SavedLines { lines, changed })
}
