//! Accounts and API tokens, for staff.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::auth::{Look, Manage};
use super::call::Call;
use super::extract::{Body, Filter, Nothing, Page};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::clock::Timestamp;
use crate::db::models::account::{ApiTokenId, Role};
use crate::licensing::accounts::{self, AccountView, ApiTokenView, NewTokenView};
use crate::licensing::text::Name;

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountBody {
    /// Its unique name.
    name: Name,
    /// What it may do.
    role: Role,
}

/// A new API token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    /// The name of the account that it speaks for.
    account: Name,
    /// What it is used for.
    label: Option<Name>,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Which tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokenFilter {
    /// The name of an account.
    #[param(value_type = Option<String>)]
    account: Option<Name>,
}

/// List accounts
#[utoipa::path(
    get, path = "/v1/accounts", tag = "staff", params(super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<AccountView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_accounts(
    call: Call<Look, (Filter<Nothing>, Page)>,
) -> ApiResult<web::Json<List<AccountView>>> {
    let (_, Page(page)) = call.input;
    let list = call
        .app
        .db
        .read(move |conn| accounts::list_accounts(conn, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Make an account
#[utoipa::path(
    post, path = "/v1/accounts", tag = "staff", request_body = AccountBody, security(("api_token" = [])),
    responses((status = 201, body = AccountView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_account(
    call: Call<Manage, Body<AccountBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Body(body)) = (call.cx, call.input);
    let account = call
        .app
        .db
        .write(move |tx| accounts::create_account(tx, &cx, body.name.as_str(), body.role))
        .await?;
    Ok(HttpResponse::Created().json(account))
}

/// List API tokens
#[utoipa::path(
    get, path = "/v1/tokens", tag = "staff", params(TokenFilter, super::openapi::Paging),
    security(("api_token" = [])),
    responses((status = 200, body = List<ApiTokenView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_tokens(
    call: Call<Look, (Filter<TokenFilter>, Page)>,
) -> ApiResult<web::Json<List<ApiTokenView>>> {
    let (Filter(filter), Page(page)) = call.input;
    let list = call
        .app
        .db
        .read(move |conn| {
            accounts::list_tokens(conn, filter.account.as_ref().map(Name::as_str), &page)
        })
        .await?;
    Ok(web::Json(list.into()))
}

/// Make an API token; its secret is shown this once
#[utoipa::path(
    post, path = "/v1/tokens", tag = "staff", request_body = TokenBody, security(("api_token" = [])),
    responses((status = 201, body = NewTokenView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_token(call: Call<Manage, Body<TokenBody>>) -> ApiResult<HttpResponse> {
    let (cx, Body(body)) = (call.cx, call.input);
    let token = call
        .app
        .db
        .write(move |tx| {
            let label = body.label.as_ref().map_or("", Name::as_str);
            accounts::create_token(tx, &cx, body.account.as_str(), label, body.expires_at)
        })
        .await?;
    Ok(HttpResponse::Created().json(token))
}

/// Revoke an API token: it is refused from now on
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(crate) async fn revoke_token(call: Call<Manage, web::Path<i64>>) -> ApiResult<HttpResponse> {
    let (cx, id) = (call.cx, ApiTokenId(call.input.into_inner()));
    call.app
        .db
        .write(move |tx| accounts::revoke_token(tx, &cx, id))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
