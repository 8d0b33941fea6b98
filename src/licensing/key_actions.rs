//! What staff do to a key: hold it, move it, save it with its place in stock.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::context::Context;
use super::events::{self, Subject};
use super::key_moves::{self, KeyMove, Moved};
use super::{keys, number, stock};
use crate::app::App;
use crate::db::models::key::{Key, KeyId, KeyStatus};
use crate::db::models::lot::Lot;
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::models::stock::StockRow;
use crate::db::{DbConnection, run_again};
use crate::error::{Error, Result};

/// Sequences in which a key has become available: whoever waits for one is served after the transaction.
pub(crate) type Restocked = BTreeSet<SequenceId>;

/// Makes a move on a key. Repeating one changes nothing.
///
/// # Errors
/// `key_not_found`, `invalid_transition`.
pub(crate) fn move_key(
    tx: &mut DbConnection,
    cx: &Context,
    id: KeyId,
    what: KeyMove,
    reason: Option<&str>,
) -> Result<Restocked> {
    let key = hold_one(tx, id)?;
    let mut restocked = Restocked::new();
    make(tx, cx, key, what, reason, &mut restocked)?;
    wake(tx, cx, &restocked)?;
    Ok(restocked)
}

/// Makes a move on a key that is held, and saves it.
///
/// # Errors
/// `invalid_transition`.
pub(crate) fn make(
    tx: &mut DbConnection,
    cx: &Context,
    before: Key,
    what: KeyMove,
    reason: Option<&str>,
    restocked: &mut Restocked,
) -> Result<Moved> {
    let mut key = before.clone();
    if what.make(&mut key, cx.now)? == Moved::Unchanged {
        return Ok(Moved::Unchanged);
    }
    let detail = json!({
        "number": number::full(&key),
        "reason": reason,
        "before": { "status": before.status },
        "after": { "status": key.status },
    });
    save(tx, cx, &before, key, restocked)?;
    events::record(tx, cx, what.event(), Subject::Key(before.id), detail)?;
    Ok(Moved::Changed)
}

/// Deletes a key that was never assigned [UC-39].
///
/// # Errors
/// `key_not_found`, `invalid_transition`.
pub(crate) fn delete_key(
    tx: &mut DbConnection,
    cx: &Context,
    id: KeyId,
    reason: Option<&str>,
) -> Result<()> {
    let key = hold_one(tx, id)?;
    delete(tx, cx, &key, reason)
}

/// Deletes a key that is held.
///
/// # Errors
/// `invalid_transition`.
pub(crate) fn delete(
    tx: &mut DbConnection,
    cx: &Context,
    key: &Key,
    reason: Option<&str>,
) -> Result<()> {
    key_moves::check_deletable(key)?;
    if let Some(place) = key.place() {
        place.remove(tx)?;
    }
    key.delete(tx)?;
    let detail = json!({
        "number": number::full(key),
        "reason": reason,
        "before": { "status": key.status, "sequence_id": key.sequence_id, "product_id": key.product_id },
        "after": Value::Null,
    });
    events::record(tx, cx, "key.deleted", Subject::Key(key.id), detail)
}

/// Holds keys until the transaction ends, so that nobody else changes, claims or deletes them: their
/// sequences first, as everybody does, and `also` those that they are about to go into. Left out is what
/// is not there, or goes away with a deleted sequence.
///
/// # Errors
/// The database's; also when somebody moved a key meanwhile, which has the transaction run again.
pub(crate) fn hold(tx: &mut DbConnection, ids: &[KeyId], also: &Restocked) -> Result<Vec<Key>> {
    let in_stock = |key: &Key| key.sequence_id.filter(|_| key.assigned_at.is_none());
    let seen = Key::find_many(tx, ids)?;
    let sequences: BTreeSet<SequenceId> = seen
        .iter()
        .filter_map(in_stock)
        .chain(also.iter().copied())
        .collect();
    let mut deleted = BTreeSet::new();
    for id in &sequences {
        if Sequence::lock(tx, *id)?.deleted_at.is_some() {
            deleted.insert(*id);
        }
    }
    let mut keys = Key::lock_many(tx, ids)?;
    if keys
        .iter()
        .filter_map(in_stock)
        .any(|id| !sequences.contains(&id))
    {
        return Err(run_again("a key has moved to another sequence"));
    }
    keys.retain(|key| in_stock(key).is_none_or(|id| !deleted.contains(&id)));
    Ok(keys)
}

/// As [`hold`], for one.
///
/// # Errors
/// `key_not_found`.
pub(crate) fn hold_one(tx: &mut DbConnection, id: KeyId) -> Result<Key> {
    let key = hold(tx, &[id], &Restocked::new())?.pop();
    Ok(key.ok_or_else(|| keys::not_found(id))?)
}

/// Saves a key that is held, and puts it into stock or takes it out, as its standing says.
///
/// # Errors
/// The database's, or a rule that no key may break.
pub(crate) fn save(
    tx: &mut DbConnection,
    cx: &Context,
    before: &Key,
    mut key: Key,
    restocked: &mut Restocked,
) -> Result<()> {
    if !key_moves::is_consistent(&key) {
        let id = key.id;
        return Err(Error::internal(format!(
            "key {id} would stand where no key may"
        )));
    }
    let offered = |key: &Key| key_moves::is_for_sale(key, cx.now);
    if offered(&key) && key.lot_id.is_none() {
        let account = cx.actor.account();
        key.lot_id = Some(Lot::insert_published(tx, key.sequence_id, account, cx.now)?);
    }
    key.updated_at = cx.now;
    // One that has expired may have its row still, or not any more.
    let could_be_in_stock = before.status == KeyStatus::Active && before.assigned_at.is_none();
    let is_where_it_was = offered(before)
        && offered(&key)
        && (before.place(), before.expires_at) == (key.place(), key.expires_at);
    if !is_where_it_was && (could_be_in_stock || offered(&key)) {
        if let Some(place) = before.place() {
            place.remove(tx)?;
        }
        put_into_stock(tx, cx, &key, restocked)?;
    }
    Ok(key.save(tx)?)
}

/// Puts a key into stock where it belongs there: to its old place, as first in is first out.
///
/// # Errors
/// The database's.
pub(crate) fn put_into_stock(
    tx: &mut DbConnection,
    cx: &Context,
    key: &Key,
    restocked: &mut Restocked,
) -> Result<()> {
    if key_moves::is_for_sale(key, cx.now)
        && let Some(place) = key.place()
    {
        StockRow::insert_all(tx, &[place])?;
        restocked.insert(place.sequence_id);
    }
    Ok(())
}

/// Queues the service of the orders that wait for these sequences, as the last thing in a transaction.
///
/// # Errors
/// The database's.
pub(crate) fn wake(tx: &mut DbConnection, cx: &Context, restocked: &Restocked) -> Result<()> {
    for sequence in restocked {
        stock::wake_waiting_orders(tx, *sequence, cx.now)?;
    }
    Ok(())
}

impl App {
    /// Makes a move on a key.
    ///
    /// # Errors
    /// As [`move_key`].
    pub(crate) async fn move_key(
        &self,
        cx: Context,
        id: KeyId,
        what: KeyMove,
        reason: Option<String>,
    ) -> Result<()> {
        let restocked = self
            .db
            .write(move |tx| move_key(tx, &cx, id, what, reason.as_deref()))
            .await?;
        self.serve_after_publishing(&restocked).await;
        Ok(())
    }
}
