//! Storing activations that were just admitted: each with its details and the count of its key.

use std::collections::BTreeMap;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;

use crate::db::connection::DbConnection;
use crate::db::models::activation::{Activation, ActivationDetails, COUNTED};
use crate::db::schema::{activation_details, activations};
use crate::db::types::JsonObject;

/// A new activation of a key whose row is held.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub activation: Activation,
    pub details: ActivationDetails,
    /// Open activations of the key, this one included.
    pub open: i64,
}

impl Admission {
    /// Stores new activations; of one key they come in the order in which they were counted.
    pub(crate) fn insert_all(all: &[Self], conn: &mut DbConnection) -> QueryResult<()> {
        match conn {
            DbConnection::Sqlite(inner) => all.iter().try_for_each(|one| one.insert(inner)),
            DbConnection::Postgres(inner) if !all.is_empty() => {
                InsertAll::of(all).execute(inner).map(drop)
            }
            DbConnection::Postgres(_) => Ok(()),
        }
    }

    fn insert(&self, conn: &mut SqliteConnection) -> QueryResult<()> {
        diesel::insert_into(activations::table)
            .values(&self.activation)
            .execute(conn)?;
        if !self.details.is_empty() {
            diesel::insert_into(activation_details::table)
                .values(&self.details)
                .execute(conn)?;
        }
        if self.open > COUNTED {
            let key = self.activation.key_id.0;
            SetCount {
                key,
                open: self.open,
            }
            .execute(conn)?;
        }
        Ok(())
    }
}

/// The count of a key (SQLite). Diesel would have it prepared each time, as an upsert of its own is none of
/// the statements that it keeps.
#[derive(Debug)]
struct SetCount {
    key: i64,
    open: i64,
}

impl QueryFragment<Sqlite> for SetCount {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        pass.push_sql("INSERT INTO activation_counts (key_id, open) VALUES (");
        pass.push_bind_param::<BigInt, _>(&self.key)?;
        pass.push_sql(", ");
        pass.push_bind_param::<BigInt, _>(&self.open)?;
        pass.push_sql(") ON CONFLICT (key_id) DO UPDATE SET open = excluded.open");
        Ok(())
    }
}

impl QueryId for SetCount {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for SetCount {}

/// One statement for all of them (PostgreSQL): arrays in, so that its text is always the same.
#[derive(Debug, Default)]
struct InsertAll<'a> {
    key_ids: Vec<i64>,
    installation_ids: Vec<&'a str>,
    serials: Vec<i64>,
    instants: Vec<i64>,
    addresses: Vec<Option<&'a str>>,
    described: Described<'a>,
    counted_keys: Vec<i64>,
    counts: Vec<i64>,
}

#[derive(Debug, Default)]
struct Described<'a> {
    key_ids: Vec<i64>,
    installation_ids: Vec<&'a str>,
    labels: Vec<Option<&'a str>>,
    platforms: Vec<Option<&'a str>>,
    app_versions: Vec<Option<&'a str>>,
    extras: Vec<Option<&'a JsonObject>>,
}

impl<'a> InsertAll<'a> {
    fn of(all: &'a [Admission]) -> Self {
        let mut rows = Self::default();
        // A statement can set a row once: the last count of a key is its count.
        let mut counts = BTreeMap::new();
        for Admission {
            activation,
            details,
            open,
        } in all
        {
            rows.key_ids.push(activation.key_id.0);
            rows.installation_ids.push(&activation.installation_id);
            rows.serials.push(activation.serial);
            rows.instants.push(activation.activated_at.micros());
            rows.addresses.push(activation.address.as_deref());
            if !details.is_empty() {
                rows.described.push(details);
            }
            if *open > COUNTED {
                counts.insert(activation.key_id.0, *open);
            }
        }
        (rows.counted_keys, rows.counts) = counts.into_iter().unzip();
        rows
    }
}

impl<'a> Described<'a> {
    fn push(&mut self, details: &'a ActivationDetails) {
        self.key_ids.push(details.key_id.0);
        self.installation_ids.push(&details.installation_id);
        self.labels.push(details.label.as_deref());
        self.platforms.push(details.platform.as_deref());
        self.app_versions.push(details.app_version.as_deref());
        self.extras.push(details.extra.as_ref());
    }
}

impl QueryFragment<Pg> for InsertAll<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql(
            "WITH admitted AS (INSERT INTO activations \
             (key_id, installation_id, serial, activated_at, last_seen_at, address) \
             SELECT n.key, n.installation, n.serial, n.at, n.at, n.address FROM unnest(",
        );
        pass.push_bind_param::<Array<BigInt>, _>(&self.key_ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Text>, _>(&self.installation_ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<BigInt>, _>(&self.serials)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<BigInt>, _>(&self.instants)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.addresses)?;
        pass.push_sql(") AS n (key, installation, serial, at, address)), ");
        self.described.walk(&mut pass)?;
        pass.push_sql("INSERT INTO activation_counts (key_id, open) SELECT * FROM unnest(");
        pass.push_bind_param::<Array<BigInt>, _>(&self.counted_keys)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<BigInt>, _>(&self.counts)?;
        pass.push_sql(") ON CONFLICT (key_id) DO UPDATE SET open = excluded.open");
        Ok(())
    }
}

impl Described<'_> {
    fn walk<'b>(&'b self, pass: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql(
            "described AS (INSERT INTO activation_details \
             (key_id, installation_id, label, platform, app_version, extra) SELECT * FROM unnest(",
        );
        pass.push_bind_param::<Array<BigInt>, _>(&self.key_ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Text>, _>(&self.installation_ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.labels)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.platforms)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.app_versions)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.extras)?;
        pass.push_sql(")) ");
        Ok(())
    }
}

impl QueryId for InsertAll<'_> {
    type QueryId = InsertAll<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<PgConnection> for InsertAll<'_> {}
