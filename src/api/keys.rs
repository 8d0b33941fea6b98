//! Keys, for staff.

use std::sync::Arc;

use actix_web::web;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Look;
use super::call::Call;
use super::extract::{Body, Page};
use super::key_bodies::{KeyConditions, KeysWanted};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::db::models::key::KeyId;
use crate::licensing::keys::{self, KeyView, LookupView};
use crate::licensing::text::KeyText;

/// The text to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupBody {
    /// The text of a product key.
    key: KeyText,
}

/// List keys
///
/// `extra.NAME=value`, any number of times: the member NAME of `extra` is this text, number, `true` or
/// `false`.
#[utoipa::path(
    get, path = "/v1/keys", tag = "staff", params(KeyConditions, super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<KeyView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_keys(
    call: Call<Look, (KeysWanted, Page)>,
) -> ApiResult<web::Json<List<KeyView>>> {
    let (KeysWanted(query), Page(page)) = call.input;
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

/// A key as it is now.
pub(super) async fn show(app: &App, id: KeyId) -> ApiResult<web::Json<KeyView>> {
    let vault = Arc::clone(&app.vault);
    Ok(web::Json(
        app.db
            .read(move |conn| keys::show_key(conn, &vault, id))
            .await?,
    ))
}
