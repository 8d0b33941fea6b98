//! People who sign in to the console, for staff.

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
use crate::db::models::user::{UserId, UserRole};
use crate::error::Result;
use crate::licensing::email::Email;
use crate::licensing::idempotency;
use crate::licensing::text::Name;
use crate::licensing::users::{self, NewUser, UserPatch, UserView, hash_password};
use crate::signing::password::{Password, PasswordHash};

/// A person to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUserBody {
    /// The e-mail address; nobody else's, in whatever case.
    email: Email,
    /// The name for people.
    name: Option<Name>,
    /// What the person may do.
    role: UserRole,
    /// The password; without one the person cannot sign in.
    password: Option<Password>,
    /// Whether the person is kept out for now; false by default.
    #[serde(default)]
    disabled: bool,
}

/// The members of a person to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBody {
    /// Another e-mail address.
    #[serde(default)]
    email: Given<Email>,
    /// Another name; null for none.
    #[serde(default)]
    name: Given<Option<Name>>,
    /// Another role.
    #[serde(default)]
    role: Given<UserRole>,
    /// Another password.
    #[serde(default)]
    password: Given<Password>,
    /// Keep the person out, or let them in again.
    #[serde(default)]
    disabled: Given<bool>,
}

/// List users
#[utoipa::path(
    get, path = "/v1/users", tag = "staff", params(super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<UserView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_users(
    call: Call<Look, (Filter<Nothing>, Page)>,
) -> ApiResult<web::Json<List<UserView>>> {
    let (_, Page(page)) = call.input;
    let list = call
        .app
        .db
        .read(move |conn| users::list_users(conn, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Add a user
#[utoipa::path(
    post, path = "/v1/users", tag = "staff", params(IdempotencyKey), request_body = NewUserBody,
    security(("api_token" = [])),
    responses((status = 201, body = UserView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_user(
    call: Call<Manage, Creation<NewUserBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Creation { body, repeatable }) = (call.cx, call.input);
    let new = NewUser {
        email: body.email,
        name: body.name,
        role: body.role,
        password: hashed(body.password).await?,
        disabled: body.disabled,
    };
    let made = call
        .app
        .db
        .write(move |tx| {
            idempotency::once(tx, &cx, repeatable.as_ref(), |tx| {
                Ok((users::create_user(tx, &cx, &new)?.id.0, ()))
            })
        })
        .await?;
    let id = UserId(made.id);
    let user = call
        .app
        .db
        .read(move |conn| users::show_user(conn, id))
        .await?;
    Ok(created(&made, &user))
}

/// Show a user
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 200, body = UserView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_user(call: Call<Look, web::Path<i64>>) -> ApiResult<web::Json<UserView>> {
    let id = UserId(call.input.into_inner());
    let user = call
        .app
        .db
        .read(move |conn| users::show_user(conn, id))
        .await?;
    Ok(web::Json(user))
}

/// Change a user; what is left out stays
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "staff", params(("id" = i64, Path)), request_body = UserBody,
    security(("api_token" = [])),
    responses((status = 200, body = UserView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_user(
    call: Call<Manage, (web::Path<i64>, Body<UserBody>)>,
) -> ApiResult<web::Json<UserView>> {
    let (cx, (id, Body(body))) = (call.cx, call.input);
    let id = UserId(id.into_inner());
    let patch = UserPatch {
        email: body.email.0,
        name: body.name.0,
        role: body.role.0,
        password: hashed(body.password.0).await?,
        disabled: body.disabled.0,
    };
    let user = call
        .app
        .db
        .write(move |tx| users::update_user(tx, &cx, id, &patch))
        .await?;
    Ok(web::Json(user))
}

/// Remove a user for good
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(crate) async fn delete_user(call: Call<Manage, web::Path<i64>>) -> ApiResult<HttpResponse> {
    let (cx, id) = (call.cx, UserId(call.input.into_inner()));
    call.app
        .db
        .write(move |tx| users::delete_user(tx, &cx, id))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn hashed(password: Option<Password>) -> Result<Option<PasswordHash>> {
    match password {
        Some(password) => hash_password(password).await.map(Some),
        None => Ok(None),
    }
}
