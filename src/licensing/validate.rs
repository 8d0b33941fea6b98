//! Validate: what activate or renew would say, without doing anything.

use countersign_client::{VerdictClaims, VerdictKey};
use serde::Serialize;
use utoipa::ToSchema;

use super::context::Context;
use super::token::NOT_BEFORE_SECONDS;
use super::verdict::{KeySummary, Purpose, Standing};
use super::visit::Wish;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::activation::Activation;
use crate::db::models::issued_key::{Found, KeyName, LookUp};
use crate::error::{Code, Refusal, Result};
use crate::limits::PresentedKey;

/// What to look at.
#[derive(Clone, Debug)]
pub(crate) struct Validate {
    pub text_hash: [u8; 32],
    pub installation_id: Option<String>,
    pub product: Option<String>,
    /// With it the verdict is signed.
    pub nonce: Option<String>,
}

/// How long a signed verdict holds, in seconds: it is about now, and asked for anew each time.
const HOLDS_SECONDS: i64 = 300;

/// A verdict on a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Validation {
    /// Whether the key, and the installation if one was named, is good.
    pub valid: bool,
    /// `ok`, or the code of the refusal.
    #[schema(example = "ok")]
    pub code: &'static str,
    /// Whether the key has expired and only its grace lets it go on.
    pub in_grace: bool,
    /// The key; null when it is not known.
    pub key: Option<KeySummary>,
    /// The same as a compact JWS with type `validation+jwt`, when the request had a `nonce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

/// Judges a key: `found` is what was looked up. The refusal, if there is one, comes along for counting.
pub(crate) fn validate(
    found: Option<Found>,
    input: &Validate,
    now: Timestamp,
) -> (Validation, Option<Refusal>) {
    let (standing, activation) = match Standing::of(found) {
        Ok(found) => found,
        Err(refusal) => return (Validation::of(None, Some(&refusal), now), Some(refusal)),
    };
    let refusal = judge(&standing, activation.as_ref(), input, now).err();
    let validation = Validation::of(Some(&standing), refusal.as_ref(), now);
    (validation, refusal)
}

fn judge(
    standing: &Standing,
    activation: Option<&Activation>,
    input: &Validate,
    now: Timestamp,
) -> Result<(), Refusal> {
    standing.verdict(input.product.as_deref(), Purpose::Continue, now)?;
    match (&input.installation_id, activation) {
        (Some(_), Some(_)) => Ok(()),
        (Some(_), None) => {
            Err(Refusal::new(Code::InstallationNotActivated).about(standing.key.id.0))
        }
        (None, _) => standing.check_limit(1),
    }
}

impl Validation {
    fn of(standing: Option<&Standing>, refusal: Option<&Refusal>, now: Timestamp) -> Self {
        Self {
            valid: refusal.is_none(),
            code: refusal.map_or("ok", |refusal| refusal.code.as_str()),
            in_grace: standing.is_some_and(|standing| standing.is_in_grace(now)),
            key: standing.map(Standing::summary),
            signed: None,
        }
    }
}

impl App {
    /// Judges a key, and signs the verdict when there is a nonce.
    ///
    /// # Errors
    /// `rate_limited`, and as [`validate`].
    pub(crate) async fn validate(&self, cx: Context, input: Validate) -> Result<Validation> {
        let now = cx.now;
        let visit = self.let_in(Wish::Validate, &cx, PresentedKey::Text(input.text_hash))?;
        let wanted = LookUp {
            key: KeyName::Hash(input.text_hash),
            installation_id: input.installation_id.clone(),
        };
        let found = match self.db.look_up(wanted).await {
            Ok(found) => found,
            Err(error) => return self.conclude(&visit, Err(error)),
        };
        let (mut validation, refusal) = validate(found, &input, now);
        self.conclude_verdict(&visit, refusal.as_ref());
        if let Some(nonce) = input.nonce {
            validation.signed = Some(self.keyring.sign(&VerdictClaims {
                iss: self.config.tokens.issuer.clone(),
                iat: now.seconds(),
                nbf: now.seconds() - NOT_BEFORE_SECONDS,
                exp: now.seconds() + HOLDS_SECONDS,
                nonce,
                valid: validation.valid,
                code: validation.code.to_owned(),
                in_grace: validation.in_grace,
                installation_id: input.installation_id,
                product: input.product,
                key: validation.key.as_ref().map(claimed),
            }));
        }
        Ok(validation)
    }
}

fn claimed(key: &KeySummary) -> VerdictKey {
    VerdictKey {
        number: key.number.clone(),
        product: key.product.clone(),
        expires_at: key.expires_at.map(Timestamp::seconds),
        max_activations: key.max_activations,
        activations: key.activations,
    }
}
