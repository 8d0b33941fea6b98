//! People who sign in to the console. Events about them name their ids and never their addresses.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::context::Context;
use super::email::Email;
use super::events::{self, Subject};
use super::text::Name;
use crate::clock::Timestamp;
use crate::db::models::user::{User, UserId, UserRole};
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Error, Refusal, Result};
use crate::signing::password::{Password, PasswordHash};

/// A person as staff see them: never their password.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserView {
    /// The id.
    #[schema(value_type = i64)]
    pub id: UserId,
    /// The e-mail address, by which the person signs in.
    #[schema(example = "ada@example.com")]
    pub email: String,
    /// The name for people.
    pub name: Option<String>,
    /// What the person may do.
    pub role: UserRole,
    /// Whether there is a password; without one nobody signs in.
    pub has_password: bool,
    /// Whether the person is kept out.
    pub disabled: bool,
    /// Since when; null when not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub disabled_at: Option<Timestamp>,
    /// When the person was added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When something of this last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A person to add.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The e-mail address; nobody else's, in whatever case.
    pub email: Email,
    /// The name for people.
    pub name: Option<Name>,
    /// What the person may do.
    pub role: UserRole,
    /// The password's hash.
    pub password: Option<PasswordHash>,
    /// Whether the person is kept out for now.
    pub disabled: bool,
}

/// What to change about a person; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// Another address.
    pub email: Option<Email>,
    /// Another name, or none.
    pub name: Option<Option<Name>>,
    /// Another role.
    pub role: Option<UserRole>,
    /// Another password's hash.
    pub password: Option<PasswordHash>,
    /// Keep the person out, or let them in again.
    pub disabled: Option<bool>,
}

/// Hashes a password, before and outside of the transaction that stores it.
///
/// # Errors
/// When it cannot be hashed.
pub(crate) async fn hash_password(password: Password) -> Result<PasswordHash> {
    match tokio::task::spawn_blocking(move || password.hash()).await {
        Ok(hash) => hash.map_err(Error::internal),
        Err(error) => Err(Error::internal(format!("hashing ended early: {error}"))),
    }
}

/// Adds a person.
///
/// # Errors
/// `already_exists`.
pub(crate) fn create_user(tx: &mut DbConnection, cx: &Context, new: &NewUser) -> Result<UserView> {
    let mut user =
        User::insert(tx, new.email.as_str(), new.role, cx.now)?.ok_or_else(address_is_taken)?;
    user.name = new.name.clone().map(Name::into_string);
    user.password_hash = new.password.as_ref().map(|hash| hash.as_str().to_owned());
    user.disabled_at = new.disabled.then_some(cx.now);
    user.save(tx)?;
    let detail = json!({ "role": user.role, "disabled": new.disabled });
    events::record(tx, cx, "user.created", Subject::User(user.id), detail)?;
    Ok(user.into())
}

/// Changes a person. What asks for nothing new changes nothing.
///
/// # Errors
/// `user_not_found`, `already_exists`, `last_admin`.
pub(crate) fn update_user(
    tx: &mut DbConnection,
    cx: &Context,
    id: UserId,
    patch: &UserPatch,
) -> Result<UserView> {
    let (before, admins) = lock(tx, id)?;
    let mut user = before.clone();
    if let Some(email) = &patch.email
        && email.as_str() != user.email
    {
        let other = User::find_by_email(tx, email.as_str())?;
        if other.is_some_and(|other| other.id != id) {
            return Err(address_is_taken().into());
        }
        email.as_str().clone_into(&mut user.email);
    }
    if let Some(name) = &patch.name {
        user.name = name.clone().map(Name::into_string);
    }
    if let Some(role) = patch.role {
        user.role = role;
    }
    if let Some(hash) = &patch.password {
        user.password_hash = Some(hash.as_str().to_owned());
    }
    match patch.disabled {
        Some(true) => user.disabled_at = user.disabled_at.or(Some(cx.now)),
        Some(false) => user.disabled_at = None,
        None => {}
    }
    if user == before {
        return Ok(user.into());
    }
    if user.role != UserRole::Admin || user.disabled_at.is_some() {
        keep_an_admin(&admins, id)?;
    }
    user.updated_at = cx.now;
    user.save(tx)?;
    events::record(
        tx,
        cx,
        "user.updated",
        Subject::User(id),
        difference(&before, &user),
    )?;
    Ok(user.into())
}

/// Removes a person for good; the id is not used again.
///
/// # Errors
/// `user_not_found`, `last_admin`.
pub(crate) fn delete_user(tx: &mut DbConnection, cx: &Context, id: UserId) -> Result<()> {
    let (user, admins) = lock(tx, id)?;
    keep_an_admin(&admins, id)?;
    user.delete(tx)?;
    let detail = json!({ "role": user.role });
    events::record(tx, cx, "user.deleted", Subject::User(id), detail)
}

/// One person.
///
/// # Errors
/// `user_not_found`.
pub(crate) fn show_user(conn: &mut DbConnection, id: UserId) -> Result<UserView> {
    Ok(User::find(conn, id)?
        .ok_or(Code::UserNotFound)
        .map(UserView::from)?)
}

/// Who has this address, in whatever case it is written.
///
/// # Errors
/// `user_not_found`.
pub(crate) fn find_user(conn: &mut DbConnection, email: &Email) -> Result<UserId> {
    let user = User::find_by_email(conn, email.as_str())?.ok_or(Code::UserNotFound)?;
    Ok(user.id)
}

/// The people.
///
/// # Errors
/// The database's.
pub(crate) fn list_users(conn: &mut DbConnection, page: &PageRequest) -> Result<Paged<UserView>> {
    Ok(User::list(conn, page)?.map(UserView::from))
}

/// The person and the enabled admins, all held until the transaction ends. The admins first, always: they
/// are what two changes at once may disagree about.
fn lock(tx: &mut DbConnection, id: UserId) -> Result<(User, Vec<UserId>)> {
    let admins = User::lock_enabled_admins(tx)?;
    let user = User::lock(tx, id)?.ok_or(Code::UserNotFound)?;
    Ok((user, admins))
}

/// Somebody must be left who can let others in.
fn keep_an_admin(admins: &[UserId], leaving: UserId) -> Result<()> {
    if admins == [leaving] {
        let detail = "This is the last enabled admin; make another one first.";
        return Err(Refusal::because(Code::LastAdmin, detail).into());
    }
    Ok(())
}

/// What an event may say about a change: values of what is no personal data, names of what is.
fn difference(before: &User, after: &User) -> Value {
    let facts = |user: &User| json!({ "role": user.role, "disabled": user.disabled_at.is_some() });
    let changed: Vec<&str> = [
        ("email", before.email != after.email),
        ("name", before.name != after.name),
        ("password", before.password_hash != after.password_hash),
    ]
    .into_iter()
    .filter_map(|(member, differs)| differs.then_some(member))
    .collect();
    json!({ "before": facts(before), "after": facts(after), "changed": changed })
}

fn address_is_taken() -> Refusal {
    Refusal::because(
        Code::AlreadyExists,
        "There is a user with this e-mail address already.",
    )
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            has_password: user.password_hash.is_some(),
            disabled: user.disabled_at.is_some(),
            disabled_at: user.disabled_at,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}
