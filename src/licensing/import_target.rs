//! Where imported keys go.

use std::collections::HashMap;

use super::context::Context;
use super::import::{CreateMissing, ImportOptions};
use super::mint::NewStanding;
use super::staging::ForOrder;
use super::text::Name;
use super::{importers, products, sequences, staging};
use crate::db::DbConnection;
use crate::db::models::import::{Import, ImportId};
use crate::db::models::key::KeyStatus;
use crate::db::models::lot::{Lot, LotId, LotKind};
use crate::db::models::product::Product;
use crate::db::models::sequence::{NewSequenceRow, Sequence, SequenceId, SequenceSource};
use crate::db::types::JsonObject;
use crate::error::{Code, Error, Refusal, Result};

/// Where the keys go, found before anything is staged.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The sequence for all of them; `None` when the text says so for each.
    pub(super) sequence: Option<Place>,
    pub(super) product: Option<Product>,
    /// Where the keys will stand.
    pub(super) standing: NewStanding,
    /// The order that they are for.
    pub(super) order: Option<ForOrder>,
    /// Where they are staged; `None` in a dry run.
    pub(super) place: Option<StagedIn>,
}

/// Where keys are staged.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedIn {
    pub(super) lot: LotId,
    pub(super) import: ImportId,
}

/// A sequence that keys go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was there.
    Existing(SequenceId),
    /// It is made with the keys, and seen with them.
    New(SequenceId),
    /// It would be made.
    Missing,
}

impl Place {
    pub(super) fn id(self) -> Option<SequenceId> {
        match self {
            Self::Existing(id) | Self::New(id) => Some(id),
            Self::Missing => None,
        }
    }
}

/// Finds the target and opens the lot.
///
/// # Errors
/// As [`find`], and `import_in_progress`.
pub(super) fn open(tx: &mut DbConnection, cx: &Context, options: &ImportOptions) -> Result<Target> {
    let mut target = find(tx, cx, options)?;
    let lot = Lot::open(tx, LotKind::Import, None, cx.actor.account(), cx.now)?
        .ok_or(Error::from(Code::ImportInProgress))?;
    let import = Import::start(tx, cx.actor.account(), lot, cx.now)?;
    target.place = Some(StagedIn { lot, import });
    if let (Some(Place::Missing), Some(name)) = (target.sequence, &options.sequence) {
        target.sequence = Some(Place::New(make_hidden(tx, name, cx)?));
    }
    Ok(target)
}

/// Finds the target without storing anything.
///
/// # Errors
/// `sequence_not_found`, `product_not_found`, or which option is wrong.
pub(super) fn find(
    conn: &mut DbConnection,
    cx: &Context,
    options: &ImportOptions,
) -> Result<Target> {
    let product = match &options.product {
        None => None,
        Some(sku) => {
            Some(Product::find_by_sku(conn, sku)?.ok_or_else(|| products::not_found(sku))?)
        }
    };
    let is_for_stock = options.order.is_none()
        && matches!(
            options.status,
            None | Some(KeyStatus::Active | KeyStatus::Inactive)
        );
    if !is_for_stock && !cx.actor.may_make_sequences() {
        let detail =
            "An importer pushes keys into stock; `order` and what is not in stock are for staff.";
        return Err(Refusal::because(Code::Forbidden, detail).into());
    }
    let order = match &options.order {
        None => None,
        Some(name) => Some(ForOrder::find(conn, name, product.as_ref())?),
    };
    let standing = staging::standing(options.status, product.as_ref(), order, cx.now)?;
    let sequence = match &options.sequence {
        None => None,
        Some(name) => Some(match Sequence::find_by_name(conn, name)? {
            Some(sequence) => {
                importers::check_may_push(conn, &cx.actor, sequence.id)?;
                Place::Existing(sequence.id)
            }
            None if makes(cx, options.create_missing) => {
                Name::parse(name.as_str())
                    .map_err(|problem| Refusal::wrong("sequence", "invalid", problem))?;
                Place::Missing
            }
            None => return Err(sequences::not_found(name).into()),
        }),
    };
    if let (Some(place), Some(product)) = (sequence, &product)
        && !takes(product, place)
    {
        let detail = format!(
            "the product `{}` does not use the sequence `{}`",
            product.sku,
            options.sequence.as_deref().unwrap_or_default()
        );
        return Err(Refusal::wrong("product", "other_sequence", detail).into());
    }
    Ok(Target {
        sequence,
        product,
        standing,
        order,
        place: None,
    })
}

/// Whether the product can be sold keys of this sequence.
pub(super) fn takes(product: &Product, place: Place) -> bool {
    product.sequence_id.is_some() && product.sequence_id == place.id()
}

/// Finds the sequences that the text names, making those that are missing if that is wanted; a name
/// that is left out of the answer belongs to nobody, or to one that the caller may not push into.
///
/// # Errors
/// The database's.
pub(super) fn places(
    tx: &mut DbConnection,
    cx: &Context,
    names: &[String],
    make: CreateMissing,
) -> Result<HashMap<String, Place>> {
    let mut places = HashMap::new();
    for name in names {
        let place = match Sequence::find_by_name(tx, name)? {
            Some(sequence) if importers::may_push(tx, &cx.actor, sequence.id)? => {
                Place::Existing(sequence.id)
            }
            None if makes(cx, make) => Place::New(make_hidden(tx, name, cx)?),
            Some(_) | None => continue,
        };
        places.insert(name.clone(), place);
    }
    Ok(places)
}

/// Whether a sequence that is missing is made; an importer makes none.
fn makes(cx: &Context, create_missing: CreateMissing) -> bool {
    create_missing == CreateMissing::Yes && cx.actor.may_make_sequences()
}

/// Makes a sequence that nobody sees until its keys are published: to everybody else it is one that
/// was deleted.
fn make_hidden(tx: &mut DbConnection, name: &str, cx: &Context) -> Result<SequenceId> {
    let extra = JsonObject::default();
    let row = NewSequenceRow {
        name,
        source: SequenceSource::Pool,
        generator_id: None,
        low_stock_threshold: None,
        extra: &extra,
        created_at: cx.now,
        updated_at: cx.now,
        deleted_at: Some(cx.now),
    };
    Ok(Sequence::insert_hidden(tx, &row)?)
}
