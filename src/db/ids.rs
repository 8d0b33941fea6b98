//! Key ids, which are known before a row is written: a key's text is sealed under its id.

use diesel::prelude::*;

use super::connection::DbConnection;

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    id: i64,
}

/// Takes `count` key ids, in rising order. They are never given out again, whatever becomes of the keys.
///
/// # Errors
/// The database's.
pub(crate) fn take_key_ids(conn: &mut DbConnection, count: usize) -> QueryResult<Vec<i64>> {
    let count = i64::try_from(count)
        .map_err(|error| diesel::result::Error::QueryBuilderError(error.into()))?;
    match conn {
        DbConnection::Sqlite(inner) => {
            let next = diesel::sql_query("UPDATE key_ids SET next = next + ? RETURNING next AS id")
                .bind::<diesel::sql_types::BigInt, _>(count)
                .get_result::<Id>(inner)?
                .id;
            Ok((next - count..next).collect())
        }
        DbConnection::Postgres(inner) => {
            let mut ids: Vec<i64> =
                diesel::sql_query("SELECT nextval('key_ids') AS id FROM generate_series(1, $1)")
                    .bind::<diesel::sql_types::BigInt, _>(count)
                    .load::<Id>(inner)?
                    .into_iter()
                    .map(|row| row.id)
                    .collect();
            ids.sort_unstable();
            Ok(ids)
        }
    }
}
