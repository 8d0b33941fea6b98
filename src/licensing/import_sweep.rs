//! Taking away what an import left behind that failed, or whose process died.

use crate::app::App;
use crate::db::models::lot::{Lot, LotId};
use crate::error::{Code, Error, Result};

/// Keys that one step of taking an import away deletes.
const SLICE: i64 = 1000;
/// An import that has not moved for so long has died with its process.
const DEAD_AFTER_SECONDS: i64 = 60;

impl App {
    /// Takes away what an import left behind when its process died, if no import is under way.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn clean_up_imports(&self) -> Result<()> {
        let _turn = self.imports.lock().await;
        match self.sweep_dead_import().await {
            // Another process is at it.
            Err(Error::Refused(_)) => Ok(()),
            swept => swept,
        }
    }

    /// The caller has this process's turn to import. An embedded database has no other process, so
    /// whatever is unfinished is dead; elsewhere it is when it has not moved for a while.
    pub(super) async fn sweep_dead_import(&self) -> Result<()> {
        let Some(lot) = self.db.read(|conn| Ok(Lot::unpublished(conn)?)).await? else {
            return Ok(());
        };
        let dead_from = lot.heartbeat_at.plus_seconds(DEAD_AFTER_SECONDS);
        let is_alive = lot.abandoned_at.is_none() && dead_from > self.clock.now();
        if !self.db.is_embedded() && is_alive {
            return Err(Code::ImportInProgress.into());
        }
        self.sweep(lot.id).await
    }

    /// Gives up a lot that is not published and deletes its keys, in small steps.
    pub(super) async fn sweep(&self, lot: LotId) -> Result<()> {
        let now = self.clock.now();
        if !self
            .db
            .write(move |tx| Ok(Lot::abandon(tx, lot, now)?))
            .await?
        {
            return Ok(());
        }
        loop {
            self.go_on_unless_stopping()?;
            if self
                .db
                .write(move |tx| Ok(Lot::sweep(tx, lot, SLICE)?))
                .await?
                == 0
            {
                return Ok(());
            }
        }
    }
}
