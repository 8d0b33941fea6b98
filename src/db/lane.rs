//! PostgreSQL: what many clients ask for at once is done together.
//!
//! A lane is one thread with a connection of its own. What waits in its queue is one batch: a few
//! statements for all of it, where each would have cost as many. There is no timer: the queue that
//! builds up during one batch is the next.
//!
//! A lane is a way to be fast and decides nothing: what it did not do (its connection is gone, a row is
//! held by somebody else, one of the batch met an error) its client asks for again, or does alone. Only
//! when the answer to a commit is lost is nothing done again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel::connection::{SimpleConnection, TransactionManager};
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::connection::{Access, DbConnection};
use super::failure::{Severity, of_diesel};
use super::metrics::DbMetrics;
use super::patience::Patience;
use super::source::Source;
use super::ticket::Ticket;
use super::url::OpenError;
use crate::error::{Error, Result};

/// Clients that may wait; one more is answered 503 at once.
const QUEUE: usize = 8192;
/// Inputs that share a batch at most, so that no answer waits for a very long one.
const BATCH: usize = 128;
/// How long the end of a lane is waited for: nobody is there any more who waits for what it does.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

type Transactions = <DbConnection as Connection>::TransactionManager;

/// Does a batch: an output for each input, or `None` for one that somebody else stands in the way of.
pub(super) type Together<I, O> = fn(&mut DbConnection, &[I]) -> Result<Vec<Option<Result<O>>>>;

/// What became of an input.
pub(super) enum Answer<I, O> {
    /// Its output, or why there is none.
    Done(Result<O>),
    /// Somebody else stands in the way; here it is again, to be asked for later.
    PutOff(I),
    /// Its batch failed; here it is again, to be done alone.
    Alone(I),
}

/// The handle to the thread. Dropping it lets the thread finish its queue and end, unless that takes long.
#[derive(Debug)]
pub(super) struct Lane<I, O> {
    /// `None` only while it is dropped.
    queue: Option<SyncSender<Waiting<I, O>>>,
    thread: Option<JoinHandle<()>>,
    /// Cut off when the thread has ended.
    end: Mutex<Receiver<()>>,
}

struct Waiting<I, O> {
    input: I,
    ticket: Ticket,
    reply: oneshot::Sender<Answer<I, O>>,
}

impl<I: Send + 'static, O: Send + 'static> Lane<I, O> {
    /// Starts the thread. With [`Access::Write`] a batch is one transaction, committed before anybody in
    /// it is answered; otherwise it is one statement.
    pub(super) fn start(
        name: &str,
        source: Source,
        access: Access,
        together: Together<I, O>,
        metrics: DbMetrics,
    ) -> Result<Self, OpenError> {
        let (queue, waiting) = sync_channel(QUEUE);
        let (at_the_end, end) = channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                Loop {
                    source,
                    access,
                    conn: None,
                    waiting,
                    together,
                    metrics,
                    _at_the_end: at_the_end,
                }
                .run();
            })
            .map_err(|error| {
                OpenError::because(format!("cannot start the thread {name}: {error}"))
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            end: Mutex::new(end),
        })
    }

    /// Queues an input and waits for what becomes of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the queue is full, or did not get to it in time.
    pub(super) async fn ask(&self, input: I, patience: &mut Patience) -> Result<Answer<I, O>> {
        let asked = Instant::now();
        let ticket = Ticket::new();
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            input,
            ticket: ticket.clone(),
            reply,
        };
        let Some(queue) = &self.queue else {
            return Ok(Answer::Alone(waiting.input));
        };
        match queue.try_send(waiting) {
            Ok(()) => {
                let answer = ticket.wait(answer, patience.left()).await;
                patience.waited_since(asked);
                answer
            }
            Err(TrySendError::Full(_)) => {
                Err(Error::Unavailable("the queue for the database is full"))
            }
            // Its thread has died: slower, but served.
            Err(TrySendError::Disconnected(waiting)) => Ok(Answer::Alone(waiting.input)),
        }
    }
}

impl<I, O> Drop for Lane<I, O> {
    fn drop(&mut self) {
        drop(self.queue.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        if end.recv_timeout(ENDS_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a lane still waits for the database, and is left behind");
        } else if thread.join().is_err() {
            tracing::error!("a lane to the database panicked");
        }
    }
}

struct Loop<I, O> {
    source: Source,
    access: Access,
    /// `None` before the first batch and after a failure.
    conn: Option<DbConnection>,
    waiting: Receiver<Waiting<I, O>>,
    together: Together<I, O>,
    metrics: DbMetrics,
    /// Dropped with the loop.
    _at_the_end: Sender<()>,
}

/// Why a batch has no outputs.
enum Failed {
    /// It was not done.
    Undone,
    /// The answer to its commit was lost: it may have happened, so it must not be repeated.
    Unknown,
}

impl<I, O> Loop<I, O> {
    fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            if batch.is_empty() {
                continue;
            }
            let (inputs, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let began = Instant::now();
            let outputs = self.batch(&inputs);
            if self.access == Access::Write && outputs.is_ok() {
                self.metrics.batch(inputs.len());
                self.metrics.transaction(began.elapsed());
            }
            answer(inputs, replies, outputs);
        }
    }

    /// Waits for an input and takes those that wait behind it; `None` when the lane is to end. Empty when
    /// all their clients have stopped waiting.
    fn next_batch(&mut self) -> Option<Vec<(I, oneshot::Sender<Answer<I, O>>)>> {
        let first = self.waiting.recv().ok()?;
        // Before anything counts as begun: waiting for the server is waiting, too.
        if self.conn.is_none() {
            // The source logs why not.
            self.conn = self.connect().ok();
        }
        let rest = std::iter::from_fn(|| self.waiting.try_recv().ok());
        let begun = std::iter::once(first)
            .chain(rest)
            .filter(|waiting| waiting.ticket.start());
        Some(
            begun
                .take(BATCH)
                .map(|waiting| (waiting.input, waiting.reply))
                .collect(),
        )
    }

    /// Does a batch; after any failure the connection is not used again.
    fn batch(&mut self, inputs: &[I]) -> Result<Vec<Option<Result<O>>>, Failed> {
        let mut conn = self.conn.take().ok_or(Failed::Undone)?;
        // Unwinding must not end the thread; what it leaves behind in the connection is dropped.
        let done = catch_unwind(AssertUnwindSafe(|| self.attempt(&mut conn, inputs)));
        let outputs = done.unwrap_or_else(|_| {
            tracing::error!("a batch panicked");
            Err(Failed::Undone)
        })?;
        self.conn = Some(conn);
        Ok(outputs)
    }

    fn attempt(
        &self,
        conn: &mut DbConnection,
        inputs: &[I],
    ) -> Result<Vec<Option<Result<O>>>, Failed> {
        let undone = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "a batch is done one by one");
            Failed::Undone
        };
        if self.access != Access::Write {
            return (self.together)(conn, inputs).map_err(|error| undone(&error));
        }
        <Transactions as TransactionManager<DbConnection>>::begin_transaction(conn)
            .map_err(|error| undone(&error))?;
        let outputs = (self.together)(conn, inputs).map_err(|error| undone(&error))?;
        match <Transactions as TransactionManager<DbConnection>>::commit_transaction(conn) {
            Ok(()) => Ok(outputs),
            // The commit itself was refused, so nothing was written.
            Err(error) if of_diesel(&error) == Severity::TryAgain => Err(undone(&error)),
            Err(error) => {
                tracing::error!(%error, "a commit got no answer");
                Err(Failed::Unknown)
            }
        }
    }

    fn connect(&self) -> Result<DbConnection, OpenError> {
        let mut conn = self.source.open(self.access)?;
        // The statements here take arrays and look for each element by an index. That is the only plan
        // to have, whatever the statistics say, and it is to be made once.
        conn.batch_execute(
            "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; \
             SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off",
        )
        .map_err(|error| OpenError::because(error.to_string()))?;
        Ok(conn)
    }
}

fn answer<I, O>(
    inputs: Vec<I>,
    replies: Vec<oneshot::Sender<Answer<I, O>>>,
    outputs: Result<Vec<Option<Result<O>>>, Failed>,
) {
    let mut outputs = outputs.map(Vec::into_iter);
    for (input, reply) in inputs.into_iter().zip(replies) {
        let answer = match &mut outputs {
            Ok(outputs) => match outputs.next().flatten() {
                Some(output) => Answer::Done(output),
                None => Answer::PutOff(input),
            },
            Err(Failed::Undone) => Answer::Alone(input),
            Err(Failed::Unknown) => Answer::Done(Err(Error::Unavailable(
                "the database did not confirm the change",
            ))),
        };
        // The client may have left; what was done counts all the same.
        let _ = reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::db::url::DatabaseUrl;

    #[tokio::test]
    async fn a_lane_that_waits_for_a_server_without_an_answer_is_left_behind() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://127.0.0.1:{port}/x?connect_timeout=600");
        let source = Source::of(DatabaseUrl::parse(&url).unwrap());
        let nothing: Together<(), ()> = |_, _| Ok(Vec::new());
        let metrics = DbMetrics::default();
        let lane = Lane::start("test", source, Access::Write, nothing, metrics).unwrap();
        let mut patience = Patience::full();
        let asked = lane.ask((), &mut patience);
        let connecting = tokio::task::spawn_blocking(move || silent.accept().unwrap());
        tokio::select! {
            _ = asked => panic!("nobody answers"),
            connecting = connecting => drop(connecting.map(std::mem::forget)),
        }
        let since = Instant::now();
        drop(lane);
        assert!(since.elapsed() < 10 * ENDS_WITHIN);
    }
}
