//! What the command line can ask for, and what comes of it: the same in a running server and without one.

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::db::models::account::{ApiTokenId, Role};
use crate::db::models::user::UserRole;
use crate::db::{Db, DbConnection};
use crate::error::{Error, Result};
use crate::licensing::context::Context;
use crate::licensing::email::Email;
use crate::licensing::text::Name;
use crate::licensing::users::{self, NewUser, UserPatch};
use crate::licensing::{accounts, signing_keys};
use crate::signing::key_file::KeyFolder;
use crate::signing::password::PasswordHash;
use crate::signing::set_up::NewKey;

/// What the command line can ask of the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Make an API token, and its account if there is none.
    CreateToken {
        /// The account's name.
        account: String,
        /// Its role.
        role: Role,
        /// What the token is for.
        label: String,
        /// When it ends by itself.
        #[serde(default)]
        expires_at: Option<Timestamp>,
    },
    /// End an API token.
    RevokeToken {
        /// Its id.
        id: ApiTokenId,
    },
    /// Add a person who signs in.
    AddUser {
        /// The e-mail address.
        email: Email,
        /// The name for people.
        name: Option<Name>,
        /// What the person may do.
        role: UserRole,
        /// The password's hash: the password itself stays in the process that read it.
        password: PasswordHash,
    },
    /// Change a person.
    ChangeUser {
        /// The person's e-mail address.
        email: Email,
        /// What to change.
        change: UserChange,
    },
    /// Say that the server is there.
    Ping,
    /// Move the signing keys along.
    RotateKeys,
}

/// What the command line can change about a person.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserChange {
    /// Another password.
    Password(PasswordHash),
    /// Keep them out.
    Disable,
    /// Let them in again.
    Enable,
    /// Remove them for good.
    Remove,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// A token, shown once.
    Token {
        /// Its secret.
        token: String,
    },
    /// The keys have moved along.
    Rotated {
        /// What to beware of.
        warning: Option<String>,
    },
    /// It is done.
    Done,
    /// The server is there.
    Alive {
        /// The version of its program.
        version: String,
    },
    /// It was refused, or failed.
    Failed {
        /// Why, and what to do.
        detail: String,
    },
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token { .. } => "Token",
            Self::Rotated { .. } => "Rotated",
            Self::Done => "Done",
            Self::Alive { .. } => "Alive",
            Self::Failed { .. } => "Failed",
        })
    }
}

impl Command {
    /// Does what the command says.
    ///
    /// # Errors
    /// The use case's.
    pub async fn run(self, db: &Db, keys: &KeyFolder, clock: &Clock) -> Result<Reply> {
        let cx = Context::command_line(clock.now());
        match self {
            Self::CreateToken {
                account,
                role,
                label,
                expires_at,
            } => {
                let make = move |tx: &mut DbConnection| {
                    accounts::create_token_with_account(tx, &cx, &account, role, &label, expires_at)
                };
                let token = db.write(make).await?.token;
                Ok(Reply::Token { token })
            }
            Self::RevokeToken { id } => {
                db.write(move |tx| accounts::revoke_token(tx, &cx, id))
                    .await?;
                Ok(Reply::Done)
            }
            Self::AddUser {
                email,
                name,
                role,
                password,
            } => {
                let new = NewUser {
                    email,
                    name,
                    role,
                    password: Some(password),
                    disabled: false,
                };
                db.write(move |tx| users::create_user(tx, &cx, &new))
                    .await?;
                Ok(Reply::Done)
            }
            Self::ChangeUser { email, change } => {
                db.write(move |tx| change.apply(tx, &cx, &email)).await?;
                Ok(Reply::Done)
            }
            Self::RotateKeys => rotate_keys(db, keys, cx).await,
            Self::Ping => Ok(Reply::Alive {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
        }
    }
}

async fn rotate_keys(db: &Db, keys: &KeyFolder, cx: Context) -> Result<Reply> {
    let new = NewKey::create(keys).map_err(|error| Error::internal(error.to_string()))?;
    let inserted = new.clone();
    let rotated = db
        .write(move |tx| signing_keys::rotate_keys(tx, &cx, &inserted))
        .await;
    if rotated.is_err() {
        new.discard(keys);
    }
    Ok(Reply::Rotated { warning: rotated? })
}

impl UserChange {
    fn apply(&self, tx: &mut DbConnection, cx: &Context, email: &Email) -> Result<()> {
        let id = users::find_user(tx, email)?;
        let patch = match self {
            Self::Remove => return users::delete_user(tx, cx, id),
            Self::Password(hash) => UserPatch {
                password: Some(hash.clone()),
                ..UserPatch::default()
            },
            Self::Disable | Self::Enable => UserPatch {
                disabled: Some(matches!(self, Self::Disable)),
                ..UserPatch::default()
            },
        };
        users::update_user(tx, cx, id, &patch).map(drop)
    }
}
