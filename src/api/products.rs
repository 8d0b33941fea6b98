//! Products.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{LookAtSales, Manage};
use super::call::Call;
use super::creation::{Creation, IdempotencyKey, created};
use super::extract::{Body, Filter, Nothing, Page};
use super::given::Given;
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::db::models::generator::GeneratorId;
use crate::db::models::product::{LimitBasis, ProductColumns, ProductId, ProductStatus};
use crate::error::Result;
use crate::licensing::context::Context;
use crate::licensing::idempotency;
use crate::licensing::product_view::{self, ProductView};
use crate::licensing::products;
use crate::licensing::text::{Extra, Name};

/// A product to make (only `sku` is required), or the members of one to change.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductBody {
    /// Its unique name in shops.
    #[serde(default)]
    sku: Given<Name>,
    /// Its name for people; the sku by default.
    #[serde(default)]
    name: Given<Name>,
    /// `published` by default.
    #[serde(default)]
    status: Given<ProductStatus>,
    /// Needs no shipping; true by default.
    #[serde(rename = "virtual")]
    #[serde(default)]
    is_virtual: Given<bool>,
    /// Can be downloaded; false by default.
    #[serde(default)]
    downloadable: Given<bool>,
    /// Whether buying it issues keys; true by default.
    #[serde(default)]
    sells_keys: Given<bool>,
    /// Whether its keys are activated here; true by default.
    #[serde(default)]
    activation_managed: Given<bool>,
    /// The name of its sequence, or null.
    #[serde(default)]
    sequence: Given<Option<Name>>,
    /// Keys delivered for each piece bought; 1 by default.
    #[serde(default)]
    delivery_quantity: Given<i64>,
    /// `key` by default.
    #[serde(default)]
    activation_limit_basis: Given<LimitBasis>,
    /// The prefix of its keys' numbers, 1 to 16 letters, digits or hyphens.
    #[serde(default)]
    number_prefix: Given<Name>,
    /// How long a token lasts, in days; 30 by default.
    #[serde(default)]
    renew_by_days: Given<i64>,
    /// How many days past a key's expiry renewals go on; 0 by default.
    #[serde(default)]
    grace_days: Given<i64>,
    /// Whether issued keys count as handed over at once; true by default.
    #[serde(default)]
    auto_deliver: Given<bool>,
    /// Whether installations may be released without staff; true by default.
    #[serde(default)]
    self_release: Given<bool>,
    /// Releases of a key allowed in a calendar month; null, the default, for any number.
    #[serde(default)]
    releases_per_month: Given<Option<i64>>,
    /// Copied into every token.
    #[serde(default)]
    entitlements: Given<Extra>,
    /// Any JSON object.
    #[serde(default)]
    extra: Given<Extra>,
    /// The id of a generator that makes keys when the sequence has none left; null, the default, for
    /// none.
    #[serde(default)]
    fallback_generator: Given<Option<i64>>,
}

impl ProductBody {
    /// The sequence that is named, if one is.
    fn sequence(&self) -> Option<Option<String>> {
        self.sequence
            .0
            .clone()
            .map(|name| name.map(Name::into_string))
    }

    fn apply(self, fields: &mut ProductColumns) {
        self.sku.put_as(&mut fields.sku, Name::into_string);
        self.name.put_as(&mut fields.name, Name::into_string);
        self.status.put_into(&mut fields.status);
        self.is_virtual.put_into(&mut fields.is_virtual);
        self.downloadable.put_into(&mut fields.downloadable);
        self.sells_keys.put_into(&mut fields.sells_keys);
        self.activation_managed
            .put_into(&mut fields.activation_managed);
        self.delivery_quantity
            .put_into(&mut fields.delivery_quantity);
        self.activation_limit_basis
            .put_into(&mut fields.activation_limit_basis);
        self.number_prefix
            .put_as(&mut fields.number_prefix, Name::into_string);
        self.renew_by_days.put_into(&mut fields.renew_by_days);
        self.grace_days.put_into(&mut fields.grace_days);
        self.auto_deliver.put_into(&mut fields.auto_deliver);
        self.self_release.put_into(&mut fields.self_release);
        self.releases_per_month
            .put_into(&mut fields.releases_per_month);
        self.entitlements
            .put_as(&mut fields.entitlements, |object| object.0);
        self.extra.put_as(&mut fields.extra, |object| object.0);
        self.fallback_generator
            .put_as(&mut fields.fallback_generator_id, |id| id.map(GeneratorId));
    }
}

/// List products
#[utoipa::path(
    get, path = "/v1/products", tag = "shops", params(super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<ProductView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_products(
    call: Call<LookAtSales, (Filter<Nothing>, Page)>,
) -> ApiResult<web::Json<List<ProductView>>> {
    let (cx, (_, Page(page))) = (call.cx, call.input);
    let list = call
        .app
        .db
        .read(move |conn| product_view::list_products(conn, &cx, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Make a product
#[utoipa::path(
    post, path = "/v1/products", tag = "staff", params(IdempotencyKey), request_body = ProductBody,
    security(("api_token" = [])),
    responses((status = 201, body = ProductView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_product(
    call: Call<Manage, Creation<ProductBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Creation { body, repeatable }) = (call.cx, call.input);
    let sku = body.sku.clone().required("sku")?.into_string();
    let prefix = call.app.config.products.number_prefix.clone();
    let (now, reader) = (cx.now, cx.clone());
    let mut columns = ProductColumns::new(sku, prefix, now);
    let sequence = body.sequence();
    body.apply(&mut columns);
    let made = call
        .app
        .db
        .write(move |tx| {
            idempotency::once(tx, &cx, repeatable.as_ref(), |tx| {
                let id = products::create_product(tx, &cx, columns.clone(), sequence.clone())?;
                Ok((id.0, ()))
            })
        })
        .await?;
    let id = ProductId(made.id);
    let product = call
        .app
        .db
        .read(move |conn| product_view::show_product_by_id(conn, &reader, id))
        .await?;
    Ok(created(&made, &product))
}

/// Show a product
#[utoipa::path(
    get, path = "/v1/products/{sku}", tag = "shops", params(("sku" = String, Path)), security(("api_token" = [])),
    responses((status = 200, body = ProductView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_product(
    call: Call<LookAtSales, web::Path<Name>>,
) -> ApiResult<web::Json<ProductView>> {
    let sku = call.input.into_inner().into_string();
    Ok(web::Json(show(&call.app, call.cx, sku).await?))
}

/// Change a product; what is left out stays
#[utoipa::path(
    patch, path = "/v1/products/{sku}", tag = "staff", params(("sku" = String, Path)), request_body = ProductBody,
    security(("api_token" = [])),
    responses((status = 200, body = ProductView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_product(
    call: Call<Manage, (web::Path<Name>, Body<ProductBody>)>,
) -> ApiResult<web::Json<ProductView>> {
    let (cx, (sku, Body(body))) = (call.cx, call.input);
    let reader = cx.clone();
    let sku = call
        .app
        .db
        .write(move |tx| {
            let change = |columns: &mut ProductColumns| body.clone().apply(columns);
            products::update_product(tx, &cx, sku.as_str(), body.sequence(), &change)
        })
        .await?;
    call.app.nudge_jobs();
    Ok(web::Json(show(&call.app, reader, sku).await?))
}

/// Delete a product that no key and no order refers to
#[utoipa::path(
    delete, path = "/v1/products/{sku}", tag = "staff", params(("sku" = String, Path)),
    security(("api_token" = [])), responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(crate) async fn delete_product(call: Call<Manage, web::Path<Name>>) -> ApiResult<HttpResponse> {
    let (cx, sku) = (call.cx, call.input);
    call.app
        .db
        .write(move |tx| products::delete_product(tx, &cx, sku.as_str()))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Counting stock is no work for a transaction that others wait for.
async fn show(app: &App, cx: Context, sku: String) -> Result<ProductView> {
    app.db
        .read(move |conn| product_view::show_product(conn, &cx, &sku))
        .await
}
