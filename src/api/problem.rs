//! Errors as `application/problem+json` (RFC 9457), from the one table of codes.

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::{Code, Error, FieldError, Refusal};

/// How soon to come back when the server is busy and nobody said so, in seconds.
const RETRY_AFTER: u64 = 1;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    #[schema(example = "/errors#key_revoked")]
    kind: String,
    /// What the code stands for.
    #[schema(example = "This key has been revoked.")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 403)]
    status: u16,
    /// What is wrong and what to do, for people.
    detail: String,
    /// The stable code, for programs.
    #[schema(example = "key_revoked")]
    code: &'static str,
    /// With `validation_failed`: which members are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// Further members, such as `max_activations`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    facts: Map<String, Value>,
}

/// An error on its way out of this interface.
#[derive(Debug)]
pub(crate) struct ApiError {
    error: Error,
    allow: Option<String>,
}

/// What a handler returns.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl<E: Into<Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            allow: None,
        }
    }
}

impl ApiError {
    fn code(&self) -> Code {
        self.error.code()
    }

    /// How soon to come back, in seconds.
    fn retry_after(&self) -> u64 {
        match &self.error {
            Error::Refused(refusal) => refusal.retry_after.unwrap_or(RETRY_AFTER),
            _ => RETRY_AFTER,
        }
    }

    fn problem(&self) -> Problem {
        let code = self.code();
        let refusal = match &self.error {
            Error::Refused(refusal) => (**refusal).clone(),
            // The cause is for the log alone.
            _ => Refusal::new(code),
        };
        Problem {
            kind: format!("/errors#{}", code.as_str()),
            title: code.title(),
            status: code.status(),
            detail: refusal.detail,
            code: code.as_str(),
            errors: refusal.errors,
            facts: refusal.facts,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        response.content_type("application/problem+json");
        match self.code() {
            Code::Unavailable | Code::RateLimited | Code::IdempotencyInFlight => {
                response.insert_header((header::RETRY_AFTER, self.retry_after().to_string()));
            }
            Code::Unauthenticated => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            _ => {}
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        response.body(serde_json::to_string(&self.problem()).unwrap_or_default())
    }
}

/// The answer to a path that is not served.
pub(crate) async fn nothing_here() -> ApiResult<HttpResponse> {
    Err(Code::NotFound.into())
}

/// The answer to a method that a path does not take.
pub(crate) fn method_not_allowed(methods: &[&str]) -> AllowedMethods {
    let mut allow: Vec<String> = methods.iter().map(|method| method.to_uppercase()).collect();
    if let Some(get) = allow.iter().position(|method| method == "GET") {
        allow.insert(get + 1, "HEAD".to_owned());
    }
    AllowedMethods(allow.join(", "))
}

/// The methods that a path takes, as an error.
#[derive(Clone, Debug)]
pub(crate) struct AllowedMethods(String);

impl From<AllowedMethods> for actix_web::Error {
    fn from(AllowedMethods(allow): AllowedMethods) -> Self {
        let detail = format!("{} This one takes {allow}.", Code::MethodNotAllowed.title());
        let error = Refusal::because(Code::MethodNotAllowed, detail).into();
        ApiError {
            error,
            allow: Some(allow),
        }
        .into()
    }
}
