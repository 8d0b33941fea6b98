//! Product keys that verify themselves: no server is asked, at no time.
//!
//! The text is a prefix and, in base32 (RFC 4648 section 6, without padding), the payload and its
//! signature. The payload is
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | the version of this format, 1 |
//! | 12 | the key that signed it: its `kid`, out of base64url |
//! | 8 | the serial number, big-endian |
//! | 1 | how many bytes the product has, 0 for any product |
//! | 0 to 255 | the product, by its SKU |
//! | 0 or 8 | when the key expires, in seconds since the Unix epoch, big-endian |
//!
//! and the 64 bytes of the Ed25519 signature are on [`CONTEXT`] and the payload.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::Signature;
use serde::Serialize;
use thiserror::Error;

use crate::PublicKeys;

/// Stands before the payload in what is signed. No token begins like this, so that neither can be
/// passed off as the other though the same key signs both.
const CONTEXT: &[u8] = b"countersign product key v1\0";
const VERSION: u8 = 1;
const KID_BYTES: usize = 12;
/// The longest text that is looked at, in bytes: the longest of any product key.
const MAX_LENGTH: usize = 4096;

/// What a self-verifying product key says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProductKeyClaims {
    /// The name of the key that signed it.
    pub kid: String,
    /// Its serial number. No two keys of one server have the same.
    pub serial: u64,
    /// The product that it unlocks, by its SKU, or `None` when any.
    pub product: Option<String>,
    /// From when it is no longer valid, in seconds since the Unix epoch, or `None` for ever.
    pub expires_at: Option<i64>,
}

impl ProductKeyClaims {
    /// Whether the key unlocks the product of this SKU.
    pub fn is_for(&self, product: &str) -> bool {
        self.product.as_deref().is_none_or(|own| own == product)
    }

    fn to_payload(&self) -> Option<Vec<u8>> {
        let kid: [u8; KID_BYTES] = URL_SAFE_NO_PAD.decode(&self.kid).ok()?.try_into().ok()?;
        let product = self.product.as_deref().unwrap_or_default();

        let mut payload = vec![VERSION];
        payload.extend(kid);
        payload.extend(self.serial.to_be_bytes());
        payload.push(u8::try_from(product.len()).ok()?);
        payload.extend(product.as_bytes());
        if let Some(expires_at) = self.expires_at {
            payload.extend(expires_at.to_be_bytes());
        }
        Some(payload)
    }

    /// Reads what stands behind the version and the `kid`.
    fn from_parts(kid: String, rest: &[u8]) -> Option<Self> {
        let (serial, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (product, expiry) = rest.split_at_checked(usize::from(*length))?;
        let product = str::from_utf8(product).ok()?.to_owned();
        Some(Self {
            kid,
            serial: u64::from_be_bytes(*serial),
            product: Some(product).filter(|product| !product.is_empty()),
            expires_at: match expiry {
                [] => None,
                bytes => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
            },
        })
    }
}

/// Verifies a self-verifying product key, as its user typed or pasted it, and returns what it says.
///
/// `prefix` is the text that all keys of this kind begin with, or nothing. Dashes, blanks and line
/// breaks are ignored, and so is the case of the letters A to Z. Signatures are checked by the strict
/// rules, and nothing else is read before.
///
/// See that the key is for your product: [`ProductKeyClaims::is_for`]. A key that was revoked, or
/// is in use by too many, verifies all the same; only the server knows.
///
/// # Errors
///
/// The first that applies of [`ProductKeyError::WrongPrefix`], [`ProductKeyError::Malformed`],
/// [`ProductKeyError::NewerVersion`], [`ProductKeyError::UnknownKey`],
/// [`ProductKeyError::BadSignature`] and [`ProductKeyError::Expired`].
pub fn verify_product_key(
    text: &str,
    prefix: &str,
    keys: &PublicKeys,
    now_seconds: i64,
) -> Result<ProductKeyClaims, ProductKeyError> {
    if text.len() > MAX_LENGTH {
        return Err(ProductKeyError::Malformed);
    }
    let text = plain(text);
    let body = text
        .strip_prefix(&plain(prefix))
        .ok_or(ProductKeyError::WrongPrefix)?;
    let claims = verify_body(body, keys)?;
    if let Some(expires_at) = claims.expires_at.filter(|end| now_seconds >= *end) {
        return Err(ProductKeyError::Expired { expires_at });
    }
    Ok(claims)
}

/// Makes the text of a self-verifying product key, without prefix and grouping: for the server, whose
/// `sign` returns the Ed25519 signature on the bytes it is given, made with the key `claims.kid`.
///
/// # Errors
///
/// [`ProductKeyError::NotEncodable`].
pub fn product_key_body(
    claims: &ProductKeyClaims,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<String, ProductKeyError> {
    let mut bytes = claims.to_payload().ok_or(ProductKeyError::NotEncodable)?;
    let signature = sign(&signed_message(&bytes));
    bytes.extend(signature);
    Ok(BASE32_NOPAD.encode(&bytes))
}

/// Why a self-verifying product key was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProductKeyError {
    /// The text does not begin as keys of this kind do.
    #[error("the product key does not begin as it should")]
    WrongPrefix,
    /// The text is not a key of this kind: it was cut or mistyped.
    #[error("the product key is malformed: it was cut or mistyped")]
    Malformed,
    /// The key is of a format that this library does not know.
    #[error("the product key was mistyped, or is of a newer format")]
    NewerVersion,
    /// The key says that it was signed with a key that is not pinned.
    #[error("the product key was mistyped, or signed with the key {kid:?}, which is not pinned")]
    UnknownKey {
        /// The name of the key, as the product key gives it. Nothing vouches for this text.
        kid: String,
    },
    /// The signature does not fit the pinned key and the content.
    #[error("the product key was mistyped, or nobody signed it")]
    BadSignature,
    /// The key is no longer valid.
    #[error("the product key expired at {expires_at} (Unix time)")]
    Expired {
        /// Since when it is invalid, in seconds since the Unix epoch.
        expires_at: i64,
    },
    /// No key can say this: the product has more than 255 bytes, or the `kid` is not one.
    #[error("no product key can be made: the product has more than 255 bytes, or the kid is none")]
    NotEncodable,
}

fn verify_body(body: &str, keys: &PublicKeys) -> Result<ProductKeyClaims, ProductKeyError> {
    let bytes = BASE32_NOPAD
        .decode(body.as_bytes())
        .map_err(|_| ProductKeyError::Malformed)?;
    let (payload, signature) = bytes.split_last_chunk().ok_or(ProductKeyError::Malformed)?;
    let (version, rest) = payload.split_first().ok_or(ProductKeyError::Malformed)?;
    if *version != VERSION {
        return Err(ProductKeyError::NewerVersion);
    }
    let (kid, rest) = rest
        .split_first_chunk::<KID_BYTES>()
        .ok_or(ProductKeyError::Malformed)?;
    let kid = URL_SAFE_NO_PAD.encode(kid);

    let Some(key) = keys.find(&kid) else {
        return Err(ProductKeyError::UnknownKey { kid });
    };
    key.verify_strict(&signed_message(payload), &Signature::from_bytes(signature))
        .map_err(|_| ProductKeyError::BadSignature)?;
    ProductKeyClaims::from_parts(kid, rest).ok_or(ProductKeyError::Malformed)
}

fn signed_message(payload: &[u8]) -> Vec<u8> {
    [CONTEXT, payload].concat()
}

/// The text without what people add and leave out.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '-' && !c.is_whitespace())
        .map(|c| c.to_ascii_uppercase())
        .collect()
}
