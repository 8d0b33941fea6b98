//! SQLite's one writer: group commit.
//!
//! Jobs queue up; the thread opens one immediate transaction, runs every waiting job in a savepoint of
//! its own (a failing job rolls back alone), commits once, then answers them all. There is no timer:
//! the queue that builds during one commit is the next batch. With `synchronous = FULL` an answer means
//! that the change is on disk.
//!
//! A batch whose ground gave way (a panic, a full disk, any error that is not a constraint's) ends
//! unanswered: its connection is dropped, which rolls everything back, and its jobs run again one by
//! one on a fresh connection. So a job may run more than once before it is answered. When another program
//! keeps the file for so long that no transaction can begin, the whole batch is answered 503 at once.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::connection::{Access, DbConnection, open};
use super::failure::{Severity, severity};
use super::metrics::DbMetrics;
use super::pool::depth;
use super::savepoint::Savepoint;
use super::ticket::Ticket;
use super::url::{DatabaseUrl, OpenError};
use crate::error::{Error, Result};

/// Jobs that may wait; one more is answered 503 at once.
const QUEUE: usize = 8192;
/// Jobs that share one commit at most, so that no answer waits for a very long batch.
const BATCH: usize = 256;

type Transactions = <DbConnection as Connection>::TransactionManager;

/// The handle to the writer thread. Dropping it lets the thread finish its queue and end.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: DbMetrics,
}

enum Message {
    /// A job, and when it was queued.
    Job(Box<dyn Work>, Instant),
    /// Finish what came before, take nothing more.
    Stop,
}

/// How one run of a job ended.
enum Ran {
    /// Keep what it wrote.
    Keep,
    /// It refused or met a constraint: undo what it wrote.
    Undo,
    /// The database failed under it.
    Broken,
}

/// A queued job with its closure, its result and its client, behind one type.
trait Work: Send {
    /// Claims the job for running; `false` when its client stopped waiting while it was queued.
    fn start(&self) -> bool;
    fn run(&mut self, conn: &mut DbConnection) -> Ran;
    /// Sends the result of the last run.
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: Error);
}

struct Job<T, F> {
    run: F,
    ticket: Ticket,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: Fn(&mut DbConnection) -> Result<T> + Send> Work for Job<T, F> {
    fn start(&self) -> bool {
        self.ticket.start()
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

impl Writer {
    /// Opens the writing connection and starts the thread.
    pub(super) fn start(url: DatabaseUrl, metrics: DbMetrics) -> Result<Self, OpenError> {
        let conn = open(&url, Access::Write)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let of_loop = metrics.clone();
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || {
                Loop {
                    url,
                    conn: Some(conn),
                    jobs,
                    stopping: false,
                    metrics: of_loop,
                }
                .run();
            })
            .map_err(|error| {
                OpenError::because(format!("cannot start the writer thread: {error}"))
            })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
            metrics,
        })
    }

    /// Queues a job and waits for its answer.
    ///
    /// # Errors
    /// Besides the job's own: [`Error::Unavailable`] when the queue is full, or when the job has not
    /// been started after five seconds. A job that has started is waited for.
    pub(super) async fn write<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut DbConnection) -> Result<T> + Send + 'static,
    {
        let ticket = Ticket::new();
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Job {
            run,
            ticket: ticket.clone(),
            result: None,
            reply,
        });
        // Before the writer can take it out again.
        self.metrics.queue_length.inc();
        self.queue
            .try_send(Message::Job(job, Instant::now()))
            .map_err(|error| {
                self.metrics.queue_length.dec();
                match error {
                    TrySendError::Full(_) => Error::Unavailable("the write queue is full"),
                    TrySendError::Disconnected(_) => Error::Unavailable("the server is stopping"),
                }
            })?;
        ticket.wait(answer).await?
    }

    /// Takes no more jobs, finishes the queue and ends the thread.
    pub(super) fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return };
        // Fails only when the thread has ended already.
        let _ = self.queue.send(Message::Stop);
        if thread.join().is_err() {
            tracing::error!("the writer thread panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Loop {
    url: DatabaseUrl,
    /// `None` after a failure, until the next job opens a new one.
    conn: Option<DbConnection>,
    jobs: Receiver<Message>,
    stopping: bool,
    metrics: DbMetrics,
}

/// The batch's ground gave way: nothing of it is committed, its connection is gone.
enum GaveWay {
    /// Another program kept the file for longer than SQLite waits: nothing would come of trying again.
    Held,
    /// A job, or what came after it, failed.
    Broken,
}

impl Loop {
    fn run(mut self) {
        while let Some(mut batch) = self.next_batch() {
            self.metrics.batch(batch.len());
            match self.together(&mut batch) {
                Ok(()) => batch.into_iter().for_each(Work::answer),
                Err(GaveWay::Held) => {
                    for job in batch {
                        job.fail(Error::Unavailable("another program has the database"));
                    }
                }
                Err(GaveWay::Broken) => batch.into_iter().for_each(|job| self.alone(job)),
            }
        }
        if let Some(mut conn) = self.conn.take() {
            // Leaves one file behind instead of three; a failure costs nothing but a longer next start.
            let _ = conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    /// Waits for a job and takes those that wait behind it; `None` when the writer is to stop.
    fn next_batch(&mut self) -> Option<Vec<Box<dyn Work>>> {
        if self.stopping {
            return None;
        }
        let mut batch: Vec<Box<dyn Work>> = Vec::new();
        loop {
            let message = if batch.is_empty() {
                self.jobs.recv().ok()
            } else {
                self.jobs.try_recv().ok()
            };
            if let Some(Message::Job(_, queued_at)) = &message {
                self.metrics.dequeued(*queued_at);
            }
            match message {
                Some(Message::Job(job, _)) if job.start() => batch.push(job),
                // Its client stopped waiting.
                Some(Message::Job(..)) => {}
                Some(Message::Stop) => {
                    self.stopping = true;
                    return Some(batch).filter(|batch| !batch.is_empty());
                }
                None => return Some(batch).filter(|batch| !batch.is_empty()),
            }
            if batch.len() == BATCH {
                return Some(batch);
            }
        }
    }

    /// One transaction, one savepoint a job, one commit.
    fn together(&mut self, batch: &mut [Box<dyn Work>]) -> Result<(), GaveWay> {
        self.attempt(|conn| {
            for job in batch.iter_mut() {
                Savepoint::Set.run(conn).map_err(|_| GaveWay::Broken)?;
                let ended = match job.run(conn) {
                    Ran::Keep => Savepoint::Keep.run(conn),
                    Ran::Undo => Savepoint::Undo.run(conn),
                    Ran::Broken => return Err(GaveWay::Broken),
                };
                if ended.is_err() || depth(conn) != Some(1) {
                    return Err(GaveWay::Broken);
                }
            }
            Ok(())
        })
    }

    /// A transaction for one job, after its batch gave way.
    fn alone(&mut self, mut job: Box<dyn Work>) {
        // A job that is still running when the attempt has ended panicked.
        let running = Cell::new(false);
        let ended = self.attempt(|conn| {
            Savepoint::Set.run(conn).map_err(|_| GaveWay::Broken)?;
            running.set(true);
            let ran = job.run(conn);
            running.set(false);
            match ran {
                Ran::Keep => Savepoint::Keep.run(conn),
                Ran::Undo => Savepoint::Undo.run(conn),
                Ran::Broken => return Err(GaveWay::Broken),
            }
            .map_err(|_| GaveWay::Broken)
        });
        match ended {
            Ok(()) => job.answer(),
            Err(_) if running.get() => {
                job.fail(Error::internal("a write job panicked twice"));
            }
            Err(_) => job.fail(Error::Unavailable("the database cannot write")),
        }
    }

    /// Runs `work` in an immediate transaction and commits; on any failure drops the connection, which
    /// rolls back whatever state the transaction was left in.
    fn attempt(
        &mut self,
        work: impl FnOnce(&mut DbConnection) -> Result<(), GaveWay>,
    ) -> Result<(), GaveWay> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => open(&self.url, Access::Write).map_err(|error| {
                tracing::error!(%error, "the writer cannot open the database");
                GaveWay::Broken
            })?,
        };
        // Unwinding must not cross the thread's loop; what it leaves behind in the connection is dropped.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            begin_immediate(&mut conn).map_err(|error| gave_way("begin", &error))?;
            work(&mut conn)?;
            let begun = Instant::now();
            <Transactions as TransactionManager<DbConnection>>::commit_transaction(&mut conn)
                .map_err(|error| gave_way("commit", &error))?;
            self.metrics.committed(begun.elapsed());
            Ok(())
        }));
        match outcome {
            Ok(Ok(())) => {
                self.conn = Some(conn);
                Ok(())
            }
            Ok(Err(gave_way)) => Err(gave_way),
            Err(_) => {
                tracing::error!("a write job panicked");
                Err(GaveWay::Broken)
            }
        }
    }
}

fn gave_way(step: &str, error: &diesel::result::Error) -> GaveWay {
    tracing::error!(%error, step, "the write transaction failed");
    if is_held(error) {
        GaveWay::Held
    } else {
        GaveWay::Broken
    }
}

/// Whether SQLite waited for somebody else's transaction in vain (`SQLITE_BUSY`).
fn is_held(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, info) if info.message() == "database is locked")
}

/// Opens a transaction that holds SQLite's write lock from the start: a deferred one would fail the
/// moment it turned from reading to writing while somebody else commits.
pub(super) fn begin_immediate(conn: &mut DbConnection) -> QueryResult<()> {
    match conn {
        DbConnection::Sqlite(inner) => {
            AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")
        }
        DbConnection::Postgres(inner) => AnsiTransactionManager::begin_transaction(inner),
    }
}
