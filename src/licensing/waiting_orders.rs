//! Going on with the orders that wait for stock, in the background.

use super::context::Context;
use super::mint::Mint;
use super::order_progress::{Going, is_hopeless, is_owed_keys, move_order};
use super::orders::{Saved, finish};
use super::supply;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::order::{Order, OrderId, OrderStatuses, WaitingFor};
use crate::db::models::product::ProductId;
use crate::db::models::sequence::SequenceId;
use crate::error::Result;

/// Waiting orders read at once.
const PAGE: i64 = 100;

impl App {
    /// Serves the orders that wait for keys of this sequence, oldest first, each in a transaction of
    /// its own, until there is nothing left to give.
    ///
    /// # Errors
    /// The database's; orders served by then stay served.
    /// [`Error::Unavailable`](crate::error::Error::Unavailable) when the server stops.
    pub(crate) async fn serve_waiting_orders(&self, sequence: SequenceId) -> Result<()> {
        // Two at it would step over the order that the other holds, and give the key to a younger one.
        let _turn = self.serving.lock().await;
        let mint = self.mint();
        self.go_through_waiting_orders(WaitingFor::Sequence(sequence), move |tx, cx, id| {
            // What comes in later is another job's, which begins with the oldest again.
            let any_left = supply::may_serve(tx, sequence)?;
            if any_left && !is_hopeless(tx, id)? {
                serve_waiting_order(tx, cx, &mint, id)?;
            }
            Ok(any_left)
        })
        .await
    }

    /// Looks again at the orders that wait for keys of this product, after what they need, or where it
    /// comes from, has changed.
    ///
    /// # Errors
    /// As [`App::serve_waiting_orders`].
    pub(crate) async fn recheck_waiting_orders(&self, product: ProductId) -> Result<()> {
        // Whoever can be served is, oldest first: going through the orders of one product would hand a
        // key that comes in meanwhile to whichever order it had come to.
        let served = self.serve_all_waiting_orders().await;
        let mint = self.mint();
        let settled =
            self.go_through_waiting_orders(WaitingFor::Product(product), move |tx, cx, id| {
                settle_order(tx, cx, &mint, id)?;
                Ok(true)
            });
        served.and(settled.await)
    }

    /// Serves whoever waits beside stock, in case somebody was passed by.
    ///
    /// # Errors
    /// The database's, or [`Error::Unavailable`](crate::error::Error::Unavailable) when the server stops.
    pub async fn serve_all_waiting_orders(&self) -> Result<()> {
        let sequences = self
            .db
            .read(|conn| Ok(Order::sequences_waited_for(conn)?))
            .await?;
        let mut outcome = Ok(());
        for sequence in sequences {
            self.go_on_unless_stopping()?;
            // One that cannot be served must not keep the others waiting.
            outcome = outcome.and(self.serve_waiting_orders(sequence).await);
        }
        outcome
    }

    /// Calls `serve` for each, until it says that it is of no use to go on.
    async fn go_through_waiting_orders(
        &self,
        what: WaitingFor,
        serve: impl Fn(&mut DbConnection, &Context, OrderId) -> Result<bool> + Clone + Send + 'static,
    ) -> Result<()> {
        let mut after = (Timestamp::EARLIEST, OrderId(0));
        let mut outcome = Ok(());
        loop {
            let waiting = self
                .db
                .read(move |conn| Ok(Order::waiting_for(conn, what, after, PAGE)?))
                .await?;
            let Some(last) = waiting.last() else {
                return outcome;
            };
            after = *last;
            for (_, id) in waiting {
                self.go_on_unless_stopping()?;
                let (cx, serve) = (Context::system(self.clock.now()), serve.clone());
                match self.db.write(move |tx| serve(tx, &cx, id)).await {
                    Ok(true) => {}
                    Ok(false) => return outcome,
                    Err(error) => {
                        tracing::warn!(order.id = id.0, %error, "an order that waits cannot be served");
                        outcome = outcome.and(Err(error));
                    }
                }
            }
        }
    }
}

/// Goes on with what the order is owed, because there is new stock. An order that somebody else holds
/// is left to them.
fn serve_waiting_order(
    tx: &mut DbConnection,
    cx: &Context,
    mint: &Mint,
    id: OrderId,
) -> Result<()> {
    match Order::lock_if_free(tx, id)? {
        Some(order) => go_on(tx, cx, mint, order),
        None => Ok(()),
    }
}

/// Ends the waiting of an order that needs no keys any more.
fn settle_order(tx: &mut DbConnection, cx: &Context, mint: &Mint, id: OrderId) -> Result<()> {
    match Order::lock_if_free(tx, id)? {
        Some(order) if !is_owed_keys(tx, id)? => go_on(tx, cx, mint, order),
        _ => Ok(()),
    }
}

fn go_on(tx: &mut DbConnection, cx: &Context, mint: &Mint, mut order: Order) -> Result<()> {
    let before = order.clone();
    let statuses = OrderStatuses::load(tx)?;
    let going = Going {
        cx,
        mint,
        statuses: &statuses,
    };
    move_order(tx, &going, &mut order, None, None)?;
    finish(tx, cx, order, &before, Saved::Alone)?;
    Ok(())
}
