//! The signed form that all tokens share: a JWS in compact serialization.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signature;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::{PublicKeys, TokenError};

/// The longest token that is looked at, in bytes. Real ones have less than a tenth of it.
pub const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// Verifies that a pinned key signed the token, which says of itself to be of type `typ`, and
/// returns its claims. Nothing of them is read before the signature was found good.
pub(crate) fn verify_jws<T: DeserializeOwned>(
    token: &str,
    typ: &str,
    keys: &PublicKeys,
) -> Result<T, TokenError> {
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
    if header.typ.as_deref() != Some(typ) {
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
