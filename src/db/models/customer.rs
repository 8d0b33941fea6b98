//! Customers: the buyers that a shop names.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, each_backend};
use crate::db::models::Columns;
use crate::db::models::account::AccountId;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{customers, keys, orders};
use crate::db::types::row_id;
use crate::db::update::update;

row_id! {
    /// The id of a customer.
    CustomerId
}

/// A buyer, as one shop knows them.
#[derive(Clone, Debug, PartialEq, Eq, HasQuery, Identifiable)]
#[diesel(table_name = customers, check_for_backend(MultiBackend))]
pub(crate) struct Customer {
    pub id: CustomerId,
    pub account_id: AccountId,
    #[diesel(column_name = ref_)]
    pub reference: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub locale: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Set when the personal data was erased: the row stays, as orders and keys refer to it.
    pub erased_at: Option<Timestamp>,
}

/// A customer about to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewCustomer<'a> {
    pub account: AccountId,
    pub reference: Option<&'a str>,
    pub email: Option<&'a str>,
    pub name: Option<&'a str>,
    pub locale: Option<&'a str>,
}

/// Which customers a list shows; every condition that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct CustomerFilter {
    /// Compared without regard to case.
    pub email: Option<String>,
    pub reference: Option<String>,
    pub account: Option<AccountId>,
}

impl Customer {
    pub(crate) fn find(conn: &mut DbConnection, id: CustomerId) -> QueryResult<Option<Self>> {
        each_backend!(conn, |inner| Self::query().find(id).first(inner).optional())
    }

    /// The customer, locked until the transaction ends where the database locks rows. (Not FOR UPDATE,
    /// which every order and key that refers to it would wait for.)
    pub(crate) fn lock(conn: &mut DbConnection, id: CustomerId) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            let row = customers::table.find(id).select(customers::id);
            row.for_no_key_update()
                .first::<CustomerId>(inner)
                .optional()?;
        }
        Self::find(conn, id)
    }

    pub(crate) fn find_many(conn: &mut DbConnection, ids: &[CustomerId]) -> QueryResult<Vec<Self>> {
        match ids {
            [] => Ok(Vec::new()),
            [one] => Ok(Self::find(conn, *one)?.into_iter().collect()),
            many => Self::query().filter(customers::id.eq_any(many)).load(conn),
        }
    }

    /// A shop's customer by its reference or, for customers without one, by e-mail regardless of case.
    pub(crate) fn find_in_shop(
        conn: &mut DbConnection,
        account: AccountId,
        reference: Option<&str>,
        email: Option<&str>,
    ) -> QueryResult<Option<Self>> {
        each_backend!(conn, |inner| {
            let of_shop = Self::query().filter(customers::account_id.eq(account));
            match (reference, email) {
                (Some(reference), _) => of_shop
                    .filter(customers::ref_.eq(reference))
                    .first(inner)
                    .optional(),
                (None, Some(email)) => of_shop
                    .filter(
                        customers::ref_
                            .is_null()
                            .and(customers::email_folded.eq(fold(email))),
                    )
                    .first(inner)
                    .optional(),
                (None, None) => Ok(None),
            }
        })
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

    /// Makes the customer; `None` when there is one of this name.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        new: &NewCustomer<'_>,
        now: Timestamp,
    ) -> QueryResult<Option<Self>> {
        each_backend!(conn, |inner| diesel::insert_into(customers::table)
            .values((
                customers::account_id.eq(new.account),
                customers::ref_.eq(new.reference),
                customers::email.eq(new.email),
                customers::email_folded.eq(new.email.map(fold)),
                customers::name.eq(new.name),
                customers::locale.eq(new.locale),
                customers::created_at.eq(now),
                customers::updated_at.eq(now),
            ))
            .on_conflict_do_nothing()
            .returning(Self::columns())
            .get_result(inner)
            .optional())
    }

    pub(crate) fn save(&self, conn: &mut DbConnection, now: Timestamp) -> QueryResult<()> {
        let changes = (
            customers::email.eq(&self.email),
            customers::email_folded.eq(self.email.as_deref().map(fold)),
            customers::name.eq(&self.name),
            customers::locale.eq(&self.locale),
            customers::updated_at.eq(now),
        );
        let saving = update(customers::table, changes, customers::id.eq(self.id));
        each_backend!(conn, |inner| saving.execute(inner)).map(drop)
    }

    /// Blanks what the row says of a person.
    pub(crate) fn erase(&self, conn: &mut DbConnection, now: Timestamp) -> QueryResult<()> {
        diesel::update(customers::table.find(self.id))
            .set((
                customers::ref_.eq(None::<String>),
                customers::email.eq(None::<String>),
                customers::email_folded.eq(None::<String>),
                customers::name.eq(None::<String>),
                customers::locale.eq(None::<String>),
                customers::updated_at.eq(now),
                customers::erased_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }

    /// How many orders name the customer, and how many keys are theirs.
    pub(crate) fn counts(&self, conn: &mut DbConnection) -> QueryResult<(i64, i64)> {
        let orders = orders::table.filter(orders::customer_id.eq(self.id));
        let keys = keys::table.filter(keys::customer_id.eq(self.id));
        Ok((
            orders.count().get_result(conn)?,
            keys.count().get_result(conn)?,
        ))
    }

    pub(crate) fn list(
        conn: &mut DbConnection,
        filter: &CustomerFilter,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let mut query = Self::query()
            .filter(customers::id.gt(page.after_id()))
            .into_boxed();
        if let Some(email) = &filter.email {
            query = query.filter(customers::email_folded.eq(fold(email)));
        }
        if let Some(reference) = &filter.reference {
            query = query.filter(customers::ref_.eq(reference.clone()));
        }
        if let Some(account) = filter.account {
            query = query.filter(customers::account_id.eq(account));
        }
        let rows = query.order(customers::id).limit(page.fetch()).load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }
}

/// How e-mail addresses are compared: without regard to case.
pub(crate) fn fold(email: &str) -> String {
    email.to_lowercase()
}
