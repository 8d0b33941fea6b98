//! Export: everything that is stored about a customer, as one JSON document.
//!
//! Written page by page, each from a read of its own, so that a customer with very many keys costs no
//! more memory than any other.

use std::sync::Arc;

use futures_util::stream::{Stream, try_unfold};
use serde::Serialize;
use utoipa::ToSchema;

use super::activations::{self, InstallationView};
use super::context::Context;
use super::customers::{self, PersonDetailView};
use super::event_list::{self, EventView};
use super::keys::{self, KeyView};
use super::order_view::{self, OrderView};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::activation::ActivationFilter;
use crate::db::models::customer::CustomerId;
use crate::db::models::event::{EventFilter, EventOrder};
use crate::db::models::key::{Key, KeyId};
use crate::db::models::order::OrderFilter;
use crate::db::models::personal_data::keys_of_customer;
use crate::db::{Cursor, DbConnection, PageRequest, Paged};
use crate::error::{Error, Result};
use crate::signing::vault::Vault;

/// Everything that is stored about a customer.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written piece by piece")]
pub(crate) struct CustomerExport {
    /// When this was written.
    #[schema(value_type = String, format = DateTime)]
    exported_at: Timestamp,
    /// The customer.
    customer: PersonDetailView,
    /// Their orders, with lines and keys.
    orders: Vec<OrderView>,
    /// Their keys.
    keys: Vec<KeyView>,
    /// The open activations of their keys.
    activations: Vec<InstallationView>,
    /// The released activations of their keys.
    released_activations: Vec<InstallationView>,
    /// What happened to them, their orders and their keys, the oldest first.
    events: Vec<EventView>,
}

/// The lists of the document, in their order.
#[derive(Clone, Copy, Debug)]
enum Part {
    Orders,
    Keys,
    Activations,
    ReleasedActivations,
    Events,
}

/// What comes next.
#[derive(Clone, Debug)]
enum Next {
    Head,
    Page { part: Part, after: Option<Cursor> },
    Nothing,
}

impl App {
    /// Notes that the customer's data is handed out, and hands it out: the pieces of a JSON document.
    ///
    /// # Errors
    /// `customer_not_found`. What fails later ends the document before its end.
    pub(crate) async fn export_customer(
        self: Arc<Self>,
        cx: Context,
        customer: CustomerId,
    ) -> Result<impl Stream<Item = Result<String>> + use<>> {
        let now = cx.now;
        self.db
            .write(move |tx| customers::record_export(tx, &cx, customer))
            .await?;
        Ok(try_unfold(Next::Head, move |next| {
            let app = Arc::clone(&self);
            async move {
                let piece = app.write_piece(customer, now, next).await;
                if let Err(error) = &piece {
                    tracing::error!(%error, "an export of a customer ended early");
                }
                piece
            }
        }))
    }

    async fn write_piece(
        &self,
        customer: CustomerId,
        now: Timestamp,
        next: Next,
    ) -> Result<Option<(String, Next)>> {
        self.go_on_unless_stopping()?;
        match next {
            Next::Head => {
                let person = self
                    .db
                    .read(move |conn| customers::show_customer(conn, customer))
                    .await?;
                let (now, person) = (json(&now)?, json(&person)?);
                let head = format!("{{\"exported_at\":{now},\"customer\":{person}");
                Ok(Some((head, Next::first_of(Part::Orders))))
            }
            Next::Page { part, after } => {
                let vault = Arc::clone(&self.vault);
                let is_first = after.is_none();
                let page = self
                    .db
                    .read(move |conn| part.page(conn, &vault, customer, after.clone()))
                    .await?;
                Ok(Some(part.piece(is_first, page)))
            }
            Next::Nothing => Ok(None),
        }
    }
}

impl Next {
    fn first_of(part: Part) -> Self {
        Self::Page { part, after: None }
    }
}

impl Part {
    /// The name of the list, and how many of its rows are held in memory at once: an order may have a
    /// thousand keys.
    fn describe(self) -> (&'static str, i64) {
        match self {
            Self::Orders => ("orders", 10),
            Self::Keys => ("keys", 200),
            Self::Activations => ("activations", PageRequest::MAX),
            Self::ReleasedActivations => ("released_activations", PageRequest::MAX),
            Self::Events => ("events", PageRequest::MAX),
        }
    }

    fn following(self) -> Option<Self> {
        match self {
            Self::Orders => Some(Self::Keys),
            Self::Keys => Some(Self::Activations),
            Self::Activations => Some(Self::ReleasedActivations),
            Self::ReleasedActivations => Some(Self::Events),
            Self::Events => None,
        }
    }

    /// The rows of one page, as JSON.
    fn page(
        self,
        conn: &mut DbConnection,
        vault: &Vault,
        customer: CustomerId,
        after: Option<Cursor>,
    ) -> Result<Paged<String>> {
        let (_, limit) = self.describe();
        let page = PageRequest { limit, after };
        let activations = ActivationFilter {
            customer: Some(customer),
            ..ActivationFilter::default()
        };
        match self {
            Self::Orders => {
                let filter = OrderFilter {
                    customers: Some(vec![customer]),
                    ..OrderFilter::default()
                };
                rows(order_view::list_orders(conn, vault, &filter, &page)?)
            }
            Self::Keys => rows(list_keys(conn, vault, customer, &page)?),
            Self::Activations => rows(activations::list_open(conn, &activations, &page)?),
            Self::ReleasedActivations => {
                rows(activations::list_released(conn, &activations, &page)?)
            }
            Self::Events => {
                let filter = EventFilter {
                    customer: Some(customer),
                    ..EventFilter::default()
                };
                let order = EventOrder::OldestFirst;
                rows(event_list::filtered(conn, &filter, order, &page)?)
            }
        }
    }

    /// A page as it stands in the document, and what comes after it.
    fn piece(self, is_first: bool, page: Paged<String>) -> (String, Next) {
        let (name, _) = self.describe();
        let mut piece = match (is_first, page.items.is_empty()) {
            (true, _) => format!(",\"{name}\":["),
            (false, true) => String::new(),
            (false, false) => ",".to_owned(),
        };
        piece.push_str(&page.items.join(","));
        if let Some(after) = page.next {
            let after = Some(after);
            return (piece, Next::Page { part: self, after });
        }
        piece.push(']');
        if let Some(part) = self.following() {
            return (piece, Next::first_of(part));
        }
        piece.push_str("}\n");
        (piece, Next::Nothing)
    }
}

fn list_keys(
    conn: &mut DbConnection,
    vault: &Vault,
    customer: CustomerId,
    page: &PageRequest,
) -> Result<Paged<KeyView>> {
    let ids = keys_of_customer(conn, customer, KeyId(page.after_id()), page.fetch())?;
    let Paged { items, next } = Paged::cut(ids, page, |id| Cursor::of_id(id.0));
    let keys = Key::find_many(conn, &items)?;
    let items = keys::views(conn, vault, keys)?;
    Ok(Paged { items, next })
}

fn rows<T: Serialize>(page: Paged<T>) -> Result<Paged<String>> {
    let items = page.items.iter().map(json).collect::<Result<_>>()?;
    Ok(Paged {
        items,
        next: page.next,
    })
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("an export: {error}")))
}
