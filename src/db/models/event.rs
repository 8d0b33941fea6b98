//! Events: who did what, when. Written in the transaction of the change itself.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::DbConnection;
use crate::db::models::account::AccountId;
use crate::db::schema::events;
use crate::db::types::JsonObject;

/// An event about to be written. `detail` holds before and after, never a key text or a token.
#[derive(Debug, Insertable)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
pub(crate) struct NewEvent<'a> {
    pub at: Timestamp,
    pub action: &'a str,
    pub actor: &'a str,
    pub account_id: Option<AccountId>,
    pub address: Option<&'a str>,
    pub request_id: Option<&'a str>,
    pub subject_type: &'a str,
    pub subject_id: Option<i64>,
    pub detail: Option<JsonObject>,
}

impl NewEvent<'_> {
    pub(crate) fn insert(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::insert_into(events::table)
            .values(self)
            .execute(conn)
            .map(drop)
    }
}
