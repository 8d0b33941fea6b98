//! What a successful activation or renewal returns.

use std::fmt;

use serde::Deserialize;

use crate::{ActivationClaims, AttachedKey};

/// An activation, as the server returned it and after its token was verified.
///
/// Times are texts of RFC 3339 in UTC, for display. Decide by `claims`, which are signed; the other
/// members are only as trustworthy as the connection. `Debug` does not show the token.
#[derive(Clone, PartialEq)]
pub struct Activation {
    /// The identifier of the activation, the same as in `claims`.
    pub activation_id: String,
    /// The installation that was activated, the same as in `claims`.
    pub installation_id: String,
    /// When the installation was activated first.
    pub created_at: String,
    /// By when the software has to renew.
    pub renew_by: String,
    /// The activation token, to be kept.
    pub token: String,
    /// The key that was activated.
    pub key: KeySummary,
    /// The additional keys that are in force together with this one.
    pub attached: Vec<AttachedKey>,
    /// The verified claims of `token`.
    pub claims: ActivationClaims,
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("activation_id", &self.activation_id)
            .field("installation_id", &self.installation_id)
            .field("created_at", &self.created_at)
            .field("renew_by", &self.renew_by)
            .field("key", &self.key)
            .field("attached", &self.attached)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

/// What the server tells about a key. It does not include the text of the key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeySummary {
    /// The number of the key, with its version. It is no secret.
    pub number: String,
    /// The product that the key unlocks, by its SKU.
    pub product: String,
    /// Where the key is in its life, for instance `delivered`.
    pub status: String,
    /// When the key expires, as text of RFC 3339 in UTC, or `None` when it never does.
    pub expires_at: Option<String>,
    /// How many installations the key admits at a time, or `None` when any number.
    pub max_activations: Option<i64>,
    /// How many installations are activated now, this one included.
    pub activations: i64,
}

/// An activation before its token was verified.
#[derive(Deserialize)]
pub(super) struct UnverifiedActivation {
    pub(super) activation_id: String,
    pub(super) installation_id: String,
    created_at: String,
    renew_by: String,
    pub(super) token: String,
    key: KeySummary,
    attached: Vec<AttachedKey>,
}

impl UnverifiedActivation {
    /// The activation, given the claims that its token was verified to have.
    pub(super) fn with_claims(self, claims: ActivationClaims) -> Activation {
        Activation {
            activation_id: self.activation_id,
            installation_id: self.installation_id,
            created_at: self.created_at,
            renew_by: self.renew_by,
            token: self.token,
            key: self.key,
            attached: self.attached,
            claims,
        }
    }
}
