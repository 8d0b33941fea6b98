//! Customers and their personal data, for staff.

use std::sync::Arc;

use actix_web::http::header::{ContentDisposition, DispositionParam, DispositionType};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use futures_util::TryStreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::{Look, Manage};
use super::call::Call;
use super::extract::{Filter, Page};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::db::models::customer::CustomerId;
use crate::licensing::customer_export::CustomerExport;
use crate::licensing::customers::{self, CustomerQuery, PersonDetailView, PersonView};
use crate::licensing::text::Name;

/// Which customers; all conditions must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// Their e-mail address, in any case.
    #[param(value_type = Option<String>)]
    email: Option<Name>,
    /// The shop's name for them.
    #[serde(rename = "ref")]
    #[param(value_type = Option<String>)]
    reference: Option<Name>,
    /// The account of the shop.
    #[param(value_type = Option<String>)]
    shop: Option<Name>,
}

/// List customers
#[utoipa::path(
    get, path = "/v1/customers", tag = "staff", params(Query, super::openapi::Paging),
    security(("api_token" = [])),
    responses((status = 200, body = List<PersonView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_customers(
    call: Call<Look, (Filter<Query>, Page)>,
) -> ApiResult<web::Json<List<PersonView>>> {
    let (Filter(query), Page(page)) = call.input;
    let query = CustomerQuery {
        email: query.email.map(Name::into_string),
        reference: query.reference.map(Name::into_string),
        shop: query.shop.map(Name::into_string),
    };
    let list = call
        .app
        .db
        .read(move |conn| customers::list_customers(conn, &query, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Show a customer
#[utoipa::path(
    get, path = "/v1/customers/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 200, body = PersonDetailView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_customer(
    call: Call<Look, web::Path<i64>>,
) -> ApiResult<web::Json<PersonDetailView>> {
    show(&call.app, CustomerId(call.input.into_inner())).await
}

/// Erase a customer's personal data; their orders and keys stay
///
/// Name, e-mail address, language and the shop's name for them are gone when this answers. What is noted
/// with the activations of their keys (addresses, labels, what the installations said of themselves) and
/// the addresses in events follow at once. It cannot be taken back.
#[utoipa::path(
    post, path = "/v1/customers/{id}/erase", tag = "staff", params(("id" = i64, Path)),
    security(("api_token" = [])),
    responses((status = 200, body = PersonDetailView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn erase_customer(
    call: Call<Manage, web::Path<i64>>,
) -> ApiResult<web::Json<PersonDetailView>> {
    let (cx, id) = (call.cx, CustomerId(call.input.into_inner()));
    call.app
        .db
        .write(move |tx| customers::erase_customer(tx, &cx, id))
        .await?;
    call.app.nudge_jobs();
    show(&call.app, id).await
}

/// Export everything that is stored about a customer
#[utoipa::path(
    get, path = "/v1/customers/{id}/export", tag = "staff", params(("id" = i64, Path)),
    security(("api_token" = [])),
    responses((status = 200, body = CustomerExport), (status = "4XX", body = Problem)),
)]
pub(crate) async fn export_customer(call: Call<Manage, web::Path<i64>>) -> ApiResult<HttpResponse> {
    let id = CustomerId(call.input.into_inner());
    let pieces = Arc::clone(&call.app).export_customer(call.cx, id).await?;
    let attachment = ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::Filename(format!("customer-{id}.json"))],
    };
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(attachment)
        .streaming(pieces.map_ok(Bytes::from)))
}

async fn show(app: &App, id: CustomerId) -> ApiResult<web::Json<PersonDetailView>> {
    Ok(web::Json(
        app.db
            .read(move |conn| customers::show_customer(conn, id))
            .await?,
    ))
}
