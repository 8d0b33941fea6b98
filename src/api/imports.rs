//! Importing keys, for staff.

use actix_web::web;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::auth::Manage;
use super::call::Call;
use super::extract::{Filter, ImportBody};
use super::problem::{ApiResult, Problem};
use crate::clock::Timestamp;
use crate::licensing::import::{CreateMissing, ImportOptions, ImportReport, StockStatus};
use crate::licensing::import_format;
use crate::licensing::text::Name;

/// How to import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportQuery {
    /// `lines`: one key per line.
    #[param(inline)]
    format: Option<Format>,
    /// The sku of the only product that may take the keys.
    #[param(value_type = Option<String>)]
    product: Option<Name>,
    /// `active` by default.
    #[param(inline)]
    status: Option<StockStatus>,
    /// When the keys stop to admit activations.
    #[param(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// Days that each key is valid from its purchase on; overwrites `expires_at` then.
    valid_for_days: Option<i64>,
    /// How many installations each key admits at once.
    max_activations: Option<i64>,
    /// Make the sequence if there is none.
    create_missing: Option<bool>,
}

/// The format of the text.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One key per line.
    Lines,
}

/// Import keys into a sequence
///
/// All or nothing; a text that exists already is a duplicate, counted and left alone. The keys are in
/// stock, in the order of the lines, when this answers.
#[utoipa::path(
    post, path = "/v1/sequences/{name}/import", tag = "staff", params(("name" = String, Path), ImportQuery),
    request_body(content = String, content_type = "text/plain"), security(("api_token" = [])),
    responses((status = 200, body = ImportReport), (status = "4XX", body = Problem)),
)]
pub(crate) async fn import_keys(
    call: Call<Manage, (web::Path<Name>, Filter<ImportQuery>, ImportBody)>,
) -> ApiResult<web::Json<ImportReport>> {
    let (name, Filter(query), ImportBody(body)) = call.input;
    let Format::Lines = query.format.unwrap_or(Format::Lines);
    let keys = import_format::parse_lines(&body)?;
    let options = ImportOptions {
        sequence: name.into_inner().into_string(),
        product: query.product.map(Name::into_string),
        status: query.status.unwrap_or(StockStatus::Active),
        expires_at: query.expires_at,
        valid_for_days: query.valid_for_days,
        max_activations: query.max_activations,
        create_missing: if query.create_missing == Some(true) {
            CreateMissing::Yes
        } else {
            CreateMissing::No
        },
    };
    Ok(web::Json(
        call.app.import_keys(call.cx, options, keys).await?,
    ))
}
