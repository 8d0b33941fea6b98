//! Activations: open ones, their details, their count, and the history of released ones.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend};
use crate::db::models::Columns;
use crate::db::models::customer::CustomerId;
use crate::db::models::key::KeyId;
use crate::db::models::product::ProductId;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{
    activation_counts, activation_details, activation_history, activations, keys,
};
use crate::db::types::JsonObject;

/// Up to this many open activations a key's range is counted; beyond it, and only then, the key has a
/// row in `activation_counts`. So neither a small nor a huge key pays for the other.
pub(super) const COUNTED: i64 = 64;

/// One installation admitted on one key.
#[derive(Clone, Debug, HasQuery, Insertable)]
#[diesel(table_name = activations, check_for_backend(MultiBackend), treat_none_as_default_value = false)]
pub(crate) struct Activation {
    pub key_id: KeyId,
    pub installation_id: String,
    /// Random; with the key's id it makes the activation's public id.
    pub serial: i64,
    pub activated_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub address: Option<String>,
}

/// What an installation said of itself.
#[derive(Clone, Debug, HasQuery, Insertable)]
#[diesel(table_name = activation_details, check_for_backend(MultiBackend), treat_none_as_default_value = false)]
pub(crate) struct ActivationDetails {
    pub key_id: KeyId,
    pub installation_id: String,
    pub label: Option<String>,
    pub platform: Option<String>,
    pub app_version: Option<String>,
    pub extra: Option<JsonObject>,
}

/// An activation that was released.
#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = activation_history, check_for_backend(MultiBackend))]
pub(crate) struct ReleasedActivation {
    pub id: i64,
    pub key_id: KeyId,
    pub installation_id: String,
    pub serial: i64,
    pub activated_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub released_at: Timestamp,
    pub address: Option<String>,
    pub label: Option<String>,
}

/// Which activations a list shows; every condition that is set must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActivationFilter {
    pub key: Option<KeyId>,
    pub product: Option<ProductId>,
    /// Whose key it is.
    pub customer: Option<CustomerId>,
}

impl Activation {
    /// The open activation with this serial. A key's activations are few or its serial is looked for
    /// rarely: there is no index for it on purpose.
    pub(crate) fn find_by_serial(
        conn: &mut DbConnection,
        key: KeyId,
        serial: i64,
    ) -> QueryResult<Option<Self>> {
        Self::query()
            .filter(
                activations::key_id
                    .eq(key)
                    .and(activations::serial.eq(serial)),
            )
            .first(conn)
            .optional()
    }

    /// Moves the activation to the history. It is one of `open` that the key has, whose row the caller
    /// holds.
    pub(crate) fn release(
        &self,
        conn: &mut DbConnection,
        open: i64,
        by: &str,
        now: Timestamp,
    ) -> QueryResult<()> {
        if open == COUNTED + 1 {
            diesel::delete(activation_counts::table.find(self.key_id)).execute(conn)?;
        } else if open > COUNTED {
            diesel::update(activation_counts::table.find(self.key_id))
                .set(activation_counts::open.eq(open - 1))
                .execute(conn)?;
        }
        let details = ActivationDetails::find(conn, self.key_id, &self.installation_id)?;
        diesel::insert_into(activation_history::table)
            .values((
                activation_history::key_id.eq(self.key_id),
                activation_history::installation_id.eq(&self.installation_id),
                activation_history::serial.eq(self.serial),
                activation_history::activated_at.eq(self.activated_at),
                activation_history::last_seen_at.eq(self.last_seen_at),
                activation_history::released_at.eq(now),
                activation_history::released_by.eq(by),
                activation_history::address.eq(&self.address),
                activation_history::label.eq(details.and_then(|details| details.label)),
            ))
            .execute(conn)?;
        let place = (self.key_id, self.installation_id.as_str());
        diesel::delete(activation_details::table.find(place)).execute(conn)?;
        diesel::delete(activations::table.find(place)).execute(conn)?;
        Ok(())
    }

    /// Notes when the installation was last heard of, if it is still the same activation.
    pub(crate) fn touch(
        conn: &mut DbConnection,
        key: KeyId,
        installation: &str,
        serial: i64,
        seen_at: Timestamp,
    ) -> QueryResult<()> {
        let row = activations::table.find((key, installation)).filter(
            activations::serial
                .eq(serial)
                .and(activations::last_seen_at.lt(seen_at)),
        );
        diesel::update(row)
            .set(activations::last_seen_at.eq(seen_at))
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn list(
        conn: &mut DbConnection,
        filter: &ActivationFilter,
        page: &PageRequest,
    ) -> QueryResult<Paged<(Self, Option<ActivationDetails>)>> {
        let mut query = activations::table
            .inner_join(keys::table)
            .left_join(
                activation_details::table.on(activation_details::key_id
                    .eq(activations::key_id)
                    .and(activation_details::installation_id.eq(activations::installation_id))),
            )
            .into_boxed();
        if let Some(after) = &page.after {
            query = query.filter(
                activations::key_id.gt(after.id).or(activations::key_id
                    .eq(after.id)
                    .and(activations::installation_id.gt(after.text.clone()))),
            );
        }
        if let Some(key) = filter.key {
            query = query.filter(activations::key_id.eq(key));
        }
        if let Some(product) = filter.product {
            query = query.filter(keys::product_id.eq(product));
        }
        if let Some(customer) = filter.customer {
            query = query.filter(keys::customer_id.eq(customer));
        }
        let rows = query
            .order((activations::key_id, activations::installation_id))
            .limit(page.fetch())
            .select((Self::columns(), Option::<ActivationDetails>::columns()))
            .load(conn)?;
        Ok(Paged::cut(
            rows,
            page,
            |(row, _): &(Self, Option<ActivationDetails>)| Cursor {
                id: row.key_id.0,
                text: row.installation_id.clone(),
            },
        ))
    }
}

impl ActivationDetails {
    pub(crate) fn is_empty(&self) -> bool {
        self.label.is_none()
            && self.platform.is_none()
            && self.app_version.is_none()
            && self.extra.is_none()
    }

    pub(crate) fn find(
        conn: &mut DbConnection,
        key: KeyId,
        installation: &str,
    ) -> QueryResult<Option<Self>> {
        Self::query()
            .find((key, installation))
            .first(conn)
            .optional()
    }
}

impl ReleasedActivation {
    /// Whether this key ever had this installation and let it go.
    pub(crate) fn exists(
        conn: &mut DbConnection,
        key: KeyId,
        installation: &str,
    ) -> QueryResult<bool> {
        let rows = activation_history::table.filter(
            activation_history::key_id
                .eq(key)
                .and(activation_history::installation_id.eq(installation)),
        );
        diesel::select(diesel::dsl::exists(rows)).get_result(conn)
    }

    /// How many activations of the key were released since `since`.
    pub(crate) fn count_since(
        conn: &mut DbConnection,
        key: KeyId,
        since: Timestamp,
    ) -> QueryResult<i64> {
        activation_history::table
            .filter(
                activation_history::key_id
                    .eq(key)
                    .and(activation_history::released_at.ge(since)),
            )
            .count()
            .get_result(conn)
    }

    pub(crate) fn list(
        conn: &mut DbConnection,
        filter: &ActivationFilter,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let mut query = activation_history::table
            .inner_join(keys::table)
            .filter(activation_history::id.gt(page.after_id()))
            .into_boxed();
        if let Some(key) = filter.key {
            query = query.filter(activation_history::key_id.eq(key));
        }
        if let Some(product) = filter.product {
            query = query.filter(keys::product_id.eq(product));
        }
        if let Some(customer) = filter.customer {
            query = query.filter(keys::customer_id.eq(customer));
        }
        let rows = query
            .order(activation_history::id)
            .limit(page.fetch())
            .select(Self::columns())
            .load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id)))
    }
}

/// How many activations of each of the keys are open; those without any are left out.
pub(crate) fn open_counts(
    conn: &mut DbConnection,
    keys: &[KeyId],
) -> QueryResult<HashMap<KeyId, i64>> {
    let mut counts: HashMap<KeyId, i64> = activation_counts::table
        .filter(activation_counts::key_id.eq_any(keys))
        .select((activation_counts::key_id, activation_counts::open))
        .load(conn)?
        .into_iter()
        .collect();
    let small: Vec<KeyId> = keys
        .iter()
        .copied()
        .filter(|key| !counts.contains_key(key))
        .collect();
    let counted: Vec<(KeyId, i64)> = activations::table
        .filter(activations::key_id.eq_any(small))
        .group_by(activations::key_id)
        .select((activations::key_id, diesel::dsl::count_star()))
        .load(conn)?;
    counts.extend(counted);
    Ok(counts)
}
