//! Texts that were replaced. A text exists once in the whole installation, and these count [IPS-11].

use std::collections::HashSet;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::DbConnection;
use crate::db::models::key::KeyId;
use crate::db::schema::retired_texts;

/// Texts asked for at once: each is a parameter of the statement.
const SLICE: usize = 500;

/// A text that a key once had.
#[derive(Debug, Insertable)]
#[diesel(table_name = retired_texts)]
pub(crate) struct RetiredText<'a> {
    pub text_hash: &'a [u8],
    pub key_id: KeyId,
    pub retired_at: Timestamp,
}

impl RetiredText<'_> {
    pub(crate) fn insert(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::insert_into(retired_texts::table)
            .values(self)
            .execute(conn)
            .map(drop)
    }

    /// Whether any text ever was: most installations replace none.
    pub(crate) fn is_any(conn: &mut DbConnection) -> QueryResult<bool> {
        let one = retired_texts::table.select(retired_texts::key_id);
        diesel::select(diesel::dsl::exists(one)).get_result(conn)
    }

    /// Those of the hashes that are retired.
    pub(crate) fn among(
        conn: &mut DbConnection,
        hashes: &[&[u8]],
    ) -> QueryResult<HashSet<Vec<u8>>> {
        let mut found = HashSet::new();
        for slice in hashes.chunks(SLICE) {
            let some: Vec<Vec<u8>> = retired_texts::table
                .filter(retired_texts::text_hash.eq_any(slice))
                .select(retired_texts::text_hash)
                .load(conn)?;
            found.extend(some);
        }
        Ok(found)
    }
}
