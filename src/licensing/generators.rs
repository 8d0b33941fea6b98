//! Generators: sets of rules for making keys, used by any number of products [SHOP-6, SHOP-31].

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use super::mint::{MAX_DAYS, Recipe};
use super::stock;
use crate::clock::Timestamp;
use crate::db::models::generator::{Generator, GeneratorColumns, GeneratorId, GeneratorKind};
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, FieldError, Refusal, Result};
use crate::signing::dice::Dice;

/// Digits and capitals but for those that are taken for one another (0 and O, 1 and I).
const CHARSET: &str = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// A generator as staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GeneratorView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: GeneratorId,
    /// Its unique name.
    #[schema(example = "five by five")]
    pub name: String,
    /// Random characters, or texts that prove themselves by a signature.
    pub kind: GeneratorKind,
    /// The characters to choose from, each once.
    #[schema(example = "ABCDEF0123456789")]
    pub charset: String,
    /// How many chunks.
    pub chunks: i64,
    /// Characters in each chunk.
    pub chunk_length: i64,
    /// What stands between two chunks.
    #[schema(example = "-")]
    pub separator: String,
    /// What stands at the very front.
    pub prefix: String,
    /// What stands at the very end.
    pub suffix: String,
    /// How many installations each of its keys admits at once; null for any number.
    pub max_activations: Option<i64>,
    /// Days that its keys are valid from their purchase on; null for ever.
    pub expires_in_days: Option<i64>,
    /// How many different texts it can make; null for more than 2^53.
    pub capacity: Option<u64>,
    /// Bits of chance in a text: below 40 or so, texts can be guessed in time.
    #[schema(example = 125.0)]
    pub bits: Option<f64>,
    /// A text such as it makes; null for the kind `signed`.
    pub sample: Option<String>,
    /// Keys that it has made and that are still there.
    pub made: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl GeneratorColumns {
    /// The defaults of a new generator: five chunks of five.
    pub(crate) fn new(name: String, kind: GeneratorKind, now: Timestamp) -> Self {
        let is_pattern = kind == GeneratorKind::Pattern;
        Self {
            name,
            kind,
            charset: if is_pattern { CHARSET } else { "" }.to_owned(),
            chunks: if is_pattern { 5 } else { 1 },
            chunk_length: if is_pattern { 5 } else { 8 },
            separator: "-".to_owned(),
            prefix: String::new(),
            suffix: String::new(),
            max_activations: None,
            expires_in_days: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// Makes a generator [SHOP-9, SHOP-19].
///
/// # Errors
/// `already_exists`, or which members are wrong.
pub(crate) fn create_generator(
    tx: &mut DbConnection,
    cx: &Context,
    columns: &GeneratorColumns,
) -> Result<GeneratorId> {
    check(columns)?;
    let made =
        Generator::insert(tx, columns)?.ok_or_else(|| name_is_taken(columns.name.as_str()))?;
    let detail = json!({ "name": columns.name, "kind": columns.kind });
    events::record(
        tx,
        cx,
        "generator.created",
        Subject::Generator(made.id),
        detail,
    )?;
    Ok(made.id)
}

/// Edits a generator: `change` changes the members. Keys that it made stay as they are.
///
/// # Errors
/// `generator_not_found`, `already_exists`, or which members are wrong.
pub(crate) fn update_generator(
    tx: &mut DbConnection,
    cx: &Context,
    id: GeneratorId,
    change: &dyn Fn(&mut GeneratorColumns),
) -> Result<()> {
    let before = Generator::lock(tx, id)?.ok_or_else(|| not_found(id))?;
    let mut after = before.clone();
    change(&mut after.columns);
    check(&after.columns)?;
    if after == before {
        return Ok(());
    }
    if after.name != before.name && Generator::find_by_name(tx, &after.name)?.is_some() {
        return Err(name_is_taken(&after.name).into());
    }
    after.columns.updated_at = cx.now;
    after.save(tx)?;
    // It may have been used up and can go on now.
    for sequence in after.serves(tx)? {
        stock::wake_waiting_orders(tx, sequence, cx.now)?;
    }
    let detail = json!({ "before": recorded(&before), "after": recorded(&after) });
    events::record(tx, cx, "generator.updated", Subject::Generator(id), detail)
}

/// Deletes a generator that nothing uses; the keys that it made stay.
///
/// # Errors
/// `generator_not_found`, `in_use`.
pub(crate) fn delete_generator(tx: &mut DbConnection, cx: &Context, id: GeneratorId) -> Result<()> {
    let generator = Generator::lock(tx, id)?.ok_or_else(|| not_found(id))?;
    if generator.is_in_use(tx)? {
        let detail = "Sequences or products use this generator; give them another one first.";
        return Err(Refusal::because(Code::InUse, detail).into());
    }
    generator.delete(tx)?;
    let detail = json!({ "name": generator.name });
    events::record(tx, cx, "generator.deleted", Subject::Generator(id), detail)
}

/// One generator.
///
/// # Errors
/// `generator_not_found`.
pub(crate) fn show_generator(conn: &mut DbConnection, id: GeneratorId) -> Result<GeneratorView> {
    let generator = find(conn, id)?;
    view(conn, generator)
}

/// The generators.
///
/// # Errors
/// The database's.
pub(crate) fn list_generators(
    conn: &mut DbConnection,
    page: &PageRequest,
) -> Result<Paged<GeneratorView>> {
    let Paged { items, next } = Generator::list(conn, page)?;
    let items = items
        .into_iter()
        .map(|generator| view(conn, generator))
        .collect::<Result<_>>()?;
    Ok(Paged { items, next })
}

/// The generator of this id.
///
/// # Errors
/// `generator_not_found`.
pub(crate) fn find(conn: &mut DbConnection, id: GeneratorId) -> Result<Generator> {
    Ok(Generator::find(conn, id)?.ok_or_else(|| not_found(id))?)
}

/// The generator that a sequence or a product names in `field`, held so that nobody deletes it
/// meanwhile.
///
/// # Errors
/// `validation_failed` naming the field.
pub(crate) fn lock_named(
    tx: &mut DbConnection,
    field: &str,
    id: GeneratorId,
) -> Result<GeneratorId> {
    match Generator::lock(tx, id)? {
        Some(generator) => Ok(generator.id),
        None => {
            let detail = format!("there is no generator with the id {id}");
            Err(Refusal::wrong(field, "unknown_generator", detail).into())
        }
    }
}

/// `generator_not_found`, naming it.
pub(crate) fn not_found(id: GeneratorId) -> Refusal {
    Refusal::because(
        Code::GeneratorNotFound,
        format!("There is no generator with the id {id}."),
    )
}

fn name_is_taken(name: &str) -> Refusal {
    Refusal::because(
        Code::AlreadyExists,
        format!("There is a generator `{name}` already."),
    )
}

fn check(columns: &GeneratorColumns) -> Result<()> {
    let mut errors = Recipe::of(columns).err().unwrap_or_default();
    let mut range = |field: &str, value: Option<i64>, allowed: RangeInclusive<i64>| {
        if value.is_some_and(|value| !allowed.contains(&value)) {
            let detail = if allowed.contains(&i64::MAX) {
                "must be 1 or more; null for no limit".to_owned()
            } else {
                format!("must be from 1 to {}; null for no limit", allowed.end())
            };
            errors.push(FieldError::new(field, "out_of_range", detail));
        }
    };
    range("max_activations", columns.max_activations, 1..=i64::MAX);
    range("expires_in_days", columns.expires_in_days, 1..=MAX_DAYS);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(errors).into())
    }
}

fn view(conn: &mut DbConnection, generator: Generator) -> Result<GeneratorView> {
    let made = generator.made(conn)?;
    let recipe = Recipe::of(&generator.columns).ok();
    let pattern = recipe.as_ref().and_then(Recipe::pattern);
    let (bits, sample) = match pattern {
        Some(pattern) => (Some(pattern.bits()), Some(pattern.draw(&mut Dice::new()))),
        None => (None, None),
    };
    let capacity = pattern.and_then(super::pattern::Pattern::capacity);
    let Generator { id, columns } = generator;
    Ok(GeneratorView {
        id,
        name: columns.name,
        kind: columns.kind,
        charset: columns.charset,
        chunks: columns.chunks,
        chunk_length: columns.chunk_length,
        separator: columns.separator,
        prefix: columns.prefix,
        suffix: columns.suffix,
        max_activations: columns.max_activations,
        expires_in_days: columns.expires_in_days,
        capacity,
        bits,
        sample,
        made,
        created_at: columns.created_at,
        updated_at: columns.updated_at,
    })
}

/// The members that an edit's event keeps.
fn recorded(generator: &Generator) -> Value {
    json!({
        "name": generator.name,
        "charset": generator.charset,
        "chunks": generator.chunks,
        "chunk_length": generator.chunk_length,
        "separator": generator.separator,
        "prefix": generator.prefix,
        "suffix": generator.suffix,
        "max_activations": generator.max_activations,
        "expires_in_days": generator.expires_in_days,
    })
}
