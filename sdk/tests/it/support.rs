//! A signer of tokens, good ones and bad ones.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_client::{ActivationClaims, AttachedKey, PublicKeys, kid};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

/// When the tokens of these tests are signed.
pub const NOW: i64 = 1_800_000_000;

pub struct TestSigner {
    pub key: SigningKey,
}

impl TestSigner {
    pub fn new(seed: u8) -> Self {
        Self {
            key: SigningKey::from_bytes(&[seed; 32]),
        }
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub fn kid(&self) -> String {
        kid(&self.public_key())
    }

    pub fn pinned(&self) -> PublicKeys {
        let mut keys = PublicKeys::new();
        keys.pin(self.kid(), &self.public_key()).unwrap();
        keys
    }

    pub fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "activation+jwt", "kid": self.kid()})
    }

    pub fn sign(&self, claims: &ActivationClaims) -> String {
        self.sign_json(&self.header(), &serde_json::to_value(claims).unwrap())
    }

    pub fn sign_json(&self, header: &Value, payload: &Value) -> String {
        self.sign_parts(&encode(header.to_string()), &encode(payload.to_string()))
    }

    /// Signs the parts as they are, whether or not they are proper base64url.
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{header}.{payload}");
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.to_bytes()))
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Claims that are valid from five minutes before [`NOW`] until thirty days after it.
pub fn claims() -> ActivationClaims {
    ActivationClaims {
        iss: "https://licenses.example.com".to_owned(),
        sub: "PLSK.00000017".to_owned(),
        aud: "editor-pro".to_owned(),
        jti: "01J9ZX4T7R".to_owned(),
        iat: NOW,
        nbf: NOW - 300,
        exp: NOW + 30 * 86_400,
        activation_id: "01J9ZX4T7Q".to_owned(),
        installation_id: "machine-1".to_owned(),
        key_expires_at: None,
        entitlements: json!({"seats": 3}).as_object().unwrap().clone(),
        attached: vec![AttachedKey {
            number: "EXT.00000018".to_owned(),
            product: "editor-spell".to_owned(),
            expires_at: Some("2027-11-22T10:00:00Z".to_owned()),
        }],
    }
}
