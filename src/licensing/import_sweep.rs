//! Taking away what an import, or a making of keys, left behind that failed, or whose process died.

use crate::app::App;
use crate::db::models::lot::{Lot, LotId, LotKind};
use crate::error::{Code, Error, Result};

/// Keys that one step of taking a lot away deletes.
const SLICE: i64 = 1000;
/// A lot that has not moved for so long has died with its process.
const DEAD_AFTER_SECONDS: i64 = 60;

impl App {
    /// Takes away what was left behind when a process died, of each kind that is not under way.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn clean_up_lots(&self) -> Result<()> {
        for (kind, turns) in [
            (LotKind::Import, &self.imports),
            (LotKind::Generated, &self.generating),
        ] {
            // Whoever has the turn looks after what was there before it.
            let Ok(_turn) = turns.try_lock() else {
                continue;
            };
            match self.sweep_dead_lot(kind).await {
                // Another process is at it.
                Err(Error::Refused(_)) => {}
                swept => swept?,
            }
        }
        Ok(())
    }

    /// The caller has this process's turn for this kind. An embedded database has no other process, so
    /// whatever is unfinished is dead; elsewhere it is when it has not moved for a while.
    pub(super) async fn sweep_dead_lot(&self, kind: LotKind) -> Result<()> {
        let lots = self.db.read(|conn| Ok(Lot::unpublished(conn)?)).await?;
        let Some(lot) = lots.into_iter().find(|lot| lot.kind == kind) else {
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
