//! Events, for staff.

use actix_web::web;
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Look;
use super::call::Call;
use super::extract::{Filter, Page};
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::clock::Timestamp;
use crate::db::models::event::{EventOrder, SubjectKind};
use crate::error::Refusal;
use crate::licensing::event_list::{self, EventQuery, EventView};
use crate::licensing::text::Name;

/// Which events; all conditions must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// What was done, such as `key.revoked`.
    #[param(value_type = Option<String>)]
    action: Option<Name>,
    /// What kind of thing it is about.
    #[param(inline)]
    subject: Option<SubjectKind>,
    /// The id of that thing; with `subject` alone.
    id: Option<i64>,
    /// The name of the account that did it.
    #[param(value_type = Option<String>)]
    account: Option<Name>,
    /// From this instant on.
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Before this instant.
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// `desc`, the newest first, by default; `asc`, the oldest first.
    #[param(inline)]
    order: Option<EventOrder>,
}

/// List events: who did what, when
#[utoipa::path(
    get, path = "/v1/events", tag = "staff", params(Query, super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<EventView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_events(
    call: Call<Look, (Filter<Query>, Page)>,
) -> ApiResult<web::Json<List<EventView>>> {
    let (Filter(query), Page(page)) = call.input;
    if query.id.is_some() && query.subject.is_none() {
        let detail = "say with `subject` what kind of thing has this id";
        return Err(Refusal::wrong("subject", "required", detail).into());
    }
    let query = EventQuery {
        action: query.action.map(Name::into_string),
        subject: query.subject,
        subject_id: query.id,
        account: query.account.map(Name::into_string),
        since: query.since,
        until: query.until,
        order: query.order.unwrap_or(EventOrder::NewestFirst),
    };
    let list = call
        .app
        .db
        .read(move |conn| event_list::list_events(conn, &query, &page))
        .await?;
    Ok(web::Json(list.into()))
}
