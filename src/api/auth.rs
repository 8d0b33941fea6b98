//! Who may call what: a permission is a type, named in the handler's signature.

use crate::config::Config;
use crate::db::models::account::Role;

/// A kind of permission.
pub(crate) trait Permission: 'static {
    /// Whether the call needs no account.
    const PUBLIC: bool = false;

    /// Whether the calls of one address are limited.
    const LIMITED: bool = false;

    /// Whether the call needs no account here.
    fn is_public(_: &Config) -> bool {
        Self::PUBLIC
    }

    /// Whether an account of this role may call.
    fn allows(role: Role) -> bool;
}

/// Anybody.
#[derive(Debug)]
pub(crate) struct Anyone;

/// Shipped software: the key or a token in the body is the credential.
#[derive(Debug)]
pub(crate) struct Software;

/// Staff that change things.
#[derive(Debug)]
pub(crate) struct Manage;

/// Staff that look at things.
#[derive(Debug)]
pub(crate) struct Look;

/// Whoever watches over the server: staff that look at things, or anybody where the configuration says so.
#[derive(Debug)]
pub(crate) struct Watch;

/// Shops and staff that report orders.
#[derive(Debug)]
pub(crate) struct Sell;

/// Shops, for their own, and staff that look at orders and at what can be sold.
#[derive(Debug)]
pub(crate) struct LookAtSales;

/// Importers, into the sequences that are named for them
/// ([`check_may_push`](crate::licensing::importers::check_may_push) decides which), and staff that
/// change things.
#[derive(Debug)]
pub(crate) struct Push;

/// Importers, at their own imports, and staff.
#[derive(Debug)]
pub(crate) struct LookAtImports;

impl Permission for Anyone {
    const PUBLIC: bool = true;

    fn allows(_: Role) -> bool {
        true
    }
}

impl Permission for Software {
    const PUBLIC: bool = true;
    const LIMITED: bool = true;

    fn allows(_: Role) -> bool {
        true
    }
}

impl Permission for Watch {
    fn is_public(config: &Config) -> bool {
        config.metrics.public
    }

    fn allows(role: Role) -> bool {
        Look::allows(role)
    }
}

impl Permission for Manage {
    fn allows(role: Role) -> bool {
        role == Role::Admin
    }
}

impl Permission for Look {
    fn allows(role: Role) -> bool {
        matches!(role, Role::Admin | Role::Viewer)
    }
}

impl Permission for Sell {
    fn allows(role: Role) -> bool {
        matches!(role, Role::Admin | Role::Shop)
    }
}

impl Permission for LookAtSales {
    fn allows(role: Role) -> bool {
        matches!(role, Role::Admin | Role::Viewer | Role::Shop)
    }
}

impl Permission for Push {
    fn allows(role: Role) -> bool {
        matches!(role, Role::Admin | Role::Importer)
    }
}

impl Permission for LookAtImports {
    fn allows(role: Role) -> bool {
        matches!(role, Role::Admin | Role::Viewer | Role::Importer)
    }
}
