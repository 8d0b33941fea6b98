//! The server's signed verdict on a key.

use serde::{Deserialize, Serialize};

use crate::jws::verify_jws;
use crate::token::{DEFAULT_LEEWAY, check_times};
use crate::{PublicKeys, TokenError};

/// The `typ` of a verdict's header. An activation token has another, so that neither can be passed
/// off as the other (explicit typing, RFC 8725 section 3.11).
pub const VERDICT_TYPE: &str = "validation+jwt";

/// What the server says of a key at one moment, in answer to one request.
///
/// `iss`, `iat`, `nbf` and `exp` are those of RFC 7519 section 4.1, in whole seconds since the Unix
/// epoch. Claims that are not listed here are ignored on reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictClaims {
    /// The server that signed it, as named in its configuration.
    pub iss: String,
    /// When it was signed.
    pub iat: i64,
    /// From when it is valid. Somewhat earlier than `iat`, for clocks that run slow.
    pub nbf: i64,
    /// From when it is no longer valid: minutes after `iat`.
    pub exp: i64,
    /// What the request sent as `nonce`: this is the answer to it, and not to an earlier one.
    pub nonce: String,
    /// Whether the key, and the installation if one was named, is good.
    pub valid: bool,
    /// `ok`, or why it is not: `key_not_found`, `key_revoked` and the like. These codes are stable.
    pub code: String,
    /// Whether the key has expired and only its period of grace lets it go on.
    pub in_grace: bool,
    /// The installation that the request named, if it did.
    pub installation_id: Option<String>,
    /// The SKU that the request named, if it did. The key's own is in `key`.
    pub product: Option<String>,
    /// The key, or `None` when there is no such key.
    pub key: Option<VerdictKey>,
}

/// What a verdict says of the key. It does not include the text of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictKey {
    /// The number of the key, with its version. It is no secret.
    pub number: String,
    /// The product that the key unlocks, by its SKU.
    pub product: String,
    /// When the key expires, in seconds since the Unix epoch, or `None` when it never does.
    pub expires_at: Option<i64>,
    /// How many installations the key admits at a time, or `None` when any number.
    pub max_activations: Option<i64>,
    /// How many installations are activated.
    pub activations: i64,
}

/// Verifies a verdict, the member `signed` of an answer to `POST /v1/validate`, and returns what it
/// says. `nonce` is the text that was sent with the request; make a new random one each time, or an
/// old answer could be shown again. Clocks may differ by a minute.
///
/// A good signature does not mean a good key: look at [`VerdictClaims::valid`]. And see that the
/// verdict is on what was asked, `installation_id` and `product`: somebody on the way could have
/// changed the question. `Client::validate` does all of it.
///
/// # Errors
///
/// [`TokenError::Malformed`], [`TokenError::WrongAlgorithm`], [`TokenError::WrongType`] (an
/// activation token is none), [`TokenError::UnknownKey`], [`TokenError::BadSignature`],
/// [`TokenError::WrongNonce`], [`TokenError::NotYetValid`] or [`TokenError::Expired`].
pub fn verify_verdict(
    token: &str,
    keys: &PublicKeys,
    nonce: &str,
    now_seconds: i64,
) -> Result<VerdictClaims, TokenError> {
    let claims: VerdictClaims = verify_jws(token, VERDICT_TYPE, keys)?;
    if claims.nonce != nonce {
        return Err(TokenError::WrongNonce);
    }
    check_times(claims.nbf, claims.exp, now_seconds, DEFAULT_LEEWAY)?;
    Ok(claims)
}
