//! Writing events: one line per thing that somebody changed.

use serde_json::Value;

use super::context::Context;
use crate::db::DbConnection;
use crate::db::models::account::{AccountId, ApiTokenId};
use crate::db::models::event::NewEvent;
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
    fn parts(self) -> (&'static str, Option<i64>) {
        match self {
            Self::Account(id) => ("account", Some(id.0)),
            Self::ApiToken(id) => ("api_token", Some(id.0)),
            Self::Generator(id) => ("generator", Some(id.0)),
            Self::Key(id) => ("key", Some(id.0)),
            Self::Keys => ("keys", None),
            Self::Lot(id) => ("lot", Some(id.0)),
            Self::Order(id) => ("order", Some(id.0)),
            Self::Product(id) => ("product", Some(id.0)),
            Self::Sequence(id) => ("sequence", Some(id.0)),
            Self::SigningKeys => ("signing_keys", None),
            Self::User(id) => ("user", Some(id.0)),
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
    let (subject_type, subject_id) = subject.parts();
    let address = cx.address.map(|address| address.to_string());
    NewEvent {
        at: cx.now,
        action,
        actor: cx.actor.as_str(),
        account_id: cx.actor.account(),
        address: address.as_deref(),
        request_id: cx.request_id.as_deref(),
        subject_type,
        subject_id,
        detail: if detail.is_null() {
            None
        } else {
            Some(JsonObject::of(detail))
        },
    }
    .insert(tx)?;
    Ok(())
}
