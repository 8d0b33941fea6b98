//! Verification of activation tokens, without network.

use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::jws::verify_jws;
use crate::{ActivationClaims, PublicKeys, TOKEN_TYPE};

/// How far clocks may differ unless set otherwise, in seconds.
pub(crate) const DEFAULT_LEEWAY: i64 = 60;

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
    verify_jws(token, TOKEN_TYPE, keys)
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
        check_times(claims.nbf, claims.exp, now_seconds, self.leeway)?;
        Ok(claims)
    }
}

/// Whether a token is valid now (RFC 7519 sections 4.1.4 and 4.1.5).
pub(crate) fn check_times(nbf: i64, exp: i64, now: i64, leeway: i64) -> Result<(), TokenError> {
    if now < nbf.saturating_sub(leeway) {
        return Err(TokenError::NotYetValid { nbf });
    }
    if now >= exp.saturating_add(leeway) {
        return Err(TokenError::Expired { exp });
    }
    Ok(())
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The text is not a token of a Countersign server at all, or is longer than
    /// [`MAX_TOKEN_LENGTH`](crate::MAX_TOKEN_LENGTH).
    #[error("the token is malformed: it was cut, altered, or is no token")]
    Malformed,
    /// The header names another algorithm than `EdDSA`.
    #[error("the token is not signed with EdDSA")]
    WrongAlgorithm,
    /// The header names another type than the one expected: an activation is no verdict, and a
    /// verdict no activation.
    #[error("the token is of another type")]
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
    /// The verdict answers another request than the one that was made.
    #[error("the token answers another request: its nonce is another")]
    WrongNonce,
    /// The token is not valid yet, which usually means that the machine's clock is wrong.
    #[error("the token is valid only from {nbf} (Unix time) on; is the clock right?")]
    NotYetValid {
        /// From when it is valid, in seconds since the Unix epoch.
        nbf: i64,
    },
    /// The token is no longer valid: renew the activation, ask for another verdict.
    #[error("the token expired at {exp} (Unix time) and has to be renewed")]
    Expired {
        /// Since when it is invalid, in seconds since the Unix epoch.
        exp: i64,
    },
}

fn differs(expected: &Option<String>, actual: &str) -> bool {
    expected
        .as_deref()
        .is_some_and(|expected| expected != actual)
}

pub(crate) fn now_seconds() -> i64 {
    // A clock before 1970 is wrong beyond doubt; at 0 every token is not yet valid, which says so.
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
