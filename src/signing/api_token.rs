//! API tokens: random secrets that are shown once and stored as SHA-256. (A slow hash would protect
//! nothing: there are 256 bits to guess.)

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

const PREFIX: &str = "cst_";

/// A new token's secret text, such as `cst_…`.
pub(crate) fn generate() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

/// What a token is stored and found by.
pub(crate) fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// The last four characters, by which a person recognises a token.
pub(crate) fn hint(secret: &str) -> &str {
    secret
        .get(secret.len().saturating_sub(4)..)
        .unwrap_or_default()
}
