//! What is noted about a person beside the row of the customer, and how it is taken away.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::connection::DbConnection;
use crate::db::models::customer::CustomerId;
use crate::db::models::event::SubjectKind;
use crate::db::models::key::KeyId;
use crate::db::models::order::OrderId;
use crate::db::schema::{
    activation_details, activation_history, activations, events, keys, orders,
};

/// Some rows of one kind that hold something personal.
#[derive(Clone, Debug)]
pub(crate) enum Traces {
    /// Network addresses of open activations.
    Addresses(Places),
    /// What installations said of themselves: label, platform, version and the software's own object.
    Details(Places),
    /// Addresses and labels of released activations.
    History(Vec<i64>),
    /// Addresses that things were done from.
    Events(Vec<i64>),
}

/// Installations by their keys. Sorted, so that nobody who writes the same rows in this order waits in
/// a circle.
type Places = BTreeMap<KeyId, Vec<String>>;

impl Traces {
    /// Up to `limit` rows about these keys; `None` when nothing is left.
    pub(crate) fn of_keys(
        conn: &mut DbConnection,
        keys: &[KeyId],
        limit: i64,
    ) -> QueryResult<Option<Self>> {
        let open: Vec<(KeyId, String)> = activations::table
            .filter(activations::key_id.eq_any(keys))
            .filter(activations::address.is_not_null())
            .limit(limit)
            .select((activations::key_id, activations::installation_id))
            .load(conn)?;
        if !open.is_empty() {
            return Ok(Some(Self::Addresses(places(open))));
        }
        let details: Vec<(KeyId, String)> = activation_details::table
            .filter(activation_details::key_id.eq_any(keys))
            .limit(limit)
            .select((
                activation_details::key_id,
                activation_details::installation_id,
            ))
            .load(conn)?;
        if !details.is_empty() {
            return Ok(Some(Self::Details(places(details))));
        }
        // After the open ones: a release moves rows from there to here.
        let history: Vec<i64> = activation_history::table
            .filter(activation_history::key_id.eq_any(keys))
            .filter(
                activation_history::address
                    .is_not_null()
                    .or(activation_history::label.is_not_null()),
            )
            .limit(limit)
            .select(activation_history::id)
            .load(conn)?;
        if !history.is_empty() {
            return Ok(Some(Self::History(history)));
        }
        let keys = keys.iter().map(|id| id.0).collect();
        of_events(conn, SubjectKind::Key, keys, limit)
    }

    /// Up to `limit` rows about these orders; `None` when nothing is left.
    pub(crate) fn of_orders(
        conn: &mut DbConnection,
        orders: &[OrderId],
        limit: i64,
    ) -> QueryResult<Option<Self>> {
        let orders = orders.iter().map(|id| id.0).collect();
        of_events(conn, SubjectKind::Order, orders, limit)
    }

    /// Takes what is personal out of the rows.
    pub(crate) fn remove(&self, conn: &mut DbConnection) -> QueryResult<()> {
        match self {
            Self::Addresses(places) => {
                for (key, installations) in places {
                    let rows = activations::table.filter(
                        activations::key_id
                            .eq(key)
                            .and(activations::installation_id.eq_any(installations)),
                    );
                    diesel::update(rows)
                        .set(activations::address.eq(None::<String>))
                        .execute(conn)?;
                }
            }
            Self::Details(places) => {
                for (key, installations) in places {
                    let rows = activation_details::table.filter(
                        activation_details::key_id
                            .eq(key)
                            .and(activation_details::installation_id.eq_any(installations)),
                    );
                    diesel::delete(rows).execute(conn)?;
                }
            }
            Self::History(ids) => {
                let rows = activation_history::table.filter(activation_history::id.eq_any(ids));
                diesel::update(rows)
                    .set((
                        activation_history::address.eq(None::<String>),
                        activation_history::label.eq(None::<String>),
                    ))
                    .execute(conn)?;
            }
            Self::Events(ids) => {
                diesel::update(events::table.filter(events::id.eq_any(ids)))
                    .set(events::address.eq(None::<String>))
                    .execute(conn)?;
            }
        }
        Ok(())
    }
}

/// The customer's keys after the one given, in the order of their ids.
pub(crate) fn keys_of_customer(
    conn: &mut DbConnection,
    customer: CustomerId,
    after: KeyId,
    limit: i64,
) -> QueryResult<Vec<KeyId>> {
    keys::table
        .filter(keys::customer_id.eq(customer))
        .filter(keys::id.gt(after))
        .order(keys::id)
        .limit(limit)
        .select(keys::id)
        .load(conn)
}

/// The customer's orders after the one given, in the order of their ids.
pub(crate) fn orders_of_customer(
    conn: &mut DbConnection,
    customer: CustomerId,
    after: OrderId,
    limit: i64,
) -> QueryResult<Vec<OrderId>> {
    orders::table
        .filter(orders::customer_id.eq(customer))
        .filter(orders::id.gt(after))
        .order(orders::id)
        .limit(limit)
        .select(orders::id)
        .load(conn)
}

/// The keys of these orders that stand under another customer, or under none: an order can be reported
/// again for somebody else, and its keys stay whose they were.
pub(crate) fn other_keys_of_orders(
    conn: &mut DbConnection,
    orders: &[OrderId],
    customer: CustomerId,
) -> QueryResult<Vec<KeyId>> {
    keys::table
        .filter(keys::order_id.eq_any(orders.iter().map(|id| Some(*id))))
        .filter(
            keys::customer_id
                .is_null()
                .or(keys::customer_id.assume_not_null().ne(customer)),
        )
        .order(keys::id)
        .select(keys::id)
        .load(conn)
}

fn of_events(
    conn: &mut DbConnection,
    kind: SubjectKind,
    subjects: Vec<i64>,
    limit: i64,
) -> QueryResult<Option<Traces>> {
    let ids: Vec<i64> = events::table
        .filter(events::subject_type.eq(kind))
        .filter(events::subject_id.eq_any(subjects.into_iter().map(Some)))
        .filter(events::address.is_not_null())
        .limit(limit)
        .select(events::id)
        .load(conn)?;
    Ok(Some(ids).filter(|ids| !ids.is_empty()).map(Traces::Events))
}

fn places(rows: Vec<(KeyId, String)>) -> Places {
    let mut places = Places::new();
    for (key, installation) in rows {
        places.entry(key).or_default().push(installation);
    }
    places.values_mut().for_each(|those| those.sort_unstable());
    places
}
