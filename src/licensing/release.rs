//! Release: free the place that an installation takes.

use serde_json::json;

use super::context::{Actor, Context};
use super::events::{self, Subject};
use super::token::Credential;
use super::verdict::Standing;
use super::visit::Wish;
use crate::app::App;
use crate::db::DbConnection;
use crate::db::models::activation::{Activation, ReleasedActivation};
use crate::db::models::issued_key::{KeyName, LookUp};
use crate::db::models::key::KeyId;
use crate::error::{Code, Error, Refusal, Result};

/// Releases the activation that the credential names, whatever the verdict on the key. Repeating it
/// changes nothing.
///
/// # Errors
/// `key_not_found`, `activation_not_found` for an installation that this key never had, and what the
/// product says about releases.
pub(crate) fn release(tx: &mut DbConnection, cx: &Context, credential: &Credential) -> Result<()> {
    let (standing, open) = Standing::of(credential.wanted().lock(tx)?)?;
    let key = standing.key.id;
    match open.filter(|activation| credential.names(activation)) {
        Some(activation) => release_open(tx, cx, &standing, &activation),
        None if ReleasedActivation::exists(tx, key, credential.installation_id())? => Ok(()),
        None => Err(Refusal::new(Code::ActivationNotFound).about(key.0).into()),
    }
}

/// Releases an activation by its id, as staff do.
///
/// # Errors
/// `activation_not_found`, and what the product says about releases.
pub(crate) fn release_by_id(
    tx: &mut DbConnection,
    cx: &Context,
    (key, serial): (KeyId, i64),
) -> Result<()> {
    let not_found = || Error::from(Refusal::new(Code::ActivationNotFound));
    let wanted = LookUp {
        key: KeyName::Id(key),
        installation_id: None,
    };
    let (standing, _) = Standing::of(wanted.lock(tx)?).map_err(|_| not_found())?;
    let activation = Activation::find_by_serial(tx, key, serial)?.ok_or_else(not_found)?;
    release_open(tx, cx, &standing, &activation)
}

fn release_open(
    tx: &mut DbConnection,
    cx: &Context,
    standing: &Standing,
    activation: &Activation,
) -> Result<()> {
    let Standing { key, product, open } = standing;
    if cx.actor == Actor::Public && !product.self_release {
        return Err(Refusal::new(Code::ReleaseNotAllowed).about(key.id.0).into());
    }
    if let Some(limit) = product.releases_per_month
        && ReleasedActivation::count_since(tx, key.id, cx.now.start_of_month())? >= limit
    {
        let refusal = Refusal::because(
            Code::ReleaseLimitReached,
            format!("This product allows {limit} releases of a key a month, and they are used up."),
        );
        return Err(refusal
            .with("releases_per_month", limit)
            .about(key.id.0)
            .into());
    }
    activation.release(tx, *open, cx.actor.as_str(), cx.now)?;
    let installation = json!({ "installation_id": activation.installation_id });
    events::record(
        tx,
        cx,
        "activation.released",
        Subject::Key(key.id),
        installation,
    )
}

impl App {
    /// Releases an activation.
    ///
    /// # Errors
    /// `rate_limited`, and as [`release`].
    pub(crate) async fn release(&self, cx: Context, credential: Credential) -> Result<()> {
        let visit = self.let_in(Wish::Release, &cx, credential.presented())?;
        let released = self.db.write(move |tx| release(tx, &cx, &credential)).await;
        self.conclude(&visit, released)
    }
}
