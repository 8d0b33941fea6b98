//! Accounts and API tokens, for staff.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{Look, Manage};
use super::call::Call;
use super::creation::{Creation, IdempotencyKey, created};
use super::extract::{Body, Filter, Nothing, Page};
use super::given::Given;
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::account::{AccountId, ApiTokenId, Role};
use crate::error::Result;
use crate::licensing::accounts::{self, AccountPatch, AccountView, ApiTokenView, NewAccount};
use crate::licensing::idempotency;
use crate::licensing::text::Name;

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountBody {
    /// Its unique name.
    name: Name,
    /// What it may do.
    role: Role,
    /// The names of the sequences that an importer may push keys into; for this role alone.
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = false)]
    sequences: Given<Vec<Name>>,
}

/// The members of an account to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountPatchBody {
    /// Its new name.
    #[serde(default)]
    name: Given<Name>,
    /// All the sequences that an importer may push keys into; for this role alone.
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = false)]
    sequences: Given<Vec<Name>>,
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

/// A token just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedTokenView {
    /// The secret to send as `Authorization: Bearer …`; null when the call was a repeat, as nobody knows
    /// it any more.
    #[schema(example = "cst_…")]
    token: Option<String>,
    /// The token.
    #[serde(flatten)]
    view: ApiTokenView,
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
    post, path = "/v1/accounts", tag = "staff", params(IdempotencyKey), request_body = AccountBody,
    security(("api_token" = [])),
    responses((status = 201, body = AccountView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_account(
    call: Call<Manage, Creation<AccountBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Creation { body, repeatable }) = (call.cx, call.input);
    let new = NewAccount {
        name: body.name.into_string(),
        role: body.role,
        sequences: body.sequences.0.map(texts),
    };
    let made = call
        .app
        .db
        .write(move |tx| {
            idempotency::once(tx, &cx, repeatable.as_ref(), |tx| {
                Ok((accounts::create_account(tx, &cx, &new)?.0, ()))
            })
        })
        .await?;
    let account = show(&call.app, AccountId(made.id)).await?;
    Ok(created(&made, &account))
}

/// Show an account
#[utoipa::path(
    get, path = "/v1/accounts/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 200, body = AccountView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_account(
    call: Call<Look, web::Path<i64>>,
) -> ApiResult<web::Json<AccountView>> {
    let id = AccountId(call.input.into_inner());
    Ok(web::Json(show(&call.app, id).await?))
}

/// Change an account; what is left out stays
#[utoipa::path(
    patch, path = "/v1/accounts/{id}", tag = "staff", params(("id" = i64, Path)),
    request_body = AccountPatchBody, security(("api_token" = [])),
    responses((status = 200, body = AccountView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_account(
    call: Call<Manage, (web::Path<i64>, Body<AccountPatchBody>)>,
) -> ApiResult<web::Json<AccountView>> {
    let (cx, (id, Body(body))) = (call.cx, call.input);
    let id = AccountId(id.into_inner());
    let patch = AccountPatch {
        name: body.name.0.map(Name::into_string),
        sequences: body.sequences.0.map(texts),
    };
    call.app
        .db
        .write(move |tx| accounts::update_account(tx, &cx, id, &patch))
        .await?;
    Ok(web::Json(show(&call.app, id).await?))
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
///
/// A repeat with the same `Idempotency-Key` shows the token without its secret.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "staff", params(IdempotencyKey), request_body = TokenBody,
    security(("api_token" = [])),
    responses((status = 201, body = CreatedTokenView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_token(
    call: Call<Manage, Creation<TokenBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Creation { body, repeatable }) = (call.cx, call.input);
    let mut made = call
        .app
        .db
        .write(move |tx| {
            idempotency::once(tx, &cx, repeatable.as_ref(), |tx| {
                let label = body.label.as_ref().map_or("", Name::as_str);
                let token =
                    accounts::create_token(tx, &cx, body.account.as_str(), label, body.expires_at)?;
                Ok((token.view.id.0, token))
            })
        })
        .await?;
    let id = ApiTokenId(made.id);
    let view = match made.now.as_mut() {
        Some(new) => CreatedTokenView {
            token: Some(std::mem::take(&mut new.token)),
            view: new.view.clone(),
        },
        None => CreatedTokenView {
            token: None,
            view: call
                .app
                .db
                .read(move |conn| accounts::show_token(conn, id))
                .await?,
        },
    };
    Ok(created(&made, &view))
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

async fn show(app: &App, id: AccountId) -> Result<AccountView> {
    app.db
        .read(move |conn| accounts::show_account(conn, id))
        .await
}

fn texts(names: Vec<Name>) -> Vec<String> {
    names.into_iter().map(Name::into_string).collect()
}
