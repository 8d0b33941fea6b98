//! For benchmarks alone (feature `bench`): the parts of the hot path, each by itself. See
//! docs/performance.md.

use std::path::Path;

use countersign_client::{ActivationClaims, VerdictClaims, VerdictKey};

use crate::api;
use crate::clock::Timestamp;
use crate::db::models::generator::{GeneratorColumns, GeneratorKind};
use crate::db::models::instance::SigningKeyState;
use crate::db::models::issued_key::{IssuedKey, IssuedProduct};
use crate::db::models::key::{KeyId, KeyStatus};
use crate::db::types::JsonObject;
use crate::licensing::pattern::Pattern;
use crate::licensing::token::new_token_id;
use crate::licensing::verdict::{Purpose, Standing};
use crate::signing::dice::Dice;
use crate::signing::key_file::KeyFolder;
use crate::signing::keyring::Keyring;
use crate::signing::set_up::NewKey;
use crate::signing::vault::Vault;

const NOW: i64 = 1_800_000_000;
const HOLDS_SECONDS: i64 = 30 * 86_400;

/// What the parts need.
#[derive(Debug)]
pub struct Parts {
    keyring: Keyring,
    vault: Vault,
    pattern: Pattern,
    dice: Dice,
    standing: Standing,
    claims: ActivationClaims,
}

impl Parts {
    /// Makes signing keys in `folder`, which is empty, and everything else.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(folder: &Path) -> Result<Self, String> {
        let folder = KeyFolder::new(folder, false);
        let row = NewKey::create(&folder).map_err(|error| error.to_string())?;
        let rows = vec![row.into_row(SigningKeyState::Signing, now())];
        Ok(Self {
            keyring: Keyring::load(folder, rows).map_err(|error| error.to_string())?,
            vault: Vault::from_file(&Vault::new_file())?,
            pattern: Pattern::of(&generator()).map_err(|errors| format!("{errors:?}"))?,
            dice: Dice::new(),
            standing: Standing {
                key: key(),
                product: product(),
                open: 1,
            },
            claims: claims(),
        })
    }

    /// Signs an activation token.
    pub fn sign_activation(&self) -> String {
        let mut claims = self.claims.clone();
        claims.jti = new_token_id();
        self.keyring.sign(&claims)
    }

    /// Signs a verdict.
    pub fn sign_verdict(&self) -> String {
        self.keyring.sign(&VerdictClaims {
            iss: "countersign".to_owned(),
            iat: NOW,
            nbf: NOW,
            exp: NOW + HOLDS_SECONDS,
            nonce: "0YwXqLbPZ5gQ".to_owned(),
            valid: true,
            code: "ok".to_owned(),
            in_grace: false,
            installation_id: Some("machine-1".to_owned()),
            product: None,
            key: Some(VerdictKey {
                number: "KEY.00000017.0001".to_owned(),
                product: "editor-pro".to_owned(),
                expires_at: None,
                max_activations: Some(3),
                activations: 1,
            }),
        })
    }

    /// Verifies a token of [`Parts::sign_activation`]; whether it is good.
    pub fn verify(&self, token: &str) -> bool {
        self.keyring.verify(token).is_ok()
    }

    /// Seals a key's text.
    pub fn seal(&self, text: &str) -> Vec<u8> {
        self.vault.seal(17, text)
    }

    /// Opens what [`Parts::seal`] made.
    pub fn open(&self, sealed: &[u8]) -> Option<String> {
        self.vault.open(17, sealed).ok()
    }

    /// What a key's text is found by.
    pub fn hash(&self, text: &str) -> [u8; 32] {
        self.vault.hash(text)
    }

    /// A new key's text.
    pub fn generate(&mut self) -> String {
        self.pattern.draw(&mut self.dice)
    }

    /// Whether the key may have one activation more.
    pub fn verdict(&self) -> bool {
        let judged = self
            .standing
            .verdict(Some("editor-pro"), Purpose::Activate, now());
        judged.is_ok() && self.standing.check_limit(1).is_ok()
    }
}

/// Reads the body of an activation; whether it could be read.
pub fn parse_activate(body: &[u8]) -> bool {
    api::parse_activate(body)
}

fn now() -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(NOW)
}

fn claims() -> ActivationClaims {
    ActivationClaims {
        iss: "countersign".to_owned(),
        sub: "KEY.00000017".to_owned(),
        aud: "editor-pro".to_owned(),
        jti: String::new(),
        iat: NOW,
        nbf: NOW,
        exp: NOW + HOLDS_SECONDS,
        activation_id: "QFAAPKFH0SYGY08".to_owned(),
        installation_id: "machine-1".to_owned(),
        key_expires_at: None,
        entitlements: serde_json::Map::new(),
        attached: Vec::new(),
    }
}

fn product() -> IssuedProduct {
    IssuedProduct {
        sku: "editor-pro".to_owned(),
        activation_managed: true,
        renew_by_days: 30,
        grace_days: 0,
        self_release: true,
        releases_per_month: None,
        entitlements: JsonObject::default(),
    }
}

fn key() -> IssuedKey {
    IssuedKey {
        id: KeyId(17),
        order_id: None,
        status: KeyStatus::Delivered,
        number_prefix: "KEY".to_owned(),
        number_version: 1,
        max_activations: Some(3),
        anonymous_activations: 0,
        expires_at: Some(now().plus_days(365)),
        revoked_at: None,
        suspended_at: None,
        terminated_at: None,
    }
}

fn generator() -> GeneratorColumns {
    GeneratorColumns {
        name: "bench".to_owned(),
        kind: GeneratorKind::Pattern,
        charset: "ABCDEFGHJKLMNPQRSTUVWXYZ23456789".to_owned(),
        chunks: 5,
        chunk_length: 5,
        separator: "-".to_owned(),
        prefix: String::new(),
        suffix: String::new(),
        max_activations: None,
        expires_in_days: None,
        created_at: now(),
        updated_at: now(),
    }
}
