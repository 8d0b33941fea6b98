//! Erasing what is noted about a customer beside their own row, in small steps.
//!
//! Gone are the addresses and labels of the activations of their keys, open and released, whatever else
//! the installations said of themselves (it may name a person), and the addresses in events about these
//! keys and their orders. Keys, activations, counts and events stay.

use crate::app::App;
use crate::db::models::customer::CustomerId;
use crate::db::models::key::KeyId;
use crate::db::models::order::OrderId;
use crate::db::models::personal_data::{
    Traces, keys_of_customer, orders_of_customer, other_keys_of_orders,
};
use crate::error::Result;

/// Keys looked at together.
const KEYS: i64 = 500;
/// Orders looked at together: each may have many keys.
const ORDERS: i64 = 20;
/// Rows changed in one transaction.
const SLICE: i64 = 500;

/// What traces are looked for of.
#[derive(Clone, Debug)]
enum About {
    Keys(Vec<KeyId>),
    Orders(Vec<OrderId>),
}

impl App {
    /// Erases it. What was erased before costs a look only, so this can be repeated, and begins anew
    /// after it was interrupted.
    ///
    /// # Errors
    /// The database's, or [`Error::Unavailable`](crate::error::Error::Unavailable) when the server stops.
    pub(crate) async fn erase_traces(&self, customer: CustomerId) -> Result<()> {
        let mut after = KeyId(0);
        loop {
            let keys = self
                .db
                .read(move |conn| Ok(keys_of_customer(conn, customer, after, KEYS)?))
                .await?;
            let Some(last) = keys.last() else { break };
            after = *last;
            self.erase_all(About::Keys(keys)).await?;
        }
        let mut after = OrderId(0);
        loop {
            let (orders, keys) = self
                .db
                .read(move |conn| {
                    let orders = orders_of_customer(conn, customer, after, ORDERS)?;
                    let keys = other_keys_of_orders(conn, &orders, customer)?;
                    Ok((orders, keys))
                })
                .await?;
            let Some(last) = orders.last() else {
                return Ok(());
            };
            after = *last;
            self.erase_all(About::Orders(orders)).await?;
            for keys in keys.chunks(usize::try_from(KEYS).unwrap_or(usize::MAX)) {
                self.erase_all(About::Keys(keys.to_vec())).await?;
            }
        }
    }

    async fn erase_all(&self, about: About) -> Result<()> {
        loop {
            self.go_on_unless_stopping()?;
            let about = about.clone();
            // Looked for outside the transaction: what is long is the search, not the change.
            let found = self
                .db
                .read(move |conn| {
                    Ok(match &about {
                        About::Keys(keys) => Traces::of_keys(conn, keys, SLICE)?,
                        About::Orders(orders) => Traces::of_orders(conn, orders, SLICE)?,
                    })
                })
                .await?;
            let Some(traces) = found else {
                return Ok(());
            };
            self.db.write(move |tx| Ok(traces.remove(tx)?)).await?;
        }
    }
}
