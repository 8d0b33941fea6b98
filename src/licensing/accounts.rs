//! Accounts and API tokens: who may call what.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use super::importers;
use crate::clock::Timestamp;
use crate::db::models::account::{Account, AccountId, ApiToken, ApiTokenId, NewApiToken, Role};
use crate::db::models::account_sequence;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Refusal, Result};
use crate::signing::api_token;

/// An account as staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AccountView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: AccountId,
    /// Its unique name.
    #[schema(example = "web-shop")]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The sequences that an importer may push keys into; null for other roles.
    pub sequences: Option<Vec<String>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// An API token as staff see it: never its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiTokenView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: ApiTokenId,
    /// The name of the account that it speaks for.
    pub account: String,
    /// What that account may do.
    pub role: Role,
    /// What it is used for.
    pub label: String,
    /// The last four characters of its secret.
    #[schema(example = "x8Qk")]
    pub hint: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends by itself; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// A token just made, with its secret: the only time that it is known.
#[derive(Clone)]
pub struct NewToken {
    /// The secret to send as `Authorization: Bearer …`.
    pub token: String,
    /// The token.
    pub view: ApiTokenView,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// What an account is made with.
#[derive(Clone, Debug)]
pub(crate) struct NewAccount {
    pub name: String,
    pub role: Role,
    /// The names of the sequences that an importer may push into; for other roles `None`.
    pub sequences: Option<Vec<String>>,
}

/// An edit: what is `None` stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountPatch {
    pub name: Option<String>,
    pub sequences: Option<Vec<String>>,
}

/// Makes an account.
///
/// # Errors
/// `already_exists`, or which member is wrong.
pub(crate) fn create_account(
    tx: &mut DbConnection,
    cx: &Context,
    new: &NewAccount,
) -> Result<AccountId> {
    let (name, role) = (new.name.as_str(), new.role);
    let sequences = importers::find_sequences(tx, role, new.sequences.as_deref())?;
    let account = Account::insert(tx, name, role, cx.now)?.ok_or_else(|| name_is_taken(name))?;
    account_sequence::replace(tx, account.id, &sequences.unwrap_or_default())?;
    let mut detail = json!({ "name": name, "role": role });
    if role == Role::Importer {
        detail["sequences"] = json!(importers::sequences_of(tx, account.id)?);
    }
    events::record(
        tx,
        cx,
        "account.created",
        Subject::Account(account.id),
        detail,
    )?;
    Ok(account.id)
}

/// Renames an account, or changes into which sequences an importer may push.
///
/// # Errors
/// `account_not_found`, `already_exists`, or which member is wrong.
pub(crate) fn update_account(
    tx: &mut DbConnection,
    cx: &Context,
    id: AccountId,
    patch: &AccountPatch,
) -> Result<()> {
    let mut account = Account::lock(tx, id)?.ok_or(Code::AccountNotFound)?;
    let sequences = importers::find_sequences(tx, account.role, patch.sequences.as_deref())?;
    let before = standing(tx, &account)?;
    if let Some(name) = &patch.name
        && *name != account.name
    {
        if Account::find_by_name(tx, name)?.is_some() {
            return Err(name_is_taken(name).into());
        }
        account.name.clone_from(name);
    }
    if let Some(sequences) = &sequences {
        account_sequence::replace(tx, id, sequences)?;
    }
    let after = standing(tx, &account)?;
    if before == after {
        return Ok(());
    }
    account.updated_at = cx.now;
    account.save(tx)?;
    let detail = json!({ "before": before, "after": after });
    events::record(tx, cx, "account.updated", Subject::Account(id), detail)
}

/// Makes a token for the account of this name.
///
/// # Errors
/// `account_not_found`, or that it would end before it begins.
pub(crate) fn create_token(
    tx: &mut DbConnection,
    cx: &Context,
    account: &str,
    label: &str,
    expires_at: Option<Timestamp>,
) -> Result<NewToken> {
    if expires_at.is_some_and(|at| at <= cx.now) {
        return Err(Refusal::wrong("expires_at", "in_the_past", "must be in the future").into());
    }
    let account = Account::find_by_name(tx, account)?.ok_or_else(|| account_not_found(account))?;
    let secret = api_token::generate();
    let token = ApiToken::insert(
        tx,
        &NewApiToken {
            account_id: account.id,
            label,
            secret_hash: &api_token::hash(&secret),
            hint: api_token::hint(&secret),
            created_at: cx.now,
            expires_at,
            revoked_at: None,
        },
    )?;
    let detail = json!({ "account": account.name, "label": label });
    events::record(
        tx,
        cx,
        "api_token.created",
        Subject::ApiToken(token.id),
        detail,
    )?;
    Ok(NewToken {
        token: secret,
        view: token_view(token, account),
    })
}

/// Makes a token for an account of this name and role, and the account if there is none.
///
/// # Errors
/// `already_exists` when the account has another role, or as [`create_token`].
pub(crate) fn create_token_with_account(
    tx: &mut DbConnection,
    cx: &Context,
    account: &str,
    role: Role,
    label: &str,
    expires_at: Option<Timestamp>,
) -> Result<NewToken> {
    match Account::find_by_name(tx, account)? {
        None => {
            let new = NewAccount {
                name: account.to_owned(),
                role,
                sequences: None,
            };
            create_account(tx, cx, &new)?;
        }
        Some(existing) if existing.role != role => {
            let detail = format!(
                "The account `{account}` has the role {}; choose another name.",
                existing.role
            );
            return Err(Refusal::because(Code::AlreadyExists, detail).into());
        }
        Some(_) => {}
    }
    create_token(tx, cx, account, label, expires_at)
}

/// Ends a token. Repeating it changes nothing.
///
/// # Errors
/// `api_token_not_found`.
pub(crate) fn revoke_token(tx: &mut DbConnection, cx: &Context, id: ApiTokenId) -> Result<()> {
    let token =
        ApiToken::revoke(tx, id, cx.now)?.ok_or_else(|| Refusal::new(Code::ApiTokenNotFound))?;
    if token.revoked_at == Some(cx.now) {
        events::record(
            tx,
            cx,
            "api_token.revoked",
            Subject::ApiToken(id),
            json!({ "label": token.label }),
        )?;
    }
    Ok(())
}

/// The account that a presented secret speaks for.
///
/// # Errors
/// `unauthenticated` for an unknown, revoked or ended token: all alike.
pub(crate) fn authenticate(
    conn: &mut DbConnection,
    secret: &str,
    now: Timestamp,
) -> Result<Account> {
    let account = ApiToken::account_of(conn, &api_token::hash(secret), now)?;
    account.ok_or_else(|| {
        Refusal::because(
            Code::Unauthenticated,
            "This API token is not known or no longer valid.",
        )
        .into()
    })
}

/// The accounts.
///
/// # Errors
/// The database's.
pub(crate) fn list_accounts(
    conn: &mut DbConnection,
    page: &PageRequest,
) -> Result<Paged<AccountView>> {
    let Paged { items, next } = Account::list(conn, page)?;
    Ok(Paged {
        items: views(conn, items)?,
        next,
    })
}

/// One account.
///
/// # Errors
/// `account_not_found`.
pub(crate) fn show_account(conn: &mut DbConnection, id: AccountId) -> Result<AccountView> {
    let account = Account::find(conn, id)?.ok_or(Code::AccountNotFound)?;
    let view = views(conn, vec![account])?.pop();
    view.ok_or_else(|| Code::AccountNotFound.into())
}

/// One token, without its secret, which nobody knows any more.
///
/// # Errors
/// `api_token_not_found`.
pub(crate) fn show_token(conn: &mut DbConnection, id: ApiTokenId) -> Result<ApiTokenView> {
    let (token, account) = ApiToken::find(conn, id)?.ok_or(Code::ApiTokenNotFound)?;
    Ok(token_view(token, account))
}

/// The tokens, of one account or of all.
///
/// # Errors
/// `account_not_found`.
pub(crate) fn list_tokens(
    conn: &mut DbConnection,
    account: Option<&str>,
    page: &PageRequest,
) -> Result<Paged<ApiTokenView>> {
    let account = match account {
        Some(name) => Some(
            Account::find_by_name(conn, name)?
                .ok_or_else(|| account_not_found(name))?
                .id,
        ),
        None => None,
    };
    let tokens = ApiToken::list(conn, account, page)?;
    Ok(tokens.map(|(token, account)| token_view(token, account)))
}

/// `account_not_found`, naming it.
pub(crate) fn account_not_found(name: &str) -> Refusal {
    Refusal::because(
        Code::AccountNotFound,
        format!("There is no account `{name}`."),
    )
}

fn name_is_taken(name: &str) -> Refusal {
    Refusal::because(
        Code::AlreadyExists,
        format!("There is an account `{name}` already."),
    )
}

/// What an edit's event keeps.
fn standing(conn: &mut DbConnection, account: &Account) -> Result<Value> {
    let mut standing = json!({ "name": account.name });
    if account.role == Role::Importer {
        standing["sequences"] = json!(importers::sequences_of(conn, account.id)?);
    }
    Ok(standing)
}

fn views(conn: &mut DbConnection, accounts: Vec<Account>) -> Result<Vec<AccountView>> {
    let ids: Vec<_> = accounts.iter().map(|account| account.id).collect();
    let mut sequences = account_sequence::names(conn, &ids)?;
    let view = |account: Account| AccountView {
        id: account.id,
        name: account.name,
        role: account.role,
        sequences: (account.role == Role::Importer)
            .then(|| sequences.remove(&account.id).unwrap_or_default()),
        created_at: account.created_at,
        updated_at: account.updated_at,
    };
    Ok(accounts.into_iter().map(view).collect())
}

fn token_view(token: ApiToken, account: Account) -> ApiTokenView {
    ApiTokenView {
        id: token.id,
        account: account.name,
        role: account.role,
        label: token.label,
        hint: token.hint,
        created_at: token.created_at,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
    }
}
