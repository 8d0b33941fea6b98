//! Stock, for shops.

use actix_web::{HttpRequest, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::LookAtSales;
use super::call::Call;
use super::extract::query_pairs;
use super::problem::{ApiResult, Problem};
use crate::error::Refusal;
use crate::licensing::stock::{self, StockView};
use crate::licensing::text::Name;

/// Products asked for at once at most.
const MAX_SKUS: usize = 100;

/// How much of each product can be sold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StockList {
    /// One for each sku asked for, in that order.
    items: Vec<StockView>,
}

/// Show how many keys of products can be sold now
#[utoipa::path(
    get, path = "/v1/stock", tag = "shops", security(("api_token" = [])),
    params(("sku" = Vec<String>, Query, description = "A sku; may be repeated", explode)),
    responses((status = 200, body = StockList), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_stock(
    call: Call<LookAtSales, HttpRequest>,
) -> ApiResult<web::Json<StockList>> {
    let mut skus = Vec::new();
    for (name, value) in query_pairs(call.input.query_string())? {
        let wrong = |code, detail: String| Refusal::wrong(name.clone(), code, detail);
        if name != "sku" {
            return Err(wrong("unknown_member", "unknown; there is `sku`".to_owned()).into());
        }
        skus.push(
            Name::parse(value)
                .map_err(|problem| wrong("invalid", problem))?
                .into_string(),
        );
    }
    if skus.is_empty() || skus.len() > MAX_SKUS {
        let detail = format!("name 1 to {MAX_SKUS} products: ?sku=…&sku=…");
        return Err(Refusal::wrong("sku", "required", detail).into());
    }
    let now = call.cx.now;
    let items = call
        .app
        .db
        .read(move |conn| stock::show_stock(conn, &skus, now))
        .await?;
    Ok(web::Json(StockList { items }))
}
