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
//! keeps the file for so long that no transaction can begin, the whole batch is answered 503 at once, and
//! until one gets through again, those behind it do not wait as long.
//!
//! A part of long work (`haste`) is a batch for itself.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::connection::{Access, BUSY_TIMEOUT, DbConnection, set_busy_timeout};
use super::haste::{Haste, Hurried};
use super::metrics::DbMetrics;
use super::patience::Patience;
use super::pool::depth;
use super::savepoint::Savepoint;
use super::source::Source;
use super::ticket::Ticket;
use super::url::OpenError;
use super::write_job::{Job, Ran, Work};
use crate::error::{Error, Result};

/// Jobs that may wait; one more is answered 503 at once.
const QUEUE: usize = 8192;
/// Jobs that share one commit at most, so that no answer waits for a very long batch.
const BATCH: usize = 256;
/// How long a transaction waits for a file that was held already when the one before it waited.
const STILL_HELD: Duration = Duration::from_millis(200);

type Transactions = <DbConnection as Connection>::TransactionManager;

/// The handle to the writer thread. Dropping it lets the thread finish its queue and end.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    hurried: Hurried,
    metrics: DbMetrics,
}

enum Message {
    /// A job, and when it was queued.
    Job(Box<dyn Work>, Instant),
    /// Finish what came before, take nothing more.
    Stop,
}

impl Writer {
    /// Opens the writing connection and starts the thread.
    pub(super) fn start(source: Source, metrics: DbMetrics) -> Result<Self, OpenError> {
        let conn = source.open(Access::Write)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let of_loop = metrics.clone();
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || {
                Loop {
                    source,
                    conn: Some(conn),
                    held: false,
                    jobs,
                    aside: None,
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
            hurried: Hurried::default(),
            metrics,
        })
    }

    /// Queues a job and waits for its answer.
    ///
    /// # Errors
    /// Besides the job's own: [`Error::Unavailable`] when the queue is full, or when the job has not
    /// been started in time. A job that has started is waited for.
    pub(super) async fn write<T, F>(&self, patience: Patience, haste: Haste, run: F) -> Result<T>
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
            hurried: (haste == Haste::Hurried).then(|| self.hurried.count()),
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
        ticket.wait(answer, patience.left()).await?
    }

    /// The hurried jobs that have not been answered.
    pub(super) fn hurried(&self) -> Hurried {
        self.hurried.clone()
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
    source: Source,
    /// `None` after a failure, until the next job opens a new one.
    conn: Option<DbConnection>,
    /// Another program had the file when a transaction was last tried.
    held: bool,
    jobs: Receiver<Message>,
    /// A part of long work that came while others were gathered: the next batch.
    aside: Option<Box<dyn Work>>,
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

/// How a transaction ends whose ground held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Commit,
    RollBack,
}

impl Loop {
    fn run(mut self) {
        while let Some(mut batch) = self.next_batch() {
            match self.together(&mut batch) {
                Ok(()) => {
                    self.metrics.batch(batch.len());
                    batch.into_iter().for_each(Work::answer);
                }
                Err(GaveWay::Held) => batch.into_iter().for_each(fail_as_held),
                Err(GaveWay::Broken) => self.one_by_one(batch),
            }
        }
        if let Some(mut conn) = self.conn.take() {
            // Leaves one file behind instead of three; a failure costs nothing but a longer next start.
            let _ = conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    /// Waits for a job and takes those that wait behind it; `None` when the writer is to stop.
    fn next_batch(&mut self) -> Option<Vec<Box<dyn Work>>> {
        if let Some(job) = self.aside.take() {
            return Some(vec![job]);
        }
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
                Some(Message::Job(job, _)) if job.start() => {
                    if !job.is_part() {
                        batch.push(job);
                    } else if batch.is_empty() {
                        return Some(vec![job]);
                    } else {
                        self.aside = Some(job);
                        return Some(batch);
                    }
                }
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
        // Without a savepoint: one over thousands of pages makes SQLite walk through what it remembers of
        // them at the end of every statement.
        if let [job] = batch
            && job.is_part()
        {
            return self.attempt(|conn| match job.run(conn) {
                Ran::Keep => Ok(Ending::Commit),
                Ran::Undo => Ok(Ending::RollBack),
                Ran::Broken => Err(GaveWay::Broken),
            });
        }
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
            Ok(Ending::Commit)
        })
    }

    /// A transaction for each, after their batch gave way.
    fn one_by_one(&mut self, batch: Vec<Box<dyn Work>>) {
        for job in batch {
            if self.held {
                fail_as_held(job);
            } else {
                self.alone(job);
            }
        }
    }

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
            .map(|()| Ending::Commit)
            .map_err(|_| GaveWay::Broken)
        });
        match ended {
            Ok(()) => {
                self.metrics.batch(1);
                job.answer();
            }
            Err(GaveWay::Held) => fail_as_held(job),
            Err(_) if running.get() => {
                job.fail(Error::internal("a write job panicked twice"));
            }
            Err(_) => job.fail(Error::Unavailable("the database cannot write")),
        }
    }

    /// Runs `work` in an immediate transaction and ends it as that says; on any failure drops the connection, which
    /// rolls back whatever state the transaction was left in.
    fn attempt(
        &mut self,
        work: impl FnOnce(&mut DbConnection) -> Result<Ending, GaveWay>,
    ) -> Result<(), GaveWay> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            // The source has logged why.
            None => (self.source.open(Access::Write)).map_err(|_| GaveWay::Broken)?,
        };
        self.begin(&mut conn)?;
        // Unwinding must not cross the thread's loop; what it leaves behind in the connection is dropped.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if work(&mut conn)? == Ending::RollBack {
                return <Transactions as TransactionManager<DbConnection>>::rollback_transaction(
                    &mut conn,
                )
                .map_err(|error| broken("rollback", &error));
            }
            let begun = Instant::now();
            <Transactions as TransactionManager<DbConnection>>::commit_transaction(&mut conn)
                .map_err(|error| broken("commit", &error))?;
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

    /// Begins a transaction, for which it waits only as long as seems of use.
    fn begin(&mut self, conn: &mut DbConnection) -> Result<(), GaveWay> {
        if self.held {
            set_busy_timeout(conn, STILL_HELD).map_err(|error| broken("begin", &error))?;
        }
        match begin_immediate(conn) {
            Ok(()) if self.held => {
                tracing::warn!("the other program has let go of the database file");
                self.held = false;
                set_busy_timeout(conn, BUSY_TIMEOUT).map_err(|error| broken("begin", &error))
            }
            Ok(()) => Ok(()),
            Err(error) if is_held(&error) => {
                if !self.held {
                    tracing::error!("another program has the database file");
                }
                self.held = true;
                Err(GaveWay::Held)
            }
            Err(error) => Err(broken("begin", &error)),
        }
    }
}

fn fail_as_held(job: Box<dyn Work>) {
    job.fail(Error::Unavailable("another program has the database"));
}

fn broken(step: &str, error: &diesel::result::Error) -> GaveWay {
    tracing::error!(%error, step, "the write transaction failed");
    GaveWay::Broken
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
