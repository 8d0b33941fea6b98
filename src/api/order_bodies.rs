//! What is sent about orders.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::given::Given;
use super::object::Object;
use crate::clock::Timestamp;
use crate::db::models::account::AccountId;
use crate::licensing::customers::CustomerReport;
use crate::licensing::orders::{LineReport, OrderPatch, OrderReport};
use crate::licensing::text::{Extra, Name};

/// An order as its shop has it, whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderBody {
    /// The id of an order status.
    #[schema(example = "payment_received")]
    pub(super) status: Name,
    /// As the shop names it.
    pub(super) payment_method: Option<Name>,
    /// The buyer.
    #[schema(value_type = Option<CustomerBody>)]
    pub(super) customer: Option<Object<CustomerBody>>,
    /// What was bought.
    #[schema(value_type = Vec<LineBody>)]
    pub(super) lines: Vec<Object<LineBody>>,
    /// When the reported change happened; an older report than the last changes nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) occurred_at: Option<Timestamp>,
    /// Any JSON object.
    #[serde(default)]
    pub(super) extra: Extra,
}

/// The buyer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomerBody {
    /// The e-mail address.
    pub(super) email: Option<Name>,
    /// The name.
    pub(super) name: Option<Name>,
    /// The shop's own name for the buyer.
    #[serde(rename = "ref")]
    pub(super) reference: Option<Name>,
    /// The language, as a BCP 47 tag.
    pub(super) locale: Option<Name>,
}

/// One line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineBody {
    /// The shop's own name for the line; the sku by default.
    #[serde(rename = "ref")]
    pub(super) reference: Option<Name>,
    /// The product.
    #[schema(example = "editor-pro")]
    pub(super) sku: Name,
    /// How many; 1 by default.
    #[serde(default = "one")]
    #[schema(default = 1)]
    pub(super) quantity: i64,
    /// Off for an article that has nothing to do with keys.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(super) managed: bool,
    /// Any JSON object.
    #[serde(default)]
    pub(super) extra: Extra,
}

/// The members of an order to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchBody {
    /// The id of an order status.
    #[serde(default)]
    pub(super) status: Given<Name>,
    /// As the shop names it.
    #[serde(default)]
    pub(super) payment_method: Given<Option<Name>>,
    /// Any JSON object.
    #[serde(default)]
    pub(super) extra: Given<Extra>,
}

/// Lines to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBody {
    /// What would be bought.
    #[schema(value_type = Vec<LineBody>)]
    pub(super) lines: Vec<Object<LineBody>>,
}

/// The shop, for staff; a shop sees its own orders only.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShopQuery {
    /// The name of the shop's account.
    #[param(value_type = Option<String>)]
    pub(super) shop: Option<Name>,
}

/// Which orders; all conditions must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The name of the shop's account, for staff.
    #[param(value_type = Option<String>)]
    pub(super) shop: Option<Name>,
    /// The id of an order status.
    #[param(value_type = Option<String>)]
    pub(super) status: Option<Name>,
    /// The e-mail address or `ref` of the buyer.
    #[param(value_type = Option<String>)]
    pub(super) customer: Option<Name>,
    /// A sku on a line.
    #[param(value_type = Option<String>)]
    pub(super) sku: Option<Name>,
}

fn one() -> i64 {
    1
}

fn yes() -> bool {
    true
}

impl OrderBody {
    pub(super) fn report(&self, account: AccountId, reference: &str) -> OrderReport {
        let owned = |text: &Option<Name>| text.clone().map(Name::into_string);
        OrderReport {
            account,
            reference: reference.to_owned(),
            status: self.status.as_str().to_owned(),
            payment_method: owned(&self.payment_method),
            customer: self
                .customer
                .as_ref()
                .map(|Object(customer)| CustomerReport {
                    email: owned(&customer.email),
                    name: owned(&customer.name),
                    reference: owned(&customer.reference),
                    locale: owned(&customer.locale),
                }),
            lines: reports(&self.lines),
            occurred_at: self.occurred_at,
            extra: self.extra.0.clone(),
        }
    }
}

pub(super) fn reports(lines: &[Object<LineBody>]) -> Vec<LineReport> {
    lines.iter().map(|Object(line)| line.report()).collect()
}

impl LineBody {
    pub(super) fn report(&self) -> LineReport {
        LineReport {
            reference: self.reference.clone().map(Name::into_string),
            sku: self.sku.as_str().to_owned(),
            quantity: self.quantity,
            managed: self.managed,
            extra: self.extra.0.clone(),
        }
    }
}

impl PatchBody {
    pub(super) fn patch(self) -> OrderPatch {
        OrderPatch {
            status: self.status.0.map(Name::into_string),
            payment_method: self
                .payment_method
                .0
                .map(|method| method.map(Name::into_string)),
            extra: self.extra.0.map(|extra| extra.0),
        }
    }
}
