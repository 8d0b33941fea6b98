//! Whether the tables are what `schema.rs` says.

use diesel::prelude::*;

use super::connection::DbConnection;
use super::schema;

/// Selects every column of every table, so that a difference between `schema.rs` and the migrations is
/// an error that names the column.
///
/// # Errors
/// The database's, for the first table or column that is missing.
pub fn check_schema(conn: &mut DbConnection) -> QueryResult<()> {
    macro_rules! select_all {
        ($($table:ident),+ $(,)?) => {
            $( schema::$table::table.select(schema::$table::all_columns).limit(0).execute(conn)?; )+
        };
    }
    select_all!(
        instance,
        vault_keys,
        signing_keys,
        accounts,
        api_tokens,
        sequences,
        products,
        customers,
        order_statuses,
        orders,
        order_lines,
        lots,
        keys,
        stock,
        activations,
        activation_details,
        activation_counts,
        activation_history,
        refusals,
        events,
        jobs,
        generators,
        retired_texts,
        imports,
        account_sequences,
        idempotency_records,
        users,
    );
    Ok(())
}
