//! Work that is done later: claimed from the queue with a lease, tried again when it fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;
use crate::db::models::customer::CustomerId;
use crate::db::models::job::{
    DELETE_KEYS, ERASE_CUSTOMER, Job, RECHECK_WAITING_ORDERS, SERVE_WAITING_ORDERS,
};
use crate::db::models::product::ProductId;
use crate::db::models::sequence::SequenceId;
use crate::error::{Error, Result};
use crate::licensing::sequences;

/// How long a worker has a job before another may take it over; extended while it runs.
const LEASE_SECONDS: i64 = 60;
/// How often the lease of a running job is extended.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// How often the queue is looked at when nobody says that there is something.
const POLL: Duration = Duration::from_secs(1);
/// Jobs claimed at once: only the one that runs has its lease extended.
const CLAIM: i64 = 1;
/// Tries before a job is given up; the pauses between them grow to a day in all.
const MAX_ATTEMPTS: i64 = 30;

impl App {
    /// Works on the queue until `stop` says so; a job that runs then is finished.
    pub(crate) async fn work_on_jobs(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() && !self.is_stopping() {
            match self.run_due_jobs().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::error!(%error, "the job queue cannot be read"),
            }
            tokio::select! {
                () = self.jobs_due.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Claims what is due and runs it; returns how many jobs ran.
    ///
    /// # Errors
    /// The database's. What a job itself meets is noted on the job.
    pub async fn run_due_jobs(&self) -> Result<usize> {
        let now = self.clock.now();
        if !self
            .db
            .read(move |conn| Ok(Job::any_due(conn, now)?))
            .await?
        {
            return Ok(0);
        }
        let lease_until = now.plus_seconds(LEASE_SECONDS);
        let jobs = self
            .db
            .write(move |tx| Ok(Job::claim(tx, now, lease_until, CLAIM)?))
            .await?;
        let count = jobs.len();
        for job in jobs {
            self.run_job(job).await?;
        }
        Ok(count)
    }

    async fn run_job(&self, job: Job) -> Result<()> {
        let outcome = self.while_extending(&job).await;
        let now = self.clock.now();
        let stopping = self.is_stopping();
        self.db
            .write(move |tx| match &outcome {
                Ok(()) => Ok(job.done(tx)?),
                // Not its fault: whoever starts next goes on at once.
                Err(error) if stopping => Ok(job.failed(tx, &error.to_string(), Some(now))?),
                Err(error) => {
                    let run_at = (job.attempts < MAX_ATTEMPTS)
                        .then(|| now.plus_seconds(pause(job.attempts)));
                    tracing::warn!(job.id = job.id, job.kind = job.kind, %error, "a job failed");
                    Ok(job.failed(tx, &error.to_string(), run_at)?)
                }
            })
            .await
    }

    async fn while_extending(&self, job: &Job) -> Result<()> {
        let mut work = std::pin::pin!(self.dispatch(job));
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                () = tokio::time::sleep(EXTEND_EVERY) => {
                    let (job, until) = (job.clone(), self.clock.now().plus_seconds(LEASE_SECONDS));
                    if !self.db.write(move |tx| Ok(job.extend(tx, until)?)).await? {
                        return Err(Error::Unavailable("another worker has taken the job over"));
                    }
                }
            }
        }
    }

    async fn dispatch(&self, job: &Job) -> Result<()> {
        match job.kind.as_str() {
            SERVE_WAITING_ORDERS => {
                self.serve_waiting_orders(SequenceId(id(job, "sequence")?))
                    .await
            }
            RECHECK_WAITING_ORDERS => {
                self.recheck_waiting_orders(ProductId(id(job, "product")?))
                    .await
            }
            DELETE_KEYS => {
                let sequence = SequenceId(id(job, "sequence")?);
                loop {
                    self.go_on_unless_stopping()?;
                    if self
                        .db
                        .write(move |tx| sequences::delete_some_keys(tx, sequence))
                        .await?
                    {
                        return Ok(());
                    }
                }
            }
            ERASE_CUSTOMER => self.erase_traces(CustomerId(id(job, "customer")?)).await,
            other => Err(Error::internal(format!(
                "there is no job of the kind `{other}`"
            ))),
        }
    }
}

/// The id that a job's payload holds under this name.
fn id(job: &Job, name: &str) -> Result<i64> {
    let id = job.payload.0.get(name).and_then(serde_json::Value::as_i64);
    id.ok_or_else(|| Error::internal(format!("the job names no {name}")))
}

/// Seconds before the next try: doubling from one second up to an hour.
fn pause(attempts: i64) -> i64 {
    2i64.checked_pow(u32::try_from(attempts.clamp(0, 12)).unwrap_or(0))
        .unwrap_or(3600)
        .min(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_between_tries_grow_and_add_up_to_about_a_day() {
        assert_eq!((pause(1), pause(2), pause(20)), (2, 4, 3600));
        let all: i64 = (1..MAX_ATTEMPTS).map(pause).sum();
        assert!((60_000..100_000).contains(&all), "{all}");
    }
}
