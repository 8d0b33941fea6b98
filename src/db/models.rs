//! Rows and the queries that find them. A row's methods own its SQL; rules live in `licensing`.

pub(crate) mod account;
pub(crate) mod account_sequence;
pub(crate) mod activation;
pub(crate) mod admission;
pub(crate) mod customer;
pub(crate) mod event;
pub(crate) mod generator;
pub(crate) mod idempotency_record;
pub(crate) mod import;
pub(crate) mod instance;
pub(crate) mod issued_key;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod key_changes;
pub(crate) mod key_filter;
pub(crate) mod lot;
pub(crate) mod new_key;
pub(crate) mod order;
pub(crate) mod order_line;
pub(crate) mod personal_data;
pub(crate) mod product;
pub(crate) mod refusal_count;
pub(crate) mod retired_text;
pub(crate) mod sequence;
pub(crate) mod stock;
mod stock_insert;
pub(crate) mod user;

use diesel::prelude::*;

use super::connection::MultiBackend;

/// One column of the rows of these ids, by id.
macro_rules! column_by_id {
    ($conn:expr, $table:ident.$column:ident, $ids:expr) => {
        $table::table
            .filter($table::id.eq_any($ids))
            .select(($table::id, $table::$column))
            .load::<(_, _)>($conn)
            .map(|rows| rows.into_iter().collect())
    };
}
use column_by_id;

/// The columns of a row in the order of its struct, for `RETURNING` (`as_returning()` does not work
/// on an enum of connections).
pub(crate) trait Columns: Selectable<MultiBackend> + Sized {
    fn columns() -> Self::SelectExpression {
        Self::construct_selection()
    }
}

impl<T: Selectable<MultiBackend>> Columns for T {}
