//! The form of every list.

use serde::Serialize;
use utoipa::ToSchema;

use crate::db::{Cursor, Paged};

/// A page of a list, in a stable order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The rows.
    items: Vec<T>,
    /// What to send as `?after=` for the next page; null on the last.
    next: Option<String>,
}

impl<T> From<Paged<T>> for List<T> {
    fn from(page: Paged<T>) -> Self {
        Self {
            items: page.items,
            next: page.next.as_ref().map(Cursor::encode),
        }
    }
}
