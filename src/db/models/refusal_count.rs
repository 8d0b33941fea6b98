//! How often activations, renewals and validations were refused, by day, key and code.

use diesel::prelude::*;

use crate::db::connection::{DbConnection, OnBoth};
use crate::db::schema::refusals;

/// Adds `count` refusals. Key 0 stands for a key that is not known.
pub(crate) fn add(
    conn: &mut DbConnection,
    day: i64,
    key_id: i64,
    code: &str,
    count: i64,
) -> QueryResult<()> {
    OnBoth(
        diesel::insert_into(refusals::table)
            .values((
                refusals::day.eq(day),
                refusals::key_id.eq(key_id),
                refusals::code.eq(code),
                refusals::count.eq(count),
            ))
            .on_conflict((refusals::day, refusals::key_id, refusals::code))
            .do_update()
            .set(refusals::count.eq(refusals::count + diesel::upsert::excluded(refusals::count))),
    )
    .execute(conn)
    .map(drop)
}
