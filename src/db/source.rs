//! Where connections come from, and whether they can be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::connection::{Access, DbConnection, open};
use super::url::{DatabaseUrl, OpenError};

/// Opens connections to one database. The log says once that this fails, and once that it works again,
/// however often it is tried meanwhile. Clones share that.
#[derive(Clone, Debug)]
pub(super) struct Source {
    url: DatabaseUrl,
    out_of_reach: Arc<AtomicBool>,
}

impl Source {
    pub(super) fn of(url: DatabaseUrl) -> Self {
        Self {
            url,
            out_of_reach: Arc::default(),
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As [`open`].
    pub(super) fn open(&self, access: Access) -> Result<DbConnection, OpenError> {
        let opened = open(&self.url, access);
        let was_out_of_reach = self.out_of_reach.swap(opened.is_err(), Ordering::Relaxed);
        match &opened {
            Err(error) if !was_out_of_reach => {
                tracing::error!(%error, "the database is out of reach");
            }
            Ok(_) if was_out_of_reach => tracing::warn!("the database is within reach again"),
            _ => {}
        }
        opened
    }
}
