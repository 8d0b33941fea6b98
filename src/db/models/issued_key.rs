//! An issued key as activating, renewing and judging see it: the columns that a verdict needs, those of its
//! product, how many activations are open, and one activation of it. All of it is read by one statement,
//! so it is one state of the database, and the statement's text never changes, so it is prepared once.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel::{pg::Pg, sqlite::Sqlite};

use crate::clock::Timestamp;
use crate::db::connection::DbConnection;
use crate::db::models::activation::Activation;
use crate::db::models::key::{KeyId, KeyStatus};
use crate::db::models::order::OrderId;
use crate::db::schema::keys;
use crate::db::types::JsonObject;

/// How a caller names a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyName {
    /// By the hash of its text.
    Hash([u8; 32]),
    /// By its id.
    Id(KeyId),
}

/// Which key is looked for, and which installation of it.
#[derive(Clone, Debug)]
pub(crate) struct LookUp {
    pub key: KeyName,
    pub installation_id: Option<String>,
}

/// What a verdict needs of a key.
#[derive(Clone, Debug, Queryable)]
pub(crate) struct IssuedKey {
    pub id: KeyId,
    pub order_id: Option<OrderId>,
    pub status: KeyStatus,
    pub number_prefix: String,
    pub number_version: i64,
    pub max_activations: Option<i64>,
    pub anonymous_activations: i64,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub suspended_at: Option<Timestamp>,
    pub terminated_at: Option<Timestamp>,
}

/// What a verdict, a release and a token need of a key's product.
#[derive(Clone, Debug, Queryable)]
pub(crate) struct IssuedProduct {
    pub sku: String,
    pub activation_managed: bool,
    pub renew_by_days: i64,
    pub grace_days: i64,
    pub self_release: bool,
    pub releases_per_month: Option<i64>,
    pub entitlements: JsonObject,
}

/// A key that was looked for, as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub key: IssuedKey,
    pub product: IssuedProduct,
    /// How many activations of it are open.
    pub open: i64,
    /// The open activation of the installation that was named.
    pub activation: Option<Activation>,
}

impl LookUp {
    /// The key if it was ever issued. Stock is not there, nor is what an import has not published yet.
    pub(crate) fn find(&self, conn: &mut DbConnection) -> QueryResult<Option<Found>> {
        let found = Self::find_all(std::slice::from_ref(self), conn)?;
        Ok(found.into_iter().next().flatten())
    }

    /// As [`LookUp::find`] for each, in one state of the database on PostgreSQL.
    pub(crate) fn find_all(
        wanted: &[Self],
        conn: &mut DbConnection,
    ) -> QueryResult<Vec<Option<Found>>> {
        match conn {
            DbConnection::Sqlite(inner) => wanted
                .iter()
                .map(|wanted| {
                    let installation_id = &wanted.installation_id;
                    let row: Option<Row> = match &wanted.key {
                        KeyName::Hash(hash) => ByHash {
                            hash,
                            installation_id,
                        }
                        .get_result(inner),
                        KeyName::Id(id) => ById {
                            id,
                            installation_id,
                        }
                        .get_result(inner),
                    }
                    .optional()?;
                    Ok(row.map(|row| row.found(wanted)))
                })
                .collect(),
            DbConnection::Postgres(inner) => {
                let mut all: Vec<Option<Found>> = Vec::new();
                all.resize_with(wanted.len(), || None);
                let rows: Vec<Row> = Many::of(wanted).load(inner)?;
                for row in rows {
                    let place = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
                    if let (Some(wanted), Some(slot)) = (wanted.get(place), all.get_mut(place)) {
                        *slot = Some(row.found(wanted));
                    }
                }
                Ok(all)
            }
        }
    }

    /// As [`LookUp::find`], with the key's row locked until the transaction ends where the database locks
    /// rows, so that its activations can be counted and added to without another in between.
    pub(crate) fn lock(&self, conn: &mut DbConnection) -> QueryResult<Option<Found>> {
        if let DbConnection::Postgres(inner) = conn {
            let ids = keys::table.select(keys::id);
            let locked = match &self.key {
                KeyName::Hash(hash) => ids
                    .filter(keys::text_hash.eq(hash.as_slice()))
                    .for_no_key_update()
                    .first::<KeyId>(inner),
                KeyName::Id(id) => ids.filter(keys::id.eq(id)).for_no_key_update().first(inner),
            };
            // Another statement than the one that reads: it has to see what was committed while this
            // one waited.
            if locked.optional()?.is_none() {
                return Ok(None);
            }
        }
        self.find(conn)
    }

    /// Locks the rows of those keys, named by their hashes, that nobody else holds; returns which. It waits
    /// for no row, so the order does not matter. For the lanes of PostgreSQL; on SQLite nobody else can
    /// hold a row.
    pub(crate) fn lock_free(
        wanted: &[Self],
        conn: &mut DbConnection,
    ) -> QueryResult<HashSet<KeyId>> {
        let hashes: Vec<&[u8]> = wanted.iter().filter_map(|one| one.key.hash()).collect();
        let DbConnection::Postgres(inner) = conn else {
            let message = "only rows of PostgreSQL can be locked";
            return Err(diesel::result::Error::QueryBuilderError(message.into()));
        };
        let locked: Vec<KeyId> = keys::table
            .filter(keys::text_hash.eq_any(hashes))
            .select(keys::id)
            .for_no_key_update()
            .skip_locked()
            .load(inner)?;
        Ok(locked.into_iter().collect())
    }
}

impl KeyName {
    fn hash(&self) -> Option<&[u8]> {
        match self {
            Self::Hash(hash) => Some(hash),
            Self::Id(_) => None,
        }
    }
}

impl IssuedKey {
    /// Adds to the count of activations that have no installation. The caller holds the key's row.
    pub(crate) fn add_anonymous_activations(
        &mut self,
        conn: &mut DbConnection,
        more: i64,
    ) -> QueryResult<()> {
        self.anonymous_activations += more;
        diesel::update(keys::table.find(self.id))
            .set(keys::anonymous_activations.eq(keys::anonymous_activations + more))
            .execute(conn)
            .map(drop)
    }
}

/// What is selected of the tables that [`JOINED`] names.
const COLUMNS: &str = "k.id, k.order_id, k.status, k.number_prefix, k.number_version, k.max_activations, \
    k.anonymous_activations, k.expires_at, k.revoked_at, k.suspended_at, k.terminated_at, \
    p.sku, p.activation_managed, p.renew_by_days, p.grace_days, p.self_release, p.releases_per_month, \
    p.entitlements, \
    COALESCE(c.open, (SELECT COUNT(*) FROM activations n WHERE n.key_id = k.id)), \
    a.serial, a.activated_at, a.last_seen_at, a.address";

/// What belongs to a key `k`; the installation's name comes behind it. A key with many activations has
/// their number in `activation_counts`, those of the others are counted (`models/activation.rs`).
const JOINED: &str = " JOIN products p ON p.id = k.product_id \
    LEFT JOIN activation_counts c ON c.key_id = k.id \
    LEFT JOIN activations a ON a.key_id = k.id AND a.installation_id = ";

/// Which keys are there: issued ones, but for what an import has staged.
const ISSUED: &str = "k.assigned_at IS NOT NULL AND (k.lot_id IS NULL OR EXISTS \
    (SELECT 1 FROM lots l WHERE l.id = k.lot_id AND l.published_at IS NOT NULL))";

/// The types of [`COLUMNS`], behind the place of what was looked for.
type Types = (
    BigInt,
    (
        BigInt,
        Nullable<BigInt>,
        Text,
        Text,
        BigInt,
        Nullable<BigInt>,
        BigInt,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
    ),
    (Text, Bool, BigInt, BigInt, Bool, Nullable<BigInt>, Text),
    BigInt,
    (
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<Text>,
    ),
);

/// The statement for one key by the hash of its text (SQLite).
#[derive(Debug)]
struct ByHash<'a> {
    hash: &'a [u8; 32],
    installation_id: &'a Option<String>,
}

/// The statement for one key by its id (SQLite).
#[derive(Debug)]
struct ById<'a> {
    id: &'a KeyId,
    installation_id: &'a Option<String>,
}

/// The statement for any number of keys (PostgreSQL): arrays in, so that its text is always the same.
#[derive(Debug)]
struct Many<'a> {
    hashes: Vec<Option<&'a [u8]>>,
    ids: Vec<Option<i64>>,
    installation_ids: Vec<Option<&'a str>>,
}

impl QueryFragment<Sqlite> for ByHash<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        push_head(&mut pass);
        pass.push_bind_param::<Nullable<Text>, _>(self.installation_id)?;
        push_tail(&mut pass, "k.text_hash = ");
        pass.push_bind_param::<Binary, _>(self.hash.as_slice())
    }
}

impl QueryFragment<Sqlite> for ById<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        push_head(&mut pass);
        pass.push_bind_param::<Nullable<Text>, _>(self.installation_id)?;
        push_tail(&mut pass, "k.id = ");
        pass.push_bind_param::<BigInt, _>(self.id)
    }
}

fn push_head(pass: &mut AstPass<'_, '_, Sqlite>) {
    pass.push_sql("SELECT 1, ");
    pass.push_sql(COLUMNS);
    pass.push_sql(" FROM keys k");
    pass.push_sql(JOINED);
}

fn push_tail(pass: &mut AstPass<'_, '_, Sqlite>, key: &str) {
    pass.push_sql(" WHERE ");
    pass.push_sql(ISSUED);
    pass.push_sql(" AND ");
    pass.push_sql(key);
}

impl<'a> Many<'a> {
    fn of(wanted: &'a [LookUp]) -> Self {
        let mut many = Self {
            hashes: Vec::with_capacity(wanted.len()),
            ids: Vec::with_capacity(wanted.len()),
            installation_ids: Vec::with_capacity(wanted.len()),
        };
        for one in wanted {
            let (hash, id) = match &one.key {
                KeyName::Hash(hash) => (Some(hash.as_slice()), None),
                KeyName::Id(id) => (None, Some(id.0)),
            };
            many.hashes.push(hash);
            many.ids.push(id);
            many.installation_ids.push(one.installation_id.as_deref());
        }
        many
    }
}

impl QueryFragment<Pg> for Many<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql("SELECT w.place, ");
        pass.push_sql(COLUMNS);
        pass.push_sql(" FROM unnest(");
        pass.push_bind_param::<Array<Nullable<Binary>>, _>(&self.hashes)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.ids)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<Nullable<Text>>, _>(&self.installation_ids)?;
        pass.push_sql(
            ") WITH ORDINALITY AS w (hash, id, installation_id, place) CROSS JOIN LATERAL \
             (SELECT * FROM keys h WHERE h.text_hash = w.hash UNION ALL \
             SELECT * FROM keys i WHERE i.id = w.id) k",
        );
        pass.push_sql(JOINED);
        pass.push_sql("w.installation_id WHERE ");
        pass.push_sql(ISSUED);
        Ok(())
    }
}

macro_rules! loads_rows {
    ($($statement:ident on $conn:ty),+) => {$(
        impl QueryId for $statement<'_> {
            type QueryId = $statement<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }
        impl Query for $statement<'_> {
            type SqlType = Types;
        }
        impl RunQueryDsl<$conn> for $statement<'_> {}
    )+};
}
loads_rows!(ByHash on SqliteConnection, ById on SqliteConnection, Many on PgConnection);

/// The four nullable columns of an activation that may not be there.
type MaybeActivation = (
    Option<i64>,
    Option<Timestamp>,
    Option<Timestamp>,
    Option<String>,
);

#[derive(Queryable)]
struct Row {
    place: i64,
    key: IssuedKey,
    product: IssuedProduct,
    open: i64,
    activation: MaybeActivation,
}

impl Row {
    fn found(self, wanted: &LookUp) -> Found {
        let (serial, activated_at, last_seen_at, address) = self.activation;
        let activation = match (serial, activated_at, last_seen_at, &wanted.installation_id) {
            (Some(serial), Some(activated_at), Some(last_seen_at), Some(installation_id)) => {
                Some(Activation {
                    key_id: self.key.id,
                    installation_id: installation_id.clone(),
                    serial,
                    activated_at,
                    last_seen_at,
                    address,
                })
            }
            _ => None,
        };
        Found {
            key: self.key,
            product: self.product,
            open: self.open,
            activation,
        }
    }
}
