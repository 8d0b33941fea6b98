//! The keyring: which key signs, which verify, and the one path by which every token is signed.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_client::{
    ActivationClaims, ProductKeyClaims, ProductKeyError, PublicKeys, TOKEN_TYPE, TokenError,
    VERDICT_TYPE, VerdictClaims, product_key_body, verify_signature,
};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{SigningKey, VerifyingKey};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm,
    OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse,
};
use serde::Serialize;
use sha2::Sha512;

use super::key_file::{KeyFileError, KeyFolder};
use crate::clock::Timestamp;
use crate::db::models::instance::{SigningKeyRow, SigningKeyState};

/// The keys in force. Cheap to share; replaced as a whole when the keys change.
#[derive(Debug)]
pub struct Keyring {
    folder: KeyFolder,
    keys: RwLock<Arc<Keys>>,
}

struct Keys {
    rows: Vec<SigningKeyRow>,
    signer: TokenSigner,
    /// Everything but revoked keys.
    trusted: PublicKeys,
}

/// Whether the process may still refuse to start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Starting,
    Running,
}

struct TokenSigner {
    kid: String,
    /// What signing needs of the private key, derived from it once.
    key: ExpandedSecretKey,
    public: VerifyingKey,
    /// The encoded headers with their dots: the same for every token of this key and type.
    activation_header: String,
    verdict_header: String,
}

/// The types of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenType {
    Activation,
    Verdict,
}

/// Claims that can be signed. The type that the token's header names comes from their Rust type, so
/// that none is ever signed as another.
pub(crate) trait Claims: Serialize {
    const TYPE: TokenType;
}

impl Claims for ActivationClaims {
    const TYPE: TokenType = TokenType::Activation;
}

impl Claims for VerdictClaims {
    const TYPE: TokenType = TokenType::Verdict;
}

impl Keyring {
    /// Loads the private keys that the rows ask for.
    ///
    /// # Errors
    /// [`KeyFileError`] naming the file.
    pub(crate) fn load(folder: KeyFolder, rows: Vec<SigningKeyRow>) -> Result<Self, KeyFileError> {
        let keys = Keys::load(&folder, rows, Presence::Starting)?;
        Ok(Self {
            folder,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// Takes over what another process or the command line changed; keeps the old keys on an error.
    ///
    /// # Errors
    /// [`KeyFileError`] naming the file.
    pub(crate) fn refresh(&self, rows: Vec<SigningKeyRow>) -> Result<(), KeyFileError> {
        if self.keys().rows == rows {
            return Ok(());
        }
        let keys = Arc::new(Keys::load(&self.folder, rows, Presence::Running)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        tracing::info!("the signing keys have changed");
        Ok(())
    }

    /// Signs claims into a compact JWS (RFC 7515, RFC 8037).
    pub(crate) fn sign<C: Claims>(&self, claims: &C) -> String {
        let keys = self.keys();
        let header = keys.signer.header(C::TYPE);
        let claims = serde_json::to_vec(claims).expect("claims hold nothing that JSON cannot");
        let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 92);
        token.push_str(header);
        URL_SAFE_NO_PAD.encode_string(&claims, &mut token);
        let signature = keys.signer.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// Makes a product key that verifies itself: the text without prefix and grouping [UC-13]. It unlocks
    /// `product`, or any without one, and its expiry is in whole seconds, rounded down.
    ///
    /// # Errors
    /// [`ProductKeyError`] for a sku of more than 255 bytes.
    pub(crate) fn sign_product_key(
        &self,
        serial: u64,
        product: Option<&str>,
        expires_at: Option<Timestamp>,
    ) -> Result<String, ProductKeyError> {
        let keys = self.keys();
        let claims = ProductKeyClaims {
            kid: keys.signer.kid.clone(),
            serial,
            product: product.map(str::to_owned),
            expires_at: expires_at.map(Timestamp::seconds),
        };
        product_key_body(&claims, |message| keys.signer.sign(message))
    }

    /// Reads an activation token that a key of ours signed; times are the caller's to judge.
    ///
    /// # Errors
    /// [`TokenError`] when it is not ours, was changed, or its key was revoked.
    pub(crate) fn verify(&self, token: &str) -> Result<ActivationClaims, TokenError> {
        verify_signature(token, &self.keys().trusted)
    }

    /// The public keys for `/.well-known/jwks.json` (RFC 7517): next, signing and retired.
    pub(crate) fn jwks(&self) -> JwkSet {
        let keys = self.keys();
        let trusted = keys
            .rows
            .iter()
            .filter(|row| row.state != SigningKeyState::Revoked);
        JwkSet {
            keys: trusted.map(jwk).collect(),
        }
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Keys {
    fn load(
        folder: &KeyFolder,
        rows: Vec<SigningKeyRow>,
        presence: Presence,
    ) -> Result<Self, KeyFileError> {
        let mut signer = None;
        let mut trusted = PublicKeys::new();
        for row in &rows {
            match row.state {
                SigningKeyState::Revoked => continue,
                // Neither signs. A file that is there must be in order all the same.
                SigningKeyState::Retired | SigningKeyState::Next => match read_private(folder, row)
                {
                    Ok(_) => {}
                    Err(KeyFileError::Missing(_)) if row.state == SigningKeyState::Retired => {}
                    Err(KeyFileError::Missing(file)) if presence == Presence::Running => {
                        tracing::warn!(file = %file.display(), "the next signing key is not here yet");
                    }
                    Err(error) => return Err(error),
                },
                SigningKeyState::Signing => {
                    let private = read_private(folder, row)?;
                    signer = Some(TokenSigner {
                        kid: row.kid.clone(),
                        key: ExpandedSecretKey::from(private.as_bytes()),
                        public: private.verifying_key(),
                        activation_header: header(&row.kid, TOKEN_TYPE),
                        verdict_header: header(&row.kid, VERDICT_TYPE),
                    });
                }
            }
            let damaged = || KeyFileError::Foreign(folder.file(&file_name(&row.kid)));
            let public = <&[u8; 32]>::try_from(row.public_key.as_slice()).map_err(|_| damaged())?;
            trusted
                .pin(row.kid.as_str(), public)
                .map_err(|_| damaged())?;
        }
        let signer = signer.ok_or_else(|| KeyFileError::Missing(folder.file("signing-*.pem")))?;
        Ok(Self {
            rows,
            signer,
            trusted,
        })
    }
}

impl TokenSigner {
    /// An Ed25519 signature (RFC 8032).
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.key, message, &self.public).to_bytes()
    }

    fn header(&self, token: TokenType) -> &str {
        match token {
            TokenType::Activation => &self.activation_header,
            TokenType::Verdict => &self.verdict_header,
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// The name of a signing key's file.
pub(crate) fn file_name(kid: &str) -> String {
    format!("signing-{kid}.pem")
}

fn read_private(folder: &KeyFolder, row: &SigningKeyRow) -> Result<SigningKey, KeyFileError> {
    let name = file_name(&row.kid);
    let key = parse_private(folder, &name)?;
    if key.verifying_key().as_bytes() != row.public_key.as_slice() {
        return Err(KeyFileError::Foreign(folder.file(&name)));
    }
    Ok(key)
}

/// Reads a PKCS#8 PEM file with an Ed25519 key (RFC 8410).
pub(crate) fn parse_private(folder: &KeyFolder, name: &str) -> Result<SigningKey, KeyFileError> {
    let pem = folder.read(name)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        KeyFileError::Damaged(
            folder.file(name),
            "it is no Ed25519 key in PKCS#8 PEM".into(),
        )
    })
}

fn header(kid: &str, typ: &str) -> String {
    let header = serde_json::json!({ "alg": "EdDSA", "typ": typ, "kid": kid }).to_string();
    format!("{}.", URL_SAFE_NO_PAD.encode(header))
}

fn jwk(row: &SigningKeyRow) -> Jwk {
    Jwk {
        common: CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_id: Some(row.kid.clone()),
            key_algorithm: Some(KeyAlgorithm::EdDSA),
            ..CommonParameters::default()
        },
        algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: URL_SAFE_NO_PAD.encode(&row.public_key),
        }),
    }
}
