//! Entering, editing and deleting keys, for staff.

use actix_web::{HttpResponse, web};

use super::auth::Manage;
use super::call::Call;
use super::creation::{Creation, IdempotencyKey, created};
use super::extract::{Body, Filter};
use super::key_bodies::{KeyBody, NewKeyBody};
use super::keys::show;
use super::order_bodies::ShopQuery;
use super::problem::{ApiResult, Problem};
use crate::db::models::key::KeyId;
use crate::licensing::key_actions;
use crate::licensing::keys::KeyView;

/// Enter a key
///
/// Keys are sold in the order in which they came in. With `order` or `customer` it is assigned at once.
#[utoipa::path(
    post, path = "/v1/keys", tag = "staff", params(ShopQuery, IdempotencyKey), request_body = NewKeyBody,
    security(("api_token" = [])),
    responses((status = 201, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_key(
    call: Call<Manage, (Filter<ShopQuery>, Creation<NewKeyBody>)>,
) -> ApiResult<HttpResponse> {
    let (Filter(query), Creation { body, repeatable }) = call.input;
    let patch = body.patch(query.shop.as_ref());
    let made = call
        .app
        .create_key(call.cx, body.key, patch, repeatable)
        .await?;
    let key = show(&call.app, KeyId(made.id)).await?;
    Ok(created(&made, &key.into_inner()))
}

/// Edit a key; what is left out stays
///
/// With `order` or `customer` a key that nobody has is assigned. Once assigned, it never goes back into
/// stock.
#[utoipa::path(
    patch, path = "/v1/keys/{id}", tag = "staff", params(("id" = i64, Path), ShopQuery), request_body = KeyBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_key(
    call: Call<Manage, (web::Path<i64>, Filter<ShopQuery>, Body<KeyBody>)>,
) -> ApiResult<web::Json<KeyView>> {
    let (id, Filter(query), Body(body)) = call.input;
    let id = KeyId(id.into_inner());
    call.app
        .update_key(call.cx, id, body.into_patch(query.shop))
        .await?;
    show(&call.app, id).await
}

/// Delete a key that was never assigned
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses(
        (status = 204),
        (status = 409, description = "`invalid_transition`: it was assigned", body = Problem),
        (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn delete_key(call: Call<Manage, web::Path<i64>>) -> ApiResult<HttpResponse> {
    let (cx, id) = (call.cx, KeyId(call.input.into_inner()));
    call.app
        .db
        .write(move |tx| key_actions::delete_key(tx, &cx, id, None))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
