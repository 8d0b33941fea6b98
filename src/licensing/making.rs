//! Making keys by a generator: whether there is room for them, how often to draw, and making them for a
//! purchase.

use super::mint::{Batch, Mint, NewStanding, Recipe};
use crate::clock::Timestamp;
use crate::db::models::generator::Generator;
use crate::db::models::key::{Key, KeyId, KeySource, KeyStatus};
use crate::db::models::new_key::NewKey;
use crate::db::models::product::Product;
use crate::db::models::sequence::SequenceId;
use crate::db::{DbConnection, ids};
use crate::error::{Error, Result};
use crate::signing::dice::Dice;

/// Draws beyond this many for each key wanted, and [`SPARE_DRAWS`] more, mean that a pattern is as good
/// as used up: to find all texts of a pattern by chance takes about ln(texts) draws each, which is 14
/// for a million.
const DRAWS_PER_KEY: usize = 20;
/// For the last few texts of a small pattern.
const SPARE_DRAWS: usize = 2000;
/// Keys stored per statement while drawing.
const SLICE: usize = 500;

/// How many more draws a making may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    left: usize,
}

impl Draws {
    /// For `wanted` keys.
    pub(crate) fn for_keys(wanted: usize) -> Self {
        Self {
            left: wanted
                .saturating_mul(DRAWS_PER_KEY)
                .saturating_add(SPARE_DRAWS),
        }
    }

    /// Takes up to `wanted` draws; `None` when the pattern is as good as used up.
    pub(crate) fn take(&mut self, wanted: usize) -> Option<usize> {
        let taken = wanted.min(self.left);
        self.left -= taken;
        (taken > 0).then_some(taken)
    }
}

/// Whether a generator has room for `wanted` more keys, against those that exist.
///
/// # Errors
/// The database's.
pub(crate) fn has_room(
    conn: &mut DbConnection,
    generator: &Generator,
    recipe: &Recipe,
    wanted: usize,
) -> Result<bool> {
    let Some(capacity) = recipe.capacity() else {
        return Ok(true);
    };
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    // Fewer keys than ids were ever made: counting is for the small patterns that this cannot settle.
    let ids = u64::try_from(Key::newest_id(conn)?.0).unwrap_or(0);
    if capacity.saturating_sub(wanted) > ids {
        return Ok(true);
    }
    let made = u64::try_from(generator.made(conn)?).unwrap_or(0);
    Ok(made.saturating_add(wanted) <= capacity)
}

/// What a purchase makes keys for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purchase<'a> {
    pub product: &'a Product,
    pub sequence: SequenceId,
    pub wanted: usize,
    pub now: Timestamp,
}

/// Makes keys for a purchase, in the transaction that assigns them; `None` when the generator's pattern
/// is used up. The caller undoes what was made until then.
///
/// # Errors
/// The database's.
pub(crate) fn make_for_purchase(
    tx: &mut DbConnection,
    mint: &Mint,
    generator: &Generator,
    purchase: Purchase<'_>,
) -> Result<Option<Vec<Key>>> {
    let Purchase {
        product,
        sequence,
        wanted,
        now,
    } = purchase;
    let recipe = Recipe::of(&generator.columns)
        .map_err(|_| Error::internal("a generator that was checked is wrong"))?;
    if !has_room(tx, generator, &recipe, wanted)? {
        return Ok(None);
    }
    let batch = Batch {
        source: KeySource::Generator,
        generator: Some(generator.id),
        lot: None,
        product: Some(product.clone()),
        standing: NewStanding::in_stock(KeyStatus::Active),
        terms: generator.terms(),
        now,
    };
    let fixed_expiry = generator.expires_in_days.map(|days| now.plus_days(days));
    let share = mint.share(&batch);
    let mut dice = Dice::new();
    let mut draws = Draws::for_keys(wanted);
    let mut made: Vec<KeyId> = Vec::with_capacity(wanted);
    while made.len() < wanted {
        let Some(count) = draws.take((wanted - made.len()).min(SLICE)) else {
            return Ok(None);
        };
        let rows: Vec<NewKey> = ids::take_key_ids(tx, count)?
            .into_iter()
            .map(|id| {
                let text = mint.text(&recipe, id, Some(&product.sku), fixed_expiry, &mut dice)?;
                Ok(mint.key(id, &text, Some(sequence), batch.terms, None))
            })
            .collect::<Result<_>>()?;
        made.extend(share.insert_new(tx, &rows)?.into_iter().map(KeyId));
    }
    Ok(Some(Key::find_many(tx, &made)?))
}
