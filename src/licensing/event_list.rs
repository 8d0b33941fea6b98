//! Events as staff see them: who did what, when, with the names of what they are about.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::accounts::account_not_found;
use super::number;
use crate::clock::Timestamp;
use crate::db::models::account::{Account, AccountId, ApiToken, ApiTokenId};
use crate::db::models::event::{Event, EventFilter, EventOrder, SubjectKind};
use crate::db::models::generator::{Generator, GeneratorId};
use crate::db::models::key::{Key, KeyId};
use crate::db::models::order::{Order, OrderId};
use crate::db::models::product::{Product, ProductId};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::Result;

/// Which events a list shows, by the names that people use; every condition that is set must hold.
#[derive(Clone, Debug)]
pub(crate) struct EventQuery {
    pub action: Option<String>,
    pub subject: Option<SubjectKind>,
    pub subject_id: Option<i64>,
    /// The name of the account that did it.
    pub account: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub order: EventOrder,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Its id; later events have higher ones.
    pub id: i64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was done.
    #[schema(example = "key.revoked")]
    pub action: String,
    /// Who did it: `account`, `public` (shipped software), `command_line` or `system`.
    #[schema(example = "account")]
    pub actor: String,
    /// The name of the account that did it.
    pub account: Option<String>,
    /// The network address that it was done from.
    pub address: Option<String>,
    /// The id of the request, which also stands in the log.
    pub request_id: Option<String>,
    /// What it is about.
    pub subject: EventSubjectView,
    /// Before and after, and the like.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<JsonObject>,
}

/// What an event is about, as it is called now. A thing that was deleted has its id alone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventSubjectView {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub kind: SubjectKind,
    /// Its id; null where there is only one.
    pub id: Option<i64>,
    /// Of a key: its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "KEY.00000017.0001")]
    pub number: Option<String>,
    /// Of an order: the shop's name for it.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Of an account, a generator, a product or a sequence: its name. Of an API token: its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The events that match.
///
/// # Errors
/// `account_not_found`.
pub(crate) fn list_events(
    conn: &mut DbConnection,
    query: &EventQuery,
    page: &PageRequest,
) -> Result<Paged<EventView>> {
    let account = match &query.account {
        Some(name) => {
            let account = Account::find_by_name(conn, name)?;
            Some(account.ok_or_else(|| account_not_found(name))?.id)
        }
        None => None,
    };
    let filter = EventFilter {
        action: query.action.clone(),
        subject: query.subject,
        subject_id: query.subject_id,
        account,
        since: query.since,
        until: query.until,
        customer: None,
    };
    filtered(conn, &filter, query.order, page)
}

/// As [`list_events`], by ids.
///
/// # Errors
/// The database's.
pub(crate) fn filtered(
    conn: &mut DbConnection,
    filter: &EventFilter,
    order: EventOrder,
    page: &PageRequest,
) -> Result<Paged<EventView>> {
    let events = Event::list(conn, filter, order, page)?;
    let names = Names::load(conn, &events.items)?;
    Ok(events.map(|event| names.view(event)))
}

/// What the things on a page are called: one query for each kind.
struct Names {
    actors: HashMap<AccountId, String>,
    subjects: HashMap<(SubjectKind, i64), String>,
}

impl Names {
    fn load(conn: &mut DbConnection, events: &[Event]) -> Result<Self> {
        let actors: Vec<_> = events.iter().filter_map(|event| event.account_id).collect();
        let mut names = Self {
            actors: Account::names(conn, &actors)?,
            subjects: HashMap::new(),
        };
        for kind in SubjectKind::ALL {
            let ids: Vec<i64> = events
                .iter()
                .filter(|event| event.subject_type == *kind)
                .filter_map(|event| event.subject_id)
                .collect();
            if !ids.is_empty() {
                for (id, name) in subject_names(conn, *kind, &ids)? {
                    names.subjects.insert((*kind, id), name);
                }
            }
        }
        Ok(names)
    }

    fn view(&self, event: Event) -> EventView {
        let kind = event.subject_type;
        let called = event
            .subject_id
            .and_then(|id| self.subjects.get(&(kind, id)).cloned());
        let mut subject = EventSubjectView {
            kind,
            id: event.subject_id,
            number: None,
            reference: None,
            name: None,
        };
        match kind {
            SubjectKind::Key => subject.number = called,
            SubjectKind::Order => subject.reference = called,
            _ => subject.name = called,
        }
        EventView {
            id: event.id,
            at: event.at,
            action: event.action,
            actor: event.actor,
            account: event
                .account_id
                .and_then(|id| self.actors.get(&id).cloned()),
            address: event.address,
            request_id: event.request_id,
            subject,
            detail: event.detail,
        }
    }
}

/// What the things of one kind with these ids are called.
fn subject_names(
    conn: &mut DbConnection,
    kind: SubjectKind,
    ids: &[i64],
) -> Result<Vec<(i64, String)>> {
    Ok(match kind {
        SubjectKind::Account => plain(Account::names(conn, &of_kind(ids, AccountId))?, |id| id.0),
        SubjectKind::ApiToken => plain(ApiToken::labels(conn, &of_kind(ids, ApiTokenId))?, |id| {
            id.0
        }),
        SubjectKind::Order => plain(Order::references(conn, &of_kind(ids, OrderId))?, |id| id.0),
        SubjectKind::Product => plain(Product::skus(conn, &of_kind(ids, ProductId))?, |id| id.0),
        SubjectKind::Sequence => {
            plain(Sequence::names(conn, &of_kind(ids, SequenceId))?, |id| id.0)
        }
        SubjectKind::Generator => {
            plain(Generator::names(conn, &of_kind(ids, GeneratorId))?, |id| {
                id.0
            })
        }
        SubjectKind::Key => Key::number_parts(conn, &of_kind(ids, KeyId))?
            .into_iter()
            .map(|(id, prefix, version)| (id.0, number::of_parts(id, &prefix, version)))
            .collect(),
        // The names of people are nobody's business here, the others have none.
        SubjectKind::Customer
        | SubjectKind::Keys
        | SubjectKind::Lot
        | SubjectKind::SigningKeys
        | SubjectKind::User => Vec::new(),
    })
}

fn of_kind<I>(ids: &[i64], id: impl Fn(i64) -> I) -> Vec<I> {
    ids.iter().copied().map(id).collect()
}

fn plain<I>(names: HashMap<I, String>, id: impl Fn(I) -> i64) -> Vec<(i64, String)> {
    names.into_iter().map(|(of, name)| (id(of), name)).collect()
}
