//! Reading requests: JSON bodies, texts, filters and pages, each with errors that name what is wrong.

use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use futures_util::future::{LocalBoxFuture, Ready, ready};
use serde::de::DeserializeOwned;

use super::object::Object;
use super::problem::ApiError;
use crate::db::{Cursor, PageRequest};
use crate::error::{Code, FieldError, Refusal};

/// The largest JSON body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// How much of a body that is too large is still read, so that the client gets to read the answer
/// instead of a broken connection.
const MAX_DISCARDED: usize = 64 << 20;

/// A JSON body. Unknown members, wrong types and values that their type refuses are 422 and named.
#[derive(Debug)]
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read_json(request, payload);
        Box::pin(async move { Ok(Self(parse_json(&reading.await?)?)) })
    }
}

/// A JSON body that may be missing altogether.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        Box::pin(async move {
            let body = read_body(payload, MAX_BODY).await?;
            if body.is_empty() {
                Ok(Self(T::default()))
            } else {
                Ok(Self(parse_json(&body)?))
            }
        })
    }
}

/// The members of a query but for those of paging. Unknown ones are refused and named.
#[derive(Debug)]
pub(crate) struct Filter<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Filter<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            filter(request.query_string())
                .map(Self)
                .map_err(ApiError::from),
        )
    }
}

/// A query that takes nothing but paging.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Refuses a target whose percent-encoded bytes are no UTF-8: two such names would be read as one.
pub(crate) fn check_target(request: &HttpRequest) -> Result<(), Refusal> {
    let is_text = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8()
            .is_ok()
    };
    if is_text(request.uri().path()) && is_text(request.query_string()) {
        return Ok(());
    }
    let detail = "The address is not UTF-8 once its percent-encoding is read.";
    Err(Refusal::because(Code::MalformedRequest, detail))
}

/// `?limit=` and `?after=`.
#[derive(Debug)]
pub(crate) struct Page(pub PageRequest);

impl FromRequest for Page {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            page(request.query_string())
                .map(Self)
                .map_err(ApiError::from),
        )
    }
}

impl<T> Deref for Body<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Turns a path that cannot be read into 404: nothing has such a name.
pub(crate) fn path_config() -> web::PathConfig {
    web::PathConfig::default().error_handler(|_, _| ApiError::from(Code::NotFound).into())
}

/// The pairs of a query.
pub(crate) fn query_pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    serde_urlencoded::from_str(query).map_err(|error| {
        Refusal::because(
            Code::MalformedRequest,
            format!("The query cannot be read: {error}."),
        )
    })
}

fn filter<T: DeserializeOwned>(query: &str) -> Result<T, Refusal> {
    filter_of(query_pairs(query)?)
}

/// Reads the pairs of a query but for those of paging into the members of `T`.
pub(super) fn filter_of<T: DeserializeOwned>(
    mut pairs: Vec<(String, String)>,
) -> Result<T, Refusal> {
    let wrong = |error: &dyn std::fmt::Display| invalid_query(&error.to_string());
    pairs.retain(|(name, _)| name != "limit" && name != "after");
    let rest = serde_urlencoded::to_string(&pairs).map_err(|error| wrong(&error))?;
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(form_urlencoded(&rest)))
        .map_err(|error| {
            let path = error.path().to_string();
            invalid_member("query", &path, &error.into_inner().to_string())
        })
}

fn form_urlencoded(query: &str) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(query.as_bytes())
}

fn invalid_query(detail: &str) -> Refusal {
    Refusal::wrong("query", "invalid", detail)
}

fn page(query: &str) -> Result<PageRequest, Refusal> {
    let mut page = PageRequest::default();
    for (name, value) in query_pairs(query)? {
        match name.as_str() {
            "limit" => {
                page.limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=PageRequest::MAX).contains(limit))
                    .ok_or_else(|| {
                        let detail = format!("must be a number from 1 to {}", PageRequest::MAX);
                        Refusal::wrong("limit", "out_of_range", detail)
                    })?;
            }
            "after" => {
                let cursor = Cursor::decode(&value).ok_or_else(|| {
                    let detail = "is not a cursor; use the `next` of the page before";
                    Refusal::wrong("after", "invalid", detail)
                })?;
                page.after = Some(cursor);
            }
            _ => {}
        }
    }
    Ok(page)
}

fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// The bytes of a body that should be JSON.
pub(super) fn read_json(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Refusal>> + use<> {
    let media_type = media_type(request);
    let payload = payload.take();
    async move {
        let body = read_body(payload, MAX_BODY).await?;
        if media_type
            .as_deref()
            .is_some_and(|kind| kind != "application/json" && !kind.ends_with("+json"))
        {
            let detail = "Send JSON, with Content-Type: application/json.";
            return Err(Refusal::because(Code::UnsupportedMediaType, detail));
        }
        Ok(body)
    }
}

async fn read_body(mut payload: Payload, limit: usize) -> Result<Bytes, Refusal> {
    let mut body = BytesMut::new();
    let mut discarded = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Refusal::because(
                Code::MalformedRequest,
                format!("The body cannot be read: {error}."),
            )
        })?;
        if discarded > 0 || body.len() + chunk.len() > limit {
            discarded += chunk.len();
            body = BytesMut::new();
            if discarded > MAX_DISCARDED {
                break;
            }
        } else {
            body.extend_from_slice(&chunk);
        }
    }
    if discarded > 0 {
        return Err(Refusal::because(
            Code::BodyTooLarge,
            format!("The body is larger than {limit} bytes."),
        ));
    }
    Ok(body.freeze())
}

pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        match error.classify() {
            serde_json::error::Category::Data => {
                let message = error.to_string();
                let detail = message
                    .rsplit_once(" at line ")
                    .map_or(message.as_str(), |cut| cut.0);
                invalid_member("body", &field, detail)
            }
            // A null where a word must stand is reported as if it were no JSON.
            _ if serde_json::from_slice::<serde_json::Value>(body).is_ok() => {
                invalid_member("body", &field, "must be a value of another type")
            }
            _ => malformed(&error),
        }
    })?;
    let Object(value) = parsed;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::because(
        Code::MalformedJson,
        format!("The body is not valid JSON: {error}."),
    )
}

/// Names the member. The caller's value is not repeated: it may be a key that stands in the wrong place.
fn invalid_member(whole: &str, path: &str, detail: &str) -> Refusal {
    let quoted = detail.split('`').nth(1);
    let inside = |name: &str| {
        if path == "." {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let here = if path == "." { whole } else { path };
    let error = if detail.starts_with("unknown field") {
        // The path ends at the unknown member already.
        let field = if path == "." {
            quoted.unwrap_or("body")
        } else {
            path
        };
        let known = detail
            .split_once(", ")
            .map_or("it is not known", |(_, known)| known);
        FieldError::new(
            field,
            "unknown_member",
            format!("is not known here; {known}"),
        )
    } else if detail.starts_with("missing field") {
        FieldError::new(inside(quoted.unwrap_or(whole)), "required", "is required")
    } else if detail.starts_with("duplicate field") {
        FieldError::new(
            inside(quoted.unwrap_or("body")),
            "duplicate",
            "is given twice",
        )
    } else if let Some((_, expected)) = detail.rsplit_once("expected ") {
        FieldError::new(
            here,
            "invalid",
            format!("must be {}", in_plain_words(expected)),
        )
    } else {
        FieldError::new(here, "invalid", of_a_query(detail))
    };
    Refusal::invalid(vec![error])
}

/// What serde expects, as a person would say it.
fn in_plain_words(expected: &str) -> &str {
    match expected {
        "a map" => "a JSON object",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "i64" | "u64" | "i32" | "u32" => "a whole number",
        words if words.starts_with("struct ") => "a JSON object",
        words => words,
    }
}

/// What Rust says of a number or of true and false in a query, as a person would say it.
fn of_a_query(detail: &str) -> &str {
    const OF_NUMBERS: [&str; 4] = [
        "invalid digit found in string",
        "cannot parse integer from empty string",
        "number too large to fit in target type",
        "number too small to fit in target type",
    ];
    match detail {
        "provided string was not `true` or `false`" => "must be true or false",
        detail if OF_NUMBERS.contains(&detail) => "must be a whole number",
        detail => detail,
    }
}

#[cfg(test)]
mod tests;
