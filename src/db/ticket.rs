//! A place in a queue: either the worker starts what waits there, or its client gives it up, never both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

const QUEUED: u8 = 0;
const STARTED: u8 = 1;
const CANCELLED: u8 = 2;

/// The state of one job, held by the client that waits for it and by the queue that it is in.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(QUEUED)))
    }

    /// Claims the job for running; `false` when its client stopped waiting while it was queued.
    pub(super) fn start(&self) -> bool {
        self.leave_queue(STARTED)
    }

    /// Waits for the job's answer, and so long for its start.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the job has not been started in this time; it never will be then. A job that has started is waited for.
    pub(super) async fn wait<T>(
        &self,
        mut answer: oneshot::Receiver<T>,
        so_long: Duration,
    ) -> Result<T> {
        let gone = |_| Error::internal("a queue dropped a job");
        if let Ok(answer) = tokio::time::timeout(so_long, &mut answer).await {
            return answer.map_err(gone);
        }
        if self.leave_queue(CANCELLED) {
            return Err(Error::Unavailable("the database did not get to it in time"));
        }
        answer.await.map_err(gone)
    }

    fn leave_queue(&self, to: u8) -> bool {
        self.0
            .compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
