//! Accounts and API tokens: who may call what.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use crate::clock::Timestamp;
use crate::db::models::account::{Account, AccountId, ApiToken, ApiTokenId, NewApiToken, Role};
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, FieldError, Refusal, Result};
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

/// A token just made, with its secret: the only time that it is shown.
#[derive(Clone, Serialize, ToSchema)]
pub struct NewTokenView {
    /// The secret to send as `Authorization: Bearer …`.
    #[schema(example = "cst_…")]
    pub token: String,
    /// The token.
    #[serde(flatten)]
    pub view: ApiTokenView,
}

impl std::fmt::Debug for NewTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTokenView")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// Makes an account.
///
/// # Errors
/// `already_exists`.
pub(crate) fn create_account(
    tx: &mut DbConnection,
    cx: &Context,
    name: &str,
    role: Role,
) -> Result<AccountView> {
    let account = Account::insert(tx, name, role, cx.now)?.ok_or_else(|| {
        Refusal::because(
            Code::AlreadyExists,
            format!("There is an account `{name}` already."),
        )
    })?;
    events::record(
        tx,
        cx,
        "account.created",
        Subject::Account(account.id),
        json!({ "name": name, "role": role }),
    )?;
    Ok(account.into())
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
) -> Result<NewTokenView> {
    if expires_at.is_some_and(|at| at <= cx.now) {
        let error = FieldError::new("expires_at", "in_the_past", "must be in the future");
        return Err(Refusal::invalid(vec![error]).into());
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
    Ok(NewTokenView {
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
) -> Result<NewTokenView> {
    match Account::find_by_name(tx, account)? {
        None => {
            create_account(tx, cx, account, role)?;
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
    Ok(Account::list(conn, page)?.map(AccountView::from))
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

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            name: account.name,
            role: account.role,
            created_at: account.created_at,
            updated_at: account.updated_at,
        }
    }
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
