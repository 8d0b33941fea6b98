//! Orders, for shops and staff.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::auth::{LookAtSales, Sell};
use super::call::Call;
use super::extract::{Body, Filter, Page};
use super::given::Given;
use super::list::List;
use super::object::Object;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::account::{AccountId, Role};
use crate::db::models::customer::Customer;
use crate::db::models::order::{IssueState, OrderFilter, OrderId};
use crate::error::{Code, Error, Refusal, Result};
use crate::licensing::accounts::account_not_found;
use crate::licensing::context::{Actor, Context};
use crate::licensing::order_view::{self, CheckView, OrderView};
use crate::licensing::orders::{
    self, CustomerReport, LineReport, OrderName, OrderPatch, OrderReport,
};
use crate::licensing::text::{Extra, Name};

/// An order as its shop has it, whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderBody {
    /// The id of an order status.
    #[schema(example = "payment_received")]
    status: Name,
    /// As the shop names it.
    payment_method: Option<Name>,
    /// The buyer.
    #[schema(value_type = Option<CustomerBody>)]
    customer: Option<Object<CustomerBody>>,
    /// What was bought.
    #[schema(value_type = Vec<LineBody>)]
    lines: Vec<Object<LineBody>>,
    /// When the reported change happened; an older report than the last changes nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// Any JSON object.
    #[serde(default)]
    extra: Extra,
}

/// The buyer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomerBody {
    /// The e-mail address.
    email: Option<Name>,
    /// The name.
    name: Option<Name>,
    /// The shop's own name for the buyer.
    #[serde(rename = "ref")]
    reference: Option<Name>,
    /// The language, as a BCP 47 tag.
    locale: Option<Name>,
}

/// One line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineBody {
    /// The shop's own name for the line; the sku by default.
    #[serde(rename = "ref")]
    reference: Option<Name>,
    /// The product.
    #[schema(example = "editor-pro")]
    sku: Name,
    /// How many; 1 by default.
    #[serde(default = "one")]
    #[schema(default = 1)]
    quantity: i64,
    /// Off for an article that has nothing to do with keys.
    #[serde(default = "yes")]
    #[schema(default = true)]
    managed: bool,
    /// Any JSON object.
    #[serde(default)]
    extra: Extra,
}

/// The members of an order to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchBody {
    /// The id of an order status.
    #[serde(default)]
    status: Given<Name>,
    /// As the shop names it.
    #[serde(default)]
    payment_method: Given<Option<Name>>,
    /// Any JSON object.
    #[serde(default)]
    extra: Given<Extra>,
}

/// Lines to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBody {
    /// What would be bought.
    #[schema(value_type = Vec<LineBody>)]
    lines: Vec<Object<LineBody>>,
}

/// The shop, for staff; a shop sees its own orders only.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShopQuery {
    /// The name of the shop's account.
    #[param(value_type = Option<String>)]
    shop: Option<Name>,
}

/// Which orders; all conditions must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The name of the shop's account, for staff.
    #[param(value_type = Option<String>)]
    shop: Option<Name>,
    /// The id of an order status.
    #[param(value_type = Option<String>)]
    status: Option<Name>,
    /// The e-mail address or `ref` of the buyer.
    #[param(value_type = Option<String>)]
    customer: Option<Name>,
    /// A sku on a line.
    #[param(value_type = Option<String>)]
    sku: Option<Name>,
}

fn one() -> i64 {
    1
}

fn yes() -> bool {
    true
}

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
    let unknown_sku = call.app.config.orders.unknown_sku;
    let (id, created) = call
        .app
        .db
        .write(move |tx| {
            let account = account_to_report_for(tx, &cx, query.shop.as_ref(), reference.as_str())?;
            orders::report_order(
                tx,
                &cx,
                unknown_sku,
                &body.report(account, reference.as_str()),
            )
        })
        .await?;
    let order = show(&call.app, id).await?;
    let mut response = if created {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(response.json(order))
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
    let vault = Arc::clone(&call.app.vault);
    let order = call
        .app
        .db
        .read(move |conn| {
            let name = name(conn, &cx, query.shop.as_ref(), reference.as_str())?;
            let id = orders::find(conn, &name)?.id;
            order_view::show_order(conn, &vault, id)
        })
        .await?;
    Ok(web::Json(order))
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
    let patch = OrderPatch {
        status: body.status.0.map(Name::into_string),
        payment_method: body
            .payment_method
            .0
            .map(|method| method.map(Name::into_string)),
        extra: body.extra.0.map(|extra| extra.0),
    };
    let id = call
        .app
        .db
        .write(move |tx| {
            let name = name(tx, &cx, query.shop.as_ref(), reference.as_str())?;
            orders::patch_order(tx, &cx, &name, &patch)
        })
        .await?;
    Ok(web::Json(show(&call.app, id).await?))
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
    let id = call
        .app
        .db
        .write(move |tx| {
            let name = name(tx, &cx, query.shop.as_ref(), reference.as_str())?;
            orders::issue_again(tx, &cx, &name)
        })
        .await?;
    let order = show(&call.app, id).await?;
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

impl OrderBody {
    fn report(&self, account: AccountId, reference: &str) -> OrderReport {
        let owned = |text: &Option<Name>| text.clone().map(Name::into_string);
        OrderReport {
            account,
            reference: reference.to_owned(),
            status: self.status.as_str().to_owned(),
            payment_method: owned(&self.payment_method),
            customer: self
                .customer
                .as_ref()
                .map(|Object(customer)| CustomerReport {
                    email: owned(&customer.email),
                    name: owned(&customer.name),
                    reference: owned(&customer.reference),
                    locale: owned(&customer.locale),
                }),
            lines: reports(&self.lines),
            occurred_at: self.occurred_at,
            extra: self.extra.0.clone(),
        }
    }
}

fn reports(lines: &[Object<LineBody>]) -> Vec<LineReport> {
    lines.iter().map(|Object(line)| line.report()).collect()
}

impl LineBody {
    fn report(&self) -> LineReport {
        LineReport {
            reference: self.reference.clone().map(Name::into_string),
            sku: self.sku.as_str().to_owned(),
            quantity: self.quantity,
            managed: self.managed,
            extra: self.extra.0.clone(),
        }
    }
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

async fn show(app: &App, id: OrderId) -> Result<OrderView> {
    let vault = Arc::clone(&app.vault);
    app.db
        .read(move |conn| order_view::show_order(conn, &vault, id))
        .await
}
