//! People who sign in to the console.

use diesel::prelude::*;

use super::customer::fold;
use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::users;
use crate::db::types::{row_id, word_enum};

row_id! {
    /// The id of a user.
    UserId
}

word_enum! {
    /// What a person may do in the console.
    pub enum UserRole {
        /// Everything.
        Admin = "admin",
        /// Sees everything, changes nothing.
        Viewer = "viewer",
    }
}

/// A person who signs in.
#[derive(Clone, Debug, PartialEq, Eq, HasQuery, Identifiable)]
#[diesel(table_name = users, check_for_backend(MultiBackend))]
pub(crate) struct User {
    pub id: UserId,
    pub email: String,
    pub name: Option<String>,
    pub role: UserRole,
    pub password_hash: Option<String>,
    pub disabled_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl User {
    pub(crate) fn find(conn: &mut DbConnection, id: UserId) -> QueryResult<Option<Self>> {
        Self::query().find(id).first(conn).optional()
    }

    /// The person with this address, in whatever case it is written.
    pub(crate) fn find_by_email(conn: &mut DbConnection, email: &str) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(users::email_folded.eq(fold(email)))
            .first(conn)
            .optional()
    }

    /// The person, held until the transaction ends where the database locks rows.
    pub(crate) fn lock(conn: &mut DbConnection, id: UserId) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            users::table
                .find(id)
                .select(users::id)
                .for_update()
                .first::<UserId>(inner)
                .optional()?;
        }
        Self::find(conn, id)
    }

    /// The admins who are not disabled, held until the transaction ends where the database locks rows, by
    /// id, so that of two who take the last two away one waits and then sees what the other did.
    pub(crate) fn lock_enabled_admins(conn: &mut DbConnection) -> QueryResult<Vec<UserId>> {
        let admins = users::table
            .filter(users::role.eq(UserRole::Admin))
            .filter(users::disabled_at.is_null())
            .order(users::id)
            .select(users::id);
        match conn {
            DbConnection::Sqlite(inner) => admins.load(inner),
            DbConnection::Postgres(inner) => admins.for_update().load(inner),
        }
    }

    /// Adds the person; `None` when somebody has this address.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        email: &str,
        role: UserRole,
        now: Timestamp,
    ) -> QueryResult<Option<Self>> {
        let made = OnBoth(
            diesel::insert_into(users::table)
                .values((
                    users::email.eq(email),
                    users::email_folded.eq(fold(email)),
                    users::role.eq(role),
                    users::created_at.eq(now),
                    users::updated_at.eq(now),
                ))
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        if made == 0 {
            Ok(None)
        } else {
            Self::find_by_email(conn, email)
        }
    }

    /// Writes what an edit may change; the unique constraint has the last word on the address.
    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(users::table.find(self.id))
            .set((
                users::email.eq(&self.email),
                users::email_folded.eq(fold(&self.email)),
                users::name.eq(&self.name),
                users::role.eq(self.role),
                users::password_hash.eq(&self.password_hash),
                users::disabled_at.eq(self.disabled_at),
                users::updated_at.eq(self.updated_at),
            ))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn delete(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::delete(users::table.find(self.id))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn list(conn: &mut DbConnection, page: &PageRequest) -> QueryResult<Paged<Self>> {
        let rows = Self::query()
            .filter(users::id.gt(page.after_id()))
            .order(users::id)
            .limit(page.fetch())
            .load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }
}
