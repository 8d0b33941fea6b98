//! How long a call waits for its turn at the database before it is answered 503.

use std::time::{Duration, Instant};

use super::pool::{Connection, Pool};
use crate::error::{Error, Result};

/// What is left of the time that a call may wait, in whatever queues it waits one after the other. The time
/// that it is worked on does not count.
#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Patience {
    /// All of it.
    pub(super) fn full() -> Self {
        Self(Duration::from_secs(5))
    }

    pub(super) fn left(&self) -> Duration {
        self.0
    }

    /// Takes off what has been waited since then.
    pub(super) fn waited_since(&mut self, then: Instant) {
        self.0 = self.0.saturating_sub(then.elapsed());
    }

    /// Waits for a connection. With no patience left it takes one that is free.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none in time.
    pub(super) fn connection(&mut self, pool: &Pool) -> Result<Connection> {
        let since = Instant::now();
        let connection = pool.get_timeout(self.left());
        self.waited_since(since);
        connection.map_err(|_| Error::Unavailable("no database connection in time"))
    }
}
