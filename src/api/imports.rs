//! Importing keys, for staff and for programs that make keys.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::{LookAtImports, Push};
use super::call::Call;
use super::extract::{Filter, Nothing, Page};
use super::import_body::{FormatQuery, feed};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::clock::Timestamp;
use crate::db::models::import::ImportId;
use crate::db::models::key::KeyStatus;
use crate::licensing::import::{CreateMissing, ImportOptions, ImportReport, Purpose};
use crate::licensing::import_format::Format;
use crate::licensing::import_view::{self, ImportView};
use crate::licensing::mint::Terms;
use crate::licensing::staging::NamedOrder;
use crate::licensing::text::Name;

/// Imports of more lines than this are answered with 202 once their text has been read.
const WAITED_FOR: u64 = 10_000;

/// How to import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportQuery {
    /// The format of the text; as its media type says by default: text/plain is `lines`.
    #[param(inline)]
    format: Option<Format>,
    /// For `block`: the line that ends a key; `.` by default.
    end_mark: Option<String>,
    /// For `csv` and `tsv`: the names of the columns, with commas between them. `key`, `sequence`,
    /// `expires_at`, `valid_for_days` and `max_activations` are the key's own, others go into `extra`.
    columns: Option<String>,
    /// For `csv` and `tsv`: whether the first row names the columns; false by default.
    header: Option<bool>,
    /// The sku of the only product that may take the keys.
    #[param(value_type = Option<String>)]
    product: Option<Name>,
    /// `active`, for sale, by default; with an order `sold` or `delivered`, as the product says.
    #[param(inline)]
    status: Option<KeyStatus>,
    /// The `ref` of the order that the keys are for; takes `product`.
    #[param(value_type = Option<String>)]
    order: Option<Name>,
    /// The name of its shop, where several have such an order.
    #[param(value_type = Option<String>)]
    shop: Option<Name>,
    /// When the keys stop to admit activations.
    #[param(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// Days that each key is valid from its purchase on; overwrites `expires_at` then.
    valid_for_days: Option<i64>,
    /// How many installations each key admits at once.
    max_activations: Option<i64>,
    /// Make sequences that are not there.
    create_missing: Option<bool>,
    /// Only say what would come of it.
    dry_run: Option<bool>,
    /// Wait for the end, however long the text; false by default.
    wait: Option<bool>,
}

/// Import keys into a sequence
///
/// All or nothing; a text that exists already is a duplicate, counted and left alone. The keys are in
/// stock, in the order of the lines, when this answers 200. A text of more than 10,000 lines is
/// answered with 202 as soon as it has been read; `Location` tells where its end can be seen.
#[utoipa::path(
    post, path = "/v1/sequences/{name}/import", tag = "staff", params(("name" = String, Path), ImportQuery),
    request_body(content(
        (String = "text/plain"), (String = "text/csv"), (String = "text/tab-separated-values"),
    )),
    security(("api_token" = [])),
    responses(
        (status = 200, body = ImportReport), (status = 202, body = ImportView), (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn import_keys(
    request: HttpRequest,
    call: Call<Push, (web::Path<Name>, Filter<ImportQuery>, web::Payload)>,
) -> ApiResult<HttpResponse> {
    let (call, (name, Filter(query), body)) = Call::without_input(call);
    let sequence = Some(name.into_inner().into_string());
    import(&request, call, sequence, query, body).await
}

/// Import keys into the sequences that the text names
///
/// As an import into one sequence, with the formats `tsv`, `block`, and `csv` with a column `sequence`.
#[utoipa::path(
    post, path = "/v1/import", tag = "staff", params(ImportQuery),
    request_body(content(
        (String = "text/plain"), (String = "text/csv"), (String = "text/tab-separated-values"),
    )),
    security(("api_token" = [])),
    responses(
        (status = 200, body = ImportReport), (status = 202, body = ImportView), (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn import_named_keys(
    request: HttpRequest,
    call: Call<Push, (Filter<ImportQuery>, web::Payload)>,
) -> ApiResult<HttpResponse> {
    let (call, (Filter(query), body)) = Call::without_input(call);
    import(&request, call, None, query, body).await
}

/// List imports, oldest first
#[utoipa::path(
    get, path = "/v1/imports", tag = "staff", params(super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<ImportView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_imports(
    call: Call<LookAtImports, (Filter<Nothing>, Page)>,
) -> ApiResult<web::Json<List<ImportView>>> {
    let (cx, (_, Page(page))) = (call.cx, call.input);
    let list = call
        .app
        .db
        .read(move |conn| import_view::list_imports(conn, &cx, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Show an import: how far it has come, or what it came to
#[utoipa::path(
    get, path = "/v1/imports/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 200, body = ImportView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_import(
    call: Call<LookAtImports, web::Path<i64>>,
) -> ApiResult<web::Json<ImportView>> {
    let (cx, id) = (call.cx, ImportId(call.input.into_inner()));
    let import = call
        .app
        .db
        .read(move |conn| import_view::show_import(conn, &cx, id))
        .await?;
    Ok(web::Json(import))
}

async fn import(
    request: &HttpRequest,
    call: Call<Push>,
    sequence: Option<String>,
    query: ImportQuery,
    body: web::Payload,
) -> ApiResult<HttpResponse> {
    let waits = query.wait == Some(true) || query.dry_run == Some(true);
    let options = options(request, sequence, query)?;
    let limit = call.app.config.imports.max_bytes;
    let handle = call.app.start_import(call.cx.clone(), options).await?;
    let read = feed(handle, body, limit).await?;
    match read.id {
        Some(id) if read.lines > WAITED_FOR && !waits => {
            let cx = call.cx;
            let import = call
                .app
                .db
                .read(move |conn| import_view::show_import(conn, &cx, id))
                .await?;
            Ok(HttpResponse::Accepted()
                .insert_header((header::LOCATION, format!("/v1/imports/{id}")))
                .json(import))
        }
        _ => Ok(HttpResponse::Ok().json(read.report().await?)),
    }
}

fn options(
    request: &HttpRequest,
    sequence: Option<String>,
    query: ImportQuery,
) -> ApiResult<ImportOptions> {
    let plain = sequence.is_some().then_some(Format::Lines);
    let format = FormatQuery {
        format: query.format,
        end_mark: query.end_mark,
        columns: query.columns,
        header: query.header,
    };
    Ok(ImportOptions {
        format: format.options(request, plain)?,
        sequence,
        product: query.product.map(Name::into_string),
        status: query.status,
        order: query.order.map(|reference| NamedOrder {
            reference: reference.into_string(),
            shop: query.shop.map(Name::into_string),
        }),
        terms: Terms {
            expires_at: query.expires_at,
            valid_for_days: query.valid_for_days,
            max_activations: query.max_activations,
        },
        create_missing: if query.create_missing == Some(true) {
            CreateMissing::Yes
        } else {
            CreateMissing::No
        },
        purpose: if query.dry_run == Some(true) {
            Purpose::DryRun
        } else {
            Purpose::Import
        },
    })
}
