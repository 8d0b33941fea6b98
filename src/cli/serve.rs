//! `countersign serve`

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{note, print_line};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{DatabaseUrl, PageRequest};
use crate::licensing::accounts;
use crate::server::{Server, Stopper};
use crate::telemetry;

/// How long threads have to finish when everything else has.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    telemetry::start(&config.log).map_err(anyhow::Error::msg)?;
    let runtime = runtime()?;
    let served = runtime.block_on(async move {
        let app = App::open(config, Clock::system())?;
        let server = Server::bind(Arc::clone(&app))?;
        // Before anybody is told that this runs, so that whoever was told can stop it.
        let signals = Signals::listen()?;
        let stopping = tokio::spawn(signals.stop(server.stopper()));
        print_line(format_args!("listening on http://{}", server.address()));
        greet(&app).await?;
        server.run().await?;
        stopping.abort();
        Ok(())
    });
    // A thread that still waits for the database would be waited for without end.
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    served
}

/// The runtime of commands: requests have threads of their own.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?)
}

/// The signals that ask a process to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens for them from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn stop(mut self, stopper: Stopper) {
        self.wait().await;
        tracing::info!("stopping");
        stopper.stop().await;
    }
}

/// Says how to begin, as long as nobody has.
async fn greet(app: &App) -> anyhow::Result<()> {
    let page = PageRequest {
        limit: 1,
        after: None,
    };
    let accounts = app
        .db
        .read(move |conn| accounts::list_accounts(conn, &page))
        .await?;
    if accounts.items.is_empty() {
        let url = app.config.database_url();
        // A password would end up in the log.
        let url = if DatabaseUrl::holds_password(&url) {
            "the same URL"
        } else {
            &url
        };
        note(format_args!(
            "There is no account yet. Make the first API token, while this runs, with:\n  \
             countersign token create --role admin --account admin --database-url '{url}'"
        ));
    }
    Ok(())
}
