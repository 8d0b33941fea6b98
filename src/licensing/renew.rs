//! Renew: the phone-home call. The same activation, a fresh token.

use super::context::Context;
use super::token::{ActivationView, Credential, Grant};
use super::verdict::{Purpose, Standing};
use super::visit::Wish;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::activation::{Activation, open_count};
use crate::db::models::key::Key;
use crate::error::{Code, Refusal, Result};

/// Finds the open activation that the credential names, when the key allows it to go on.
///
/// # Errors
/// The refusals of the key in their order, then `activation_not_found`.
pub(crate) fn renew(
    conn: &mut DbConnection,
    credential: &Credential,
    now: Timestamp,
) -> Result<Grant> {
    let found = match credential {
        Credential::Token { key, .. } => Key::find_with_product(conn, *key)?,
        Credential::Key { text_hash, .. } => Key::find_by_hash(conn, text_hash)?,
    };
    let standing = Standing::of(found).ok_or_else(|| Refusal::new(Code::KeyNotFound))?;
    standing.verdict(None, Purpose::Continue, now)?;
    let activation = Activation::find(conn, standing.key.id, credential.installation_id())?
        .filter(|activation| credential.names(activation))
        .ok_or_else(|| Refusal::new(Code::ActivationNotFound).about(standing.key.id.0))?;
    let open = open_count(conn, standing.key.id)?;
    Ok(Grant {
        standing,
        activation,
        open,
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
        let visit = self.admit(Wish::Renew, &cx, credential.presented())?;
        let grant = self
            .db
            .read(move |conn| renew(conn, &credential, now))
            .await;
        let grant = self.conclude(&visit, grant)?;
        self.tally.saw(&grant.activation, now);
        Ok(self.countersign(&grant, now))
    }
}
