//! A write that many clients ask for at the same time: on PostgreSQL they share a transaction (`lane`), as
//! on SQLite they share a commit anyway (`writer`).

use super::lane::{Answer, Lane, Together};
use super::{Access, Db, DbConnection, DbMetrics, OpenError, Writes};
use crate::error::Result;

/// What does such a write.
#[derive(Debug)]
pub(crate) struct SharedWrite<I, O> {
    db: Db,
    one: fn(&mut DbConnection, &I) -> Result<O>,
    lane: Option<Lane<I, O>>,
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
        let lane = match &db.inner.writes {
            Writes::Sqlite(_) => None,
            Writes::Postgres { metrics, .. } => {
                let metrics: DbMetrics = metrics.clone();
                let url = db.inner.url.clone();
                Some(Lane::start(name, url, Access::Write, together, metrics)?)
            }
        };
        Ok(Self {
            db: db.clone(),
            one,
            lane,
        })
    }

    /// Writes, and answers when it is committed.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub(crate) async fn write(&self, input: I) -> Result<O> {
        let input = match &self.lane {
            None => input,
            Some(lane) => match lane.ask(input).await? {
                Answer::Done(result) => return result,
                Answer::Alone(input) => input,
            },
        };
        let one = self.one;
        self.db.write(move |tx| one(tx, &input)).await
    }
}
