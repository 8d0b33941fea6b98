//! Accounts and their API tokens.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth, each_backend};
use crate::db::models::{Columns, column_by_id};
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{accounts, api_tokens};
use crate::db::types::{row_id, word_enum};

row_id! {
    /// The id of an account.
    AccountId
}
row_id! {
    /// The id of an API token (not its secret).
    ApiTokenId
}

word_enum! {
    /// What an account may do.
    pub enum Role {
        /// Everything.
        Admin = "admin",
        /// Sees everything, changes nothing.
        Viewer = "viewer",
        /// Reports orders and sees its own.
        Shop = "shop",
        /// Pushes keys into the sequences that are named for it.
        Importer = "importer",
        /// Resells, through the partner interface, and sees its own keys.
        Partner = "partner",
    }
}

/// Someone who calls the API: a shop's installation, a member of staff's script.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = accounts, check_for_backend(MultiBackend))]
pub(crate) struct Account {
    pub id: AccountId,
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An API token. Several may share an account, so that one can be replaced without a gap.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = api_tokens, check_for_backend(MultiBackend))]
pub(crate) struct ApiToken {
    pub id: ApiTokenId,
    pub label: String,
    pub hint: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = api_tokens, treat_none_as_default_value = false)]
pub(crate) struct NewApiToken<'a> {
    pub account_id: AccountId,
    pub label: &'a str,
    pub secret_hash: &'a [u8],
    pub hint: &'a str,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Account {
    pub(crate) fn find(conn: &mut DbConnection, id: AccountId) -> QueryResult<Option<Self>> {
        Self::query().find(id).first(conn).optional()
    }

    /// The account, locked until the transaction ends where the database locks rows.
    pub(crate) fn lock(conn: &mut DbConnection, id: AccountId) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            let row = accounts::table.find(id).select(accounts::id);
            row.for_no_key_update()
                .first::<AccountId>(inner)
                .optional()?;
        }
        Self::find(conn, id)
    }

    /// The names of the accounts.
    pub(crate) fn names(
        conn: &mut DbConnection,
        ids: &[AccountId],
    ) -> QueryResult<HashMap<AccountId, String>> {
        column_by_id!(conn, accounts.name, ids)
    }

    pub(crate) fn find_by_name(conn: &mut DbConnection, name: &str) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(accounts::name.eq(name))
            .first(conn)
            .optional()
    }

    /// Makes the account; `None` when the name is taken.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        name: &str,
        role: Role,
        now: Timestamp,
    ) -> QueryResult<Option<Self>> {
        let made = OnBoth(
            diesel::insert_into(accounts::table)
                .values((
                    accounts::name.eq(name),
                    accounts::role.eq(role),
                    accounts::created_at.eq(now),
                    accounts::updated_at.eq(now),
                ))
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        if made == 0 {
            Ok(None)
        } else {
            Self::find_by_name(conn, name)
        }
    }

    /// Writes what an edit may change.
    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(accounts::table.find(self.id))
            .set((
                accounts::name.eq(&self.name),
                accounts::updated_at.eq(self.updated_at),
            ))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn list(conn: &mut DbConnection, page: &PageRequest) -> QueryResult<Paged<Self>> {
        let rows = Self::query()
            .filter(accounts::id.gt(page.after_id()))
            .order(accounts::id)
            .limit(page.fetch())
            .load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }
}

impl ApiToken {
    /// The token with its account.
    pub(crate) fn find(
        conn: &mut DbConnection,
        id: ApiTokenId,
    ) -> QueryResult<Option<(Self, Account)>> {
        api_tokens::table
            .inner_join(accounts::table)
            .filter(api_tokens::id.eq(id))
            .select((Self::columns(), Account::columns()))
            .first(conn)
            .optional()
    }

    /// The labels of the tokens.
    pub(crate) fn labels(
        conn: &mut DbConnection,
        ids: &[ApiTokenId],
    ) -> QueryResult<HashMap<ApiTokenId, String>> {
        column_by_id!(conn, api_tokens.label, ids)
    }

    pub(crate) fn insert(conn: &mut DbConnection, token: &NewApiToken<'_>) -> QueryResult<Self> {
        diesel::insert_into(api_tokens::table)
            .values(token)
            .returning(Self::columns())
            .get_result(conn)
    }

    /// The account that a presented token speaks for, when the token is in force at `now`.
    pub(crate) fn account_of(
        conn: &mut DbConnection,
        secret_hash: &[u8],
        now: Timestamp,
    ) -> QueryResult<Option<Account>> {
        each_backend!(conn, |inner| accounts::table
            .inner_join(api_tokens::table)
            .filter(api_tokens::secret_hash.eq(secret_hash))
            .filter(api_tokens::revoked_at.is_null())
            .filter(
                api_tokens::expires_at
                    .is_null()
                    .or(api_tokens::expires_at.gt(now)),
            )
            .select(Account::columns())
            .first(inner)
            .optional())
    }

    /// Marks the token as revoked; `None` when there is no such token. A repeat keeps the first time.
    pub(crate) fn revoke(
        conn: &mut DbConnection,
        id: ApiTokenId,
        now: Timestamp,
    ) -> QueryResult<Option<Self>> {
        diesel::update(
            api_tokens::table
                .find(id)
                .filter(api_tokens::revoked_at.is_null()),
        )
        .set(api_tokens::revoked_at.eq(now))
        .execute(conn)?;
        Self::query().find(id).first(conn).optional()
    }

    /// The tokens, of one account or of all, each with its account.
    pub(crate) fn list(
        conn: &mut DbConnection,
        account: Option<AccountId>,
        page: &PageRequest,
    ) -> QueryResult<Paged<(Self, Account)>> {
        let mut query = api_tokens::table
            .inner_join(accounts::table)
            .filter(api_tokens::id.gt(page.after_id()))
            .select((Self::columns(), Account::columns()))
            .into_boxed();
        if let Some(account) = account {
            query = query.filter(api_tokens::account_id.eq(account));
        }
        let rows = query.order(api_tokens::id).limit(page.fetch()).load(conn)?;
        Ok(Paged::cut(rows, page, |row: &(Self, Account)| {
            Cursor::of_id(row.0.id.0)
        }))
    }
}
