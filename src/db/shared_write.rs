//! A write that many clients ask for at the same time: on PostgreSQL they share a transaction (`lane`), as
//! on SQLite they share a commit anyway (`writer`).

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::haste::Haste;
use super::lane::{Answer, Lane, Together};
use super::patience::Patience;
use super::{Access, Db, DbConnection, DbMetrics, OpenError, POOL, Writes};
use crate::error::{Error, Result};

/// How long one that was put off waits before it asks again, and at last is done alone: those who stand in
/// the way are mostly gone in a few milliseconds.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
];
/// Connections that writes done alone take at most: they may all wait for the same row, and everybody else
/// writes through the same pool.
const ALONE: u32 = POOL / 2;

/// What does such a write.
#[derive(Debug)]
pub(crate) struct SharedWrite<I, O> {
    db: Db,
    one: fn(&mut DbConnection, &I) -> Result<O>,
    shared: Option<Shared<I, O>>,
}

/// What there is on PostgreSQL alone.
#[derive(Debug)]
struct Shared<I, O> {
    lane: Lane<I, O>,
    alone: Semaphore,
    metrics: DbMetrics,
}

impl<I: Send + 'static, O: Send + 'static> SharedWrite<I, O> {
    /// `one` does the write for one client, `together` for many.
    ///
    /// # Errors
    /// [`OpenError`] when the thread cannot be started.
    pub(crate) fn start(
        db: &Db,
        name: &str,
        one: fn(&mut DbConnection, &I) -> Result<O>,
        together: Together<I, O>,
    ) -> Result<Self, OpenError> {
        let shared = match &db.inner.writes {
            Writes::Sqlite(_) => None,
            Writes::Postgres { metrics, .. } => {
                let source = db.inner.source.clone();
                Some(Shared {
                    lane: Lane::start(name, source, Access::Write, together, metrics.clone())?,
                    alone: Semaphore::new(ALONE.try_into().unwrap_or(1)),
                    metrics: metrics.clone(),
                })
            }
        };
        Ok(Self {
            db: db.clone(),
            one,
            shared,
        })
    }

    /// Writes, and answers when it is committed.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub(crate) async fn write(&self, mut input: I) -> Result<O> {
        let mut patience = Patience::full();
        let Some(shared) = &self.shared else {
            return self.do_one(patience, input).await;
        };
        for pause in PAUSES {
            match shared.lane.ask(input, &mut patience).await? {
                Answer::Done(result) => return result,
                Answer::PutOff(again) => {
                    input = again;
                    let since = Instant::now();
                    sleep(pause).await;
                    patience.waited_since(since);
                }
                Answer::Alone(again) => {
                    input = again;
                    break;
                }
            }
        }
        let since = Instant::now();
        let turn = timeout(patience.left(), shared.alone.acquire()).await;
        let _turn = turn.map_err(|_| Error::Unavailable("too many wait for the same"))?;
        patience.waited_since(since);
        shared.metrics.alone.inc();
        self.do_one(patience, input).await
    }

    async fn do_one(&self, patience: Patience, input: I) -> Result<O> {
        let one = self.one;
        self.db
            .write_within(patience, Haste::Hurried, move |tx| one(tx, &input))
            .await
    }
}
