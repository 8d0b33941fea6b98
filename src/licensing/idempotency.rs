//! `Idempotency-Key`: a call that makes something may be repeated, and makes it once.
//!
//! The record of a key (per account, method and path, for 24 hours) is written in the transaction that
//! makes the thing. It holds a keyed hash of the request and the id of what was made; the answer is
//! rendered again from that id. A call that was refused leaves no record, so the same key may go with a
//! corrected body.
//!
//! Work of one transaction goes through [`once`]: of two calls at the same time the second waits for
//! the first, on PostgreSQL at the primary key. Work of several transactions holds a [`Place`] with a
//! lease: [`begin`], [`Place::extend`] between its steps, [`Place::finish`] in the last one or
//! [`Place::give_up`]; a repeat meanwhile is 409, and the place of work that died is free when its lease
//! has ended.

use super::context::Context;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::idempotency_record::IdempotencyRecord;
use crate::error::{Code, Error, Result};

/// How long a key is remembered.
const REMEMBERED_SECONDS: i64 = 86_400;
/// How long work of several transactions has its place unless it extends the lease.
const LEASE_SECONDS: i64 = 60;
/// Records that one step of forgetting them deletes.
const SLICE: i64 = 1000;

/// A call that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repeatable {
    pub method: String,
    pub path: String,
    /// What the caller chose: 1 to 255 visible ASCII characters.
    pub key: String,
    /// A keyed hash of the whole request.
    pub request_hash: Vec<u8>,
}

/// What a call has made, now or when it came first.
#[derive(Debug)]
pub(crate) struct Made<T = ()> {
    pub id: i64,
    /// What `make` returned; `None` for a repeat, of which the id alone is known.
    pub now: Option<T>,
}

impl<T> Made<T> {
    /// The thing itself, found by its id when an earlier call made it, apart from whether one did.
    ///
    /// # Errors
    /// Those of `find`.
    pub(crate) fn or_find(self, find: impl FnOnce(i64) -> Result<T>) -> Result<(Made, T)> {
        let (id, now) = (self.id, self.now.as_ref().map(|_| ()));
        let thing = match self.now {
            Some(thing) => thing,
            None => find(id)?,
        };
        Ok((Made { id, now }, thing))
    }

    /// Whether it was made by an earlier call with the same key.
    pub(crate) fn is_repeat(&self) -> bool {
        self.now.is_none()
    }
}

/// Runs `make`, which returns the id of what it made and whatever else the caller wants of it, unless
/// the same call has made it before. Without a key it always runs.
///
/// # Errors
/// `idempotency_key_reused`, `idempotency_in_flight`, and those of `make`.
pub(crate) fn once<T>(
    tx: &mut DbConnection,
    cx: &Context,
    call: Option<&Repeatable>,
    make: impl FnOnce(&mut DbConnection) -> Result<(i64, T)>,
) -> Result<Made<T>> {
    let record = call.and_then(|call| record(cx, call, None));
    if let Some(record) = &record
        && let Some(id) = claim(tx, record, cx.now)?
    {
        return Ok(Made { id, now: None });
    }
    let (id, made) = make(tx)?;
    if let Some(record) = &record
        && !record.finish(tx, id)?
    {
        return Err(Error::internal("a record made in this transaction is gone"));
    }
    Ok(Made {
        id,
        now: Some(made),
    })
}

/// What [`begin`] found.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The work is the caller's to do.
    Now(Place),
    /// The same call has made the thing of this id before.
    Before(i64),
}

/// A key's place while work of several transactions is under way; of a call without a key nothing is
/// held, and everything here does nothing.
#[derive(Clone, Debug)]
pub(crate) struct Place(Option<IdempotencyRecord>);

/// Takes the key's place for work of several transactions, for a minute unless it is extended.
///
/// # Errors
/// `idempotency_key_reused`, `idempotency_in_flight`.
pub(crate) fn begin(
    tx: &mut DbConnection,
    cx: &Context,
    call: Option<&Repeatable>,
) -> Result<Begun> {
    let lease_until = cx.now.plus_seconds(LEASE_SECONDS);
    let record = call.and_then(|call| record(cx, call, Some(lease_until)));
    if let Some(record) = &record
        && let Some(id) = claim(tx, record, cx.now)?
    {
        return Ok(Begun::Before(id));
    }
    Ok(Begun::Now(Place(record)))
}

impl Place {
    /// Keeps the place for another minute; to be called between the steps of the work.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the lease had ended and another call has the place.
    pub(crate) fn extend(&self, tx: &mut DbConnection, now: Timestamp) -> Result<()> {
        match &self.0 {
            Some(record) if !record.extend(tx, now.plus_seconds(LEASE_SECONDS))? => {
                Err(taken_over())
            }
            _ => Ok(()),
        }
    }

    /// Notes the id of what was made, in the transaction that makes it count.
    ///
    /// # Errors
    /// As [`Place::extend`].
    pub(crate) fn finish(&self, tx: &mut DbConnection, made: i64) -> Result<()> {
        match &self.0 {
            Some(record) if !record.finish(tx, made)? => Err(taken_over()),
            _ => Ok(()),
        }
    }

    /// Lets go of the place, because the work was refused or has failed.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn give_up(&self, tx: &mut DbConnection) -> Result<()> {
        if let Some(record) = &self.0 {
            record.give_up(tx)?;
        }
        Ok(())
    }
}

/// Takes the place of the record, or finds what was made under it before.
fn claim(tx: &mut DbConnection, record: &IdempotencyRecord, now: Timestamp) -> Result<Option<i64>> {
    // Who repeats a call in the very moment in which its record lapses may have to look twice.
    for _ in 0..2 {
        let forgotten = now.plus_seconds(-REMEMBERED_SECONDS);
        if record.insert(tx)? || record.replace_lapsed(tx, forgotten, now)? {
            return Ok(None);
        }
        let Some(stored) = record.stored(tx)? else {
            continue;
        };
        if stored.request_hash != record.request_hash {
            return Err(Code::IdempotencyKeyReused.into());
        }
        return match stored.made {
            Some(made) => Ok(Some(made)),
            None => Err(Code::IdempotencyInFlight.into()),
        };
    }
    Err(Code::IdempotencyInFlight.into())
}

/// The record of a call. Only calls of accounts have one: others are safe to repeat as they are.
fn record(
    cx: &Context,
    call: &Repeatable,
    lease_until: Option<Timestamp>,
) -> Option<IdempotencyRecord> {
    cx.actor.account().map(|account_id| IdempotencyRecord {
        account_id,
        method: call.method.clone(),
        path: call.path.clone(),
        key: call.key.clone(),
        request_hash: call.request_hash.clone(),
        made: None,
        lease_until,
        created_at: cx.now,
    })
}

fn taken_over() -> Error {
    Error::Unavailable("the call stood still for too long and another has its Idempotency-Key")
}

impl App {
    /// Forgets the keys of calls that came more than 24 hours ago, in small steps.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_old_calls(&self) -> Result<()> {
        let forgotten = self.now().plus_seconds(-REMEMBERED_SECONDS);
        loop {
            self.go_on_unless_stopping()?;
            let gone = self
                .db
                .write(move |tx| Ok(IdempotencyRecord::prune(tx, forgotten, SLICE)?))
                .await?;
            if gone == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
