//! Events: who did what, when. Written in the transaction of the change itself.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, each_backend};
use crate::db::models::account::AccountId;
use crate::db::models::customer::CustomerId;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{events, keys, orders};
use crate::db::types::{JsonObject, word_enum};

word_enum! {
    /// What kind of thing an event is about.
    pub enum SubjectKind {
        /// An account.
        Account = "account",
        /// An API token.
        ApiToken = "api_token",
        /// A customer.
        Customer = "customer",
        /// A generator.
        Generator = "generator",
        /// A key.
        Key = "key",
        /// Many keys at once.
        Keys = "keys",
        /// The keys of one import.
        Lot = "lot",
        /// An order.
        Order = "order",
        /// A product.
        Product = "product",
        /// A sequence.
        Sequence = "sequence",
        /// The keys that sign tokens.
        SigningKeys = "signing_keys",
        /// A person who signs in.
        User = "user",
    }
}

word_enum! {
    /// Which events come first.
    pub enum EventOrder {
        /// The newest.
        NewestFirst = "desc",
        /// The oldest.
        OldestFirst = "asc",
    }
}

/// An event about to be written. `detail` holds before and after, never a key text or a token.
#[derive(Debug, Insertable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
pub(crate) struct NewEvent<'a> {
    pub at: Timestamp,
    pub action: &'a str,
    pub actor: &'a str,
    pub account_id: Option<AccountId>,
    pub address: Option<String>,
    pub request_id: Option<&'a str>,
    pub subject_type: SubjectKind,
    pub subject_id: Option<i64>,
    pub detail: Option<JsonObject>,
}

/// What happened.
#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = events, check_for_backend(MultiBackend))]
pub(crate) struct Event {
    pub id: i64,
    pub at: Timestamp,
    pub action: String,
    pub actor: String,
    pub account_id: Option<AccountId>,
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub subject_type: SubjectKind,
    pub subject_id: Option<i64>,
    pub detail: Option<JsonObject>,
}

/// Which events a list shows; every condition that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub action: Option<String>,
    pub subject: Option<SubjectKind>,
    pub subject_id: Option<i64>,
    pub account: Option<AccountId>,
    /// From this instant on.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    /// About this customer, their orders and their keys.
    pub customer: Option<CustomerId>,
}

/// When the newest event was written, by the clock of whoever wrote it; `None` without any.
pub(crate) fn newest(conn: &mut DbConnection) -> QueryResult<Option<Timestamp>> {
    events::table
        .order(events::id.desc())
        .select(events::at)
        .first(conn)
        .optional()
}

impl NewEvent<'_> {
    pub(crate) fn insert(&self, conn: &mut DbConnection) -> QueryResult<()> {
        // On the inner connection: every activation writes one, and the way through both backends costs
        // three times what SQLite does for it.
        each_backend!(conn, |inner| {
            diesel::insert_into(events::table)
                .values(self)
                .execute(inner)
                .map(drop)
        })
    }

    /// Writes many at once.
    pub(crate) fn insert_all(all: &[Self], conn: &mut DbConnection) -> QueryResult<()> {
        match conn {
            DbConnection::Postgres(inner) if !all.is_empty() => {
                InsertAll::of(all).execute(inner).map(drop)
            }
            _ => all.iter().try_for_each(|event| event.insert(conn)),
        }
    }
}

/// One statement for many events (PostgreSQL): arrays in, so that its text is always the same.
#[derive(Debug, Default)]
struct InsertAll<'a> {
    instants: Vec<i64>,
    actions: Vec<&'a str>,
    actors: Vec<&'a str>,
    accounts: Vec<Option<i64>>,
    addresses: Vec<Option<&'a str>>,
    request_ids: Vec<Option<&'a str>>,
    subject_types: Vec<&'a str>,
    subject_ids: Vec<Option<i64>>,
    details: Vec<Option<&'a JsonObject>>,
}

impl<'a> InsertAll<'a> {
    fn of(all: &'a [NewEvent<'a>]) -> Self {
        let mut rows = Self::default();
        for event in all {
            rows.instants.push(event.at.micros());
            rows.actions.push(event.action);
            rows.actors.push(event.actor);
            rows.accounts.push(event.account_id.map(|id| id.0));
            rows.addresses.push(event.address.as_deref());
            rows.request_ids.push(event.request_id);
            rows.subject_types.push(event.subject_type.as_str());
            rows.subject_ids.push(event.subject_id);
            rows.details.push(event.detail.as_ref());
        }
        rows
    }
}

impl QueryFragment<Pg> for InsertAll<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql(
            "INSERT INTO events (at, action, actor, account_id, address, request_id, subject_type, \
             subject_id, detail) SELECT * FROM unnest(",
        );
        pass.push_bind_param::<Array<BigInt>, _>(&self.instants)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Text>, _>(&self.actions)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Text>, _>(&self.actors)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.accounts)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.addresses)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.request_ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Text>, _>(&self.subject_types)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.subject_ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.details)?;
        pass.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertAll<'_> {
    type QueryId = InsertAll<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<PgConnection> for InsertAll<'_> {}

impl Event {
    /// The events, in the order in which they were written, or the other way round.
    pub(crate) fn list(
        conn: &mut DbConnection,
        filter: &EventFilter,
        order: EventOrder,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let (mut query, id) = (Self::query().into_boxed(), events::subject_id);
        if let Some(action) = &filter.action {
            query = query.filter(events::action.eq(action.clone()));
        }
        if let Some(kind) = filter.subject {
            query = query.filter(events::subject_type.eq(kind));
        }
        if let Some(subject) = filter.subject_id {
            query = query.filter(id.eq(subject));
        }
        if let Some(account) = filter.account {
            query = query.filter(events::account_id.eq(account));
        }
        if let Some(since) = filter.since {
            query = query.filter(events::at.ge(since));
        }
        if let Some(until) = filter.until {
            query = query.filter(events::at.lt(until));
        }
        if let Some(customer) = filter.customer {
            let keys = keys::table
                .filter(keys::customer_id.eq(customer))
                .select(keys::id.nullable());
            let orders = orders::table
                .filter(orders::customer_id.eq(customer))
                .select(orders::id.nullable());
            let kind = events::subject_type;
            let of_key = kind.eq(SubjectKind::Key).and(id.eq_any(keys));
            let of_order = kind.eq(SubjectKind::Order).and(id.eq_any(orders));
            let of_customer = kind.eq(SubjectKind::Customer).and(id.eq(customer.0));
            query = query.filter(of_customer.or(of_order).or(of_key));
        }
        let after = page.after.as_ref().map(|cursor| cursor.id);
        query = match (order, after) {
            (EventOrder::NewestFirst, Some(after)) => query.filter(events::id.lt(after)),
            (EventOrder::OldestFirst, Some(after)) => query.filter(events::id.gt(after)),
            (_, None) => query,
        };
        query = match order {
            EventOrder::NewestFirst => query.order(events::id.desc()),
            EventOrder::OldestFirst => query.order(events::id.asc()),
        };
        let rows = query.limit(page.fetch()).load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id)))
    }
}
