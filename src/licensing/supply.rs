//! Where keys come from when stock does not suffice: the generator of the sequence, or the one that the
//! product falls back on.

use super::making;
use super::mint::Recipe;
use crate::db::DbConnection;
use crate::db::models::generator::Generator;
use crate::db::models::product::Product;
use crate::db::models::sequence::{Sequence, SequenceId, SequenceSource};
use crate::db::models::stock::StockRow;
use crate::error::Result;

/// Whether the product's fall-back may be used: only once the pool is certainly short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    Allowed,
    NotYet,
}

/// The generator that makes what stock lacks of a product, if there is one. There is no fall-back that
/// the product does not allow.
///
/// # Errors
/// The database's.
pub(crate) fn generator_for(
    conn: &mut DbConnection,
    product: &Product,
    fallback: Fallback,
) -> Result<Option<Generator>> {
    let Some(sequence) = product.sequence_id else {
        return Ok(None);
    };
    let sequence = Sequence::find(conn, sequence)?;
    let id = match (sequence.source, fallback) {
        (SequenceSource::Generator, _) => sequence.generator_id,
        (SequenceSource::Pool, Fallback::Allowed) => product.fallback_generator_id,
        (SequenceSource::Pool, Fallback::NotYet) => None,
    };
    Ok(match id {
        Some(id) => Generator::find(conn, id)?,
        None => None,
    })
}

/// Whether keys of the product are made as they are bought, so that stock is no limit.
///
/// # Errors
/// The database's.
pub(crate) fn is_unlimited(conn: &mut DbConnection, product: &Product) -> Result<bool> {
    Ok(generator_for(conn, product, Fallback::Allowed)?.is_some())
}

/// Whether orders that wait for keys of this sequence might be served now.
///
/// # Errors
/// The database's.
pub(crate) fn may_serve(conn: &mut DbConnection, sequence: SequenceId) -> Result<bool> {
    if StockRow::exists(conn, sequence)? {
        return Ok(true);
    }
    for generator in Generator::feeding(conn, sequence)? {
        if has_room_for_one(conn, &generator)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a key of the product might be had now.
///
/// # Errors
/// The database's.
pub(crate) fn may_supply(conn: &mut DbConnection, product: &Product) -> Result<bool> {
    let Some(sequence) = product.sequence_id else {
        return Ok(false);
    };
    if StockRow::exists(conn, sequence)? {
        return Ok(true);
    }
    match generator_for(conn, product, Fallback::Allowed)? {
        Some(generator) => has_room_for_one(conn, &generator),
        None => Ok(false),
    }
}

fn has_room_for_one(conn: &mut DbConnection, generator: &Generator) -> Result<bool> {
    match Recipe::of(&generator.columns) {
        Ok(recipe) => making::has_room(conn, generator, &recipe, 1),
        Err(_) => Ok(false),
    }
}
