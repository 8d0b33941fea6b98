//! Stock: what can be sold now, and who is told when there is more.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{products, supply};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::job::{self, Job};
use crate::db::models::product::{Product, ProductId};
use crate::db::models::sequence::SequenceId;
use crate::db::models::stock::StockRow;
use crate::db::types::JsonObject;
use crate::error::Result;

/// How much of a product can be sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StockView {
    /// The product.
    #[schema(example = "editor-pro")]
    pub sku: String,
    /// Keys in stock; null when it is not limited by keys.
    pub available: Option<i64>,
}

/// Keys that the product could hand out now, exactly; `None` when buying it takes no key, or when keys
/// are made as they are bought [SHOP-57].
///
/// # Errors
/// The database's.
pub(crate) fn available(
    conn: &mut DbConnection,
    product: &Product,
    now: Timestamp,
) -> Result<Option<i64>> {
    if !product.sells_keys || supply::is_unlimited(conn, product)? {
        return Ok(None);
    }
    Ok(Some(match product.sequence_id {
        Some(sequence) => {
            StockRow::count(conn, sequence, Some(product.id), now)?
                + StockRow::count(conn, sequence, None, now)?
        }
        None => 0,
    }))
}

/// Stock of the products named.
///
/// # Errors
/// `product_not_found`.
pub(crate) fn show_stock(
    conn: &mut DbConnection,
    skus: &[String],
    now: Timestamp,
) -> Result<Vec<StockView>> {
    skus.iter()
        .map(|sku| {
            let product =
                Product::find_by_sku(conn, sku)?.ok_or_else(|| products::not_found(sku))?;
            Ok(StockView {
                sku: product.sku.clone(),
                available: available(conn, &product, now)?,
            })
        })
        .collect()
}

/// Lets the orders that wait for keys of this sequence be served, oldest first, after this transaction.
///
/// # Errors
/// The database's.
pub(crate) fn wake_waiting_orders(
    tx: &mut DbConnection,
    sequence: SequenceId,
    now: Timestamp,
) -> Result<()> {
    let payload = JsonObject::of(json!({ "sequence": sequence }));
    Job::enqueue(
        tx,
        job::SERVE_WAITING_ORDERS,
        &format!("{}:{sequence}", job::SERVE_WAITING_ORDERS),
        &payload,
        now,
    )?;
    Ok(())
}

/// Lets the orders that wait for keys of this product be looked at again after this transaction.
///
/// # Errors
/// The database's.
pub(crate) fn recheck_waiting_orders(
    tx: &mut DbConnection,
    product: ProductId,
    now: Timestamp,
) -> Result<()> {
    let payload = JsonObject::of(json!({ "product": product }));
    let dedupe = format!("{}:{product}", job::RECHECK_WAITING_ORDERS);
    Job::enqueue(tx, job::RECHECK_WAITING_ORDERS, &dedupe, &payload, now)?;
    Ok(())
}

impl App {
    /// Takes keys that have expired out of stock, in small steps.
    ///
    /// # Errors
    /// The database's; what was taken out by then is out.
    pub async fn take_expired_keys_out_of_stock(&self) -> Result<()> {
        const SLICE: i64 = 500;
        loop {
            self.go_on_unless_stopping()?;
            let now = self.clock.now();
            if self
                .db
                .write(move |tx| Ok(StockRow::take_expired(tx, now, SLICE)?))
                .await?
                == 0
            {
                return Ok(());
            }
        }
    }
}
