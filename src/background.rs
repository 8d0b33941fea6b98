//! What runs beside the requests: the job worker, the flush of counts, the watch on the signing keys.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::App;

/// How often counts go to the database: `last_seen_at` may lag by up to a minute.
const FLUSH_EVERY: Duration = Duration::from_secs(15);
/// How soon a rotation by another process is noticed.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// How often the memory of budgets that are full again is given back.
const LIMITS_EVERY: Duration = Duration::from_secs(10);

/// How often keys that have expired are taken out of stock (they are not sold before that either), and
/// what died or was passed by is looked for.
const STOCK_EVERY: Duration = Duration::from_secs(60);

/// How often calls that may not be repeated any more are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// The running background tasks.
#[derive(Debug)]
pub struct Background {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts them.
    pub fn start(app: &Arc<App>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(Arc::clone(app).work_on_jobs(stopped.clone())),
            tokio::spawn(every(FLUSH_EVERY, stopped.clone(), Arc::clone(app), flush)),
            tokio::spawn(every(
                KEYS_EVERY,
                stopped.clone(),
                Arc::clone(app),
                refresh_keys,
            )),
            tokio::spawn(every(
                LIMITS_EVERY,
                stopped.clone(),
                Arc::clone(app),
                forget_limits,
            )),
            tokio::spawn(every(
                STOCK_EVERY,
                stopped.clone(),
                Arc::clone(app),
                look_after_stock,
            )),
            tokio::spawn(every(
                FORGET_EVERY,
                stopped,
                Arc::clone(app),
                forget_old_calls,
            )),
            tokio::spawn(clean_up(Arc::clone(app))),
        ];
        Self { stop, tasks }
    }

    /// Stops them and waits for what they are in the middle of.
    pub async fn stop(self) {
        // Fails only when every task has ended.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task ended badly");
            }
        }
    }
}

async fn every<F: Future<Output = ()>>(
    pause: Duration,
    mut stop: watch::Receiver<bool>,
    app: Arc<App>,
    work: impl Fn(Arc<App>) -> F,
) {
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(pause) => work(Arc::clone(&app)).await,
            _ = stop.changed() => {}
        }
    }
}

async fn flush(app: Arc<App>) {
    if let Err(error) = app.flush_tally().await {
        tracing::warn!(%error, "counts could not be written");
    }
}

async fn refresh_keys(app: Arc<App>) {
    if let Err(error) = app.refresh_keyring().await {
        tracing::warn!(%error, "the signing keys could not be looked up");
    }
}

async fn forget_limits(app: Arc<App>) {
    app.limits.forget();
}

async fn forget_old_calls(app: Arc<App>) {
    if let Err(error) = app.forget_old_calls().await {
        tracing::warn!(%error, "records of old calls were not deleted");
    }
}

/// Takes away what an import left behind when the process before this one died.
async fn clean_up(app: Arc<App>) {
    if let Err(error) = app.clean_up_lots().await {
        tracing::warn!(%error, "an unfinished import was not taken away");
    }
}

async fn look_after_stock(app: Arc<App>) {
    if let Err(error) = app.take_expired_keys_out_of_stock().await {
        tracing::warn!(%error, "expired keys were not taken out of stock");
    }
    if let Err(error) = app.serve_all_waiting_orders().await {
        tracing::warn!(%error, "waiting orders were not looked at");
    }
    clean_up(app).await;
}
