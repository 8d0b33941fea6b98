//! Activations as staff see them.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::{number, products};
use crate::clock::Timestamp;
use crate::db::models::activation::{Activation, ActivationDetails, ReleasedActivation};
use crate::db::models::key::{Key, KeyId};
use crate::db::models::product::Product;
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::Result;
use crate::signing::activation_id;

/// Which activations a list shows.
#[derive(Clone, Debug)]
pub(crate) struct ActivationQuery {
    pub key: Option<KeyId>,
    pub product: Option<String>,
    /// Open ones, or those that were released.
    pub open: bool,
}

/// An activation, open or released.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InstallationView {
    /// The activation's opaque id.
    #[schema(example = "7Z1QW4KJ5M3DC8")]
    pub activation_id: String,
    /// The id of its key.
    pub key_id: i64,
    /// The number of its key.
    #[schema(example = "KEY.00000017.0001")]
    pub number: String,
    /// The name that the software gave itself.
    #[schema(example = "machine-1")]
    pub installation_id: String,
    /// What a person called it.
    pub label: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
    /// Its version when it was activated.
    pub app_version: Option<String>,
    /// Any JSON object.
    #[schema(value_type = Option<Object>)]
    pub extra: Option<JsonObject>,
    /// The network address that it was activated from.
    pub address: Option<String>,
    /// When it was activated.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last heard of; may lag by a minute.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    /// When it was released; null while it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub released_at: Option<Timestamp>,
}

/// The activations that match.
///
/// # Errors
/// `product_not_found`.
pub(crate) fn list_activations(
    conn: &mut DbConnection,
    query: &ActivationQuery,
    page: &PageRequest,
) -> Result<Paged<InstallationView>> {
    let product = match &query.product {
        Some(sku) => Some(
            Product::find_by_sku(conn, sku)?
                .ok_or_else(|| products::not_found(sku))?
                .id,
        ),
        None => None,
    };
    if query.open {
        let page = Activation::list(conn, query.key, product, page)?;
        let numbers = Numbers::load(conn, page.items.iter().map(|(row, _)| row.key_id))?;
        Ok(page.map(|(activation, details)| {
            open_view(numbers.of(activation.key_id), activation, details)
        }))
    } else {
        let page = ReleasedActivation::list(conn, query.key, product, page)?;
        let numbers = Numbers::load(conn, page.items.iter().map(|row| row.key_id))?;
        Ok(page.map(|activation| released_view(numbers.of(activation.key_id), activation)))
    }
}

/// The numbers of the keys on a page.
struct Numbers(HashMap<KeyId, String>);

impl Numbers {
    fn load(conn: &mut DbConnection, keys: impl Iterator<Item = KeyId>) -> Result<Self> {
        let ids: BTreeSet<KeyId> = keys.collect();
        let ids: Vec<KeyId> = ids.into_iter().collect();
        let keys = Key::find_many(conn, &ids)?.into_iter();
        Ok(Self(keys.map(|key| (key.id, number::full(&key))).collect()))
    }

    fn of(&self, key: KeyId) -> String {
        self.0.get(&key).cloned().unwrap_or_default()
    }
}

fn open_view(
    number: String,
    activation: Activation,
    details: Option<ActivationDetails>,
) -> InstallationView {
    let (label, platform, app_version, extra) = match details {
        Some(details) => (
            details.label,
            details.platform,
            details.app_version,
            details.extra,
        ),
        None => (None, None, None, None),
    };
    InstallationView {
        activation_id: activation_id::encode(activation.key_id, activation.serial),
        key_id: activation.key_id.0,
        number,
        installation_id: activation.installation_id,
        label,
        platform,
        app_version,
        extra,
        address: activation.address,
        created_at: activation.activated_at,
        last_seen_at: activation.last_seen_at,
        released_at: None,
    }
}

fn released_view(number: String, activation: ReleasedActivation) -> InstallationView {
    InstallationView {
        activation_id: activation_id::encode(activation.key_id, activation.serial),
        key_id: activation.key_id.0,
        number,
        installation_id: activation.installation_id,
        label: activation.label,
        platform: None,
        app_version: None,
        extra: None,
        address: activation.address,
        created_at: activation.activated_at,
        last_seen_at: activation.last_seen_at,
        released_at: Some(activation.released_at),
    }
}
