//! Making keys: texts by a generator's recipe, sealed and ready to be stored.

use std::sync::Arc;

use super::pattern::Pattern;
use crate::clock::Timestamp;
use crate::db::models::customer::CustomerId;
use crate::db::models::generator::{Generator, GeneratorColumns, GeneratorId, GeneratorKind};
use crate::db::models::key::{Key, KeyId, KeySource, KeyStatus, NewKey};
use crate::db::models::lot::LotId;
use crate::db::models::order::{OrderId, OrderLineId};
use crate::db::models::product::Product;
use crate::db::models::sequence::SequenceId;
use crate::db::types::JsonObject;
use crate::db::{DbConnection, ids};
use crate::error::{Error, FieldError, Result};
use crate::signing::dice::Dice;
use crate::signing::keyring::Keyring;
use crate::signing::product_key::format_signed_key;
use crate::signing::vault::Vault;

/// Draws beyond this many for each key wanted, and [`SPARE_DRAWS`] more, mean that a pattern is as good
/// as used up: to find all texts of a pattern by chance takes about ln(texts) draws each, which is 14
/// for a million.
const DRAWS_PER_KEY: usize = 20;
/// For the last few texts of a small pattern.
const SPARE_DRAWS: usize = 2000;
/// The longest validity, a hundred years.
pub(crate) const MAX_DAYS: i64 = 36_500;
/// Keys stored per statement while drawing.
const SLICE: usize = 500;

/// How a generator's texts come about.
#[derive(Clone, Debug)]
pub(crate) enum Recipe {
    /// Chance.
    Pattern(Pattern),
    /// A signature over the key's id [UC-13].
    Signed(SignedForm),
}

/// What stands around and within a signed text.
#[derive(Clone, Debug)]
pub(crate) struct SignedForm {
    pub prefix: String,
    pub chunk_length: usize,
    pub separator: String,
}

/// What makes keys: the secrets that it takes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Mint {
    vault: Arc<Vault>,
    keyring: Arc<Keyring>,
    /// Of key numbers, unless a product has its own.
    number_prefix: String,
}

/// What the keys of one making have in common.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub source: KeySource,
    pub generator: Option<GeneratorId>,
    pub lot: Option<LotId>,
    pub product: Option<Product>,
    pub standing: NewStanding,
    pub terms: Terms,
    pub now: Timestamp,
}

/// Where a new key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewStanding {
    pub status: KeyStatus,
    pub status_before: Option<KeyStatus>,
    pub assigned_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    pub order: Option<OrderId>,
    pub line: Option<OrderLineId>,
    pub customer: Option<CustomerId>,
}

/// How long and how often a key can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub expires_at: Option<Timestamp>,
    pub valid_for_days: Option<i64>,
    pub max_activations: Option<i64>,
}

impl Terms {
    /// Each term that cannot be, by the name of its member.
    pub(crate) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (field, value, most) in [
            ("valid_for_days", self.valid_for_days, MAX_DAYS),
            ("max_activations", self.max_activations, i64::MAX),
        ] {
            if value.is_some_and(|value| value < 1 || value > most) {
                let detail = "must be 1 or more; leave it out for no limit";
                errors.push(FieldError::new(field, "out_of_range", detail));
            }
        }
        errors
    }

    /// These terms where `own` says nothing.
    pub(crate) fn overridden(self, own: Self) -> Self {
        Self {
            expires_at: own.expires_at.or(self.expires_at),
            valid_for_days: own.valid_for_days.or(self.valid_for_days),
            max_activations: own.max_activations.or(self.max_activations),
        }
    }

    /// The terms of a key that is assigned now: validity in days begins with the purchase and overwrites
    /// the date [SHOP-42].
    pub(crate) fn at_issue(self, now: Timestamp) -> Self {
        let expires_at = match self.valid_for_days {
            Some(days) => Some(now.plus_days(days)),
            None => self.expires_at,
        };
        Self { expires_at, ..self }
    }
}

impl Recipe {
    /// The recipe of a generator.
    ///
    /// # Errors
    /// Each member that is wrong.
    pub(crate) fn of(columns: &GeneratorColumns) -> Result<Self, Vec<FieldError>> {
        match columns.kind {
            GeneratorKind::Pattern => Pattern::of(columns).map(Self::Pattern),
            GeneratorKind::Signed => SignedForm::of(columns).map(Self::Signed),
        }
    }

    /// The pattern, if chance decides.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Pattern(pattern) => Some(pattern),
            Self::Signed(_) => None,
        }
    }

    /// How many different texts there are; `None` for more than anybody uses up.
    pub(crate) fn capacity(&self) -> Option<u64> {
        self.pattern().and_then(Pattern::capacity)
    }
}

impl SignedForm {
    fn of(columns: &GeneratorColumns) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, detail: &str| {
            errors.push(FieldError::new(field, "invalid", detail));
        };
        if !columns.charset.is_empty() || columns.chunks != 1 {
            let detail = "must be left out: a signed text's characters follow from what it says";
            refuse("charset", detail);
        }
        if !columns.suffix.is_empty() {
            refuse(
                "suffix",
                "must be empty: a signed text ends with its signature",
            );
        }
        if !["", "-", " "].contains(&columns.separator.as_str()) {
            refuse(
                "separator",
                "must be empty, `-` or a space in a signed text",
            );
        }
        if columns.prefix.chars().any(char::is_control) || columns.prefix.len() > 255 {
            refuse("prefix", "must be at most 255 bytes that can be typed");
        }
        if !(1..=99).contains(&columns.chunk_length) {
            refuse("chunk_length", "must be from 1 to 99");
        }
        if errors.is_empty() {
            Ok(Self {
                prefix: columns.prefix.clone(),
                chunk_length: usize::try_from(columns.chunk_length).unwrap_or(1),
                separator: columns.separator.clone(),
            })
        } else {
            Err(errors)
        }
    }
}

impl NewStanding {
    /// In stock.
    pub(crate) fn in_stock(status: KeyStatus) -> Self {
        Self {
            status,
            status_before: None,
            assigned_at: None,
            delivered_at: None,
            order: None,
            line: None,
            customer: None,
        }
    }
}

impl Mint {
    pub(crate) fn new(vault: Arc<Vault>, keyring: Arc<Keyring>, number_prefix: String) -> Self {
        Self {
            vault,
            keyring,
            number_prefix,
        }
    }

    /// Seals a text as the key `id`.
    pub(crate) fn key(
        &self,
        id: i64,
        text: &str,
        sequence: Option<SequenceId>,
        terms: Terms,
        extra: Option<JsonObject>,
        batch: &Batch,
    ) -> NewKey {
        let product = batch.product.as_ref();
        let prefix = product.map_or(&self.number_prefix, |product| &product.number_prefix);
        let NewStanding {
            status,
            status_before,
            assigned_at,
            delivered_at,
            order,
            line,
            customer,
        } = batch.standing;
        NewKey {
            id,
            text_sealed: self.vault.seal(id, text),
            text_hash: self.vault.hash(text).to_vec(),
            sequence_id: sequence,
            product_id: product.map(|product| product.id),
            lot_id: batch.lot,
            generator_id: batch.generator,
            order_id: order,
            order_line_id: line,
            customer_id: customer,
            number_prefix: prefix.clone(),
            number_version: 1,
            source: batch.source,
            status,
            status_before,
            disabled_by_order: false,
            max_activations: terms.max_activations,
            anonymous_activations: 0,
            expires_at: terms.expires_at,
            valid_for_days: terms.valid_for_days,
            assigned_at,
            delivered_at,
            extra,
            created_at: batch.now,
            updated_at: batch.now,
        }
    }

    /// One text by the recipe, for the key `id` of a product (any, if none is named). A signed one says
    /// its expiry, if it is fixed already, and its serial is the key's id.
    ///
    /// # Errors
    /// Internal, when it cannot be signed.
    pub(crate) fn text(
        &self,
        recipe: &Recipe,
        id: i64,
        sku: Option<&str>,
        expires_at: Option<Timestamp>,
        dice: &mut Dice,
    ) -> Result<String> {
        match recipe {
            Recipe::Pattern(pattern) => Ok(pattern.draw(dice)),
            Recipe::Signed(form) => {
                let serial = u64::try_from(id).unwrap_or(0);
                let body = self.keyring.sign_product_key(serial, sku, expires_at);
                let body = body.map_err(|error| {
                    Error::internal(format!("a product key cannot be signed: {error}"))
                })?;
                let SignedForm {
                    prefix,
                    chunk_length,
                    separator,
                } = form;
                Ok(format_signed_key(prefix, &body, *chunk_length, separator))
            }
        }
    }
}

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
                Ok(mint.key(id, &text, Some(sequence), batch.terms, None, &batch))
            })
            .collect::<Result<_>>()?;
        made.extend(Key::insert_new(tx, &rows)?.into_iter().map(KeyId));
    }
    Ok(Some(Key::find_many(tx, &made)?))
}

impl Key {
    /// Its terms.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            expires_at: self.expires_at,
            valid_for_days: self.valid_for_days,
            max_activations: self.max_activations,
        }
    }
}

impl Generator {
    /// The terms of the keys that it makes.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            expires_at: None,
            valid_for_days: self.expires_in_days,
            max_activations: self.max_activations,
        }
    }
}
