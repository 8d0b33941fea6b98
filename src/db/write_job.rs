//! What the SQLite writer is given to do.

use tokio::sync::oneshot;

use super::connection::DbConnection;
use super::failure::{Severity, severity};
use super::haste::Counted;
use super::ticket::Ticket;
use crate::error::{Error, Result};

/// How one run of a job ended.
pub(super) enum Ran {
    /// Keep what it wrote.
    Keep,
    /// It refused or met a constraint: undo what it wrote.
    Undo,
    /// The database failed under it.
    Broken,
}

/// A queued job with its closure, its result and its client, behind one type.
pub(super) trait Work: Send {
    /// Claims the job for running; `false` when its client stopped waiting while it was queued.
    fn start(&self) -> bool;
    /// Whether it is a part of long work, which has a transaction for itself.
    fn is_part(&self) -> bool;
    /// Runs it, perhaps again.
    fn run(&mut self, conn: &mut DbConnection) -> Ran;
    /// Sends the result of the last run.
    fn answer(self: Box<Self>);
    /// Answers that it was not done.
    fn fail(self: Box<Self>, error: Error);
}

/// A write that waits for the writer: its closure, its result and its client.
pub(super) struct Job<T, F> {
    pub(super) run: F,
    pub(super) ticket: Ticket,
    pub(super) result: Option<Result<T>>,
    pub(super) reply: oneshot::Sender<Result<T>>,
    /// Counts it until it is gone, whatever becomes of it.
    pub(super) hurried: Option<Counted>,
}

impl<T: Send, F: Fn(&mut DbConnection) -> Result<T> + Send> Work for Job<T, F> {
    fn start(&self) -> bool {
        self.ticket.start()
    }

    fn is_part(&self) -> bool {
        self.hurried.is_none()
    }

    fn run(&mut self, conn: &mut DbConnection) -> Ran {
        let result = (self.run)(conn);
        let ran = match &result {
            Ok(_) => Ran::Keep,
            Err(error) => match severity(error) {
                Severity::Statement => Ran::Undo,
                Severity::TryAgain | Severity::Connection => {
                    tracing::error!(%error, "a write job met an error of the database");
                    Ran::Broken
                }
            },
        };
        self.result = Some(result);
        ran
    }

    fn answer(self: Box<Self>) {
        let result = self
            .result
            .unwrap_or_else(|| Err(Error::internal("a job was answered before it ran")));
        // The client may have left; its job counts all the same.
        let _ = self.reply.send(result);
    }

    fn fail(self: Box<Self>, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}
