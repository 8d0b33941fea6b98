//! Writing events: one line per thing that somebody changed.

use serde_json::Value;

use super::context::Context;
use crate::db::DbConnection;
use crate::db::models::account::{AccountId, ApiTokenId};
use crate::db::models::customer::CustomerId;
use crate::db::models::event::{NewEvent, SubjectKind};
use crate::db::models::generator::GeneratorId;
use crate::db::models::key::KeyId;
use crate::db::models::lot::LotId;
use crate::db::models::order::OrderId;
use crate::db::models::product::ProductId;
use crate::db::models::sequence::SequenceId;
use crate::db::models::user::UserId;
use crate::db::types::JsonObject;
use crate::error::Result;

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Account(AccountId),
    ApiToken(ApiTokenId),
    Customer(CustomerId),
    Generator(GeneratorId),
    Key(KeyId),
    Keys,
    Lot(LotId),
    Order(OrderId),
    Product(ProductId),
    Sequence(SequenceId),
    SigningKeys,
    User(UserId),
}

impl Subject {
    fn parts(self) -> (SubjectKind, Option<i64>) {
        match self {
            Self::Account(id) => (SubjectKind::Account, Some(id.0)),
            Self::ApiToken(id) => (SubjectKind::ApiToken, Some(id.0)),
            Self::Customer(id) => (SubjectKind::Customer, Some(id.0)),
            Self::Generator(id) => (SubjectKind::Generator, Some(id.0)),
            Self::Key(id) => (SubjectKind::Key, Some(id.0)),
            Self::Keys => (SubjectKind::Keys, None),
            Self::Lot(id) => (SubjectKind::Lot, Some(id.0)),
            Self::Order(id) => (SubjectKind::Order, Some(id.0)),
            Self::Product(id) => (SubjectKind::Product, Some(id.0)),
            Self::Sequence(id) => (SubjectKind::Sequence, Some(id.0)),
            Self::SigningKeys => (SubjectKind::SigningKeys, None),
            Self::User(id) => (SubjectKind::User, Some(id.0)),
        }
    }
}

/// Writes an event in the transaction of the change. `detail` (a JSON object, or null for none) never
/// holds a key text, a token or a password.
pub(crate) fn record(
    tx: &mut DbConnection,
    cx: &Context,
    action: &str,
    subject: Subject,
    detail: Value,
) -> Result<()> {
    event(cx, action, subject, detail).insert(tx)?;
    Ok(())
}

/// An event about to be written, for those who write many at once.
pub(crate) fn event<'a>(
    cx: &'a Context,
    action: &'a str,
    subject: Subject,
    detail: Value,
) -> NewEvent<'a> {
    let (subject_type, subject_id) = subject.parts();
    NewEvent {
        at: cx.now,
        action,
        actor: cx.actor.as_str(),
        account_id: cx.actor.account(),
        address: cx.address.map(|address| address.to_string()),
        request_id: cx.request_id.as_deref(),
        subject_type,
        subject_id,
        detail: if detail.is_null() {
            None
        } else {
            Some(JsonObject::of(detail))
        },
    }
}
