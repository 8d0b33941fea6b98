//! Activate: admit an installation on a key.

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use super::token::{ActivationView, Grant};
use super::verdict::{Purpose, Standing};
use super::visit::Wish;
use crate::app::App;
use crate::db::DbConnection;
use crate::db::models::activation::{Activation, ActivationDetails, open_count};
use crate::db::models::key::{Key, KeyId};
use crate::db::types::JsonObject;
use crate::error::{Code, Refusal, Result};
use crate::limits::PresentedKey;
use crate::signing::activation_id;

/// What an installation asks with.
#[derive(Clone, Debug)]
pub(crate) struct Activate {
    pub text_hash: [u8; 32],
    pub installation_id: String,
    /// The sku that the software believes the key to be for.
    pub product: Option<String>,
    pub label: Option<String>,
    pub platform: Option<String>,
    pub app_version: Option<String>,
    pub extra: Option<JsonObject>,
}

/// Admits the installation, or finds it admitted already (no new count then).
///
/// # Errors
/// The refusals of api.md, in their order.
pub(crate) fn activate(tx: &mut DbConnection, cx: &Context, input: &Activate) -> Result<Grant> {
    // Locks the key's row, so that no other activation of this key comes between count and insert.
    let found = Key::lock_by_hash(tx, &input.text_hash)?;
    let standing = Standing::of(found).ok_or_else(|| Refusal::new(Code::KeyNotFound))?;
    standing.verdict(input.product.as_deref(), Purpose::Activate, cx.now)?;
    let open = open_count(tx, standing.key.id)?;
    if let Some(activation) = Activation::find(tx, standing.key.id, &input.installation_id)? {
        return Ok(Grant {
            standing,
            activation,
            open,
            is_new: false,
        });
    }
    standing.admit_one_more(open)?;

    let activation = Activation {
        key_id: standing.key.id,
        installation_id: input.installation_id.clone(),
        serial: activation_id::new_serial(),
        activated_at: cx.now,
        last_seen_at: cx.now,
        address: cx.address.map(|address| address.to_string()),
    };
    activation.insert(tx, open)?;
    let details = input.details(standing.key.id);
    if !details.is_empty() {
        details.insert(tx)?;
    }
    let installation = json!({ "installation_id": input.installation_id });
    events::record(
        tx,
        cx,
        "activation.created",
        Subject::Key(standing.key.id),
        installation,
    )?;
    Ok(Grant {
        standing,
        activation,
        open: open + 1,
        is_new: true,
    })
}

impl Activate {
    fn details(&self, key_id: KeyId) -> ActivationDetails {
        ActivationDetails {
            key_id,
            installation_id: self.installation_id.clone(),
            label: self.label.clone(),
            platform: self.platform.clone(),
            app_version: self.app_version.clone(),
            extra: self.extra.clone(),
        }
    }
}

impl App {
    /// Activates and signs the token; says whether the activation is new.
    ///
    /// # Errors
    /// `rate_limited`, and as [`activate`].
    pub(crate) async fn activate(
        &self,
        cx: Context,
        input: Activate,
    ) -> Result<(ActivationView, bool)> {
        let now = cx.now;
        let visit = self.admit(Wish::Activate, &cx, PresentedKey::Text(input.text_hash))?;
        let grant = self.db.write(move |tx| activate(tx, &cx, &input)).await;
        let grant = self.conclude(&visit, grant)?;
        if !grant.is_new {
            self.tally.saw(&grant.activation, now);
        }
        Ok((self.countersign(&grant, now), grant.is_new))
    }
}
