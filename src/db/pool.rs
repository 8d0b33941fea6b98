//! A pool of connections that drops a connection it can no longer trust.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, TransactionManager};

use super::connection::{Access, DbConnection};
use super::patience::Patience;
use super::source::Source;
use super::url::OpenError;

/// A pool that lost its database tries to connect at least twice in this time.
const TWO_TRIES: Duration = Duration::from_secs(1);

/// A pooled connection and whether it has misbehaved.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) conn: DbConnection,
    /// Set after an error that is not a constraint's: the connection is not used again.
    pub(super) broken: bool,
}

/// Opens and judges connections for r2d2. (The derived `establish` would try one backend after the
/// other and hide the real cause of a failure.)
#[derive(Debug)]
pub(super) struct Manager {
    source: Source,
    access: Access,
}

impl r2d2::ManageConnection for Manager {
    type Connection = Pooled;
    type Error = OpenError;

    fn connect(&self) -> Result<Pooled, OpenError> {
        Ok(Pooled {
            conn: self.source.open(self.access)?,
            broken: false,
        })
    }

    /// Not asked: a check at every check-out would cost a round trip, and `has_broken` catches what
    /// went wrong when it went wrong.
    fn is_valid(&self, _: &mut Pooled) -> Result<(), OpenError> {
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        pooled.broken || depth(&mut pooled.conn) != Some(0)
    }
}

/// How deep in transactions a connection is; `None` when its transaction manager gave up.
pub(super) fn depth(conn: &mut DbConnection) -> Option<u32> {
    super::connection::each_backend!(conn, |inner| {
        AnsiTransactionManager::transaction_manager_status_mut(inner)
            .transaction_depth()
            .ok()
            .map(|depth| depth.map_or(0, std::num::NonZeroU32::get))
    })
}

pub(super) type Pool = r2d2::Pool<Manager>;
pub(super) type Connection = r2d2::PooledConnection<Manager>;

/// Opens a pool with one connection at once, so that a wrong URL is found here, and more as needed.
pub(super) fn build(
    source: &Source,
    access: Access,
    size: u32,
    threads: Arc<scheduled_thread_pool::ScheduledThreadPool>,
) -> Result<Pool, OpenError> {
    let pool = r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(TWO_TRIES)
        .test_on_check_out(false)
        .thread_pool(threads)
        // What goes wrong is logged by the source.
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(Manager {
            source: source.clone(),
            access,
        });
    pool.get_timeout(Patience::full().left())
        .map_err(|error| OpenError::because(error.to_string()))?;
    Ok(pool)
}
