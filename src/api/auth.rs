//! Who may call what: a permission is a type, named in the handler's signature.

use crate::db::models::account::Role;

/// A kind of permission.
pub(crate) trait Permission: 'static {
    /// Whether the call needs no account.
    const PUBLIC: bool = false;

    /// Whether an account of this role may call.
    fn allows(role: Role) -> bool;
}

/// Anybody: the key or a token in the body is the credential.
#[derive(Debug)]
pub(crate) struct Anyone;

/// Staff that change things.
#[derive(Debug)]
pub(crate) struct Manage;

/// Staff that look at things.
#[derive(Debug)]
pub(crate) struct Look;

/// Shops and staff that report orders.
#[derive(Debug)]
pub(crate) struct Sell;

/// Shops, for their own, and staff that look at orders and at what can be sold.
#[derive(Debug)]
pub(crate) struct LookAtSales;

impl Permission for Anyone {
    const PUBLIC: bool = true;

    fn allows(_: Role) -> bool {
        true
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
