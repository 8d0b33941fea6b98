//! What ties a database to its key files: the fingerprints of the vault's keys and the signing keys.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth};
use crate::db::schema::{instance, signing_keys, vault_keys};
use crate::db::types::word_enum;

word_enum! {
    /// What a signing key is used for.
    pub enum SigningKeyState {
        /// Published, not used yet, so that software can pin it beforehand.
        Next = "next",
        /// Signs.
        Signing = "signing",
        /// Signs no more, still verifies.
        Retired = "retired",
        /// Not to be trusted: out of the JWKS, refused at renew.
        Revoked = "revoked",
    }
}

/// A signing key's public half and its history.
#[derive(Clone, Debug, PartialEq, Eq, HasQuery, Insertable)]
#[diesel(table_name = signing_keys, check_for_backend(MultiBackend), treat_none_as_default_value = false)]
pub(crate) struct SigningKeyRow {
    pub kid: String,
    pub public_key: Vec<u8>,
    pub state: SigningKeyState,
    pub created_at: Timestamp,
    pub signing_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl SigningKeyRow {
    /// Every signing key, oldest first.
    pub(crate) fn all(conn: &mut DbConnection) -> QueryResult<Vec<Self>> {
        Self::query()
            .order((signing_keys::created_at, signing_keys::kid))
            .load(conn)
    }

    pub(crate) fn insert(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::insert_into(signing_keys::table)
            .values(self)
            .execute(conn)
            .map(drop)
    }

    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(signing_keys::table.find(&self.kid))
            .set((
                signing_keys::state.eq(self.state),
                signing_keys::signing_at.eq(self.signing_at),
                signing_keys::retired_at.eq(self.retired_at),
                signing_keys::revoked_at.eq(self.revoked_at),
            ))
            .execute(conn)
            .map(drop)
    }
}

/// The fingerprints of the vault's keys by name.
pub(crate) fn vault_fingerprints(conn: &mut DbConnection) -> QueryResult<Vec<(String, Vec<u8>)>> {
    vault_keys::table
        .order(vault_keys::name)
        .select((vault_keys::name, vault_keys::fingerprint))
        .load(conn)
}

pub(crate) fn insert_vault_fingerprint(
    conn: &mut DbConnection,
    name: &str,
    fingerprint: &[u8],
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(vault_keys::table)
        .values((
            vault_keys::name.eq(name),
            vault_keys::fingerprint.eq(fingerprint),
            vault_keys::created_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Names this installation at its first start and, on PostgreSQL, keeps other processes from setting
/// it up at the same time until the transaction ends.
pub(crate) fn claim_first_start(
    conn: &mut DbConnection,
    name: &str,
    now: Timestamp,
) -> QueryResult<()> {
    OnBoth(
        diesel::insert_into(instance::table)
            .values((
                instance::id.eq(1i64),
                instance::name.eq(name),
                instance::created_at.eq(now),
            ))
            .on_conflict_do_nothing(),
    )
    .execute(conn)?;
    lock_instance(conn).map(drop)
}

/// Holds this installation's row until the transaction ends, where the database locks rows; `false`
/// when there was no first start yet.
pub(crate) fn lock_instance(conn: &mut DbConnection) -> QueryResult<bool> {
    let row = instance::table.select(instance::id);
    let found: Option<i64> = match conn {
        DbConnection::Sqlite(inner) => row.first(inner).optional()?,
        DbConnection::Postgres(inner) => row.for_update().first(inner).optional()?,
    };
    Ok(found.is_some())
}
