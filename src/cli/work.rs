//! Work that takes the whole application: done by the server that owns the database, or here.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;

use super::note;
use super::serve::runtime;
use crate::app::{App, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Colleague;
use crate::control::work::{Line, Outcome, Work};
use crate::db::models::key::KeyStatus;
use crate::licensing::staging::NamedOrder;
use crate::lock::{LockError, control_path};

/// Lines that are listed at most.
const LISTED: usize = 20;

/// Who does the work.
pub(super) enum Worker {
    /// This process, which has opened the database.
    Here(Arc<App>),
    /// The server at this socket.
    Server(PathBuf),
}

impl Worker {
    /// Opens the database, or finds the server that has it.
    pub(super) fn find(config: &Config) -> anyhow::Result<Self> {
        match App::open(config.clone(), Clock::system()) {
            Ok(app) => Ok(Self::Here(app)),
            Err(StartError::Lock(LockError::Taken(path))) => Ok(Self::Server(control_path(&path))),
            Err(error) => Err(error.into()),
        }
    }

    /// Does work that needs no text.
    pub(super) fn carry_out(self, work: Work) -> anyhow::Result<Outcome> {
        runtime()?.block_on(async {
            match self {
                Self::Here(app) => {
                    let outcome = app.do_work(work).await;
                    app.close().await;
                    Ok(outcome.unwrap_or_else(|error| Outcome::of_error(&error)))
                }
                Self::Server(socket) => {
                    let mut server = ask(&socket, &work).await?;
                    Ok(server.outcome().await.context("the server went away")?)
                }
            }
        })
    }
}

/// What keys that come in are for, and where they stand.
#[derive(Debug, Args)]
pub(super) struct Standing {
    /// The sku of the only product that may take the keys
    #[arg(long)]
    pub(super) product: Option<String>,
    /// active, inactive, sold, delivered or disabled; by default for sale, or sold to the order
    #[arg(long)]
    pub(super) status: Option<KeyStatus>,
    /// The ref of the order that the keys are for
    #[arg(long, requires = "product")]
    order: Option<String>,
    /// The name of its shop, where several have such an order
    #[arg(long, requires = "order")]
    shop: Option<String>,
}

impl Standing {
    /// The order that two of the options name.
    pub(super) fn order(&self) -> Option<NamedOrder> {
        let reference = self.order.clone()?;
        Some(NamedOrder {
            reference,
            shop: self.shop.clone(),
        })
    }
}

/// Asks the server at a socket.
pub(super) async fn ask(socket: &std::path::Path, work: &Work) -> anyhow::Result<Colleague> {
    Colleague::ask(socket, work).await.with_context(|| {
        format!(
            "another process is using the database and takes no commands at {}; stop it, or wait until it serves",
            socket.display()
        )
    })
}

/// Fails with what an outcome says, when it was a failure.
pub(super) fn unless_failed(outcome: Outcome) -> anyhow::Result<Outcome> {
    match outcome {
        Outcome::Failed { detail, failed } => {
            list(&failed);
            bail!(detail)
        }
        done => Ok(done),
    }
}

/// Lists lines that cannot be keys, the first of them.
pub(super) fn list(failed: &[Line]) {
    for Line { line, detail } in failed.iter().take(LISTED) {
        note(format_args!("line {line}: {detail}"));
    }
    if failed.len() > LISTED {
        note("… and more");
    }
}
