//! Calls that make something: a body, and perhaps an `Idempotency-Key` to repeat the call with.
//!
//! A handler takes `Call<Permission, Creation<Body>>`, makes what it makes inside
//! [`idempotency::once`](crate::licensing::idempotency::once), and answers with [`created`], which it
//! gives the thing as it is now: a repeat answers the same way as the first call did.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extract::{parse_json, read_json};
use super::problem::ApiError;
use crate::app::App;
use crate::error::{Error, Refusal};
use crate::licensing::idempotency::{Made, Repeatable};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// A JSON body, and what the call is recognised by when it is repeated.
#[derive(Debug)]
pub(crate) struct Creation<T> {
    pub body: T,
    /// `None` when the call carries no `Idempotency-Key`.
    pub repeatable: Option<Repeatable>,
}

/// The header as the document describes it.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `Creation` reads")]
pub(crate) struct IdempotencyKey {
    /// Makes the call safe to repeat for 24 hours: the same request with the same key makes nothing
    /// again and gets the same thing back. 1 to 255 visible ASCII characters, such as a UUID.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    key: Option<String>,
}

impl<T: DeserializeOwned + 'static> FromRequest for Creation<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let reading = read_json(&request, payload);
        Box::pin(async move {
            let key = idempotency_key(&request)?;
            let bytes = reading.await?;
            let body = parse_json(&bytes)?;
            let repeatable = match key {
                Some(key) => Some(repeatable(&request, key, &bytes)?),
                None => None,
            };
            Ok(Self { body, repeatable })
        })
    }
}

/// 201 with the thing as it is now; a repeat says that it is one.
pub(crate) fn created<T>(made: &Made<T>, view: &impl Serialize) -> HttpResponse {
    answer(HttpResponse::Created(), made, view)
}

/// As [`created`], with 200: for calls that make things without an address of their own.
pub(crate) fn done<T>(made: &Made<T>, view: &impl Serialize) -> HttpResponse {
    answer(HttpResponse::Ok(), made, view)
}

fn answer<T>(
    mut response: HttpResponseBuilder,
    made: &Made<T>,
    view: &impl Serialize,
) -> HttpResponse {
    if made.is_repeat() {
        response.insert_header(("Idempotent-Replayed", "true"));
    }
    response.json(view)
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Refusal> {
    let invalid = || {
        let detail = format!(
            "must be given once, with 1 to {MAX_KEY} visible ASCII characters and no blanks"
        );
        Refusal::wrong("Idempotency-Key", "invalid", detail)
    };
    let mut values = request.headers().get_all(HEADER);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let key = value.to_str().map_err(|_| invalid())?;
            let is_key = (1..=MAX_KEY).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic());
            if is_key {
                Ok(Some(key.to_owned()))
            } else {
                Err(invalid())
            }
        }
        (Some(_), Some(_)) => Err(invalid()),
    }
}

fn repeatable(request: &HttpRequest, key: String, body: &[u8]) -> Result<Repeatable, Error> {
    let app = request
        .app_data::<web::Data<App>>()
        .ok_or_else(|| Error::internal("the application is not set up"))?;
    let vault = Arc::clone(&app.vault);
    let (method, path) = (request.method().as_str(), request.path());
    let parts = [method, path, request.query_string()].map(str::as_bytes);
    let hash = vault.hash_request(&[parts[0], parts[1], parts[2], body]);
    Ok(Repeatable {
        method: method.to_owned(),
        path: path.to_owned(),
        key,
        request_hash: hash.to_vec(),
    })
}
