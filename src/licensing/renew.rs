//! Renew: the phone-home call. The same activation, a fresh token.

use super::context::Context;
use super::token::{ActivationView, Credential, Grant};
use super::verdict::{Purpose, Standing};
use super::visit::Wish;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::issued_key::Found;
use crate::error::{Code, Error, Refusal, Result};

/// The open activation that the credential names, when the key allows it to go on. `found` is what was
/// looked up by it.
///
/// # Errors
/// The refusals of the key in their order, then `activation_not_found`.
pub(crate) fn renew(
    found: Option<Found>,
    credential: &Credential,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let (standing, activation) = Standing::of(found)?;
    standing.verdict(None, Purpose::Continue, now)?;
    let activation = activation
        .filter(|activation| credential.names(activation))
        .ok_or_else(|| Refusal::new(Code::ActivationNotFound).about(standing.key.id.0))?;
    Ok(Grant {
        standing,
        activation,
        is_new: false,
    })
}

impl App {
    /// Renews and signs the fresh token.
    ///
    /// # Errors
    /// `rate_limited`, and as [`renew`].
    pub(crate) async fn renew(
        &self,
        cx: Context,
        credential: Credential,
    ) -> Result<ActivationView> {
        let now = cx.now;
        let visit = self.let_in(Wish::Renew, &cx, credential.presented())?;
        let found = self.db.look_up(credential.wanted()).await;
        let grant = found.and_then(|found| renew(found, &credential, now).map_err(Error::from));
        let grant = self.conclude(&visit, grant)?;
        self.tally.saw(&grant.activation, now);
        Ok(self.countersign(&grant, now))
    }
}
