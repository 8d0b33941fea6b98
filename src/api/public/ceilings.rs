//! Ceilings, for benchmarks alone (feature `bench`): what no answer to shipped software can avoid, through the
//! same server, the same middleware and the same reading of requests, without the database. What a call comes
//! to in the end is judged against these; see docs/performance.md. They stand in no document of the interface.

use actix_web::{HttpResponse, web};
use countersign_client::{ActivationClaims, VerdictClaims, VerdictKey};

use super::{CredentialBody, ValidateBody};
use crate::api::auth::Software;
use crate::api::call::Call;
use crate::api::extract::{Body, parse_json};
use crate::api::problem::ApiResult;
use crate::clock::Timestamp;
use crate::db::models::key::KeyStatus;
use crate::error::{Code, Refusal, Result};
use crate::licensing::text::Text;
use crate::licensing::token::{ActivationView, NOT_BEFORE_SECONDS, new_token_id};
use crate::licensing::validate::Validation;
use crate::licensing::verdict::KeySummary;

/// How long what is signed here holds, in seconds.
const HOLDS_SECONDS: i64 = 300;

/// Adds the ceilings to the server.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/bench/hello", web::get().to(hello))
        .route("/bench/parse-only", web::post().to(parse_only))
        .route("/bench/sign-only", web::post().to(sign_only))
        .route("/bench/verify-and-sign", web::post().to(verify_and_sign));
}

/// An answer and nothing else.
async fn hello() -> HttpResponse {
    HttpResponse::Ok().body("hello")
}

/// Reads the body of a validate and hashes its key; the answer is of a validate's shape.
async fn parse_only(call: Call<Software, Body<ValidateBody>>) -> ApiResult<HttpResponse> {
    let Body(body) = call.input;
    let hash = call.app.vault.hash(body.key.as_str());
    Ok(HttpResponse::Ok().json(verdict(&hash)))
}

/// As `parse-only`, and signs the verdict as a validate with a nonce does.
async fn sign_only(call: Call<Software, Body<ValidateBody>>) -> ApiResult<HttpResponse> {
    let Body(body) = call.input;
    let now = call.cx.now.seconds();
    let mut validation = verdict(&call.app.vault.hash(body.key.as_str()));
    validation.signed = Some(call.app.keyring.sign(&VerdictClaims {
        iss: call.app.config.tokens.issuer.clone(),
        iat: now,
        nbf: now - NOT_BEFORE_SECONDS,
        exp: now + HOLDS_SECONDS,
        nonce: body.nonce.map(Text::into_string).unwrap_or_default(),
        valid: validation.valid,
        code: validation.code.to_owned(),
        in_grace: validation.in_grace,
        installation_id: body.installation_id.map(Text::into_string),
        product: body.product.map(Text::into_string),
        key: validation.key.as_ref().map(|key| VerdictKey {
            number: key.number.clone(),
            product: key.product.clone(),
            expires_at: None,
            max_activations: key.max_activations,
            activations: key.activations,
        }),
    }));
    Ok(HttpResponse::Ok().json(validation))
}

/// Reads the body of a renew by token, verifies the token, and signs a fresh one that says the same.
async fn verify_and_sign(call: Call<Software, Body<CredentialBody>>) -> ApiResult<HttpResponse> {
    let Body(body) = call.input;
    let old = verify(&call.app.keyring, body.token)?;
    let now = call.cx.now.seconds();
    let claims = ActivationClaims {
        jti: new_token_id(),
        iat: now,
        nbf: now - NOT_BEFORE_SECONDS,
        exp: now + HOLDS_SECONDS,
        ..old
    };
    Ok(HttpResponse::Ok().json(ActivationView {
        token: call.app.keyring.sign(&claims),
        activation_id: claims.activation_id,
        installation_id: claims.installation_id,
        created_at: call.cx.now,
        renew_by: Timestamp::from_micros(0).plus_seconds(claims.exp),
        key: KeySummary {
            number: claims.sub,
            product: claims.aud,
            status: KeyStatus::Delivered,
            expires_at: None,
            max_activations: None,
            activations: 1,
        },
        attached: Vec::new(),
    }))
}

fn verify(
    keyring: &crate::signing::keyring::Keyring,
    token: Option<Text<16_384>>,
) -> Result<ActivationClaims> {
    let token = token.ok_or_else(|| Refusal::new(Code::TokenInvalid))?;
    let claims = keyring.verify(token.as_str());
    Ok(claims.map_err(|error| Refusal::because(Code::TokenInvalid, error.to_string()))?)
}

/// Good news about no key in particular. `hash` is looked at, so that it has to be made.
fn verdict(hash: &[u8; 32]) -> Validation {
    Validation {
        valid: true,
        code: "ok",
        in_grace: false,
        key: Some(KeySummary {
            number: "KEY.00000001.0001".to_owned(),
            product: "bench".to_owned(),
            status: KeyStatus::Delivered,
            expires_at: None,
            max_activations: Some(1000),
            activations: i64::from(hash[0]),
        }),
        signed: None,
    }
}

/// Reads the body of an activate, as its handler does; whether it could be read.
pub(crate) fn parse_activate(body: &[u8]) -> bool {
    parse_json::<super::ActivateBody>(body).is_ok()
}
