//! Customers: the buyers that a shop names.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::models::account::AccountId;
use crate::db::schema::customers;
use crate::db::types::row_id;

row_id! {
    /// The id of a customer.
    CustomerId
}

/// A buyer, as one shop knows them.
#[derive(Clone, Debug, PartialEq, Eq, HasQuery, Identifiable)]
#[diesel(table_name = customers, check_for_backend(MultiBackend))]
pub(crate) struct Customer {
    pub id: CustomerId,
    #[diesel(column_name = ref_)]
    pub reference: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub locale: Option<String>,
}

impl Customer {
    pub(crate) fn find_many(conn: &mut DbConnection, ids: &[CustomerId]) -> QueryResult<Vec<Self>> {
        Self::query().filter(customers::id.eq_any(ids)).load(conn)
    }

    /// A shop's customer by its reference or, for customers without one, by e-mail regardless of case.
    pub(crate) fn find_in_shop(
        conn: &mut DbConnection,
        account: AccountId,
        reference: Option<&str>,
        email: Option<&str>,
    ) -> QueryResult<Option<Self>> {
        let query = Self::query()
            .filter(customers::account_id.eq(account))
            .into_boxed();
        match (reference, email) {
            (Some(reference), _) => query
                .filter(customers::ref_.eq(reference))
                .first(conn)
                .optional(),
            (None, Some(email)) => query
                .filter(
                    customers::ref_
                        .is_null()
                        .and(customers::email_folded.eq(fold(email))),
                )
                .first(conn)
                .optional(),
            (None, None) => Ok(None),
        }
    }

    /// Customers of any shop with this e-mail or reference.
    pub(crate) fn matching(conn: &mut DbConnection, text: &str) -> QueryResult<Vec<CustomerId>> {
        customers::table
            .filter(
                customers::email_folded
                    .eq(fold(text))
                    .or(customers::ref_.eq(text)),
            )
            .select(customers::id)
            .load(conn)
    }

    /// Up to two customers with this e-mail or reference, of one shop or of any.
    pub(crate) fn named(
        conn: &mut DbConnection,
        account: Option<AccountId>,
        text: &str,
    ) -> QueryResult<Vec<Self>> {
        let mut query = Self::query()
            .filter(
                customers::email_folded
                    .eq(fold(text))
                    .or(customers::ref_.eq(text)),
            )
            .into_boxed();
        if let Some(account) = account {
            query = query.filter(customers::account_id.eq(account));
        }
        query.order(customers::id).limit(2).load(conn)
    }

    /// Makes the customer unless a simultaneous report did.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        account: AccountId,
        reference: Option<&str>,
        email: Option<&str>,
        now: Timestamp,
    ) -> QueryResult<()> {
        OnBoth(
            diesel::insert_into(customers::table)
                .values((
                    customers::account_id.eq(account),
                    customers::ref_.eq(reference),
                    customers::email.eq(email),
                    customers::email_folded.eq(email.map(fold)),
                    customers::created_at.eq(now),
                    customers::updated_at.eq(now),
                ))
                .on_conflict_do_nothing(),
        )
        .execute(conn)
        .map(drop)
    }

    pub(crate) fn save(&self, conn: &mut DbConnection, now: Timestamp) -> QueryResult<()> {
        diesel::update(customers::table.find(self.id))
            .set((
                customers::email.eq(&self.email),
                customers::email_folded.eq(self.email.as_deref().map(fold)),
                customers::name.eq(&self.name),
                customers::locale.eq(&self.locale),
                customers::updated_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }
}

/// How e-mail addresses are compared: without regard to case.
pub(crate) fn fold(email: &str) -> String {
    email.to_lowercase()
}
