//! Putting keys into stock, many at once. Each statement has one fixed text, so that it is prepared once.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt};
use diesel::sqlite::Sqlite;

use crate::db::connection::DbConnection;
use crate::db::models::lot::LotId;
use crate::db::models::sequence::SequenceId;
use crate::db::models::stock::StockRow;

/// Rows that one statement stores on SQLite.
const GROUP: usize = 50;

impl StockRow {
    pub(crate) fn insert_all(conn: &mut DbConnection, rows: &[Self]) -> QueryResult<()> {
        match conn {
            DbConnection::Sqlite(inner) => {
                let (groups, rest) = rows.as_chunks::<GROUP>();
                for rows in groups {
                    InsertGroup(rows).execute(inner)?;
                }
                for row in rest {
                    InsertGroup(std::array::from_ref(row)).execute(inner)?;
                }
                Ok(())
            }
            DbConnection::Postgres(inner) => InsertAll::of(rows).execute(inner).map(drop),
        }
    }
}

const INTO: &str = "INSERT INTO stock (sequence_id, product_id, lot_id, key_id) ";

/// The statement for `N` rows (SQLite).
#[derive(Debug)]
struct InsertGroup<'a, const N: usize>(&'a [StockRow; N]);

impl<const N: usize> QueryFragment<Sqlite> for InsertGroup<'_, N> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        pass.push_sql(INTO);
        pass.push_sql("VALUES ");
        for (place, row) in self.0.iter().enumerate() {
            pass.push_sql(if place == 0 { "(" } else { ", (" });
            pass.push_bind_param::<BigInt, _>(&row.sequence_id)?;
            pass.push_sql(", ");
            pass.push_bind_param::<BigInt, _>(&row.product_id)?;
            pass.push_sql(", ");
            pass.push_bind_param::<BigInt, _>(&row.lot_id)?;
            pass.push_sql(", ");
            pass.push_bind_param::<BigInt, _>(&row.key_id)?;
            pass.push_sql(")");
        }
        Ok(())
    }
}

impl<const N: usize> QueryId for InsertGroup<'_, N> {
    type QueryId = InsertGroup<'static, N>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const N: usize> RunQueryDsl<SqliteConnection> for InsertGroup<'_, N> {}

/// The statement for any number of rows (PostgreSQL).
#[derive(Debug)]
struct InsertAll {
    sequences: Vec<SequenceId>,
    products: Vec<i64>,
    lots: Vec<LotId>,
    keys: Vec<i64>,
}

impl InsertAll {
    fn of(rows: &[StockRow]) -> Self {
        Self {
            sequences: rows.iter().map(|row| row.sequence_id).collect(),
            products: rows.iter().map(|row| row.product_id).collect(),
            lots: rows.iter().map(|row| row.lot_id).collect(),
            keys: rows.iter().map(|row| row.key_id).collect(),
        }
    }
}

impl QueryFragment<Pg> for InsertAll {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        pass.push_sql(INTO);
        pass.push_sql("SELECT * FROM unnest(");
        pass.push_bind_param::<Array<BigInt>, _>(&self.sequences)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<BigInt>, _>(&self.products)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<BigInt>, _>(&self.lots)?;
        pass.push_sql(", ");
        pass.push_bind_param::<Array<BigInt>, _>(&self.keys)?;
        pass.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertAll {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<PgConnection> for InsertAll {}
