//! UPDATE statements that stay prepared.

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, AstPass, QueryFragment, QueryId};
use diesel::sql_types::Bool;

/// An UPDATE of the rows that a condition names. Diesel cannot know whether the text of its own depends
/// on the values, so it has every one parsed and planned anew, which costs SQLite more than carrying it
/// out. Not for a condition whose text grows with what it is given (`eq_any` on SQLite): nothing ever
/// leaves the cache of prepared statements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update<Table, Changes, Rows> {
    table: Table,
    changes: Changes,
    rows: Rows,
}

/// An UPDATE of `table` that makes these changes in these rows. Run it on the inner connection
/// (`each_backend!`).
pub(crate) fn update<Table, Changes, Rows>(
    table: Table,
    changes: Changes,
    rows: Rows,
) -> Update<Table, Changes::Changeset, Rows>
where
    Table: QuerySource,
    Changes: AsChangeset<Target = Table>,
    Rows: AppearsOnTable<Table> + Expression<SqlType = Bool>,
{
    Update {
        table,
        changes: changes.as_changeset(),
        rows,
    }
}

impl<DB, Table, Changes, Rows> QueryFragment<DB> for Update<Table, Changes, Rows>
where
    DB: Backend,
    Table: diesel::Table + QueryFragment<DB>,
    Changes: QueryFragment<DB>,
    Rows: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        pass.push_sql("UPDATE ");
        self.table.walk_ast(pass.reborrow())?;
        pass.push_sql(" SET ");
        self.changes.walk_ast(pass.reborrow())?;
        pass.push_sql(" WHERE ");
        self.rows.walk_ast(pass)
    }
}

// It is found by its text: Diesel's types of changes have no id.
impl<Table, Changes, Rows> QueryId for Update<Table, Changes, Rows> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Table, Changes, Rows, Conn> RunQueryDsl<Conn> for Update<Table, Changes, Rows> {}
