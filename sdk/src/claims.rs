//! What an activation token says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `typ` of an activation token's header.
///
/// Tokens of other kinds that the same server signs carry another type, so that none of them can
/// be passed off as an activation (explicit typing, RFC 8725 section 3.11).
pub const TOKEN_TYPE: &str = "activation+jwt";

/// The claims of an activation token.
///
/// `iss`, `sub`, `aud`, `jti`, `iat`, `nbf` and `exp` are those of RFC 7519 section 4.1, the rest
/// are Countersign's own. All times are whole seconds since the Unix epoch. Claims that are not
/// listed here are ignored on reading, so that a newer server can add some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationClaims {
    /// The server that signed the token, as named in its configuration.
    pub iss: String,
    /// The number of the key that was activated, without its version. It is no secret.
    pub sub: String,
    /// The product that the key unlocks, by its SKU.
    pub aud: String,
    /// The identifier of this token. Every renewal has its own.
    pub jti: String,
    /// When the token was signed.
    pub iat: i64,
    /// From when the token is valid. Somewhat earlier than `iat`, for clocks that run slow.
    pub nbf: i64,
    /// From when the token is no longer valid.
    pub exp: i64,
    /// The identifier of the activation, which stays the same over renewals.
    pub activation_id: String,
    /// The installation that was activated, by the name it gave itself.
    pub installation_id: String,
    /// When the key itself expires, or `None` when it never does.
    ///
    /// Usually later than `exp`, until which the software has to renew; earlier when the key is
    /// in its period of grace.
    pub key_expires_at: Option<i64>,
    /// What the product unlocks, as the vendor configured it.
    pub entitlements: Map<String, Value>,
    /// The additional keys that are in force together with this one.
    pub attached: Vec<AttachedKey>,
}

/// An additional key that is attached to the activated one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedKey {
    /// The number of the additional key. It is no secret.
    pub number: String,
    /// The product that the additional key unlocks, by its SKU.
    pub product: String,
    /// When the additional key expires, as text of RFC 3339 in UTC, or `None` when it never does.
    pub expires_at: Option<String>,
}
