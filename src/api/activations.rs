//! Activations, for staff.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::{Look, Manage};
use super::call::Call;
use super::extract::{Filter, Page};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::db::models::key::KeyId;
use crate::error::Code;
use crate::licensing::activations::{self, ActivationQuery, InstallationView};
use crate::licensing::release;
use crate::licensing::text::Name;
use crate::signing::activation_id;

/// Which activations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActivationFilter {
    /// The id of a key.
    key: Option<i64>,
    /// The sku of a product.
    #[param(value_type = Option<String>)]
    product: Option<Name>,
    /// `false` for those that were released; open ones otherwise.
    open: Option<bool>,
}

/// List activations
#[utoipa::path(
    get, path = "/v1/activations", tag = "staff", params(ActivationFilter, super::openapi::Paging),
    security(("api_token" = [])),
    responses((status = 200, body = List<InstallationView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_activations(
    call: Call<Look, (Filter<ActivationFilter>, Page)>,
) -> ApiResult<web::Json<List<InstallationView>>> {
    let (Filter(filter), Page(page)) = call.input;
    let query = ActivationQuery {
        key: filter.key.map(KeyId),
        product: filter.product.map(Name::into_string),
        open: filter.open.unwrap_or(true),
    };
    let list = call
        .app
        .db
        .read(move |conn| activations::list_activations(conn, &query, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Release an activation
#[utoipa::path(
    delete, path = "/v1/activations/{activation_id}", tag = "staff",
    params(("activation_id" = String, Path)), security(("api_token" = [])),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(crate) async fn delete_activation(
    call: Call<Manage, web::Path<Name>>,
) -> ApiResult<HttpResponse> {
    let place = activation_id::decode(call.input.as_str()).ok_or(Code::ActivationNotFound)?;
    let cx = call.cx;
    call.app
        .db
        .write(move |tx| release::release_by_id(tx, &cx, place))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
