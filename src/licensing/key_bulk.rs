//! The same move on many keys, in steps: each is a transaction of a few hundred keys.
//!
//! Which keys is settled at the start. Each step looks again, at keys that it holds, whether they still
//! match the filter: a key that was sold a moment ago is not disabled with those in stock.

use std::collections::HashSet;

use serde::Serialize;
use utoipa::ToSchema;

use super::context::Context;
use super::key_actions::{self, Restocked};
use super::key_moves::{KeyMove, Moved};
use super::key_query::KeyQuery;
use super::keys;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::key::{Key, KeyId, KeyStatus};
use crate::db::models::key_filter::KeyFilter;
use crate::error::{Error, Refusal, Result};

/// Keys per transaction: each is a few statements, and no transaction should hold the writer long.
const STEP: usize = 200;
/// The most keys that one call names.
const MAX_IDS: usize = 1000;
/// The most keys that one filter may match: the client waits for them.
const MAX_MATCHING: usize = 10_000;
/// The most refusals that an answer lists.
const MAX_LISTED: usize = 1000;

crate::db::types::word_enum! {
    /// What to do to each key.
    pub enum BulkAction {
        /// No activation and no renewal from now on.
        Revoke = "revoke",
        /// Takes that back.
        Unrevoke = "unrevoke",
        /// Out of use.
        Disable = "disable",
        /// Back to where it was before.
        Enable = "enable",
        /// Refuses for the time being.
        Suspend = "suspend",
        /// Takes that back.
        Resume = "resume",
        /// From sold to delivered.
        Deliver = "deliver",
        /// Ends it, for ever.
        Terminate = "terminate",
        /// Puts a key that is in stock on sale.
        SetActive = "set_active",
        /// Takes a key that is in stock off sale.
        SetInactive = "set_inactive",
        /// Deletes a key that was never assigned.
        Delete = "delete",
    }
}

/// Which keys.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    Ids(Vec<KeyId>),
    Filter(KeyQuery),
}

/// What a bulk action came to.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct BulkReport {
    /// Keys that are changed now.
    pub changed: u64,
    /// Keys that stood there already.
    pub unchanged: u64,
    /// Keys that cannot go there, and why; the first 1,000.
    pub refused: Vec<RefusedKey>,
    /// How many those are in all.
    pub refused_total: u64,
}

/// A key that a bulk action left as it was.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefusedKey {
    /// The key.
    pub id: i64,
    /// The code that the same action on this key alone answers with.
    #[schema(example = "invalid_transition")]
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl BulkAction {
    /// The move; `None` for the deletion.
    fn key_move(self) -> Option<KeyMove> {
        Some(match self {
            Self::Revoke => KeyMove::Revoke,
            Self::Unrevoke => KeyMove::Unrevoke,
            Self::Disable => KeyMove::Disable,
            Self::Enable => KeyMove::Enable,
            Self::Suspend => KeyMove::Suspend,
            Self::Resume => KeyMove::Resume,
            Self::Deliver => KeyMove::Deliver,
            Self::Terminate => KeyMove::Terminate,
            Self::SetActive => KeyMove::Status(KeyStatus::Active),
            Self::SetInactive => KeyMove::Status(KeyStatus::Inactive),
            Self::Delete => return None,
        })
    }
}

impl BulkReport {
    fn refuse(&mut self, key: KeyId, refusal: Refusal) {
        self.refused_total += 1;
        if self.refused.len() < MAX_LISTED {
            self.refused.push(RefusedKey {
                id: key.0,
                code: refusal.code.as_str(),
                detail: refusal.detail,
            });
        }
    }

    fn add(&mut self, step: Self) {
        self.changed += step.changed;
        self.unchanged += step.unchanged;
        self.refused_total += step.refused_total;
        let room = MAX_LISTED - self.refused.len();
        self.refused.extend(step.refused.into_iter().take(room));
    }
}

impl App {
    /// Does the same to many keys. What was done before an error stays done; as repeating a move changes
    /// nothing, the call can be made again.
    ///
    /// # Errors
    /// Too many keys, a filter that names what is not there; the database's.
    pub(crate) async fn change_keys(
        &self,
        cx: Context,
        selection: Selection,
        action: BulkAction,
        reason: Option<String>,
    ) -> Result<BulkReport> {
        let now = cx.now;
        let (ids, filter) = self
            .db
            .read(move |conn| select(conn, &selection, now))
            .await?;
        let mut report = BulkReport::default();
        let mut restocked = Restocked::new();
        for ids in ids.chunks(STEP) {
            self.go_on_unless_stopping()?;
            let (ids, filter) = (ids.to_vec(), filter.clone());
            let (cx, reason) = (cx.clone(), reason.clone());
            let (done, more) = self
                .db
                .write(move |tx| step(tx, &cx, &ids, filter.as_ref(), action, reason.as_deref()))
                .await?;
            report.add(done);
            restocked.extend(more);
        }
        self.serve_after_publishing(&restocked).await;
        Ok(report)
    }
}

/// The keys that are meant, and the filter that they must still match when their turn comes.
fn select(
    conn: &mut DbConnection,
    selection: &Selection,
    now: Timestamp,
) -> Result<(Vec<KeyId>, Option<KeyFilter>)> {
    match selection {
        Selection::Ids(ids) if ids.len() > MAX_IDS => {
            let detail = format!(
                "names {} keys; at most {MAX_IDS} are taken at once",
                ids.len()
            );
            Err(Refusal::wrong("ids", "too_many", detail).into())
        }
        Selection::Ids(ids) => {
            let mut seen = HashSet::new();
            let ids = ids.iter().copied().filter(|id| seen.insert(*id));
            Ok((ids.collect(), None))
        }
        Selection::Filter(query) if *query == KeyQuery::default() => {
            let detail = "has no condition, so it would be every key; name at least one";
            Err(Refusal::wrong("filter", "required", detail).into())
        }
        Selection::Filter(query) => {
            let Some(filter) = query.resolve(conn)? else {
                return Ok((Vec::new(), None));
            };
            let limit = i64::try_from(MAX_MATCHING + 1).unwrap_or(i64::MAX);
            let ids = Key::ids(conn, &filter, now, limit)?;
            if ids.len() > MAX_MATCHING {
                let detail = format!("matches more than {MAX_MATCHING} keys; narrow it down");
                return Err(Refusal::wrong("filter", "too_many", detail).into());
            }
            Ok((ids, Some(filter)))
        }
    }
}

fn step(
    tx: &mut DbConnection,
    cx: &Context,
    ids: &[KeyId],
    filter: Option<&KeyFilter>,
    action: BulkAction,
    reason: Option<&str>,
) -> Result<(BulkReport, Restocked)> {
    let mut report = BulkReport::default();
    let mut restocked = Restocked::new();
    let held = key_actions::hold(tx, ids, &restocked)?;
    let meant: HashSet<KeyId> = match filter {
        Some(filter) => Key::matching(tx, filter, cx.now, ids)?
            .into_iter()
            .collect(),
        None => ids.iter().copied().collect(),
    };
    if filter.is_none() {
        let there: HashSet<KeyId> = held.iter().map(|key| key.id).collect();
        for id in ids.iter().filter(|id| !there.contains(id)) {
            report.refuse(*id, keys::not_found(*id));
        }
    }
    for key in held.into_iter().filter(|key| meant.contains(&key.id)) {
        let id = key.id;
        let done = match action.key_move() {
            Some(what) => key_actions::make(tx, cx, key, what, reason, &mut restocked),
            None => key_actions::delete(tx, cx, &key, reason).map(|()| Moved::Changed),
        };
        match done {
            Ok(Moved::Changed) => report.changed += 1,
            Ok(Moved::Unchanged) => report.unchanged += 1,
            // Refused before anything was written.
            Err(Error::Refused(refusal)) => report.refuse(id, *refusal),
            Err(error) => return Err(error),
        }
    }
    key_actions::wake(tx, cx, &restocked)?;
    Ok((report, restocked))
}
