//! Verification of activation tokens, without network.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signature;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::{ActivationClaims, PublicKeys, TOKEN_TYPE};

/// The longest token that is looked at, in bytes. Real ones have less than a tenth of it.
pub const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// How far clocks may differ unless set otherwise, in seconds.
const DEFAULT_LEEWAY: i64 = 60;

/// Verifies the signature of a token and returns its claims, without looking at times, issuer,
/// product or installation: for those use a [`Verifier`].
///
/// The token must be a JWS in compact serialization (RFC 7515 section 7.1): three parts in
/// base64url, without padding and in the only canonical spelling. Its header must say `alg` `EdDSA`
/// (RFC 8037), `typ` `activation+jwt` and the `kid` of a pinned key, and have no `crit`, because no
/// extension is understood here (RFC 7515 section 4.1.11). The algorithm is never taken from the
/// token (RFC 8725 section 3.1). Signatures are checked by the strict rules, which refuse
/// small-order points. Nothing of the payload is read before its signature was found good.
///
/// # Errors
///
/// [`TokenError::Malformed`], [`TokenError::WrongAlgorithm`], [`TokenError::WrongType`],
/// [`TokenError::UnknownKey`] or [`TokenError::BadSignature`].
pub fn verify_signature(token: &str, keys: &PublicKeys) -> Result<ActivationClaims, TokenError> {
    if token.len() > MAX_TOKEN_LENGTH {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    // A fourth part needs no check of its own: a dot is outside the alphabet of base64url.

    let header: Header = read_object(&decode(header)?)?;
    if header.crit {
        return Err(TokenError::Malformed);
    }
    if header.alg != "EdDSA" {
        return Err(TokenError::WrongAlgorithm);
    }
    if header.typ.as_deref() != Some(TOKEN_TYPE) {
        return Err(TokenError::WrongType);
    }
    let kid = header.kid.ok_or(TokenError::Malformed)?;
    let payload = decode(payload)?;
    let signature =
        Signature::from_slice(&decode(signature)?).map_err(|_| TokenError::Malformed)?;

    let Some(key) = keys.find(&kid) else {
        return Err(TokenError::UnknownKey { kid });
    };
    key.verify_strict(signed.as_bytes(), &signature)
        .map_err(|_| TokenError::BadSignature)?;
    read_object(&payload)
}

/// Decides whether an activation token is good for this program on this machine, now.
///
/// Set the product and the installation: a token for other software of the same vendor, or one that
/// was copied from another machine, has a good signature too.
#[derive(Clone, Debug)]
#[must_use]
pub struct Verifier {
    keys: PublicKeys,
    issuer: Option<String>,
    product: Option<String>,
    installation_id: Option<String>,
    leeway: i64,
}

impl Verifier {
    /// A verifier that trusts `keys` and accepts any issuer, product and installation.
    pub fn new(keys: PublicKeys) -> Self {
        Self {
            keys,
            issuer: None,
            product: None,
            installation_id: None,
            leeway: DEFAULT_LEEWAY,
        }
    }

    /// Accepts only tokens whose `iss` is `issuer`.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Accepts only tokens whose `aud` is the SKU `product`.
    pub fn product(mut self, product: impl Into<String>) -> Self {
        self.product = Some(product.into());
        self
    }

    /// Accepts only tokens of this installation.
    pub fn installation_id(mut self, installation_id: impl Into<String>) -> Self {
        self.installation_id = Some(installation_id.into());
        self
    }

    /// How many seconds the clocks of server and machine may differ, 60 unless set. A negative
    /// number counts as zero.
    pub fn leeway_seconds(mut self, leeway: i64) -> Self {
        self.leeway = leeway.max(0);
        self
    }

    /// Verifies `token` by the system's clock and returns its claims.
    ///
    /// # Errors
    ///
    /// Those of [`verify_signature`], then the first that applies of [`TokenError::WrongIssuer`],
    /// [`TokenError::WrongProduct`], [`TokenError::WrongInstallation`],
    /// [`TokenError::NotYetValid`] and [`TokenError::Expired`].
    pub fn verify(&self, token: &str) -> Result<ActivationClaims, TokenError> {
        self.verify_at(token, now_seconds())
    }

    /// Verifies `token` as [`Verifier::verify`] does, at the time `now_seconds`, in seconds since
    /// the Unix epoch.
    ///
    /// The token is valid from `nbf` minus leeway on, until just before `exp` plus leeway (RFC 7519
    /// sections 4.1.4 and 4.1.5).
    ///
    /// # Errors
    ///
    /// As [`Verifier::verify`].
    pub fn verify_at(&self, token: &str, now_seconds: i64) -> Result<ActivationClaims, TokenError> {
        let claims = verify_signature(token, &self.keys)?;

        if differs(&self.issuer, &claims.iss) {
            return Err(TokenError::WrongIssuer);
        }
        if differs(&self.product, &claims.aud) {
            return Err(TokenError::WrongProduct);
        }
        if differs(&self.installation_id, &claims.installation_id) {
            return Err(TokenError::WrongInstallation);
        }
        if now_seconds < claims.nbf.saturating_sub(self.leeway) {
            return Err(TokenError::NotYetValid { nbf: claims.nbf });
        }
        if now_seconds >= claims.exp.saturating_add(self.leeway) {
            return Err(TokenError::Expired { exp: claims.exp });
        }
        Ok(claims)
    }
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The text is not an activation token at all, or is longer than [`MAX_TOKEN_LENGTH`].
    #[error("the token is malformed: it was cut, altered, or is no activation token")]
    Malformed,
    /// The header names another algorithm than `EdDSA`.
    #[error("the token is not signed with EdDSA")]
    WrongAlgorithm,
    /// The header names another type than [`TOKEN_TYPE`].
    #[error("the token is of another type than `{TOKEN_TYPE}`")]
    WrongType,
    /// The token says it was signed with a key that is not pinned.
    #[error("the token is signed with the key {kid:?}, which is not pinned")]
    UnknownKey {
        /// The name of the key, as the token gives it. Nothing vouches for this text.
        kid: String,
    },
    /// The signature does not fit the pinned key and the content.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The token is from another server than the expected one.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// The token is for another product.
    #[error("the token is for another product")]
    WrongProduct,
    /// The token is for another installation.
    #[error("the token is for another installation")]
    WrongInstallation,
    /// The token is not valid yet, which usually means that the machine's clock is wrong.
    #[error("the token is valid only from {nbf} (Unix time) on; is the clock right?")]
    NotYetValid {
        /// From when it is valid, in seconds since the Unix epoch.
        nbf: i64,
    },
    /// The token is no longer valid; renew it.
    #[error("the token expired at {exp} (Unix time) and has to be renewed")]
    Expired {
        /// Since when it is invalid, in seconds since the Unix epoch.
        exp: i64,
    },
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// Called for a member that is there, whatever its value: `"crit": null` counts as well.
fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}

fn read_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, TokenError> {
    // A derived `Deserialize` would take a list of the values in order as well.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}

fn differs(expected: &Option<String>, actual: &str) -> bool {
    expected
        .as_deref()
        .is_some_and(|expected| expected != actual)
}

fn now_seconds() -> i64 {
    // A clock before 1970 is wrong beyond doubt; at 0 every token is not yet valid, which says so.
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
