//! Keys, for staff.

use std::sync::Arc;

use actix_web::web;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::auth::{Look, Manage};
use super::call::Call;
use super::extract::{Body, Filter, OptionalBody, Page};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::db::DbConnection;
use crate::db::models::key::{KeyId, KeyStatus};
use crate::error::Result;
use crate::licensing::context::Context;
use crate::licensing::keys::{self, KeyQuery, KeyView, LookupView};
use crate::licensing::text::{KeyText, Name};

/// Which keys; all conditions must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// Where they stand.
    #[param(inline)]
    status: Option<KeyStatus>,
    /// The sku of the product that they are bound to.
    #[param(value_type = Option<String>)]
    product: Option<Name>,
    /// The name of their sequence.
    #[param(value_type = Option<String>)]
    sequence: Option<Name>,
    /// The `ref` of their order.
    #[param(value_type = Option<String>)]
    order: Option<Name>,
    /// The e-mail address or `ref` of their buyer.
    #[param(value_type = Option<String>)]
    customer: Option<Name>,
    /// A key's number; its version does not matter.
    #[param(value_type = Option<String>)]
    number: Option<Name>,
    /// Whether they are revoked.
    revoked: Option<bool>,
    /// Whether they have expired.
    expired: Option<bool>,
}

/// The text to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupBody {
    /// The text of a product key.
    key: KeyText,
}

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    /// For the record.
    reason: Option<Name>,
}

/// List keys
#[utoipa::path(
    get, path = "/v1/keys", tag = "staff", params(Query, super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<KeyView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_keys(
    call: Call<Look, (Filter<Query>, Page)>,
) -> ApiResult<web::Json<List<KeyView>>> {
    let (Filter(query), Page(page)) = call.input;
    let query = KeyQuery {
        status: query.status,
        product: query.product.map(Name::into_string),
        sequence: query.sequence.map(Name::into_string),
        order: query.order.map(Name::into_string),
        customer: query.customer.map(Name::into_string),
        number: query.number.map(Name::into_string),
        revoked: query.revoked,
        expired: query.expired,
    };
    let (vault, now) = (Arc::clone(&call.app.vault), call.cx.now);
    let list = call
        .app
        .db
        .read(move |conn| keys::list_keys(conn, &vault, &query, now, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Find a key by its text, with its activations
#[utoipa::path(
    post, path = "/v1/keys/lookup", tag = "staff", request_body = LookupBody, security(("api_token" = [])),
    responses((status = 200, body = LookupView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn look_up_key(
    call: Call<Look, Body<LookupBody>>,
) -> ApiResult<web::Json<LookupView>> {
    let vault = Arc::clone(&call.app.vault);
    let hash = vault.hash(call.input.key.as_str());
    Ok(web::Json(
        call.app
            .db
            .read(move |conn| keys::look_up_key(conn, &vault, &hash))
            .await?,
    ))
}

/// Show a key
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_key(call: Call<Look, web::Path<i64>>) -> ApiResult<web::Json<KeyView>> {
    show(&call.app, KeyId(call.input.into_inner())).await
}

/// Revoke a key: no activation and no renewal from now on
#[utoipa::path(
    post, path = "/v1/keys/{id}/revoke", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn revoke_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, keys::revoke_key).await
}

/// Take a revocation back
#[utoipa::path(
    post, path = "/v1/keys/{id}/unrevoke", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn unrevoke_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, keys::unrevoke_key).await
}

type ActionCall = Call<Manage, (web::Path<i64>, OptionalBody<ReasonBody>)>;

/// Does to the key what `action` does, and shows it as it is afterwards.
async fn act(
    call: ActionCall,
    action: fn(&mut DbConnection, &Context, KeyId, Option<&str>) -> Result<()>,
) -> ApiResult<web::Json<KeyView>> {
    let (cx, (id, OptionalBody(body))) = (call.cx, call.input);
    let id = KeyId(id.into_inner());
    let reason = body.reason.map(Name::into_string);
    call.app
        .db
        .write(move |tx| action(tx, &cx, id, reason.as_deref()))
        .await?;
    show(&call.app, id).await
}

async fn show(app: &App, id: KeyId) -> ApiResult<web::Json<KeyView>> {
    let vault = Arc::clone(&app.vault);
    Ok(web::Json(
        app.db
            .read(move |conn| keys::show_key(conn, &vault, id))
            .await?,
    ))
}
