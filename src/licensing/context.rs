//! Who asks, from where, and when.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::db::models::account::{AccountId, Role};

/// Who is behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Shipped software; its key or token is its credential.
    Public,
    /// The holder of an API token.
    Account {
        /// The account's id.
        id: AccountId,
        /// What it may do.
        role: Role,
    },
    /// Someone at the command line of the server itself.
    CommandLine,
    /// The server, going on with what it owes.
    System,
}

impl Actor {
    /// The word for events.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Account { .. } => "account",
            Self::CommandLine => "command_line",
            Self::System => "system",
        }
    }

    /// The account, where there is one.
    pub(crate) fn account(&self) -> Option<AccountId> {
        match self {
            Self::Account { id, .. } => Some(*id),
            Self::Public | Self::CommandLine | Self::System => None,
        }
    }
}

/// The circumstances of a use case.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks.
    pub actor: Actor,
    /// The client's network address.
    pub address: Option<IpAddr>,
    /// The request's id, which also stands in the log and in the answer.
    pub request_id: Option<String>,
    /// The time, the same for the whole use case.
    pub now: Timestamp,
}

impl Context {
    /// What the server does by itself.
    pub(crate) fn system(now: Timestamp) -> Self {
        Self {
            actor: Actor::System,
            address: None,
            request_id: None,
            now,
        }
    }

    /// What is asked at the command line.
    pub(crate) fn command_line(now: Timestamp) -> Self {
        Self {
            actor: Actor::CommandLine,
            address: None,
            request_id: None,
            now,
        }
    }
}
