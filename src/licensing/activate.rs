//! Activate: admit an installation on a key.

use std::collections::HashMap;

use serde_json::json;

use super::context::Context;
use super::events::{self, Subject};
use super::token::{ActivationView, Grant};
use super::verdict::{Purpose, Standing};
use super::visit::Wish;
use crate::app::App;
use crate::db::models::activation::{Activation, ActivationDetails};
use crate::db::models::admission::Admission;
use crate::db::models::event::NewEvent;
use crate::db::models::issued_key::{Found, KeyName, LookUp};
use crate::db::models::key::KeyId;
use crate::db::types::JsonObject;
use crate::db::{Db, DbConnection, OpenError, SharedWrite};
use crate::error::{Error, Refusal, Result};
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

/// An activation that is asked for, with its circumstances.
type Attempt = (Context, Activate);

/// What activates, many at once where that is faster.
pub(crate) type Activations = SharedWrite<Attempt, Grant>;

/// Starts what activates.
///
/// # Errors
/// [`OpenError`] when a thread cannot be started.
pub(crate) fn start(db: &Db) -> Result<Activations, OpenError> {
    let one = |tx: &mut DbConnection, (cx, input): &Attempt| activate(tx, cx, input);
    SharedWrite::start(db, "activations", one, activate_together)
}

/// Admits the installation, or finds it admitted already (no new count then).
///
/// # Errors
/// The refusals of api.md, in their order.
fn activate(tx: &mut DbConnection, cx: &Context, input: &Activate) -> Result<Grant> {
    // Locks the key's row, so that no other activation of this key comes between count and insert.
    let found = input.wanted().lock(tx)?;
    let grant = admit(found, cx, input)?;
    if grant.is_new {
        store(tx, &[(cx, input, &grant)])?;
    }
    Ok(grant)
}

/// As [`activate`] for many, each on its own merits, with a few statements for all. `None` for a key that
/// somebody else holds: the others do not wait for it.
///
/// # Errors
/// The database's only.
fn activate_together(
    tx: &mut DbConnection,
    attempts: &[Attempt],
) -> Result<Vec<Option<Result<Grant>>>> {
    let wanted: Vec<LookUp> = attempts.iter().map(|(_, input)| input.wanted()).collect();
    let held = LookUp::lock_free(&wanted, tx)?;
    // Another statement: it sees what was committed before the rows were locked.
    let found = LookUp::find_all(&wanted, tx)?;
    let mut ahead = Ahead::default();
    let mut grants = Vec::with_capacity(attempts.len());
    for ((cx, input), found) in attempts.iter().zip(found) {
        if found
            .as_ref()
            .is_some_and(|found| !held.contains(&found.key.id))
        {
            grants.push(None);
            continue;
        }
        let found = found.map(|found| ahead.seen_from_behind(found, input));
        let grant = admit(found, cx, input);
        if let Ok(grant) = &grant {
            ahead.note(grant);
        }
        grants.push(Some(grant.map_err(Error::from)));
    }
    let new: Vec<_> = attempts
        .iter()
        .zip(&grants)
        .filter_map(|((cx, input), grant)| match grant {
            Some(Ok(grant)) if grant.is_new => Some((cx, input, grant)),
            _ => None,
        })
        .collect();
    store(tx, &new)?;
    Ok(grants)
}

/// Decides, and makes the activation if it is a new one. The one place where an installation is admitted.
fn admit(found: Option<Found>, cx: &Context, input: &Activate) -> Result<Grant, Refusal> {
    let (mut standing, open_already) = Standing::of(found)?;
    standing.verdict(input.product.as_deref(), Purpose::Activate, cx.now)?;
    if let Some(activation) = open_already {
        return Ok(Grant {
            standing,
            activation,
            is_new: false,
        });
    }
    standing.check_limit(1)?;
    standing.open += 1;
    let activation = Activation {
        key_id: standing.key.id,
        installation_id: input.installation_id.clone(),
        serial: activation_id::new_serial(),
        activated_at: cx.now,
        last_seen_at: cx.now,
        address: cx.address.map(|address| address.to_string()),
    };
    Ok(Grant {
        standing,
        activation,
        is_new: true,
    })
}

/// Writes what was admitted.
fn store(tx: &mut DbConnection, new: &[(&Context, &Activate, &Grant)]) -> Result<()> {
    let admissions: Vec<Admission> = new
        .iter()
        .map(|(_, input, grant)| Admission {
            activation: grant.activation.clone(),
            details: input.details(grant.standing.key.id),
            open: grant.standing.open,
        })
        .collect();
    Admission::insert_all(&admissions, tx)?;
    let events: Vec<NewEvent<'_>> = new
        .iter()
        .map(|(cx, input, grant)| {
            let installation = json!({ "installation_id": input.installation_id });
            let subject = Subject::Key(grant.standing.key.id);
            events::event(cx, "activation.created", subject, installation)
        })
        .collect();
    NewEvent::insert_all(&events, tx)?;
    Ok(())
}

/// What those ahead in a batch were granted, which the database does not show yet.
#[derive(Default)]
struct Ahead {
    open: HashMap<KeyId, i64>,
    activations: HashMap<(KeyId, String), Activation>,
}

impl Ahead {
    fn seen_from_behind(&self, mut found: Found, input: &Activate) -> Found {
        let key = found.key.id;
        if let Some(open) = self.open.get(&key) {
            found.open = *open;
            if found.activation.is_none() {
                let place = (key, input.installation_id.clone());
                found.activation = self.activations.get(&place).cloned();
            }
        }
        found
    }

    fn note(&mut self, grant: &Grant) {
        if grant.is_new {
            let (key, activation) = (grant.standing.key.id, &grant.activation);
            self.open.insert(key, grant.standing.open);
            let place = (key, activation.installation_id.clone());
            self.activations.insert(place, activation.clone());
        }
    }
}

impl Activate {
    fn wanted(&self) -> LookUp {
        LookUp {
            key: KeyName::Hash(self.text_hash),
            installation_id: Some(self.installation_id.clone()),
        }
    }

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
        let visit = self.let_in(Wish::Activate, &cx, PresentedKey::Text(input.text_hash))?;
        let grant = self.activations.write((cx, input)).await;
        let grant = self.conclude(&visit, grant)?;
        if !grant.is_new {
            self.tally.saw(&grant.activation, now);
        }
        Ok((self.countersign(&grant, now), grant.is_new))
    }
}
