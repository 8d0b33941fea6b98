//! Orders and the statuses that they can have.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::connection::{DbConnection, MultiBackend, each_backend};
use crate::db::models::account::AccountId;
use crate::db::models::customer::CustomerId;
use crate::db::models::product::ProductId;
use crate::db::models::sequence::SequenceId;
use crate::db::models::{Columns, column_by_id};
use crate::db::page::{Cursor, PageRequest, Paged};
use crate::db::schema::{accounts, order_lines, order_statuses, orders, products};
use crate::db::types::{JsonObject, row_id, word_enum};
use crate::db::update::update;

row_id! {
    /// The id of an order.
    OrderId
}

word_enum! {
    /// What a status means to Countersign.
    pub enum OrderState {
        /// Not paid yet.
        Pending = "pending",
        /// Paid.
        PaymentReceived = "payment_received",
        /// Paid, being handled by the merchant.
        Processing = "processing",
        /// Paid and done.
        Completed = "completed",
        /// Called off.
        Cancelled = "cancelled",
        /// Paid back.
        Refunded = "refunded",
    }
}

word_enum! {
    /// Whether an order has got the keys that it is owed.
    pub enum IssueState {
        /// Nothing is owed.
        None = "none",
        /// Keys are to be issued.
        Wanted = "wanted",
        /// Keys are to be issued as soon as there is stock.
        WaitingStock = "waiting_stock",
        /// A hook has not said yes yet.
        WaitingHook = "waiting_hook",
        /// Outside code has not made the keys yet.
        WaitingExternal = "waiting_external",
        /// The keys are issued.
        Done = "done",
    }
}

/// A configured order status.
#[derive(Clone, Debug, HasQuery, Identifiable)]
#[diesel(table_name = order_statuses, check_for_backend(MultiBackend))]
pub(crate) struct OrderStatus {
    pub id: String,
    pub state: OrderState,
    /// Whether orders that come to this state by themselves get this status.
    pub is_default: bool,
}

/// The statuses that are configured: a handful, read at once.
#[derive(Clone, Debug)]
pub(crate) struct OrderStatuses(Vec<OrderStatus>);

/// What a shop reported.
#[derive(Clone, Debug, PartialEq, HasQuery, Identifiable, AsChangeset)]
#[diesel(table_name = orders, check_for_backend(MultiBackend), treat_none_as_null = true)]
pub(crate) struct Order {
    pub id: OrderId,
    pub account_id: AccountId,
    #[diesel(column_name = ref_)]
    pub reference: String,
    pub status: String,
    pub state: OrderState,
    pub reported_status: String,
    pub payment_method: Option<String>,
    pub customer_id: Option<CustomerId>,
    pub issue_state: IssueState,
    pub issue_wanted_at: Option<Timestamp>,
    pub issue_error: Option<JsonObject>,
    pub keys_issued_at: Option<Timestamp>,
    pub occurred_at: Option<Timestamp>,
    pub revision: i64,
    pub extra: JsonObject,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Which orders a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderFilter {
    pub account: Option<AccountId>,
    pub status: Option<String>,
    pub customers: Option<Vec<CustomerId>>,
    pub sku: Option<String>,
}

impl OrderStatuses {
    pub(crate) fn load(conn: &mut DbConnection) -> QueryResult<Self> {
        each_backend!(conn, |inner| OrderStatus::query()
            .order(order_statuses::id)
            .load(inner))
        .map(Self)
    }

    pub(crate) fn find(&self, id: &str) -> Option<&OrderStatus> {
        self.0.iter().find(|status| status.id == id)
    }

    /// The status of orders that come to this state by themselves. Every state has one.
    pub(crate) fn default_of(&self, state: OrderState) -> QueryResult<&OrderStatus> {
        let mut all = self.0.iter();
        all.find(|status| status.state == state && status.is_default)
            .ok_or(diesel::result::Error::NotFound)
    }

    /// In alphabetical order.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|status| status.id.as_str()).collect()
    }
}

/// What an order waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitingFor {
    Sequence(SequenceId),
    Product(ProductId),
}

impl OrderState {
    /// The states in which the order has been paid for and the money is still here.
    pub(crate) const PAID: [Self; 3] = [Self::PaymentReceived, Self::Processing, Self::Completed];

    /// Whether the order was called off or paid back: its keys are disabled.
    pub(crate) fn is_void(self) -> bool {
        matches!(self, Self::Cancelled | Self::Refunded)
    }

    /// Whether the order has been paid for and the money is still here.
    pub(crate) fn is_paid(self) -> bool {
        Self::PAID.contains(&self)
    }
}

impl Order {
    /// The order of this reference, made as pending if there is none; and whether it was made. Locked
    /// until the transaction ends where the database locks rows.
    pub(crate) fn find_or_insert(
        conn: &mut DbConnection,
        account: AccountId,
        reference: &str,
        pending: &OrderStatus,
        now: Timestamp,
    ) -> QueryResult<(Self, bool)> {
        let made = each_backend!(conn, |inner| diesel::insert_into(orders::table)
            .values((
                orders::account_id.eq(account),
                orders::ref_.eq(reference),
                orders::status.eq(&pending.id),
                orders::state.eq(OrderState::Pending),
                orders::reported_status.eq(&pending.id),
                orders::issue_state.eq(IssueState::None),
                orders::revision.eq(0i64),
                orders::extra.eq(JsonObject::default()),
                orders::created_at.eq(now),
                orders::updated_at.eq(now),
            ))
            .on_conflict_do_nothing()
            .returning(Self::columns())
            .get_result(inner)
            .optional())?;
        if let Some(order) = made {
            return Ok((order, true));
        }
        let id = orders::table
            .filter(
                orders::account_id
                    .eq(account)
                    .and(orders::ref_.eq(reference)),
            )
            .select(orders::id)
            .first(conn)?;
        let order = Self::lock(conn, id)?.ok_or(diesel::result::Error::NotFound)?;
        Ok((order, false))
    }

    /// Whether it was first reported in this very transaction: it has no lines and no keys yet.
    pub(crate) fn is_new(&self) -> bool {
        self.revision == 0
    }

    /// The order, locked until the transaction ends where the database locks rows.
    pub(crate) fn lock(conn: &mut DbConnection, id: OrderId) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            let locked = orders::table.find(id).select(orders::id).for_update();
            if locked.first::<OrderId>(inner).optional()?.is_none() {
                return Ok(None);
            }
        }
        Self::query().find(id).first(conn).optional()
    }

    /// Orders of this reference: one in a shop, perhaps several over all shops.
    pub(crate) fn find_by_ref(
        conn: &mut DbConnection,
        account: Option<AccountId>,
        reference: &str,
    ) -> QueryResult<Vec<Self>> {
        // Two queries, as the text of one put together at run time would be prepared each time.
        each_backend!(conn, |inner| {
            let named = Self::query().filter(orders::ref_.eq(reference));
            match account {
                Some(account) => named
                    .filter(orders::account_id.eq(account))
                    .order(orders::id)
                    .limit(2)
                    .load(inner),
                None => named.order(orders::id).limit(2).load(inner),
            }
        })
    }

    /// The orders of this reference, in any shop.
    pub(crate) fn ids_of_ref(
        conn: &mut DbConnection,
        reference: &str,
    ) -> QueryResult<Vec<OrderId>> {
        orders::table
            .filter(orders::ref_.eq(reference))
            .select(orders::id)
            .load(conn)
    }

    /// As [`Order::lock`], but `None` when somebody else holds it.
    pub(crate) fn lock_if_free(conn: &mut DbConnection, id: OrderId) -> QueryResult<Option<Self>> {
        if let DbConnection::Postgres(inner) = conn {
            let locked = orders::table
                .find(id)
                .select(orders::id)
                .for_update()
                .skip_locked();
            if locked.first::<OrderId>(inner).optional()?.is_none() {
                return Ok(None);
            }
        }
        Self::query().find(id).first(conn).optional()
    }

    pub(crate) fn find_many(conn: &mut DbConnection, ids: &[OrderId]) -> QueryResult<Vec<Self>> {
        Self::query().filter(orders::id.eq_any(ids)).load(conn)
    }

    /// The shops' own names for the orders.
    pub(crate) fn references(
        conn: &mut DbConnection,
        ids: &[OrderId],
    ) -> QueryResult<HashMap<OrderId, String>> {
        column_by_id!(conn, orders.ref_, ids)
    }

    pub(crate) fn save(&self, conn: &mut DbConnection) -> QueryResult<()> {
        let saving = update(orders::table, self, orders::id.eq(self.id));
        each_backend!(conn, |inner| saving.execute(inner)).map(drop)
    }

    pub(crate) fn shop_name(&self, conn: &mut DbConnection) -> QueryResult<String> {
        let name = accounts::table.find(self.account_id).select(accounts::name);
        each_backend!(conn, |inner| name.first(inner))
    }

    /// Paid orders that wait for keys of this sequence or this product, oldest first, after the place
    /// given.
    pub(crate) fn waiting_for(
        conn: &mut DbConnection,
        what: WaitingFor,
        after: (Timestamp, OrderId),
        limit: i64,
    ) -> QueryResult<Vec<(Timestamp, OrderId)>> {
        let (sequence, product) = match what {
            WaitingFor::Sequence(sequence) => (Some(sequence), None),
            WaitingFor::Product(product) => (None, Some(product)),
        };
        let lines = order_lines::table
            .inner_join(products::table)
            .filter(order_lines::order_id.eq(orders::id))
            .filter(
                products::sequence_id
                    .eq(sequence)
                    .assume_not_null()
                    .or(products::id.nullable().eq(product).assume_not_null()),
            );
        orders::table
            .filter(is_waiting())
            .filter(orders::state.eq_any(OrderState::PAID))
            .filter(
                orders::issue_wanted_at
                    .gt(after.0)
                    .or(orders::issue_wanted_at
                        .eq(after.0)
                        .and(orders::id.gt(after.1))),
            )
            .filter(diesel::dsl::exists(lines))
            .order((orders::issue_wanted_at, orders::id))
            .limit(limit)
            .select((orders::issue_wanted_at.assume_not_null(), orders::id))
            .load(conn)
    }

    /// The sequences that paid orders wait for.
    pub(crate) fn sequences_waited_for(conn: &mut DbConnection) -> QueryResult<Vec<SequenceId>> {
        orders::table
            .inner_join(order_lines::table.inner_join(products::table))
            .filter(is_waiting())
            .filter(orders::state.eq_any(OrderState::PAID))
            .filter(products::sequence_id.is_not_null())
            .select(products::sequence_id.assume_not_null())
            .distinct()
            .load(conn)
    }

    pub(crate) fn list(
        conn: &mut DbConnection,
        filter: &OrderFilter,
        page: &PageRequest,
    ) -> QueryResult<Paged<Self>> {
        let mut query = Self::query()
            .filter(orders::id.gt(page.after_id()))
            .into_boxed();
        if let Some(account) = filter.account {
            query = query.filter(orders::account_id.eq(account));
        }
        if let Some(status) = &filter.status {
            query = query.filter(orders::status.eq(status.clone()));
        }
        if let Some(customers) = &filter.customers {
            query = query.filter(
                orders::customer_id
                    .eq_any(customers.iter().map(|id| Some(*id)).collect::<Vec<_>>()),
            );
        }
        if let Some(sku) = &filter.sku {
            let lines = order_lines::table.filter(
                order_lines::order_id
                    .eq(orders::id)
                    .and(order_lines::sku.eq(sku.clone())),
            );
            query = query.filter(diesel::dsl::exists(lines));
        }
        let rows = query.order(orders::id).limit(page.fetch()).load(conn)?;
        Ok(Paged::cut(rows, page, |row: &Self| Cursor::of_id(row.id.0)))
    }
}

/// Orders that wait for keys. In the words of the index `orders_waiting`: SQLite does not look into
/// placeholders to find that an index fits.
fn is_waiting() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql("orders.issue_state IN ('wanted', 'waiting_stock')")
}
