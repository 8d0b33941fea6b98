//! Making keys: texts by a generator's recipe, sealed and ready to be stored.

use std::sync::Arc;

use super::pattern::Pattern;
use crate::clock::Timestamp;
use crate::db::models::customer::CustomerId;
use crate::db::models::generator::{Generator, GeneratorColumns, GeneratorId, GeneratorKind};
use crate::db::models::key::{Key, KeySource, KeyStatus};
use crate::db::models::lot::LotId;
use crate::db::models::new_key::{NewKey, NewKeysShare};
use crate::db::models::order::OrderId;
use crate::db::models::order_line::OrderLineId;
use crate::db::models::product::Product;
use crate::db::models::sequence::SequenceId;
use crate::db::types::JsonObject;
use crate::error::{Error, FieldError, Result};
use crate::signing::dice::Dice;
use crate::signing::keyring::Keyring;
use crate::signing::product_key::format_signed_key;
use crate::signing::vault::Vault;

/// The longest validity, a hundred years.
pub(crate) const MAX_DAYS: i64 = 36_500;
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
                let detail = "must be 1 or more; leave it out, or null in an edit, for no limit";
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
    ) -> NewKey {
        NewKey {
            id,
            text_sealed: self.vault.seal(id, text),
            text_hash: self.vault.hash(text),
            sequence_id: sequence,
            max_activations: terms.max_activations,
            expires_at: terms.expires_at,
            valid_for_days: terms.valid_for_days,
            extra,
        }
    }

    /// What the keys of a batch have in common as rows.
    pub(crate) fn share(&self, batch: &Batch) -> NewKeysShare {
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
        NewKeysShare {
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
            anonymous_activations: 0,
            assigned_at,
            delivered_at,
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
