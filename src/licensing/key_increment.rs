//! Counting an activation that has no installation [UC-75]: for software whose own code keeps the count.

use serde_json::json;

use super::context::{Actor, Context};
use super::events::{self, Subject};
use super::idempotency::{self, Made, Repeatable};
use super::verdict::{KeySummary, Purpose, Standing};
use crate::app::App;
use crate::db::DbConnection;
use crate::db::models::account::Role;
use crate::db::models::issued_key::{IssuedKey, KeyName, LookUp};
use crate::db::models::key::KeyId;
use crate::db::models::order::Order;
use crate::error::{Code, Error, Refusal, Result};

/// The most that one call adds.
const MAX_STEP: i64 = 1_000_000;

/// Which key, and how many activations more.
#[derive(Clone, Debug)]
pub(crate) struct Increment {
    pub text_hash: [u8; 32],
    pub by: i64,
    /// What the call is recognised by when it is repeated.
    pub repeatable: Option<Repeatable>,
}

/// Adds to a key's anonymous count, which its limit includes, under the same checks as an activation. A
/// shop may do so for the keys of its own orders; others are unknown to it.
///
/// # Errors
/// The refusals of api.md, in their order.
pub(crate) fn increment_activations(
    tx: &mut DbConnection,
    cx: &Context,
    input: &Increment,
) -> Result<(KeyId, KeySummary)> {
    if !(1..=MAX_STEP).contains(&input.by) {
        let detail = format!("must be from 1 to {MAX_STEP}");
        return Err(Refusal::wrong("by", "out_of_range", detail).into());
    }
    // Holds the key, so that nothing else is counted between the check and the addition.
    let (mut standing, _) = Standing::of(wanted(KeyName::Hash(input.text_hash)).lock(tx)?)?;
    check_own(tx, cx, &standing.key)?;
    standing.verdict(None, Purpose::Activate, cx.now)?;
    standing.check_limit(input.by)?;
    standing.key.add_anonymous_activations(tx, input.by)?;
    let detail =
        json!({ "by": input.by, "anonymous_activations": standing.key.anonymous_activations });
    let subject = Subject::Key(standing.key.id);
    events::record(tx, cx, "activation.counted", subject, detail)?;
    Ok((standing.key.id, standing.summary()))
}

/// The key of this id as a count answers with it, for a call that is repeated.
///
/// # Errors
/// `key_not_found`.
fn show_summary(conn: &mut DbConnection, id: KeyId) -> Result<KeySummary> {
    let (standing, _) = Standing::of(wanted(KeyName::Id(id)).find(conn)?)?;
    Ok(standing.summary())
}

fn wanted(key: KeyName) -> LookUp {
    LookUp {
        key,
        installation_id: None,
    }
}

fn check_own(tx: &mut DbConnection, cx: &Context, key: &IssuedKey) -> Result<()> {
    let Actor::Account {
        id,
        role: Role::Shop,
    } = &cx.actor
    else {
        return Ok(());
    };
    let order = match key.order_id {
        Some(order) => Order::find_many(tx, &[order])?.pop(),
        None => None,
    };
    if order.is_some_and(|order| order.account_id == *id) {
        Ok(())
    } else {
        Err(Code::KeyNotFound.into())
    }
}

impl App {
    /// Adds to a key's anonymous count, once for all calls that are the same.
    ///
    /// # Errors
    /// As [`increment_activations`].
    pub(crate) async fn increment_activations(
        &self,
        cx: Context,
        input: Increment,
    ) -> Result<(Made, KeySummary)> {
        let now = cx.now;
        let counted = self
            .db
            .write(move |tx| {
                let counted = idempotency::once(tx, &cx, input.repeatable.as_ref(), |tx| {
                    let (key, summary) = increment_activations(tx, &cx, &input)?;
                    Ok((key.0, summary))
                })?;
                counted.or_find(|key| show_summary(tx, KeyId(key)))
            })
            .await;
        if let Err(Error::Refused(refusal)) = &counted {
            self.tally.refused(refusal.key, refusal.code, now);
        }
        counted
    }
}
