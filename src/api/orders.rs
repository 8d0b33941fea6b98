//! Orders, for shops and staff.

use std::sync::Arc;

use actix_web::{HttpResponse, web};

use super::auth::{LookAtSales, Sell};
use super::call::Call;
use super::extract::{Body, Filter, Page};
use super::list::List;
use super::order_bodies::{CheckBody, ListQuery, OrderBody, PatchBody, ShopQuery, reports};
use super::problem::{ApiResult, Problem};
use crate::db::DbConnection;
use crate::db::models::account::{AccountId, Role};
use crate::db::models::customer::Customer;
use crate::db::models::order::{IssueState, OrderFilter};
use crate::error::{Code, Error, Refusal, Result};
use crate::licensing::accounts::account_not_found;
use crate::licensing::context::{Actor, Context};
use crate::licensing::order_view::{self, CheckView, OrderView};
use crate::licensing::orders::{self, OrderName, Reporting};
use crate::licensing::text::Name;

/// List orders
#[utoipa::path(
    get, path = "/v1/orders", tag = "shops", params(ListQuery, super::openapi::Paging),
    security(("api_token" = [])),
    responses((status = 200, body = List<OrderView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_orders(
    call: Call<LookAtSales, (Filter<ListQuery>, Page)>,
) -> ApiResult<web::Json<List<OrderView>>> {
    let (cx, (Filter(query), Page(page))) = (call.cx, call.input);
    let vault = Arc::clone(&call.app.vault);
    let list = call
        .app
        .db
        .read(move |conn| {
            let customers = match &query.customer {
                Some(customer) => Some(Customer::matching(conn, customer.as_str())?),
                None => None,
            };
            let filter = OrderFilter {
                account: account(conn, &cx, query.shop.as_ref())?,
                status: query.status.clone().map(Name::into_string),
                customers,
                sku: query.sku.clone().map(Name::into_string),
            };
            order_view::list_orders(conn, &vault, &filter, &page)
        })
        .await?;
    Ok(web::Json(list.into()))
}

/// Report an order, whole
///
/// Reporting the same again changes nothing. When keys run out the order is recorded all the same, with
/// `issue_error`, and served as soon as there is stock.
#[utoipa::path(
    put, path = "/v1/orders/{ref}", tag = "shops", params(("ref" = String, Path), ShopQuery),
    request_body = OrderBody, security(("api_token" = [])),
    responses(
        (status = 201, description = "First reported now", body = OrderView),
        (status = 200, description = "Reported before", body = OrderView),
        (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn report_order(
    call: Call<Sell, (web::Path<Name>, Filter<ShopQuery>, Body<OrderBody>)>,
) -> ApiResult<HttpResponse> {
    let (cx, (reference, Filter(query), Body(body))) = (call.cx, call.input);
    let how = Reporting {
        unknown_sku: call.app.config.orders.unknown_sku,
        mint: call.app.mint(),
    };
    let (order, created) = call
        .app
        .db
        .write(move |tx| {
            let account = account_to_report_for(tx, &cx, query.shop.as_ref(), reference.as_str())?;
            let report = body.report(account, reference.as_str());
            let (order, created) = orders::report_order(tx, &cx, &how, &report)?;
            Ok((order_view::order_parts(tx, order)?, created))
        })
        .await?;
    let mut response = if created {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(response.json(order.view(&call.app.vault)?))
}

/// Show an order
#[utoipa::path(
    get, path = "/v1/orders/{ref}", tag = "shops", params(("ref" = String, Path), ShopQuery),
    security(("api_token" = [])),
    responses((status = 200, body = OrderView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_order(
    call: Call<LookAtSales, (web::Path<Name>, Filter<ShopQuery>)>,
) -> ApiResult<web::Json<OrderView>> {
    let (cx, (reference, Filter(query))) = (call.cx, call.input);
    let order = call
        .app
        .db
        .read(move |conn| {
            let name = name(conn, &cx, query.shop.as_ref(), reference.as_str())?;
            let order = orders::find(conn, &name)?;
            order_view::order_parts(conn, order)
        })
        .await?;
    Ok(web::Json(order.view(&call.app.vault)?))
}

/// Change an order; what is left out stays
#[utoipa::path(
    patch, path = "/v1/orders/{ref}", tag = "shops", params(("ref" = String, Path), ShopQuery),
    request_body = PatchBody, security(("api_token" = [])),
    responses((status = 200, body = OrderView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_order(
    call: Call<Sell, (web::Path<Name>, Filter<ShopQuery>, Body<PatchBody>)>,
) -> ApiResult<web::Json<OrderView>> {
    let (cx, (reference, Filter(query), Body(body))) = (call.cx, call.input);
    let patch = body.patch();
    let mint = call.app.mint();
    let order = call
        .app
        .db
        .write(move |tx| {
            let name = name(tx, &cx, query.shop.as_ref(), reference.as_str())?;
            let order = orders::patch_order(tx, &cx, &mint, &name, &patch)?;
            order_view::order_parts(tx, order)
        })
        .await?;
    Ok(web::Json(order.view(&call.app.vault)?))
}

/// Try again to issue an order's keys
#[utoipa::path(
    post, path = "/v1/orders/{ref}/issue", tag = "shops", params(("ref" = String, Path), ShopQuery),
    security(("api_token" = [])),
    responses(
        (status = 200, body = OrderView),
        (status = 409, description = "`out_of_stock` with `shortages`, or `order_not_payable`", body = Problem),
        (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn issue_order(
    call: Call<Sell, (web::Path<Name>, Filter<ShopQuery>)>,
) -> ApiResult<web::Json<OrderView>> {
    let (cx, (reference, Filter(query))) = (call.cx, call.input);
    let mint = call.app.mint();
    let order = call
        .app
        .db
        .write(move |tx| {
            let name = name(tx, &cx, query.shop.as_ref(), reference.as_str())?;
            let order = orders::issue_again(tx, &cx, &mint, &name)?;
            order_view::order_parts(tx, order)
        })
        .await?
        .view(&call.app.vault)?;
    match (&order.issue_state, &order.issue_error) {
        (IssueState::WaitingStock, Some(error)) => {
            let shortages = serde_json::to_value(&error.shortages).unwrap_or_default();
            Err(Refusal::new(Code::OutOfStock)
                .with("shortages", shortages)
                .into())
        }
        _ => Ok(web::Json(order)),
    }
}

/// Check whether lines could be served from stock; nothing is held
#[utoipa::path(
    post, path = "/v1/orders/check", tag = "shops", request_body = CheckBody, security(("api_token" = [])),
    responses((status = 200, body = CheckView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn check_order(
    call: Call<LookAtSales, Body<CheckBody>>,
) -> ApiResult<web::Json<CheckView>> {
    let (now, Body(body)) = (call.cx.now, call.input);
    let unknown_sku = call.app.config.orders.unknown_sku;
    let lines = reports(&body.lines);
    Ok(web::Json(
        call.app
            .db
            .read(move |conn| order_view::check_stock(conn, unknown_sku, &lines, now))
            .await?,
    ))
}

/// The shop whose orders the caller may see: its own, or the one that staff named, or any for staff.
fn account(
    conn: &mut DbConnection,
    cx: &Context,
    shop: Option<&Name>,
) -> Result<Option<AccountId>> {
    let named = shop.map(|shop| orders::shop(conn, shop.as_str()));
    match (&cx.actor, named) {
        (
            Actor::Account {
                id,
                role: Role::Shop,
            },
            None,
        ) => Ok(Some(*id)),
        // Another shop is as unknown to it as one that does not exist.
        (
            Actor::Account {
                id,
                role: Role::Shop,
            },
            Some(named),
        ) => match named {
            Ok(named) if named == *id => Ok(Some(named)),
            _ => Err(account_not_found(shop.map_or("", Name::as_str)).into()),
        },
        (_, Some(named)) => named.map(Some),
        (_, None) => Ok(None),
    }
}

fn name(
    conn: &mut DbConnection,
    cx: &Context,
    shop: Option<&Name>,
    reference: &str,
) -> Result<OrderName> {
    Ok(OrderName {
        reference: reference.to_owned(),
        account: account(conn, cx, shop)?,
    })
}

/// The shop that a report is for. Staff who name none mean the order that has this reference, or a new
/// one of their own.
fn account_to_report_for(
    conn: &mut DbConnection,
    cx: &Context,
    shop: Option<&Name>,
    reference: &str,
) -> Result<AccountId> {
    let name = name(conn, cx, shop, reference)?;
    if let Some(account) = name.account {
        return Ok(account);
    }
    match orders::find(conn, &name) {
        Ok(order) => Ok(order.account_id),
        Err(Error::Refused(refusal)) if refusal.code == Code::OrderNotFound => {
            cx.actor.account().ok_or_else(|| Code::Forbidden.into())
        }
        Err(error) => Err(error),
    }
}
