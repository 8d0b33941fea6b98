//! `countersign serve`

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{note, print_line};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::PageRequest;
use crate::licensing::accounts;
use crate::server::{Server, Stopper};
use crate::telemetry;

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    telemetry::start(&config.log).map_err(anyhow::Error::msg)?;
    runtime()?.block_on(async move {
        let app = App::open(config, Clock::system())?;
        let server = Server::bind(Arc::clone(&app))?;
        let stopper = server.stopper();
        let signals = tokio::spawn(stop_on_signal(stopper));
        print_line(format_args!("listening on http://{}", server.address()));
        greet(&app).await?;
        server.run().await?;
        signals.abort();
        Ok(())
    })
}

/// The runtime of commands: requests have threads of their own.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?)
}

async fn stop_on_signal(stopper: Stopper) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stopper.stop().await;
    Ok(())
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
        note(format_args!(
            "There is no account yet. Make the first API token, while this runs, with:\n  \
             countersign token create --role admin --account admin --database-url '{}'",
            app.config.database_url()
        ));
    }
    Ok(())
}
