//! What staff do to keys, one or many.

use actix_web::{HttpResponse, web};

use super::auth::{Manage, Sell};
use super::call::Call;
use super::creation::{Creation, IdempotencyKey, done};
use super::extract::{Body, OptionalBody};
use super::key_bodies::{BulkBody, IncrementBody, ReasonBody, ReplaceBody};
use super::keys::show;
use super::problem::{ApiResult, Problem};
use crate::db::models::key::KeyId;
use crate::licensing::key_bulk::BulkReport;
use crate::licensing::key_increment::Increment;
use crate::licensing::key_moves::KeyMove;
use crate::licensing::keys::KeyView;
use crate::licensing::text::Name;
use crate::licensing::verdict::KeySummary;

/// Revoke a key: no activation and no renewal from now on
#[utoipa::path(
    post, path = "/v1/keys/{id}/revoke", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn revoke_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Revoke).await
}

/// Take a revocation back
#[utoipa::path(
    post, path = "/v1/keys/{id}/unrevoke", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn unrevoke_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Unrevoke).await
}

/// Disable a key: out of use, and out of stock
#[utoipa::path(
    post, path = "/v1/keys/{id}/disable", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn disable_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Disable).await
}

/// Enable a key: back to where it was before
#[utoipa::path(
    post, path = "/v1/keys/{id}/enable", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn enable_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Enable).await
}

/// Suspend a key for the time being
#[utoipa::path(
    post, path = "/v1/keys/{id}/suspend", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn suspend_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Suspend).await
}

/// Take a suspension back
#[utoipa::path(
    post, path = "/v1/keys/{id}/resume", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn resume_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Resume).await
}

/// Note that a sold key was handed over
#[utoipa::path(
    post, path = "/v1/keys/{id}/deliver", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn deliver_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Deliver).await
}

/// Terminate a key, for ever
#[utoipa::path(
    post, path = "/v1/keys/{id}/terminate", tag = "staff", params(("id" = i64, Path)), request_body = ReasonBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn terminate_key(call: ActionCall) -> ApiResult<web::Json<KeyView>> {
    act(call, KeyMove::Terminate).await
}

type ActionCall = Call<Manage, (web::Path<i64>, OptionalBody<ReasonBody>)>;

/// Makes the move, and shows the key as it is afterwards.
async fn act(call: ActionCall, what: KeyMove) -> ApiResult<web::Json<KeyView>> {
    let (id, OptionalBody(body)) = call.input;
    let id = KeyId(id.into_inner());
    let reason = body.reason.map(Name::into_string);
    call.app.move_key(call.cx, id, what, reason).await?;
    show(&call.app, id).await
}

/// Give a key another text; its activations stay, the old text is never usable again
#[utoipa::path(
    post, path = "/v1/keys/{id}/replace", tag = "staff", params(("id" = i64, Path)), request_body = ReplaceBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn replace_key(
    call: Call<Manage, (web::Path<i64>, Body<ReplaceBody>)>,
) -> ApiResult<web::Json<KeyView>> {
    let (id, Body(body)) = call.input;
    let id = KeyId(id.into_inner());
    let reason = body.reason.map(Name::into_string);
    call.app
        .replace_key_text(call.cx, id, &body.key, reason)
        .await?;
    show(&call.app, id).await
}

/// Count an activation that has no installation
///
/// For software whose own code keeps the count. The limit includes it; the checks are those of an
/// activation.
#[utoipa::path(
    post, path = "/v1/keys/increment", tag = "shops", params(IdempotencyKey), request_body = IncrementBody,
    security(("api_token" = [])),
    responses((status = 200, body = KeySummary), (status = "4XX", body = Problem)),
)]
pub(crate) async fn increment_key(
    call: Call<Sell, Creation<IncrementBody>>,
) -> ApiResult<HttpResponse> {
    let Creation { body, repeatable } = call.input;
    let input = Increment {
        text_hash: call.app.vault.hash(body.key.as_str()),
        by: body.by,
        repeatable,
    };
    let (counted, summary) = call.app.increment_activations(call.cx, input).await?;
    Ok(done(&counted, &summary))
}

/// Do the same to many keys
///
/// In steps, while the client waits. Keys that cannot go there are left as they are and listed.
#[utoipa::path(
    post, path = "/v1/keys/bulk", tag = "staff", request_body = BulkBody, security(("api_token" = [])),
    responses((status = 200, body = BulkReport), (status = "4XX", body = Problem)),
)]
pub(crate) async fn change_keys(
    call: Call<Manage, Body<BulkBody>>,
) -> ApiResult<web::Json<BulkReport>> {
    let Body(body) = call.input;
    let (selection, action, reason) = body.into_parts()?;
    let reason = reason.map(Name::into_string);
    Ok(web::Json(
        call.app
            .change_keys(call.cx, selection, action, reason)
            .await?,
    ))
}
