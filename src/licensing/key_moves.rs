//! Where a key can go from where it is: the one place for the rules of a key's standing.
//!
//! `active` and `inactive` go to and fro; `sold` comes from being assigned and goes on to `delivered`;
//! everything can be `disabled`, and goes back from there to where it was. A key that was ever assigned
//! is never `active` or `inactive` again, whatever happens to it or its order [IPS-10]. Revoked,
//! suspended and terminated are facts beside that, and only of keys that were assigned [UC-40].
//! Terminated is final.
//!
//! Everything here changes a key in memory; whoever calls it holds the key and saves it.

use crate::clock::Timestamp;
use crate::db::models::key::{Key, KeyStatus};
use crate::db::models::product::Product;
use crate::error::{Code, Refusal};

/// What staff can do to a key that needs no more than to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyMove {
    Revoke,
    Unrevoke,
    Disable,
    Enable,
    Suspend,
    Resume,
    Deliver,
    Terminate,
    /// To one of the five statuses.
    Status(KeyStatus),
}

/// Whether a move changed anything: one that is repeated does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Changed,
    Unchanged,
}

impl KeyMove {
    /// Where it leads to, as `to` of a refusal says it.
    fn to(self) -> &'static str {
        match self {
            Self::Revoke => "revoked",
            Self::Unrevoke => "unrevoked",
            Self::Disable => "disabled",
            Self::Enable => "enabled",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Deliver => "delivered",
            Self::Terminate => "terminated",
            Self::Status(status) => status.as_str(),
        }
    }

    /// The action of its event.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Revoke => "key.revoked",
            Self::Unrevoke => "key.unrevoked",
            Self::Disable => "key.disabled",
            Self::Enable => "key.enabled",
            Self::Suspend => "key.suspended",
            Self::Resume => "key.resumed",
            Self::Deliver => "key.delivered",
            Self::Terminate => "key.terminated",
            Self::Status(_) => "key.updated",
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// `invalid_transition`.
    pub(crate) fn make(self, key: &mut Key, now: Timestamp) -> Result<Moved, Refusal> {
        if key.terminated_at.is_some() && self == Self::Terminate {
            return Ok(Moved::Unchanged);
        }
        check_not_terminated(key, self.to())?;
        match self {
            Self::Revoke | Self::Unrevoke | Self::Suspend | Self::Resume | Self::Terminate => {
                check_assigned(key, self.to())?;
                Ok(self.note(key, now))
            }
            Self::Disable => Ok(disable(key)),
            Self::Enable => Ok(enable(key)),
            Self::Deliver => deliver(key, now),
            Self::Status(status) => set_status(key, status, now),
        }
    }

    /// Sets or takes back the fact.
    fn note(self, key: &mut Key, now: Timestamp) -> Moved {
        let (fact, to) = match self {
            Self::Revoke => (&mut key.revoked_at, Some(now)),
            Self::Unrevoke => (&mut key.revoked_at, None),
            Self::Suspend => (&mut key.suspended_at, Some(now)),
            Self::Resume => (&mut key.suspended_at, None),
            Self::Terminate => (&mut key.terminated_at, Some(now)),
            Self::Disable | Self::Enable | Self::Deliver | Self::Status(_) => {
                return Moved::Unchanged;
            }
        };
        if fact.is_some() == to.is_some() {
            return Moved::Unchanged;
        }
        *fact = to;
        Moved::Changed
    }
}

/// Gives a key that was never assigned to somebody, by hand: `wanted` is the status that was asked for,
/// if one was. What is disabled stays so, and is worth `sold` or `delivered` once it is enabled. As at a
/// purchase, validity in days begins now and overwrites the date [SHOP-42].
pub(crate) fn assign(key: &mut Key, product: &Product, wanted: Option<KeyStatus>, now: Timestamp) {
    let value = match wanted {
        Some(status @ (KeyStatus::Sold | KeyStatus::Delivered)) => status,
        _ if product.auto_deliver => KeyStatus::Delivered,
        _ => KeyStatus::Sold,
    };
    if key.status == KeyStatus::Disabled {
        key.status_before = Some(value);
    } else {
        key.status = value;
    }
    key.product_id = Some(product.id);
    key.number_prefix.clone_from(&product.number_prefix);
    key.assigned_at = Some(now);
    key.delivered_at = (value == KeyStatus::Delivered).then_some(now);
    key.expires_at = key.terms().at_issue(now).expires_at;
}

/// Disables a key because its order was refunded or cancelled. What staff disabled stays theirs.
pub(crate) fn disable_by_order(key: &mut Key) -> Moved {
    if key.status == KeyStatus::Disabled {
        return Moved::Unchanged;
    }
    key.status_before = Some(key.status);
    key.status = KeyStatus::Disabled;
    key.disabled_by_order = true;
    Moved::Changed
}

/// Enables a key because its order was paid again: exactly what the order disabled, and staff did not
/// disable as well.
pub(crate) fn enable_by_order(key: &mut Key) -> Moved {
    if key.disabled_by_order {
        enable(key)
    } else {
        Moved::Unchanged
    }
}

/// Whether nobody has the key yet and it is for sale: it has not expired, either.
pub(crate) fn is_for_sale(key: &Key, now: Timestamp) -> bool {
    key.status == KeyStatus::Active
        && key.assigned_at.is_none()
        && key.expires_at.is_none_or(|at| at > now)
}

/// What holds of every key, whatever was done to it: the check before it is saved.
pub(crate) fn is_consistent(key: &Key) -> bool {
    let value = key.status_before.unwrap_or(key.status);
    let was_assigned = matches!(value, KeyStatus::Sold | KeyStatus::Delivered);
    let has_owner = key.order_id.is_some() || key.customer_id.is_some();
    let is_disabled = key.status == KeyStatus::Disabled;
    was_assigned == key.assigned_at.is_some()
        && (was_assigned || !has_owner)
        && (!was_assigned || key.product_id.is_some())
        && is_disabled == key.status_before.is_some()
        && value != KeyStatus::Disabled
        && (is_disabled || !key.disabled_by_order)
}

/// What was terminated stays as it is.
///
/// # Errors
/// `invalid_transition`.
pub(crate) fn check_not_terminated(key: &Key, to: &str) -> Result<(), Refusal> {
    if key.terminated_at.is_none() {
        return Ok(());
    }
    let detail = "The key has been terminated, which is final.";
    Err(no("terminated", to, detail.to_owned()))
}

/// Only what was never assigned can be deleted [UC-39].
///
/// # Errors
/// `invalid_transition`.
pub(crate) fn check_deletable(key: &Key) -> Result<(), Refusal> {
    if key.assigned_at.is_none() {
        return Ok(());
    }
    let detail =
        "The key was assigned; only keys that never were can be deleted. Disable it instead.";
    Err(no(key.status.as_str(), "deleted", detail.to_owned()))
}

fn check_assigned(key: &Key, to: &str) -> Result<(), Refusal> {
    if key.assigned_at.is_some() {
        return Ok(());
    }
    let status = key.status;
    let detail =
        format!("The key is {status} and was never assigned; only assigned keys can be {to}.");
    Err(no(status.as_str(), to, detail))
}

/// Disables a key by hand, also one that its order has disabled already: paying again does not enable it
/// then.
fn disable(key: &mut Key) -> Moved {
    if disable_by_order(key) == Moved::Unchanged && !key.disabled_by_order {
        return Moved::Unchanged;
    }
    key.disabled_by_order = false;
    Moved::Changed
}

fn enable(key: &mut Key) -> Moved {
    let Some(before) = key.status_before.take() else {
        return Moved::Unchanged;
    };
    key.status = before;
    key.disabled_by_order = false;
    Moved::Changed
}

fn deliver(key: &mut Key, now: Timestamp) -> Result<Moved, Refusal> {
    match key.status {
        KeyStatus::Delivered => Ok(Moved::Unchanged),
        KeyStatus::Sold => {
            key.status = KeyStatus::Delivered;
            key.delivered_at = Some(now);
            Ok(Moved::Changed)
        }
        from @ (KeyStatus::Active | KeyStatus::Inactive | KeyStatus::Disabled) => {
            let detail = format!("The key is {from}; only a sold one can be delivered.");
            Err(no(from.as_str(), "delivered", detail))
        }
    }
}

fn set_status(key: &mut Key, to: KeyStatus, now: Timestamp) -> Result<Moved, Refusal> {
    use KeyStatus::{Active, Delivered, Disabled, Inactive, Sold};
    match (key.status, to) {
        (_, Disabled) => Ok(disable(key)),
        (from, to) if from == to => Ok(Moved::Unchanged),
        (Disabled, to) if key.status_before == Some(to) => Ok(enable(key)),
        (Active, Inactive) | (Inactive, Active) => {
            key.status = to;
            Ok(Moved::Changed)
        }
        (_, Delivered) if key.status == Sold => deliver(key, now),
        (from, to) => Err(no(from.as_str(), to.as_str(), why_not(key, to))),
    }
}

fn why_not(key: &Key, to: KeyStatus) -> String {
    let from = key.status;
    if let Some(before) = key.status_before {
        format!("The key is disabled; the only way back is to {before}, where it was before.")
    } else if key.assigned_at.is_some() {
        format!("The key is {from}: once assigned, a key never becomes {to}.")
    } else {
        format!("The key is {from}; it becomes {to} by being assigned.")
    }
}

fn no(from: &str, to: &str, detail: String) -> Refusal {
    Refusal::because(Code::InvalidTransition, detail)
        .with("from", from)
        .with("to", to)
}

#[cfg(test)]
mod tests;
