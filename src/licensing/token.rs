//! What an activation's token says, and what an activation looks like outside.

use countersign_client::{ActivationClaims, TokenError};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::number;
use super::verdict::{KeySummary, Standing};
use super::visit::Wish;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::activation::Activation;
use crate::db::models::issued_key::{KeyName, LookUp};
use crate::db::models::key::KeyId;
use crate::error::{Code, Error, Refusal, Result};
use crate::limits::PresentedKey;
use crate::signing::activation_id;

/// A token is valid a little before it was made, for clocks that go slow.
pub(crate) const NOT_BEFORE_SECONDS: i64 = 300;

/// An admitted installation, before its token is signed.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub standing: Standing,
    pub activation: Activation,
    /// Whether it was admitted just now.
    pub is_new: bool,
}

/// An activation as shipped software gets it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActivationView {
    /// Opaque, unique, never reused; stays the same over renewals.
    #[schema(example = "7Z1QW4KJ5M3DC8")]
    pub activation_id: String,
    /// The name that the software gave itself.
    #[schema(example = "machine-1")]
    pub installation_id: String,
    /// When the installation was admitted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The token's `exp`: renew before.
    #[schema(value_type = String, format = DateTime)]
    pub renew_by: Timestamp,
    /// A compact JWS with type `activation+jwt`, signed with `EdDSA`.
    pub token: String,
    /// The key.
    pub key: KeySummary,
    /// Additional keys that this activation brings along.
    pub attached: Vec<AttachedKeyView>,
}

/// An additional key of a bundle.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AttachedKeyView {
    /// Its number.
    pub number: String,
    /// Its product's sku.
    pub product: String,
    /// When it expires; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// How a caller proves which activation it means.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// A token of ours.
    Token {
        key: KeyId,
        serial: i64,
        installation_id: String,
    },
    /// The key's hash and the installation.
    Key {
        text_hash: [u8; 32],
        installation_id: String,
    },
}

impl Credential {
    pub(crate) fn installation_id(&self) -> &str {
        match self {
            Self::Token {
                installation_id, ..
            }
            | Self::Key {
                installation_id, ..
            } => installation_id,
        }
    }

    /// What is to be looked up.
    pub(crate) fn wanted(&self) -> LookUp {
        let key = match self {
            Self::Token { key, .. } => KeyName::Id(*key),
            Self::Key { text_hash, .. } => KeyName::Hash(*text_hash),
        };
        LookUp {
            key,
            installation_id: Some(self.installation_id().to_owned()),
        }
    }

    /// What of it is the key.
    pub(crate) fn presented(&self) -> PresentedKey {
        match self {
            Self::Token { key, .. } => PresentedKey::Signed(key.0),
            Self::Key { text_hash, .. } => PresentedKey::Text(*text_hash),
        }
    }

    /// Whether `activation` is the one meant: a token from before a release means the earlier one.
    pub(crate) fn names(&self, activation: &Activation) -> bool {
        match self {
            Self::Token { serial, .. } => activation.serial == *serial,
            Self::Key { .. } => true,
        }
    }
}

impl App {
    /// Reads a token that this installation signed, of an age that is accepted.
    ///
    /// # Errors
    /// `token_invalid`.
    pub(crate) async fn read_token(
        &self,
        token: &str,
        now: Timestamp,
        age: TokenAge,
    ) -> Result<Credential> {
        let mut verified = self.keyring.verify(token);
        if matches!(verified, Err(TokenError::UnknownKey { .. })) && !self.db.is_embedded() {
            // Another process may have rotated the keys a moment ago.
            self.refresh_keyring().await?;
            verified = self.keyring.verify(token);
        }
        let credential = self.credential(verified, now, age);
        if let Err(refusal) = &credential {
            let wish = match age {
                TokenAge::Bounded => Wish::Renew,
                TokenAge::Any => Wish::Release,
            };
            self.count_verdict(wish, Some(refusal), now);
        }
        credential.map_err(Error::from)
    }

    fn credential(
        &self,
        verified: std::result::Result<ActivationClaims, TokenError>,
        now: Timestamp,
        age: TokenAge,
    ) -> std::result::Result<Credential, Refusal> {
        let refuse = |why: String| Refusal::because(Code::TokenInvalid, why);
        let claims =
            verified.map_err(|error| refuse(format!("The token is not accepted: {error}.")))?;
        if claims.iss != self.config.tokens.issuer {
            return Err(refuse(format!(
                "The token was issued by `{}`, not here.",
                claims.iss
            )));
        }
        let days = i64::from(self.config.tokens.renew_past_expiry_days);
        let last = Timestamp::from_micros(0)
            .plus_seconds(claims.exp)
            .plus_days(days);
        if age == TokenAge::Bounded && now >= last {
            return Err(refuse(format!(
                "The token expired more than {days} days ago; activate again."
            )));
        }
        let (key, serial) = activation_id::decode(&claims.activation_id)
            .ok_or_else(|| refuse("The token's activation_id is not one of ours.".to_owned()))?;
        Ok(Credential::Token {
            key,
            serial,
            installation_id: claims.installation_id,
        })
    }

    /// Signs a grant.
    pub(crate) fn countersign(&self, grant: &Grant, now: Timestamp) -> ActivationView {
        let Grant {
            standing,
            activation,
            ..
        } = grant;
        let renew_by = renew_by(standing, now);
        let activation_id = activation_id::encode(activation.key_id, activation.serial);
        let claims = ActivationClaims {
            iss: self.config.tokens.issuer.clone(),
            sub: number::without_version(standing.key.id, &standing.key.number_prefix),
            aud: standing.product.sku.clone(),
            jti: new_token_id(),
            iat: now.seconds(),
            nbf: now.seconds() - NOT_BEFORE_SECONDS,
            exp: renew_by.seconds(),
            activation_id: activation_id.clone(),
            installation_id: activation.installation_id.clone(),
            key_expires_at: standing.key.expires_at.map(Timestamp::seconds),
            entitlements: standing.product.entitlements.0.clone(),
            attached: Vec::new(),
        };
        ActivationView {
            activation_id,
            installation_id: activation.installation_id.clone(),
            created_at: activation.activated_at,
            renew_by,
            token: self.keyring.sign(&claims),
            key: standing.summary(),
            attached: Vec::new(),
        }
    }
}

/// How old a token may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenAge {
    /// Past its `exp` by no more than the configuration allows.
    Bounded,
    /// Any.
    Any,
}

/// The earlier of the key's last moment and the product's renew-by time, in whole seconds.
fn renew_by(standing: &Standing, now: Timestamp) -> Timestamp {
    let by_product = now.plus_days(standing.product.renew_by_days);
    let end = standing
        .last_moment()
        .map_or(by_product, |last| last.min(by_product));
    Timestamp::from_micros(0).plus_seconds(end.seconds())
}

/// The `jti` of a token: chance.
pub(crate) fn new_token_id() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 12]>())
}
