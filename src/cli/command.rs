//! Sending a command to the server that owns the database, or doing it here when none does.

use anyhow::{Context, bail};

use super::note;
use super::serve::runtime;
use crate::app::key_folder;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Command, Reply, explain};
use crate::db::models::instance::SigningKeyRow;
use crate::db::{self, Access, DatabaseUrl, Db, DbConnection, PageRequest, Paged};
use crate::error::Error;
use crate::lock::{DatabaseLock, LockError, control_path};
use crate::signing::key_file::KeyFolder;
use crate::signing::set_up;

/// Runs a command of which nothing is to be told but that it was done.
pub(super) fn run_quietly(config: &Config, command: Command) -> anyhow::Result<()> {
    match run(config, command)? {
        Reply::Done => Ok(()),
        other => bail!("the server answered {other:?}, which is not that it is done"),
    }
}

/// Reads from the database that is there, beside a running server, too: readers need no lock.
pub(super) fn read<T>(
    config: &Config,
    run: impl FnOnce(&mut DbConnection) -> crate::error::Result<T>,
) -> anyhow::Result<T> {
    let url = DatabaseUrl::parse(&config.database_url())?;
    if let DatabaseUrl::Sqlite { path, .. } = &url
        && !path.exists()
    {
        bail!(
            "there is no database at {} yet; start the server once, which makes it",
            path.display()
        );
    }
    run(&mut db::open(&url, Access::Read)?).map_err(|error| match error {
        Error::Database(error) => anyhow::Error::new(error)
            .context("cannot read the database; `countersign migrate` brings it to this version"),
        other => anyhow::anyhow!(explain(&other)),
    })
}

/// Every row of a list, page by page.
pub(super) fn every<T>(
    mut page: impl FnMut(&PageRequest) -> crate::error::Result<Paged<T>>,
) -> crate::error::Result<Vec<T>> {
    let mut request = PageRequest {
        limit: PageRequest::MAX,
        after: None,
    };
    let mut rows = Vec::new();
    loop {
        let Paged { items, next } = page(&request)?;
        rows.extend(items);
        match next {
            Some(next) => request.after = Some(next),
            None => return Ok(rows),
        }
    }
}

/// Runs a command wherever the database is.
pub(super) fn run(config: &Config, command: Command) -> anyhow::Result<Reply> {
    let url = DatabaseUrl::parse(&config.database_url())?;
    let reply = match DatabaseLock::for_serving(&url) {
        Ok(_lock) => runtime()?.block_on(run_here(config, &url, command))?,
        Err(LockError::Taken(path)) => {
            let socket = control_path(&path);
            runtime()?.block_on(control::call(&socket, &command)).with_context(|| {
                format!(
                    "another process is using {} and takes no commands at {}; stop it, or wait until it serves",
                    path.display(),
                    socket.display()
                )
            })?
        }
        Err(error) => return Err(error.into()),
    };
    match reply {
        Reply::Failed { detail } => bail!(detail),
        reply => Ok(reply),
    }
}

async fn run_here(config: &Config, url: &DatabaseUrl, command: Command) -> anyhow::Result<Reply> {
    if let DatabaseUrl::Sqlite { path, .. } = url
        && !path.exists()
    {
        note(format_args!(
            "note: there was no database at {}; a new one is made",
            path.display()
        ));
    }
    {
        let mut conn = db::open(url, Access::Write)?;
        db::migrate(&mut conn)?;
        if matches!(command, Command::RotateKeys) {
            check_keys(&mut conn, &key_folder(config))?;
        }
    }
    let db = Db::open(url)?;
    let reply = command
        .run(&db, &key_folder(config), &Clock::system())
        .await;
    db.stop();
    Ok(reply.unwrap_or_else(|error| Reply::Failed {
        detail: explain(&error),
    }))
}

/// The keys to rotate must be there, in the folder that is given.
fn check_keys(conn: &mut DbConnection, folder: &KeyFolder) -> anyhow::Result<()> {
    if SigningKeyRow::all(conn)?.is_empty() {
        bail!("there are no signing keys yet; start the server once, which makes them");
    }
    set_up::open_keys(conn, folder, Clock::system().now())?;
    Ok(())
}
