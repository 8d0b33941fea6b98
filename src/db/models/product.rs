//! Products.

use std::collections::HashMap;
use std::ops::Deref;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, OnBoth, each_backend};
use crate::db::models::column_by_id;
use crate::db::models::generator::GeneratorId;
use crate::db::models::sequence::SequenceId;
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{keys, order_lines, products};
use crate::db::types::{JsonObject, row_id, word_enum};

row_id! {
    /// The id of a product.
    ProductId
}

word_enum! {
    /// Whether a product can be bought.
    pub enum ProductStatus {
        /// Being set up; cannot be bought.
        Draft = "draft",
        /// Can be bought.
        Published = "published",
    }
}

word_enum! {
    /// What a bought quantity means for activations.
    pub enum LimitBasis {
        /// Quantity × delivery quantity keys, each with its own limit.
        Key = "key",
        /// Delivery quantity keys, each with the bought quantity as its limit.
        Quantity = "quantity",
    }
}

/// Something a shop sells.
#[derive(Clone, Debug, PartialEq, HasQuery, Identifiable)]
#[diesel(table_name = products, check_for_backend(MultiBackend))]
pub(crate) struct Product {
    pub id: ProductId,
    #[diesel(embed)]
    pub columns: ProductColumns,
}

/// What a product is made with and what an edit may change. `api/products.rs` says what each means.
#[derive(Clone, Debug, PartialEq, Selectable, Queryable, Insertable, AsChangeset)]
#[diesel(table_name = products, check_for_backend(MultiBackend))]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
pub(crate) struct ProductColumns {
    pub sku: String,
    pub name: String,
    pub status: ProductStatus,
    pub is_virtual: bool,
    pub downloadable: bool,
    pub sells_keys: bool,
    pub activation_managed: bool,
    pub sequence_id: Option<SequenceId>,
    pub delivery_quantity: i64,
    pub activation_limit_basis: LimitBasis,
    pub number_prefix: String,
    pub renew_by_days: i64,
    pub grace_days: i64,
    pub auto_deliver: bool,
    pub self_release: bool,
    pub releases_per_month: Option<i64>,
    pub entitlements: JsonObject,
    pub extra: JsonObject,
    pub fallback_generator_id: Option<GeneratorId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Deref for Product {
    type Target = ProductColumns;

    fn deref(&self) -> &ProductColumns {
        &self.columns
    }
}

impl Product {
    pub(crate) fn find(conn: &mut DbConnection, id: ProductId) -> QueryResult<Self> {
        each_backend!(conn, |inner| Self::query().find(id).first(inner))
    }

    /// Those of these ids.
    pub(crate) fn find_all(conn: &mut DbConnection, ids: &[ProductId]) -> QueryResult<Vec<Self>> {
        match ids {
            [] => Ok(Vec::new()),
            [one] => Ok(vec![Self::find(conn, *one)?]),
            many => Self::query().filter(products::id.eq_any(many)).load(conn),
        }
    }

    pub(crate) fn find_by_sku(conn: &mut DbConnection, sku: &str) -> QueryResult<Option<Self>> {
        each_backend!(conn, |inner| Self::query()
            .filter(products::sku.eq(sku))
            .first(inner)
            .optional())
    }

    /// As [`Product::find_by_sku`], held until this transaction ends against other edits.
    pub(crate) fn lock_for_edit(conn: &mut DbConnection, sku: &str) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            // Not FOR UPDATE, which every key and order line that refers to it would wait for.
            let row = products::table
                .filter(products::sku.eq(sku))
                .select(products::id);
            row.for_no_key_update()
                .first::<ProductId>(inner)
                .optional()?;
        }
        Self::find_by_sku(conn, sku)
    }

    /// As [`Product::find_by_sku`], and nobody can begin to refer to it until this transaction ends.
    pub(crate) fn lock_for_deletion(
        conn: &mut DbConnection,
        sku: &str,
    ) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            let row = products::table
                .filter(products::sku.eq(sku))
                .select(products::id);
            row.for_update().first::<ProductId>(inner).optional()?;
        }
        Self::find_by_sku(conn, sku)
    }

    pub(crate) fn find_many(conn: &mut DbConnection, skus: &[String]) -> QueryResult<Vec<Self>> {
        match skus {
            [] => Ok(Vec::new()),
            [one] => Ok(Self::find_by_sku(conn, one)?.into_iter().collect()),
            many => Self::query().filter(products::sku.eq_any(many)).load(conn),
        }
    }

    /// The skus of the products.
    pub(crate) fn skus(
        conn: &mut DbConnection,
        ids: &[ProductId],
    ) -> QueryResult<HashMap<ProductId, String>> {
        column_by_id!(conn, products.sku, ids)
    }

    /// Takes a sequence away from every product that uses it.
    pub(crate) fn detach_from(
        conn: &mut DbConnection,
        sequence: SequenceId,
        now: Timestamp,
    ) -> QueryResult<()> {
        diesel::update(products::table.filter(products::sequence_id.eq(sequence)))
            .set((
                products::sequence_id.eq(None::<SequenceId>),
                products::updated_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }

    /// Makes the product; `None` when the sku is taken.
    pub(crate) fn insert(
        conn: &mut DbConnection,
        new: &ProductColumns,
    ) -> QueryResult<Option<Self>> {
        let made = OnBoth(
            diesel::insert_into(products::table)
                .values(new)
                .on_conflict_do_nothing(),
        )
        .execute(conn)?;
        if made == 0 {
            Ok(None)
        } else {
            Self::find_by_sku(conn, &new.sku)
        }
    }

    /// Writes every column.
    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::update(products::table.find(self.id))
            .set(&self.columns)
            .execute(conn)
            .map(drop)
    }

    /// Whether a key or an order line refers to it.
    pub(crate) fn is_in_use(&self, conn: &mut DbConnection) -> QueryResult<bool> {
        let by_key = keys::table.filter(keys::product_id.eq(self.id));
        let by_line = order_lines::table.filter(order_lines::product_id.eq(self.id));
        Ok(
            diesel::select(diesel::dsl::exists(by_key)).get_result(conn)?
                || diesel::select(diesel::dsl::exists(by_line)).get_result(conn)?,
        )
    }

    pub(crate) fn delete(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::delete(products::table.find(self.id))
            .execute(conn)
            .map(drop)
    }

    /// The products, or those of one status.
    pub(crate) fn list(
        conn: &mut DbConnection,
        status: Option<ProductStatus>,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let mut query = Self::query()
            .filter(products::id.gt(page.after_id()))
            .into_boxed();
        if let Some(status) = status {
            query = query.filter(products::status.eq(status));
        }
        let rows = query.order(products::id).limit(page.fetch()).load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }
}
