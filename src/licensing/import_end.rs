//! How an import ends: its keys are published together, or taken away again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use super::import_run::Run;
use super::import_target::{Place, StagedIn};
use super::{orders, staging};
use crate::db::DbConnection;
use crate::db::models::import::{Import, ImportState, Staged};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::types::JsonObject;
use crate::error::{Code, Error, Refusal, Result};

impl Run {
    /// Publishes what was staged, and serves those who wait for it.
    ///
    /// # Errors
    /// `sequence_not_found` or `already_exists` for what happened to a sequence meanwhile.
    pub(super) async fn publish(&self) -> Result<()> {
        let Some(place) = self.target.place else {
            return Ok(());
        };
        let mut new = BTreeMap::new();
        let mut sequences = BTreeSet::new();
        let named = self.options.sequence.clone().zip(self.target.sequence);
        let by_text = self
            .places
            .iter()
            .filter_map(|(name, place)| Some((name.clone(), (*place)?)));
        for (name, place) in named.into_iter().chain(by_text) {
            sequences.extend(place.id());
            if let Place::New(id) = place {
                new.insert(id, name);
            }
        }
        let (cx, staged, lines) = (self.cx.clone(), self.staged, self.lines);
        let (published, clock) = (sequences.clone(), self.app.clock.clone());
        let (name, order) = (self.options.sequence.clone(), self.target.order);
        let added = usize::try_from(staged.added).unwrap_or(usize::MAX);
        self.app
            .db
            .write(move |tx| {
                let cx = Context {
                    now: clock.now(),
                    ..cx.clone()
                };
                let order = match order {
                    Some(order) => Some(order.lock(tx, added)?),
                    None => None,
                };
                show_new(tx, &cx, &new)?;
                staging::publish_lot(tx, place.lot, &published, cx.now)?;
                if let Some(order) = order {
                    orders::follow_keys(tx, &cx, order)?;
                }
                Import::note(tx, place.import, lines, Staged::default(), cx.now)?;
                Import::end(tx, place.import, ImportState::Done, None, cx.now)?;
                let detail = json!({
                    "import": place.import,
                    "sequence": name,
                    "sequences": published.len(),
                    "added": staged.added,
                    "duplicates": staged.duplicates,
                });
                events::record(tx, &cx, "keys.imported", Subject::Lot(place.lot), detail)
            })
            .await?;
        self.app.serve_after_publishing(&sequences).await;
        Ok(())
    }

    /// Takes away what was staged and notes why.
    pub(super) async fn take_away(&self, place: StagedIn, error: &Error) {
        let (state, problem) = match error {
            Error::Refused(refusal) => (ImportState::Refused, Some(problem(refusal))),
            _ => (ImportState::Interrupted, None),
        };
        let (lines, now) = (self.lines, self.app.clock.now());
        let noted = self
            .app
            .db
            .write(move |tx| {
                Import::note(tx, place.import, lines, Staged::default(), now)?;
                Ok(Import::end(tx, place.import, state, problem.as_ref(), now)?)
            })
            .await;
        if let Err(error) = noted {
            tracing::warn!(%error, "how an import ended was not noted");
        }
        if let Err(error) = self.app.sweep(place.lot).await {
            // The next import, or the next start, takes it away.
            tracing::warn!(%error, "an unfinished import was not taken away");
        }
    }
}

fn problem(refusal: &Refusal) -> JsonObject {
    let mut members = refusal.facts.clone();
    members.insert("code".into(), refusal.code.as_str().into());
    members.insert("detail".into(), refusal.detail.clone().into());
    JsonObject(members)
}

/// Shows the sequences that were made for the import.
fn show_new(tx: &mut DbConnection, cx: &Context, new: &BTreeMap<SequenceId, String>) -> Result<()> {
    for (id, name) in new {
        if Sequence::find_by_name(tx, name)?.is_some() {
            let detail = format!(
                "The sequence `{name}` was made by somebody else during the import; import again."
            );
            return Err(Refusal::because(Code::AlreadyExists, detail).into());
        }
        let mut sequence = Sequence::lock(tx, *id)?;
        sequence.deleted_at = None;
        sequence.save(tx)?;
        let detail = json!({ "name": name });
        events::record(tx, cx, "sequence.created", Subject::Sequence(*id), detail)?;
    }
    Ok(())
}
