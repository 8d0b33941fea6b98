//! Orders as shops and staff see them, with their keys.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::issue::{Shortage, keys_needed};
use super::orders::LineReport;
use super::{number, order_lines, supply};
use crate::clock::Timestamp;
use crate::config::UnknownSku;
use crate::db::models::account::AccountId;
use crate::db::models::customer::{Customer, CustomerId};
use crate::db::models::key::Key;
use crate::db::models::order::{IssueState, Order, OrderFilter, OrderId, OrderState};
use crate::db::models::order_line::{OrderLine, OrderLineId};
use crate::db::models::product::Product;
use crate::db::models::stock::StockRow;
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Error, Result};
use crate::signing::vault::Vault;

/// An order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OrderView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: OrderId,
    /// The shop's own name for it.
    #[serde(rename = "ref")]
    #[schema(example = "1001")]
    pub reference: String,
    /// The account of the shop.
    pub shop: String,
    /// Where it stands.
    #[schema(example = "completed")]
    pub status: String,
    /// What that status means.
    pub state: OrderState,
    /// What the shop said last.
    pub reported_status: String,
    /// As the shop names it.
    pub payment_method: Option<String>,
    /// The buyer.
    pub customer: Option<CustomerView>,
    /// What was bought.
    pub lines: Vec<LineView>,
    /// Files to download.
    pub downloads: Vec<DownloadView>,
    /// Whether it has got what it is owed.
    pub issue_state: IssueState,
    /// When its keys were issued.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub keys_issued_at: Option<Timestamp>,
    /// Why its keys are not issued yet.
    pub issue_error: Option<IssueErrorView>,
    /// When the reported change happened, as the shop says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub occurred_at: Option<Timestamp>,
    /// Any JSON object.
    #[schema(value_type = Object)]
    pub extra: JsonObject,
    /// When it was first reported.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A buyer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CustomerView {
    /// The id here.
    #[schema(value_type = i64)]
    pub id: CustomerId,
    /// The shop's name for the buyer.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The language, as a BCP 47 tag.
    pub locale: Option<String>,
}

/// A line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LineView {
    /// The shop's name for the line.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The product.
    pub sku: String,
    /// How many were bought.
    pub quantity: i64,
    /// Whether it can issue keys.
    pub managed: bool,
    /// The keys issued for it.
    pub keys: Vec<IssuedKeyView>,
}

/// A key that was issued to a buyer.
#[derive(Clone, Serialize, ToSchema)]
pub struct IssuedKeyView {
    /// Its id.
    pub id: i64,
    /// Its text, for the buyer.
    #[schema(example = "AAAAA-BBBBB-CCCCC")]
    pub key: Option<String>,
    /// Its number.
    #[schema(example = "KEY.00000017.0001")]
    pub number: String,
    /// When it expires; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// How many installations it admits; null for any number.
    pub max_activations: Option<i64>,
}

impl std::fmt::Debug for IssuedKeyView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssuedKeyView({})", self.number)
    }
}

/// A file that the buyer may download.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DownloadView {
    /// Its name.
    pub file: String,
    /// Where to get it.
    pub url: String,
    /// How often it may still be downloaded; null for any number.
    pub remaining: Option<i64>,
    /// Until when; null for ever.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// Why keys are not issued yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IssueErrorView {
    /// `out_of_stock`.
    #[schema(example = "out_of_stock")]
    pub code: String,
    /// Which products lack how many keys.
    #[serde(default)]
    pub shortages: Vec<Shortage>,
}

/// Whether an order could be served from stock.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckView {
    /// Whether every line could.
    pub fulfillable: bool,
    /// What is missing.
    pub shortages: Vec<Shortage>,
}

/// An order with everything that its view shows, key texts still sealed: so that a text that does not open
/// fails an answer, and not the transaction that a shop's report is stored in.
#[derive(Clone, Debug)]
pub(crate) struct OrderParts {
    order: Order,
    shop: String,
    customer: Option<Customer>,
    lines: Vec<OrderLine>,
    keys: Vec<Key>,
}

/// What one order's view is made of.
///
/// # Errors
/// The database's.
pub(crate) fn order_parts(conn: &mut DbConnection, order: Order) -> Result<OrderParts> {
    let id = order.id;
    all_parts(conn, vec![order])?
        .pop()
        .ok_or_else(|| Error::internal(format!("order {id} is not shown")))
}

/// The orders.
///
/// # Errors
/// The database's, or a key text that does not open.
pub(crate) fn list_orders(
    conn: &mut DbConnection,
    vault: &Vault,
    filter: &OrderFilter,
    page: &PageRequest,
) -> Result<Paged<OrderView>> {
    let Paged { items, next } = Order::list(conn, filter, page)?;
    let parts = all_parts(conn, items)?.into_iter();
    Ok(Paged {
        items: parts
            .map(|parts| parts.view(vault))
            .collect::<Result<_>>()?,
        next,
    })
}

/// Whether these lines could be served from stock now. Nothing is held.
///
/// # Errors
/// What a report of these lines would be refused for.
pub(crate) fn check_stock(
    conn: &mut DbConnection,
    unknown_sku: UnknownSku,
    lines: &[LineReport],
    now: Timestamp,
) -> Result<CheckView> {
    order_lines::check_lines(conn, unknown_sku, lines, &[])?;
    let mut needed: Vec<(Product, i64)> = Vec::new();
    for line in lines.iter().filter(|line| line.managed) {
        let Some(product) = Product::find_by_sku(conn, &line.sku)? else {
            continue;
        };
        if supply::is_unlimited(conn, &product)? {
            continue;
        }
        let keys = keys_needed(&product, line.quantity);
        match needed.iter_mut().find(|(known, _)| known.id == product.id) {
            Some((_, sum)) => *sum += keys,
            None => needed.push((product, keys)),
        }
    }
    let mut shared = HashMap::new();
    let mut shortages = Vec::new();
    for (product, needed) in needed.into_iter().filter(|(_, needed)| *needed > 0) {
        let (own, shared) = match product.sequence_id {
            None => (0, &mut 0),
            Some(sequence) => {
                let own = StockRow::count(conn, sequence, Some(product.id), now)?;
                if let Entry::Vacant(e) = shared.entry(sequence) {
                    e.insert(StockRow::count(conn, sequence, None, now)?);
                }
                (own, shared.entry(sequence).or_insert(0))
            }
        };
        let available = own + *shared;
        if available < needed {
            shortages.push(Shortage {
                sku: product.columns.sku,
                needed,
                available,
            });
        }
        // What products share can be taken once only.
        *shared -= (needed - own).clamp(0, *shared);
    }
    Ok(CheckView {
        fulfillable: shortages.is_empty(),
        shortages,
    })
}

fn all_parts(conn: &mut DbConnection, orders: Vec<Order>) -> Result<Vec<OrderParts>> {
    let ids: Vec<OrderId> = orders.iter().map(|order| order.id).collect();
    let customers: BTreeSet<CustomerId> = orders.iter().filter_map(|one| one.customer_id).collect();
    let customers: Vec<CustomerId> = customers.into_iter().collect();
    let customers: HashMap<_, _> = Customer::find_many(conn, &customers)?
        .into_iter()
        .map(|customer| (customer.id, customer))
        .collect();
    let mut keys: HashMap<OrderId, Vec<Key>> = HashMap::new();
    for key in Key::of_orders(conn, &ids)? {
        if let Some(order) = key.order_id {
            keys.entry(order).or_default().push(key);
        }
    }
    let mut lines: HashMap<OrderId, Vec<OrderLine>> = HashMap::new();
    for line in OrderLine::of_orders(conn, &ids)? {
        lines.entry(line.order_id).or_default().push(line);
    }
    let mut shops: HashMap<AccountId, String> = HashMap::new();
    let mut all = Vec::with_capacity(orders.len());
    for order in orders {
        if let Entry::Vacant(unknown) = shops.entry(order.account_id) {
            unknown.insert(order.shop_name(conn)?);
        }
        all.push(OrderParts {
            shop: shops.get(&order.account_id).cloned().unwrap_or_default(),
            customer: order.customer_id.and_then(|id| customers.get(&id)).cloned(),
            lines: lines.remove(&order.id).unwrap_or_default(),
            keys: keys.remove(&order.id).unwrap_or_default(),
            order,
        });
    }
    Ok(all)
}

impl OrderParts {
    /// The order as it is shown.
    ///
    /// # Errors
    /// A key text that does not open.
    pub(crate) fn view(self, vault: &Vault) -> Result<OrderView> {
        let Self { order, shop, .. } = self;
        let mut issued: HashMap<OrderLineId, Vec<IssuedKeyView>> = HashMap::new();
        for key in &self.keys {
            if let Some(line) = key.order_line_id {
                let view = IssuedKeyView::of(key, vault)?;
                issued.entry(line).or_default().push(view);
            }
        }
        let mut lines = Vec::with_capacity(self.lines.len());
        for line in self.lines {
            let keys = issued.remove(&line.id).unwrap_or_default();
            // A removed line is shown as long as it has keys.
            if line.removed_at.is_none() || !keys.is_empty() {
                lines.push(LineView {
                    reference: line.reference,
                    sku: line.sku,
                    quantity: line.quantity,
                    managed: line.managed,
                    keys,
                });
            }
        }
        Ok(OrderView {
            id: order.id,
            reference: order.reference,
            shop,
            status: order.status,
            state: order.state,
            reported_status: order.reported_status,
            payment_method: order.payment_method,
            customer: self.customer.map(CustomerView::from),
            lines,
            downloads: Vec::new(),
            issue_state: order.issue_state,
            keys_issued_at: order.keys_issued_at,
            issue_error: order.issue_error.map(issue_error).transpose()?,
            occurred_at: order.occurred_at,
            extra: order.extra,
            created_at: order.created_at,
            updated_at: order.updated_at,
        })
    }
}

fn issue_error(stored: JsonObject) -> Result<IssueErrorView> {
    serde_json::from_value(stored.0.into())
        .map_err(|error| Error::internal(format!("an order's issue_error: {error}")))
}

impl IssuedKeyView {
    fn of(key: &Key, vault: &Vault) -> Result<Self> {
        Ok(Self {
            id: key.id.0,
            key: super::keys::open_text(key, vault)?,
            number: number::full(key),
            expires_at: key.expires_at,
            max_activations: key.max_activations,
        })
    }
}

impl From<Customer> for CustomerView {
    fn from(customer: Customer) -> Self {
        Self {
            id: customer.id,
            reference: customer.reference,
            email: customer.email,
            name: customer.name,
            locale: customer.locale,
        }
    }
}
