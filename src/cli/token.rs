//! `countersign token`

use anyhow::bail;
use clap::{Args, Subcommand};

use super::table::{ListFormat, or_dash, print_list};
use super::{command, name, one_of, print_line};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::db::models::account::{ApiTokenId, Role};
use crate::error::{Code, Error};
use crate::licensing::accounts::{self, ApiTokenView};
use crate::licensing::text::Name;

/// The longest that a token may be said to last, in days.
const MAX_DAYS: i64 = 36_500;

/// API tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make an API token and print it, alone, on standard output
    Create(Create),
    /// List the API tokens, without their secrets
    List {
        /// Those of this account alone
        #[arg(long, value_name = "NAME", value_parser = name)]
        account: Option<Name>,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// End an API token: it is refused from now on
    Revoke {
        /// Its id, as `token list` shows it
        #[arg(value_parser = token_id)]
        id: ApiTokenId,
    },
}

/// A token to make.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// What it may do: admin (everything), viewer (sees everything), shop (its own orders), importer (pushes keys
    /// into the sequences named for it), partner (resells)
    #[arg(long, value_parser = one_of::<Role>(Role::ALL.iter().map(|role| role.as_str())))]
    role: Role,
    /// The name of the account that it speaks for; made if there is none
    #[arg(long, value_name = "NAME", value_parser = name)]
    account: Name,
    /// What it is used for
    #[arg(long, value_name = "TEXT", value_parser = name, default_value = "made at the command line")]
    label: Name,
    /// End it by itself after so many days; left out, it lasts until it is revoked
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS))]
    expires_in_days: Option<i64>,
    /// End it by itself at this time, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse, conflicts_with = "expires_in_days")]
    expires_at: Option<Timestamp>,
}

impl Token {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(config),
            Self::List { account, format } => list(config, account.as_ref(), format),
            Self::Revoke { id } => {
                command::run_quietly(config, Command::RevokeToken { id })?;
                print_line(format_args!("the API token {id} is revoked"));
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let in_days = |days| Clock::system().now().plus_days(days);
        let create = Command::CreateToken {
            account: self.account.into_string(),
            role: self.role,
            label: self.label.into_string(),
            expires_at: self.expires_at.or(self.expires_in_days.map(in_days)),
        };
        match command::run(config, create)? {
            Reply::Token { token } => print_line(token),
            other => bail!("the server answered {other:?}, which is no token"),
        }
        Ok(())
    }
}

fn list(config: &Config, account: Option<&Name>, format: ListFormat) -> anyhow::Result<()> {
    let account = account.map(Name::as_str);
    let tokens: Vec<ApiTokenView> = command::read(config, |conn| {
        command::every(|page| accounts::list_tokens(conn, account, page))
            .map_err(say_which_there_are)
    })?;
    let headings = [
        "id", "account", "role", "label", "hint", "created", "expires", "revoked",
    ];
    print_list(&tokens, format, headings, |token| {
        [
            token.id.to_string(),
            token.account.clone(),
            token.role.to_string(),
            token.label.clone(),
            format!("…{}", token.hint),
            token.created_at.to_string(),
            or_dash(token.expires_at),
            or_dash(token.revoked_at),
        ]
    })
}

fn say_which_there_are(mut error: Error) -> Error {
    if let Error::Refused(refusal) = &mut error
        && refusal.code == Code::AccountNotFound
    {
        let hint = " `countersign token list` shows the accounts that have API tokens.";
        refusal.detail.push_str(hint);
    }
    error
}

fn token_id(text: &str) -> Result<ApiTokenId, &'static str> {
    let id = text.parse().map(ApiTokenId);
    id.map_err(|_| "an id is a whole number; `countersign token list` shows the ids")
}
