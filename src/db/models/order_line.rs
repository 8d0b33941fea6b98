//! The lines of orders.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, each_backend};
use crate::db::models::Columns;
use crate::db::models::order::OrderId;
use crate::db::models::product::ProductId;
use crate::db::schema::order_lines;
use crate::db::types::{JsonObject, row_id};
use crate::db::update::update;

row_id! {
    /// The id of an order line.
    OrderLineId
}

/// One product and quantity of an order.
#[derive(Clone, Debug, PartialEq, HasQuery, Identifiable, AsChangeset)]
#[diesel(table_name = order_lines, check_for_backend(MultiBackend), treat_none_as_null = true)]
pub(crate) struct OrderLine {
    pub id: OrderLineId,
    pub order_id: OrderId,
    #[diesel(column_name = ref_)]
    pub reference: String,
    pub position: i64,
    pub product_id: Option<ProductId>,
    pub sku: String,
    pub quantity: i64,
    pub managed: bool,
    pub extra: JsonObject,
    pub removed_at: Option<Timestamp>,
}

/// A line about to be stored.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = order_lines, treat_none_as_default_value = false)]
pub(crate) struct NewOrderLine {
    pub order_id: OrderId,
    #[diesel(column_name = ref_)]
    pub reference: String,
    pub position: i64,
    pub product_id: Option<ProductId>,
    pub sku: String,
    pub quantity: i64,
    pub managed: bool,
    pub extra: JsonObject,
}

impl OrderLine {
    /// The lines of the orders, removed ones included, in the shop's order.
    pub(crate) fn of_orders(conn: &mut DbConnection, orders: &[OrderId]) -> QueryResult<Vec<Self>> {
        let order = (
            order_lines::order_id,
            order_lines::position,
            order_lines::id,
        );
        each_backend!(conn, |inner| {
            let lines = Self::query().order(order);
            match orders {
                [] => Ok(Vec::new()),
                [one] => lines.filter(order_lines::order_id.eq(one)).load(inner),
                many => lines.filter(order_lines::order_id.eq_any(many)).load(inner),
            }
        })
    }

    /// The line of an order that a product stands on; not one that was removed.
    pub(crate) fn of_product(
        conn: &mut DbConnection,
        order: OrderId,
        product: Option<ProductId>,
    ) -> QueryResult<Option<OrderLineId>> {
        order_lines::table
            .filter(
                order_lines::order_id
                    .eq(order)
                    .and(order_lines::product_id.eq(product)),
            )
            .filter(order_lines::removed_at.is_null())
            .order((order_lines::position, order_lines::id))
            .select(order_lines::id)
            .first(conn)
            .optional()
    }

    pub(crate) fn insert(conn: &mut DbConnection, line: &NewOrderLine) -> QueryResult<Self> {
        each_backend!(conn, |inner| diesel::insert_into(order_lines::table)
            .values(line)
            .returning(Self::columns())
            .get_result(inner))
    }

    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        let saving = update(order_lines::table, self, order_lines::id.eq(self.id));
        each_backend!(conn, |inner| saving.execute(inner)).map(drop)
    }
}
