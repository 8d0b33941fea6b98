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
use crate::db::DbConnection;
use crate::db::models::activation::{Activation, open_count};
use crate::db::models::key::Key;
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

/// Judges a key. Never changes anything. The refusal, if there is one, comes along for counting.
///
/// # Errors
/// The database's only: a refusal is the answer.
pub(crate) fn validate(
    conn: &mut DbConnection,
    input: &Validate,
    now: Timestamp,
) -> Result<(Validation, Option<Refusal>)> {
    let Some(standing) = Standing::of(Key::find_by_hash(conn, &input.text_hash)?) else {
        let refusal = Refusal::new(Code::KeyNotFound);
        let code = refusal.code.as_str();
        return Ok((
            Validation {
                valid: false,
                code,
                in_grace: false,
                key: None,
                signed: None,
            },
            Some(refusal),
        ));
    };
    let open = open_count(conn, standing.key.id)?;
    let refusal = match standing.verdict(input.product.as_deref(), Purpose::Continue, now) {
        Err(refusal) => Some(refusal),
        Ok(()) => match &input.installation_id {
            Some(installation) => match Activation::find(conn, standing.key.id, installation)? {
                Some(_) => None,
                None => Some(Refusal::new(Code::InstallationNotActivated).about(standing.key.id.0)),
            },
            None => standing.admit_one_more(open).err(),
        },
    };
    let validation = Validation {
        valid: refusal.is_none(),
        code: refusal
            .as_ref()
            .map_or("ok", |refusal| refusal.code.as_str()),
        in_grace: standing.is_in_grace(now),
        key: Some(standing.summary(open)),
        signed: None,
    };
    Ok((validation, refusal))
}

impl App {
    /// Judges a key, and signs the verdict when there is a nonce.
    ///
    /// # Errors
    /// `rate_limited`, and as [`validate`].
    pub(crate) async fn validate(&self, cx: Context, input: Validate) -> Result<Validation> {
        let now = cx.now;
        let visit = self.admit(Wish::Validate, &cx, PresentedKey::Text(input.text_hash))?;
        let asked = input.clone();
        let judged = self.db.read(move |conn| validate(conn, &input, now)).await;
        let (mut validation, refusal) = match judged {
            Ok(judged) => judged,
            Err(error) => return self.conclude(&visit, Err(error)),
        };
        self.conclude_verdict(&visit, refusal.as_ref());
        if let Some(nonce) = asked.nonce {
            validation.signed = Some(self.keyring.sign(&VerdictClaims {
                iss: self.config.tokens.issuer.clone(),
                iat: now.seconds(),
                nbf: now.seconds() - NOT_BEFORE_SECONDS,
                exp: now.seconds() + HOLDS_SECONDS,
                nonce,
                valid: validation.valid,
                code: validation.code.to_owned(),
                in_grace: validation.in_grace,
                installation_id: asked.installation_id,
                product: asked.product,
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
