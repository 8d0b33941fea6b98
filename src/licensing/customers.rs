//! Customers: the buyers that shops name, as staff see them; and how a report finds them.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use super::orders;
use crate::clock::Timestamp;
use crate::db::models::account::{Account, AccountId};
use crate::db::models::customer::{Customer, CustomerFilter, CustomerId, NewCustomer};
use crate::db::models::job::{self, Job};
use crate::db::models::order::Order;
use crate::db::types::JsonObject;
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Error, Refusal, Result};

/// The buyer, as an order's report names them.
#[derive(Clone, Debug)]
pub(crate) struct CustomerReport {
    pub email: Option<String>,
    pub name: Option<String>,
    pub reference: Option<String>,
    pub locale: Option<String>,
}

/// Which customers a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct CustomerQuery {
    pub email: Option<String>,
    pub reference: Option<String>,
    /// The name of the shop's account.
    pub shop: Option<String>,
}

/// A customer as staff see them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PersonView {
    /// The id.
    #[schema(value_type = i64)]
    pub id: CustomerId,
    /// The account of the shop that they bought from.
    pub shop: String,
    /// The shop's name for them.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// When they were first named.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When this last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When the personal data was erased; null while it is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub erased_at: Option<Timestamp>,
}

/// A customer, with how much they bought.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PersonDetailView {
    /// The customer.
    #[serde(flatten)]
    pub person: PersonView,
    /// How many orders name them.
    pub orders: i64,
    /// How many keys are theirs.
    pub keys: i64,
}

/// The customers that match.
///
/// # Errors
/// `account_not_found`.
pub(crate) fn list_customers(
    conn: &mut DbConnection,
    query: &CustomerQuery,
    page: &PageRequest,
) -> Result<Paged<PersonView>> {
    let account = match &query.shop {
        Some(shop) => Some(orders::shop(conn, shop)?),
        None => None,
    };
    let filter = CustomerFilter {
        email: query.email.clone(),
        reference: query.reference.clone(),
        account,
    };
    let customers = Customer::list(conn, &filter, page)?;
    let shops: Vec<AccountId> = customers.items.iter().map(|row| row.account_id).collect();
    let shops = Account::names(conn, &shops)?;
    Ok(customers.map(|customer| {
        let shop = shops.get(&customer.account_id).cloned();
        view(customer, shop.unwrap_or_default())
    }))
}

/// One customer.
///
/// # Errors
/// `customer_not_found`.
pub(crate) fn show_customer(conn: &mut DbConnection, id: CustomerId) -> Result<PersonDetailView> {
    let customer = Customer::find(conn, id)?.ok_or_else(|| not_found(id))?;
    let (orders, keys) = customer.counts(conn)?;
    let shop = Account::names(conn, &[customer.account_id])?.remove(&customer.account_id);
    Ok(PersonDetailView {
        person: view(customer, shop.unwrap_or_default()),
        orders,
        keys,
    })
}

/// Erases a customer's personal data: what their row says at once, what is noted with the activations of
/// their keys and with events by a job that follows. Their orders and keys stay. Repeating it takes away
/// what has come in since.
///
/// # Errors
/// `customer_not_found`.
pub(crate) fn erase_customer(tx: &mut DbConnection, cx: &Context, id: CustomerId) -> Result<()> {
    let customer = Customer::lock(tx, id)?.ok_or_else(|| not_found(id))?;
    if customer.erased_at.is_none() {
        customer.erase(tx, cx.now)?;
        events::record(
            tx,
            cx,
            "customer.erased",
            Subject::Customer(id),
            Value::Null,
        )?;
    }
    let payload = JsonObject::of(json!({ "customer": id }));
    let dedupe = format!("{}:{id}", job::ERASE_CUSTOMER);
    Job::enqueue(tx, job::ERASE_CUSTOMER, &dedupe, &payload, cx.now)?;
    Ok(())
}

/// Notes that a customer's data is handed out.
///
/// # Errors
/// `customer_not_found`.
pub(crate) fn record_export(tx: &mut DbConnection, cx: &Context, id: CustomerId) -> Result<()> {
    Customer::find(tx, id)?.ok_or_else(|| not_found(id))?;
    events::record(
        tx,
        cx,
        "customer.exported",
        Subject::Customer(id),
        Value::Null,
    )
}

/// Stores the buyer that a report of this order names. An order of an erased customer keeps that one,
/// and nothing of the report is written down: an old report that comes again must not bring the data
/// back. A new order of the same person makes a new customer.
///
/// # Errors
/// When the report names the buyer neither by e-mail nor by reference.
pub(crate) fn save_reported(
    tx: &mut DbConnection,
    order: &Order,
    report: &CustomerReport,
    now: Timestamp,
) -> Result<CustomerId> {
    let (reference, email) = (report.reference.as_deref(), report.email.as_deref());
    if reference.is_none() && email.is_none() {
        let detail = "name the buyer by `email` or by `ref`";
        return Err(Refusal::wrong("customer", "required", detail).into());
    }
    // Held, so that nobody erases them between this look and the end of this transaction.
    if let Some(id) = order.customer_id
        && Customer::lock(tx, id)?.is_some_and(|customer| customer.erased_at.is_some())
    {
        return Ok(id);
    }
    let named = NewCustomer {
        account: order.account_id,
        reference,
        email,
        name: report.name.as_deref(),
        locale: report.locale.as_deref(),
    };
    let stored = find_or_insert(tx, &named, now)?;
    let updated = Customer {
        email: report.email.clone().or_else(|| stored.email.clone()),
        name: report.name.clone().or_else(|| stored.name.clone()),
        locale: report.locale.clone().or_else(|| stored.locale.clone()),
        ..stored.clone()
    };
    if updated != stored {
        updated.save(tx, now)?;
    }
    Ok(stored.id)
}

/// The shop's customer of this name, made if there is none, and held until the transaction ends.
fn find_or_insert(
    tx: &mut DbConnection,
    named: &NewCustomer<'_>,
    now: Timestamp,
) -> Result<Customer> {
    // Who is found may be erased before they are held; then there is none of this name.
    for _ in 0..3 {
        if let Some(made) = Customer::insert(tx, named, now)? {
            return Ok(made);
        }
        let (account, reference, email) = (named.account, named.reference, named.email);
        let Some(found) = Customer::find_in_shop(tx, account, reference, email)? else {
            continue;
        };
        if let Some(held) = Customer::lock(tx, found.id)?
            && held.erased_at.is_none()
        {
            return Ok(held);
        }
    }
    Err(Error::internal("a customer was stored and is not found"))
}

fn not_found(id: CustomerId) -> Refusal {
    Refusal::because(
        Code::CustomerNotFound,
        format!("There is no customer with the id {id}."),
    )
}

fn view(customer: Customer, shop: String) -> PersonView {
    PersonView {
        id: customer.id,
        shop,
        reference: customer.reference,
        email: customer.email,
        name: customer.name,
        locale: customer.locale,
        created_at: customer.created_at,
        updated_at: customer.updated_at,
        erased_at: customer.erased_at,
    }
}
