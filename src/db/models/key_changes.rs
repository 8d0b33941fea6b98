//! Writing one key: what staff and orders change of it.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, each_backend};
use crate::db::models::key::{Key, KeyId};
use crate::db::models::lot::LotId;
use crate::db::models::stock::StockRow;
use crate::db::schema::{keys, stock};
use crate::db::update::update;

impl Key {
    /// Writes what may change of a key. The caller holds its row.
    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        let changes = (
            (
                keys::sequence_id.eq(self.sequence_id),
                keys::product_id.eq(self.product_id),
                keys::lot_id.eq(self.lot_id),
                keys::order_id.eq(self.order_id),
                keys::order_line_id.eq(self.order_line_id),
                keys::customer_id.eq(self.customer_id),
                keys::number_prefix.eq(&self.number_prefix),
                keys::max_activations.eq(self.max_activations),
                keys::expires_at.eq(self.expires_at),
                keys::valid_for_days.eq(self.valid_for_days),
                keys::extra.eq(&self.extra),
            ),
            (
                keys::status.eq(self.status),
                keys::status_before.eq(self.status_before),
                keys::disabled_by_order.eq(self.disabled_by_order),
                keys::assigned_at.eq(self.assigned_at),
                keys::delivered_at.eq(self.delivered_at),
                keys::revoked_at.eq(self.revoked_at),
                keys::suspended_at.eq(self.suspended_at),
                keys::terminated_at.eq(self.terminated_at),
                keys::updated_at.eq(self.updated_at),
            ),
        );
        let saving = update(keys::table, changes, keys::id.eq(self.id));
        each_backend!(conn, |inner| saving.execute(inner)).map(drop)
    }

    /// Deletes a key that was never assigned. The caller holds its row, and has taken it out of stock.
    pub(crate) fn delete(&self, conn: &mut DbConnection) -> QueryResult<()> {
        let free = keys::table.filter(keys::id.eq(self.id).and(keys::assigned_at.is_null()));
        match diesel::delete(free).execute(conn)? {
            1 => Ok(()),
            _ => Err(diesel::result::Error::NotFound),
        }
    }

    /// The hash of a key's text; `None` for a key that has none.
    pub(crate) fn text_hash(conn: &mut DbConnection, id: KeyId) -> QueryResult<Option<Vec<u8>>> {
        keys::table.find(id).select(keys::text_hash).first(conn)
    }

    /// Whether any key has this text, one of an import that is still going on included.
    pub(crate) fn has_text(conn: &mut DbConnection, text_hash: &[u8]) -> QueryResult<bool> {
        let rows = keys::table.filter(keys::text_hash.eq(text_hash));
        diesel::select(diesel::dsl::exists(rows)).get_result(conn)
    }

    /// Gives the key another text, and a number of the next version.
    pub(crate) fn replace_text(
        &mut self,
        conn: &mut DbConnection,
        text_sealed: &[u8],
        text_hash: &[u8],
        now: Timestamp,
    ) -> QueryResult<()> {
        self.number_version += 1;
        self.updated_at = now;
        diesel::update(keys::table.find(self.id))
            .set((
                keys::text_sealed.eq(text_sealed),
                keys::text_hash.eq(text_hash),
                keys::number_version.eq(self.number_version),
                keys::updated_at.eq(now),
            ))
            .execute(conn)
            .map(drop)
    }

    /// The key's place in stock, if it has a lot and a sequence.
    pub(crate) fn place(&self) -> Option<StockRow> {
        let (sequence, lot): (_, LotId) = (self.sequence_id?, self.lot_id?);
        Some(StockRow::new(sequence, self.product_id, lot, self.id.0))
    }
}

impl StockRow {
    /// Takes a key out of stock; whether it was there: one that has expired may have gone already.
    pub(crate) fn remove(&self, conn: &mut DbConnection) -> QueryResult<bool> {
        let row = stock::table.find((self.sequence_id, self.product_id, self.lot_id, self.key_id));
        Ok(each_backend!(conn, |inner| diesel::delete(row).execute(inner))? == 1)
    }
}
