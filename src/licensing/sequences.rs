//! Sequences: named collections of keys.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use super::text::{Extra, Name};
use super::{generators, stock};
use crate::clock::Timestamp;
use crate::db::models::generator::GeneratorId;
use crate::db::models::job::{self, Job};
use crate::db::models::key::Key;
use crate::db::models::product::Product;
use crate::db::models::sequence::{
    KeyCounts, NewSequenceRow, Sequence, SequenceId, SequenceSource,
};
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Refusal, Result};

/// Keys that one step of a deletion takes, so that no transaction is long.
const SLICE: i64 = 1000;

/// What a sequence is made with; an edit changes what is given.
#[derive(Clone, Debug)]
pub(crate) struct NewSequence {
    pub name: Name,
    pub source: SequenceSource,
    pub generator: Option<GeneratorId>,
    pub low_stock_threshold: Option<i64>,
    pub extra: Extra,
}

/// An edit: what is `None` stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequencePatch {
    pub name: Option<Name>,
    pub source: Option<SequenceSource>,
    pub generator: Option<Option<GeneratorId>>,
    pub low_stock_threshold: Option<Option<i64>>,
    pub extra: Option<Extra>,
}

/// A sequence as staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SequenceView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: SequenceId,
    /// Its unique name.
    #[schema(example = "editor-pro")]
    pub name: String,
    /// Where its keys come from.
    pub source: SequenceSource,
    /// The id of the generator that makes its keys; null for a pool.
    #[schema(value_type = Option<i64>)]
    pub generator: Option<GeneratorId>,
    /// Below how many keys in stock it counts as low; null for never.
    pub low_stock_threshold: Option<i64>,
    /// Any JSON object.
    #[schema(value_type = Object)]
    pub extra: JsonObject,
    /// Its keys by status.
    pub keys: KeyCounts,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Makes a sequence [UC-29].
///
/// # Errors
/// `already_exists`, or which member is wrong.
pub(crate) fn create_sequence(
    tx: &mut DbConnection,
    cx: &Context,
    new: &NewSequence,
) -> Result<Sequence> {
    check_threshold(new.low_stock_threshold)?;
    let name = new.name.as_str();
    check_source(tx, new.source, new.generator)?;
    let row = NewSequenceRow {
        name,
        source: new.source,
        generator_id: new.generator,
        low_stock_threshold: new.low_stock_threshold,
        extra: &new.extra.0,
        created_at: cx.now,
        updated_at: cx.now,
        deleted_at: None,
    };
    let sequence = Sequence::insert(tx, &row)?.ok_or_else(|| name_is_taken(name))?;
    events::record(
        tx,
        cx,
        "sequence.created",
        Subject::Sequence(sequence.id),
        json!({ "name": name }),
    )?;
    Ok(sequence)
}

/// Renames or edits a sequence [UC-29].
///
/// # Errors
/// `sequence_not_found`, `already_exists`, or which member is wrong.
pub(crate) fn update_sequence(
    tx: &mut DbConnection,
    cx: &Context,
    name: &str,
    patch: &SequencePatch,
) -> Result<Sequence> {
    let mut sequence = lock(tx, name)?;
    if let Some(new_name) = &patch.name
        && new_name.as_str() != name
    {
        if Sequence::find_by_name(tx, new_name.as_str())?.is_some() {
            return Err(name_is_taken(new_name.as_str()).into());
        }
        sequence.name = new_name.as_str().to_owned();
    }
    let before = (sequence.source, sequence.generator_id);
    if let Some(source) = patch.source {
        sequence.source = source;
        if source == SequenceSource::Pool && patch.generator.is_none() {
            sequence.generator_id = None;
        }
    }
    if let Some(generator) = patch.generator {
        sequence.generator_id = generator;
    }
    if (sequence.source, sequence.generator_id) != before {
        check_source(tx, sequence.source, sequence.generator_id)?;
        stock::wake_waiting_orders(tx, sequence.id, cx.now)?;
    }
    if let Some(threshold) = patch.low_stock_threshold {
        check_threshold(threshold)?;
        sequence.low_stock_threshold = threshold;
    }
    if let Some(extra) = &patch.extra {
        sequence.extra = extra.0.clone();
    }
    sequence.updated_at = cx.now;
    sequence.save(tx)?;
    let detail = json!({ "before": { "name": name }, "after": { "name": sequence.name } });
    events::record(
        tx,
        cx,
        "sequence.updated",
        Subject::Sequence(sequence.id),
        detail,
    )?;
    Ok(sequence)
}

/// Deletes a sequence: its assigned keys stay and keep its name, the others go [UC-30, 31]. Products
/// that used it have none afterwards. The keys are taken away by a job, in small steps.
///
/// # Errors
/// `sequence_not_found`.
pub(crate) fn delete_sequence(tx: &mut DbConnection, cx: &Context, name: &str) -> Result<()> {
    let mut sequence = lock(tx, name)?;
    Product::detach_from(tx, sequence.id, cx.now)?;
    sequence.deleted_at = Some(cx.now);
    sequence.updated_at = cx.now;
    sequence.save(tx)?;
    let payload = JsonObject::of(json!({ "sequence": sequence.id }));
    Job::enqueue(
        tx,
        job::DELETE_KEYS,
        &format!("{}:{}", job::DELETE_KEYS, sequence.id),
        &payload,
        cx.now,
    )?;
    events::record(
        tx,
        cx,
        "sequence.deleted",
        Subject::Sequence(sequence.id),
        json!({ "name": name }),
    )
}

/// One step of deleting a deleted sequence's unassigned keys; `true` when it was the last.
///
/// # Errors
/// The database's.
pub(crate) fn delete_some_keys(tx: &mut DbConnection, sequence: SequenceId) -> Result<bool> {
    // Whoever changes one of them holds it, too.
    Sequence::lock(tx, sequence)?;
    let gone = Key::delete_unassigned(tx, sequence, SLICE)?;
    Ok(gone == 0)
}

/// One sequence.
///
/// # Errors
/// `sequence_not_found`.
pub(crate) fn show_sequence(conn: &mut DbConnection, name: &str) -> Result<SequenceView> {
    let sequence = find(conn, name)?;
    view(conn, sequence)
}

/// The sequence of this id, as it is now.
///
/// # Errors
/// `sequence_not_found` for one that was deleted.
pub(crate) fn show_sequence_by_id(conn: &mut DbConnection, id: SequenceId) -> Result<SequenceView> {
    let sequence = Sequence::find(conn, id)?;
    if sequence.deleted_at.is_some() {
        return Err(not_found(&sequence.name).into());
    }
    view(conn, sequence)
}

/// The sequences.
///
/// # Errors
/// The database's.
pub(crate) fn list_sequences(
    conn: &mut DbConnection,
    page: &PageRequest,
) -> Result<Paged<SequenceView>> {
    let Paged { items, next } = Sequence::list(conn, page)?;
    let items = items
        .into_iter()
        .map(|sequence| view(conn, sequence))
        .collect::<Result<_>>()?;
    Ok(Paged { items, next })
}

/// The live sequence of this name.
///
/// # Errors
/// `sequence_not_found`.
pub(crate) fn find(conn: &mut DbConnection, name: &str) -> Result<Sequence> {
    Sequence::find_by_name(conn, name)?.ok_or_else(|| not_found(name).into())
}

/// As [`find`], held until the transaction ends.
fn lock(tx: &mut DbConnection, name: &str) -> Result<Sequence> {
    lock_by_name(tx, name)?.ok_or_else(|| not_found(name).into())
}

/// The live sequence of this name, held until the transaction ends so that nobody deletes it meanwhile.
///
/// # Errors
/// The database's.
pub(crate) fn lock_by_name(tx: &mut DbConnection, name: &str) -> Result<Option<Sequence>> {
    let Some(found) = Sequence::find_by_name(tx, name)? else {
        return Ok(None);
    };
    let locked = Sequence::lock(tx, found.id)?;
    // Somebody may have renamed or deleted it a moment ago.
    Ok(Some(locked).filter(|sequence| sequence.deleted_at.is_none() && sequence.name == name))
}

/// `sequence_not_found`, naming it.
pub(crate) fn not_found(name: &str) -> Refusal {
    Refusal::because(
        Code::SequenceNotFound,
        format!("There is no sequence `{name}`."),
    )
}

fn view(conn: &mut DbConnection, sequence: Sequence) -> Result<SequenceView> {
    let keys = sequence.key_counts(conn)?;
    Ok(SequenceView {
        id: sequence.id,
        name: sequence.name,
        source: sequence.source,
        generator: sequence.generator_id,
        low_stock_threshold: sequence.low_stock_threshold,
        extra: sequence.extra,
        keys,
        created_at: sequence.created_at,
        updated_at: sequence.updated_at,
    })
}

fn name_is_taken(name: &str) -> Refusal {
    Refusal::because(
        Code::AlreadyExists,
        format!("There is a sequence `{name}` already."),
    )
}

/// A sequence has a generator if and only if that is its source [SHOP-54, SHOP-55].
fn check_source(
    tx: &mut DbConnection,
    source: SequenceSource,
    generator: Option<GeneratorId>,
) -> Result<()> {
    let detail = match (source, generator) {
        (SequenceSource::Generator, Some(id)) => {
            return generators::lock_named(tx, "generator", id).map(drop);
        }
        (SequenceSource::Pool, None) => return Ok(()),
        (SequenceSource::Generator, None) => "is required when the source is `generator`",
        (SequenceSource::Pool, Some(_)) => "goes with the source `generator` only",
    };
    let code = if generator.is_none() {
        "required"
    } else {
        "invalid"
    };
    Err(Refusal::wrong("generator", code, detail).into())
}

fn check_threshold(threshold: Option<i64>) -> Result<()> {
    if threshold.is_some_and(|threshold| threshold < 0) {
        return Err(Refusal::wrong(
            "low_stock_threshold",
            "out_of_range",
            "must be 0 or more, or null",
        )
        .into());
    }
    Ok(())
}
