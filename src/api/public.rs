//! For shipped software: activate, renew, release, validate, and the public keys.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{Anyone, Software};
use super::call::Call;
use super::extract::Body;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{FieldError, Refusal, Result};
use crate::licensing::activate::Activate;
use crate::licensing::text::{Extra, KeyText, Name, Text};
use crate::licensing::token::{ActivationView, Credential, TokenAge};
use crate::licensing::validate::{Validate, Validation};

#[cfg(feature = "bench")]
pub(crate) mod ceilings;

/// How long the public keys may be cached, in seconds: less than the time a `next` key is published
/// before it signs.
const JWKS_MAX_AGE: u32 = 300;

/// What an installation asks with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivateBody {
    /// The product key, exactly as the buyer got it.
    key: KeyText,
    /// The software's own name for this machine or instance.
    installation_id: Name,
    /// The sku that the software is; another product's key is refused then.
    product: Option<Name>,
    /// What a person calls the installation.
    label: Option<Name>,
    /// What it runs on.
    platform: Option<Name>,
    /// Its version.
    app_version: Option<Name>,
    /// Any JSON object.
    extra: Option<Extra>,
}

/// Which activation: `token`, or `key` and `installation_id`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialBody {
    /// An activation token, also one past its `exp`.
    token: Option<Text<16_384>>,
    /// The product key.
    key: Option<KeyText>,
    /// The name of the installation.
    installation_id: Option<Name>,
}

/// What to judge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidateBody {
    /// The product key.
    key: KeyText,
    /// Whether this installation is activated, too.
    installation_id: Option<Name>,
    /// The sku that the key should be for.
    product: Option<Name>,
    /// A text of your own, new each time: the verdict is signed then, and carries it.
    nonce: Option<Name>,
}

/// Activate an installation
///
/// The same installation again is the same activation: a fresh token, no new count.
#[utoipa::path(
    post, path = "/v1/activations", tag = "software", request_body = ActivateBody,
    responses(
        (status = 201, description = "Activated", body = ActivationView),
        (status = 200, description = "This installation was activated already", body = ActivationView),
        (status = "4XX", description = "Refused; see `code`", body = Problem),
    ),
)]
pub(crate) async fn create_activation(
    call: Call<Software, Body<ActivateBody>>,
) -> ApiResult<HttpResponse> {
    let Body(body) = call.input;
    let input = Activate {
        text_hash: call.app.vault.hash(body.key.as_str()),
        installation_id: body.installation_id.into_string(),
        product: body.product.map(Text::into_string),
        label: body.label.map(Text::into_string),
        platform: body.platform.map(Text::into_string),
        app_version: body.app_version.map(Text::into_string),
        extra: body.extra.map(|extra| extra.0),
    };
    let (activation, is_new) = call.app.activate(call.cx, input).await?;
    let mut response = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(response.json(activation))
}

/// Renew: the same activation, a fresh token
#[utoipa::path(
    post, path = "/v1/activations/renew", tag = "software", request_body = CredentialBody,
    responses(
        (status = 200, body = ActivationView),
        (status = "4XX", description = "Refused; see `code`", body = Problem),
    ),
)]
pub(crate) async fn renew_activation(
    call: Call<Software, Body<CredentialBody>>,
) -> ApiResult<HttpResponse> {
    let credential = credential(&call.app, call.input.0, call.cx.now, TokenAge::Bounded).await?;
    Ok(HttpResponse::Ok().json(call.app.renew(call.cx, credential).await?))
}

/// Release an installation: its place is free again
#[utoipa::path(
    post, path = "/v1/activations/release", tag = "software", request_body = CredentialBody,
    responses(
        (status = 204, description = "Released, now or earlier"),
        (status = "4XX", description = "Refused; see `code`", body = Problem),
    ),
)]
pub(crate) async fn release_activation(
    call: Call<Software, Body<CredentialBody>>,
) -> ApiResult<HttpResponse> {
    let credential = credential(&call.app, call.input.0, call.cx.now, TokenAge::Any).await?;
    call.app.release(call.cx, credential).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Validate a key: a verdict, and nothing is changed
#[utoipa::path(
    post, path = "/v1/validate", tag = "software", request_body = ValidateBody,
    responses((status = 200, body = Validation), (status = "4XX", body = Problem)),
)]
pub(crate) async fn validate_key(
    call: Call<Software, Body<ValidateBody>>,
) -> ApiResult<HttpResponse> {
    let Body(body) = call.input;
    let input = Validate {
        text_hash: call.app.vault.hash(body.key.as_str()),
        installation_id: body.installation_id.map(Text::into_string),
        product: body.product.map(Text::into_string),
        nonce: body.nonce.map(Text::into_string),
    };
    Ok(HttpResponse::Ok().json(call.app.validate(call.cx, input).await?))
}

/// The public keys that tokens are verified with (RFC 7517)
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "software",
    responses((status = 200, description = "A JWK set of `OKP` keys on `Ed25519`, each with a `kid`")),
)]
pub(crate) async fn show_jwks(call: Call<Anyone>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((
            header::CACHE_CONTROL,
            format!("public, max-age={JWKS_MAX_AGE}"),
        ))
        .json(call.app.keyring.jwks())
}

async fn credential(
    app: &App,
    body: CredentialBody,
    now: Timestamp,
    age: TokenAge,
) -> Result<Credential> {
    match (body.token, body.key, body.installation_id) {
        (Some(token), None, None) => app.read_token(token.as_str(), now, age).await,
        (None, Some(key), Some(installation_id)) => Ok(Credential::Key {
            text_hash: app.vault.hash(key.as_str()),
            installation_id: installation_id.into_string(),
        }),
        (None, Some(_), None) => Err(required("installation_id", "is required with `key`").into()),
        (None, None, Some(_)) => Err(required("key", "is required with `installation_id`").into()),
        (None, None, None) => {
            Err(required("token", "send `token`, or `key` and `installation_id`").into())
        }
        (Some(_), _, _) => {
            let detail = "send either `token`, or `key` and `installation_id`";
            Err(Refusal::invalid(vec![FieldError::new("token", "ambiguous", detail)]).into())
        }
    }
}

fn required(field: &str, detail: &str) -> Refusal {
    Refusal::invalid(vec![FieldError::new(field, "required", detail)])
}
