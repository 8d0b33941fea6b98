//! Exporting keys with their texts, for staff that may do everything.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload};
use bytes::Bytes;
use futures_util::future::{Ready, ready};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Manage;
use super::call::Call;
use super::extract::{filter_of, query_pairs};
use super::key_bodies::{KeyConditions, KeysWanted};
use super::problem::{ApiError, ApiResult, Problem};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::Cursor;
use crate::error::{Error, Refusal, Result};
use crate::licensing::export::{self, Export, ExportFormat, ExportPage, Formulas};
use crate::licensing::key_query::KeyQuery;

/// How to write them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportForm {
    /// `csv`, the default, or `jsonl`: a JSON object per line, as in lists of keys.
    #[param(inline)]
    format: Option<ExportFormat>,
    /// Put an apostrophe before cells that a spreadsheet would take for a formula; false by default, so
    /// that what is exported can be imported again.
    disarm_formulas: Option<bool>,
}

/// The query of an export: how to write, and the conditions of a list of keys.
#[derive(Debug)]
pub(crate) struct ExportWanted {
    export: Export,
    query: KeyQuery,
}

impl FromRequest for ExportWanted {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(wanted(request.query_string()).map_err(ApiError::from))
    }
}

fn wanted(query: &str) -> Result<ExportWanted, Refusal> {
    let is_form = |name: &str| matches!(name, "format" | "disarm_formulas");
    let (form, conditions): (Vec<_>, Vec<_>) = query_pairs(query)?
        .into_iter()
        .partition(|(name, _)| is_form(name));
    let form: ExportForm = filter_of(form)?;
    let names: Vec<String> = conditions.iter().map(|(name, _)| name.clone()).collect();
    if let Some(name) = names
        .iter()
        .find(|name| ["limit", "after"].contains(&name.as_str()))
    {
        let detail = "is for lists; an export has all keys that match";
        return Err(Refusal::wrong(name, "unknown_member", detail));
    }
    Ok(ExportWanted {
        export: Export {
            format: form.format.unwrap_or(ExportFormat::Csv),
            formulas: if form.disarm_formulas == Some(true) {
                Formulas::Disarm
            } else {
                Formulas::Keep
            },
            conditions: names,
        },
        query: KeysWanted::of(conditions)?.0,
    })
}

/// Export keys with their texts
///
/// Streamed, however many there are; a connection that breaks off before the last chunk was not
/// complete. Written down as an event.
#[utoipa::path(
    get, path = "/v1/keys/export", tag = "staff", params(KeyConditions, ExportForm), security(("api_token" = [])),
    responses(
        (status = 200, content((String = "text/csv"), (String = "application/jsonl"))),
        (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn export_keys(call: Call<Manage, ExportWanted>) -> ApiResult<HttpResponse> {
    let (app, cx, ExportWanted { export, query }) = (call.app, call.cx, call.input);
    let now = cx.now;
    // Fails before the first byte if a name is not known.
    let first = page(&app, &export, &query, None, now).await?;
    let noted = export.clone();
    app.db
        .write(move |tx| export::note_export(tx, &cx, &noted))
        .await?;
    let (media_type, ending) = match export.format {
        ExportFormat::Csv => ("text/csv; charset=utf-8", "csv"),
        ExportFormat::Jsonl => ("application/jsonl", "jsonl"),
    };
    let pages = stream::try_unfold(Rest::Page(first), move |rest| {
        let (app, export, query) = (Arc::clone(&app), export.clone(), query.clone());
        async move {
            let ExportPage { bytes, next } = match rest {
                Rest::Page(page) => page,
                Rest::After(cursor) => page(&app, &export, &query, Some(cursor), now).await?,
                Rest::Nothing => return Ok(None),
            };
            let rest = next.map_or(Rest::Nothing, Rest::After);
            Ok::<_, Error>(Some((Bytes::from(bytes), rest)))
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"keys.{ending}\""),
        ))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(pages))
}

/// What has not been sent yet.
enum Rest {
    Page(ExportPage),
    After(Cursor),
    Nothing,
}

async fn page(
    app: &App,
    export: &Export,
    query: &KeyQuery,
    after: Option<Cursor>,
    now: Timestamp,
) -> Result<ExportPage> {
    let (vault, export, query) = (Arc::clone(&app.vault), export.clone(), query.clone());
    app.db
        .read(move |conn| export::export_page(conn, &vault, &export, &query, after.clone(), now))
        .await
}
