//! Sequences, for staff.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{Look, Manage};
use super::call::Call;
use super::creation::{Creation, IdempotencyKey, created};
use super::extract::{Body, Filter, Nothing, Page};
use super::given::Given;
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::db::models::generator::GeneratorId;
use crate::db::models::sequence::{SequenceId, SequenceSource};
use crate::error::Result;
use crate::licensing::idempotency;
use crate::licensing::sequences::{self, NewSequence, SequencePatch, SequenceView};
use crate::licensing::text::{Extra, Name};

/// A sequence to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSequenceBody {
    /// Its unique name.
    name: Name,
    /// Where its keys come from; `pool` by default.
    #[serde(default = "pool")]
    #[schema(default = "pool")]
    source: SequenceSource,
    /// The id of the generator that makes its keys; required when the source is `generator`.
    generator: Option<i64>,
    /// Below how many keys in stock it counts as low.
    low_stock_threshold: Option<i64>,
    /// Any JSON object.
    #[serde(default)]
    extra: Extra,
}

fn pool() -> SequenceSource {
    SequenceSource::Pool
}

/// The members of a sequence to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SequenceBody {
    /// Its new name.
    #[serde(default)]
    name: Given<Name>,
    /// Where its keys come from, once its stock is used up.
    #[serde(default)]
    source: Given<SequenceSource>,
    /// The id of the generator that makes its keys; null for a pool.
    #[serde(default)]
    generator: Given<Option<i64>>,
    /// Below how many keys in stock it counts as low; null for never.
    #[serde(default)]
    low_stock_threshold: Given<Option<i64>>,
    /// Any JSON object.
    #[serde(default)]
    extra: Given<Extra>,
}

/// List sequences
#[utoipa::path(
    get, path = "/v1/sequences", tag = "staff", params(super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<SequenceView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_sequences(
    call: Call<Look, (Filter<Nothing>, Page)>,
) -> ApiResult<web::Json<List<SequenceView>>> {
    let (_, Page(page)) = call.input;
    let list = call
        .app
        .db
        .read(move |conn| sequences::list_sequences(conn, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Make a sequence
#[utoipa::path(
    post, path = "/v1/sequences", tag = "staff", params(IdempotencyKey), request_body = NewSequenceBody,
    security(("api_token" = [])),
    responses((status = 201, body = SequenceView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_sequence(
    call: Call<Manage, Creation<NewSequenceBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Creation { body, repeatable }) = (call.cx, call.input);
    let new = NewSequence {
        name: body.name,
        source: body.source,
        generator: body.generator.map(GeneratorId),
        low_stock_threshold: body.low_stock_threshold,
        extra: body.extra,
    };
    let made = call
        .app
        .db
        .write(move |tx| {
            idempotency::once(tx, &cx, repeatable.as_ref(), |tx| {
                Ok((sequences::create_sequence(tx, &cx, &new)?.id.0, ()))
            })
        })
        .await?;
    let id = SequenceId(made.id);
    let sequence = call
        .app
        .db
        .read(move |conn| sequences::show_sequence_by_id(conn, id))
        .await?;
    Ok(created(&made, &sequence))
}

/// Show a sequence
#[utoipa::path(
    get, path = "/v1/sequences/{name}", tag = "staff", params(("name" = String, Path)),
    security(("api_token" = [])),
    responses((status = 200, body = SequenceView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_sequence(
    call: Call<Look, web::Path<Name>>,
) -> ApiResult<web::Json<SequenceView>> {
    Ok(web::Json(
        show(&call.app, call.input.into_inner().into_string()).await?,
    ))
}

/// Rename or change a sequence; what is left out stays
#[utoipa::path(
    patch, path = "/v1/sequences/{name}", tag = "staff", params(("name" = String, Path)),
    request_body = SequenceBody, security(("api_token" = [])),
    responses((status = 200, body = SequenceView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_sequence(
    call: Call<Manage, (web::Path<Name>, Body<SequenceBody>)>,
) -> ApiResult<web::Json<SequenceView>> {
    let (cx, (name, Body(body))) = (call.cx, call.input);
    let patch = SequencePatch {
        name: body.name.0,
        source: body.source.0,
        generator: body.generator.0.map(|id| id.map(GeneratorId)),
        low_stock_threshold: body.low_stock_threshold.0,
        extra: body.extra.0,
    };
    let changed = call
        .app
        .db
        .write(move |tx| sequences::update_sequence(tx, &cx, name.as_str(), &patch))
        .await?;
    Ok(web::Json(show(&call.app, changed.name).await?))
}

/// Delete a sequence: its assigned keys stay, the others go
#[utoipa::path(
    delete, path = "/v1/sequences/{name}", tag = "staff", params(("name" = String, Path)),
    security(("api_token" = [])), responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(crate) async fn delete_sequence(
    call: Call<Manage, web::Path<Name>>,
) -> ApiResult<HttpResponse> {
    let (cx, name) = (call.cx, call.input);
    call.app
        .db
        .write(move |tx| sequences::delete_sequence(tx, &cx, name.as_str()))
        .await?;
    call.app.nudge_jobs();
    Ok(HttpResponse::NoContent().finish())
}

/// Counting keys is no work for a transaction that others wait for.
async fn show(app: &App, name: String) -> Result<SequenceView> {
    app.db
        .read(move |conn| sequences::show_sequence(conn, &name))
        .await
}
