//! The public keys that a program trusts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// How many characters of the thumbprint make a `kid`: 96 bits, plenty for a handful of keys.
const KID_LENGTH: usize = 16;

/// Pinned Ed25519 public keys, each found by its `kid`.
///
/// Shipped software contains the keys that it trusts. While the server has a key announced as the
/// next one, pin both, so that the change of keys needs no update of the software. Keep a retired
/// key pinned for as long as tokens that it signed may still be renewed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PublicKeys {
    by_kid: BTreeMap<String, VerifyingKey>,
}

impl PublicKeys {
    /// No keys: every token is refused until some are pinned.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the keys of a JSON Web Key Set (RFC 7517 section 5).
    ///
    /// Takes entries of type `OKP` with curve `Ed25519` (RFC 8037 section 2). An entry without
    /// `kid` gets the computed one. Entries that are of another type, meant for another use,
    /// incomplete or weak are skipped, as section 5 recommends.
    ///
    /// # Errors
    ///
    /// [`KeyError::Jwks`] when the text is not a key set, [`KeyError::NoUsableKey`] when no entry
    /// is left, [`KeyError::KidTaken`] when two different keys share a `kid`.
    pub fn from_jwks(json: &str) -> Result<Self, KeyError> {
        let set: KeySet = serde_json::from_str(json).map_err(|_| KeyError::Jwks)?;

        let mut keys = Self::new();
        for entry in set.keys {
            let Ok(entry) = serde_json::from_value::<KeySetEntry>(entry) else {
                continue;
            };
            if let Some(key) = entry.verifying_key() {
                keys.insert(entry.kid.unwrap_or_else(|| kid(key.as_bytes())), key)?;
            }
        }

        if keys.is_empty() {
            return Err(KeyError::NoUsableKey);
        }
        Ok(keys)
    }

    /// Trusts `key`, given as its 32 bytes (RFC 8032 section 5.1.5), under the name `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAPoint`] and [`KeyError::Weak`] when the bytes are not a key that can be
    /// relied on, [`KeyError::KidTaken`] when another key is pinned under this `kid`. Pinning the
    /// same key again is not an error.
    pub fn pin(&mut self, kid: impl Into<String>, key: &[u8; 32]) -> Result<(), KeyError> {
        self.insert(kid.into(), strong_key(key)?)
    }

    /// Trusts the key in a PEM text (`PUBLIC KEY`, a `SubjectPublicKeyInfo` of RFC 8410), and
    /// returns its `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Pem`] when the text is anything else, otherwise as [`PublicKeys::pin`].
    pub fn pin_pem(&mut self, pem: &str) -> Result<String, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::Pem)?;
        self.pin_computed(key.as_bytes())
    }

    /// Trusts the key given as 64 hexadecimal digits of either case, and returns its `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Hex`] when the text is anything else, otherwise as [`PublicKeys::pin`].
    pub fn pin_hex(&mut self, hex: &str) -> Result<String, KeyError> {
        self.pin_computed(&decode_hex(hex).ok_or(KeyError::Hex)?)
    }

    /// Whether no key is pinned.
    pub fn is_empty(&self) -> bool {
        self.by_kid.is_empty()
    }

    /// The names of the pinned keys, in alphabetical order.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.by_kid.keys().map(String::as_str)
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.by_kid.get(kid)
    }

    fn pin_computed(&mut self, key: &[u8; 32]) -> Result<String, KeyError> {
        let kid = kid(key);
        self.pin(kid.clone(), key)?;
        Ok(kid)
    }

    fn insert(&mut self, kid: String, key: VerifyingKey) -> Result<(), KeyError> {
        match self.by_kid.entry(kid) {
            // Replacing a pin quietly would let whoever comes last decide what is trusted.
            Entry::Occupied(pinned) if *pinned.get() != key => Err(KeyError::KidTaken {
                kid: pinned.key().clone(),
            }),
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(place) => {
                place.insert(key);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kids()).finish()
    }
}

/// Why a public key was not pinned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The 32 bytes are not the encoding of a point on the curve (RFC 8032 section 5.1.3).
    #[error("the bytes are not an Ed25519 public key")]
    NotAPoint,
    /// The key has small order: signatures exist that fit it and any message.
    #[error("the public key is weak: anyone could sign for it")]
    Weak,
    /// The text is not the PEM of an Ed25519 public key.
    #[error("the text is not an Ed25519 public key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    Pem,
    /// The text is not 64 hexadecimal digits.
    #[error("the text is not an Ed25519 public key of 64 hexadecimal digits")]
    Hex,
    /// The text is not a JSON Web Key Set.
    #[error("the text is not a JSON Web Key Set (an object with the list `keys`)")]
    Jwks,
    /// The key set has no Ed25519 key that can be used.
    #[error("the key set has no usable Ed25519 key")]
    NoUsableKey,
    /// Another key is already pinned under this name.
    #[error("another key is already pinned as {kid:?}")]
    KidTaken {
        /// The name in question.
        kid: String,
    },
}

/// The name of a public key: the first 16 characters of its thumbprint (RFC 7638, with the members
/// that RFC 8037 section 2 requires), in base64url.
///
/// Computed from the key alone, so that software that pins a PEM or hexadecimal text arrives at
/// the name that the server writes into its tokens.
pub fn kid(public_key: &[u8; 32]) -> String {
    let mut kid = thumbprint(public_key);
    kid.truncate(KID_LENGTH);
    kid
}

fn thumbprint(public_key: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    // The members in this order and without blanks, RFC 7638 section 3.
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

fn strong_key(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    if key.is_weak() {
        return Err(KeyError::Weak);
    }
    Ok(key)
}

fn decode_hex(hex: &str) -> Option<[u8; 32]> {
    let nibbles = hex
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<Vec<u8>>>()?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

#[derive(Deserialize)]
struct KeySet {
    /// Read one by one, so that an entry of a kind unknown here does not spoil the others.
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeySetEntry {
    kty: String,
    crv: String,
    x: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
}

impl KeySetEntry {
    fn verifying_key(&self) -> Option<VerifyingKey> {
        let unless_other = |member: &Option<String>, allowed: &[&str]| {
            member
                .as_deref()
                .is_none_or(|value| allowed.contains(&value))
        };
        // `Ed25519` is the fully specified name of what `EdDSA` means here (RFC 9864 section 2.2).
        let ours = self.kty == "OKP"
            && self.crv == "Ed25519"
            && unless_other(&self.purpose, &["sig"])
            && unless_other(&self.alg, &["EdDSA", "Ed25519"]);
        if !ours {
            return None;
        }
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(&self.x).ok()?.try_into().ok()?;
        strong_key(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a_3() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key: [u8; 32] = URL_SAFE_NO_PAD.decode(x).unwrap().try_into().unwrap();

        assert_eq!(
            thumbprint(&key),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        assert_eq!(kid(&key), "kPrK_qmxVWaYVA9w");
    }

    #[test]
    fn hexadecimal_digits_are_read_strictly() {
        let hex = "00ff".repeat(16);
        let expected: Vec<u8> = [0x00, 0xff].repeat(16);

        assert_eq!(decode_hex(&hex).unwrap().to_vec(), expected);
        assert_eq!(decode_hex(&hex.to_uppercase()).unwrap().to_vec(), expected);
        for wrong in [
            "",
            &hex[1..],
            &hex[2..],
            &format!("{hex}00"),
            &format!("{hex}\n"),
            &format!("0x{}", &hex[2..]),
            &format!("+f{}", &hex[2..]),
            &format!("é{}", &hex[2..]),
        ] {
            assert_eq!(decode_hex(wrong), None, "{wrong:?}");
        }
    }
}
