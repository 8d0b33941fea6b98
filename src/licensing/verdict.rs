//! The verdict: the checks on a key, in the order that api.md fixes. The one place that decides.

use serde::Serialize;
use utoipa::ToSchema;

use super::number;
use crate::clock::Timestamp;
use crate::db::models::activation::Activation;
use crate::db::models::issued_key::{Found, IssuedKey, IssuedProduct};
use crate::db::models::key::KeyStatus;
use crate::error::{Code, Refusal};

/// An issued key with its product.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub key: IssuedKey,
    pub product: IssuedProduct,
    /// How many activations of the key are open.
    pub open: i64,
}

/// What the verdict is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A new activation: refused from the key's expiry on.
    Activate,
    /// Going on with one (renew, validate): refused from the key's expiry and the grace on.
    Continue,
}

/// What the public learns of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeySummary {
    /// The key's number, which is no secret.
    #[schema(example = "KEY.00000017.0001")]
    pub number: String,
    /// The sku of its product.
    #[schema(example = "editor-pro")]
    pub product: String,
    /// `sold`, `delivered` or `disabled`.
    pub status: KeyStatus,
    /// When it stops to admit activations; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// How many installations may be active at once; null for any number.
    pub max_activations: Option<i64>,
    /// How many are.
    pub activations: i64,
}

impl Standing {
    /// Takes a look-up apart: the key, and the installation's open activation.
    ///
    /// # Errors
    /// `key_not_found`. A key that was never issued is not found either, so that nobody finds unsold stock
    /// by guessing.
    pub(crate) fn of(found: Option<Found>) -> Result<(Self, Option<Activation>), Refusal> {
        let Found {
            key,
            product,
            open,
            activation,
        } = found.ok_or_else(|| Refusal::new(Code::KeyNotFound))?;
        Ok((Self { key, product, open }, activation))
    }

    /// Every check but the limit. `wanted` is the sku that the caller named, if it did.
    ///
    /// # Errors
    /// The first refusal in the fixed order.
    pub(crate) fn verdict(
        &self,
        wanted: Option<&str>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let key = &self.key;
        let code = if !self.product.activation_managed {
            Code::ActivationNotManaged
        } else if wanted.is_some_and(|sku| sku != self.product.sku) {
            Code::ProductMismatch
        } else if key.terminated_at.is_some() {
            Code::KeyTerminated
        } else if key.revoked_at.is_some() {
            Code::KeyRevoked
        } else if key.status == KeyStatus::Disabled {
            Code::KeyDisabled
        } else if key.suspended_at.is_some() {
            Code::KeySuspended
        } else if self.has_expired(purpose, now) {
            Code::KeyExpired
        } else {
            return Ok(());
        };
        Err(Refusal::new(code).about(key.id.0))
    }

    /// The limit, for `more` activations beside those that there are.
    ///
    /// # Errors
    /// `activation_limit_reached` with the numbers.
    pub(crate) fn check_limit(&self, more: i64) -> Result<(), Refusal> {
        let used = self.activations();
        match self.key.max_activations {
            Some(max) if used.saturating_add(more) > max => Err(Refusal::because(
                Code::ActivationLimitReached,
                format!(
                    "The key is activated on {used} of {max} installations; release one first."
                ),
            )
            .with("max_activations", max)
            .with("activations", used)
            .about(self.key.id.0)),
            _ => Ok(()),
        }
    }

    /// Whether the key has expired but its grace has not.
    pub(crate) fn is_in_grace(&self, now: Timestamp) -> bool {
        self.has_expired(Purpose::Activate, now) && !self.has_expired(Purpose::Continue, now)
    }

    /// When renewing ends: the expiry and the grace.
    pub(crate) fn last_moment(&self) -> Option<Timestamp> {
        self.key
            .expires_at
            .map(|at| at.plus_days(self.product.grace_days))
    }

    /// What counts towards the limit: open activations, and those without an installation [UC-75].
    pub(crate) fn activations(&self) -> i64 {
        self.open + self.key.anonymous_activations
    }

    pub(crate) fn summary(&self) -> KeySummary {
        let key = &self.key;
        KeySummary {
            number: number::of_parts(key.id, &key.number_prefix, key.number_version),
            product: self.product.sku.clone(),
            status: key.status,
            expires_at: key.expires_at,
            max_activations: key.max_activations,
            activations: self.activations(),
        }
    }

    fn has_expired(&self, purpose: Purpose, now: Timestamp) -> bool {
        let end = match purpose {
            Purpose::Activate => self.key.expires_at,
            Purpose::Continue => self.last_moment(),
        };
        end.is_some_and(|end| now >= end)
    }
}
