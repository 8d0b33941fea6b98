//! What every request shares, and how it is put together at start.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::db::models::instance::SigningKeyRow;
use crate::db::models::job::Job;
use crate::db::{self, Access, DatabaseUrl, Db, DbMetrics, MigrateError, OpenError, PageMemory};
use crate::error::{Error, Result};
use crate::licensing::activate::{self, Activations};
use crate::licensing::mint::Mint;
use crate::licensing::tally::Tally;
use crate::limits::Limits;
use crate::lock::{DatabaseLock, LockError};
use crate::metrics::Metrics;
use crate::signing::key_file::{KeyFileError, KeyFolder};
use crate::signing::keyring::Keyring;
use crate::signing::set_up;
use crate::signing::vault::Vault;

/// How long the last counts may take at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// The server's state. Use cases of several steps are methods on it, beside the rules they follow.
#[derive(Debug)]
pub struct App {
    /// Settings in force.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The database.
    pub db: Db,
    pub(crate) vault: Arc<Vault>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) activations: Activations,
    pub(crate) tally: Tally,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) key_folder: KeyFolder,
    /// Told when a job may have become due.
    pub(crate) jobs_due: Notify,
    /// This process's turn to go through waiting orders.
    pub(crate) serving: tokio::sync::Mutex<()>,
    /// This process's turn to import.
    pub(crate) imports: Arc<tokio::sync::Mutex<()>>,
    /// This process's turn to generate keys into stock.
    pub(crate) generating: Arc<tokio::sync::Mutex<()>>,
    /// Set when the server is to stop: connections are not kept alive from then on.
    stopping: AtomicBool,
    /// Held as long as the server runs (SQLite).
    lock: Option<DatabaseLock>,
}

/// Why the server cannot start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database has another schema.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The key files and the database do not belong together, or a file is unusable.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Another process has the database.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl App {
    /// Opens and migrates the database, loads the keys (making what is missing at the first start).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(config: Config, clock: Clock) -> Result<Arc<Self>, StartError> {
        let url = DatabaseUrl::parse(&config.database_url())?.with_memory(PageMemory {
            cache_mib: config.sqlite.cache_mib,
            map_mib: config.sqlite.map_mib,
        });
        let lock = DatabaseLock::for_serving(&url)?;
        let key_folder = key_folder(&config);
        let (vault, keyring) = {
            let mut conn = db::open(&url, Access::Write)?;
            db::migrate(&mut conn)?;
            if lock.is_some() {
                Job::take_back_all(&mut conn).map_err(MigrateError::Database)?;
            }
            set_up::open_keys(&mut conn, &key_folder, clock.now())?
        };
        let db_metrics = DbMetrics::default();
        let db = Db::open_measured(&url, &db_metrics)?;
        let activations = activate::start(&db)?;
        Ok(Arc::new(Self {
            limits: Limits::new(&config.rate_limit, &clock),
            metrics: Metrics::new(&db_metrics, &url, clock.now()),
            config,
            clock,
            db,
            activations,
            vault: Arc::new(vault),
            keyring: Arc::new(keyring),
            tally: Tally::default(),
            key_folder,
            jobs_due: Notify::new(),
            serving: tokio::sync::Mutex::new(()),
            imports: Arc::default(),
            generating: Arc::default(),
            stopping: AtomicBool::new(false),
            lock,
        }))
    }

    /// Takes over signing keys that were rotated by another process or at the command line.
    ///
    /// # Errors
    /// The database's. A key file that is missing is logged, and the old keys stay.
    pub async fn refresh_keyring(&self) -> Result<()> {
        let rows = self.db.read(|conn| Ok(SigningKeyRow::all(conn)?)).await?;
        if let Err(error) = self.keyring.refresh(rows) {
            tracing::error!(%error, "the signing keys have changed and cannot be loaded");
        }
        Ok(())
    }

    /// What makes keys.
    pub(crate) fn mint(&self) -> Mint {
        Mint::new(
            Arc::clone(&self.vault),
            Arc::clone(&self.keyring),
            self.config.products.number_prefix.clone(),
        )
    }

    /// Tells the workers that a job may have become due.
    pub(crate) fn nudge_jobs(&self) {
        self.jobs_due.notify_one();
    }

    /// Where commands talk to this server, when it owns its database.
    pub(crate) fn control_path(&self) -> Option<PathBuf> {
        self.lock.as_ref().map(DatabaseLock::control_path)
    }

    /// Ends keep-alive connections with their next answer.
    pub(crate) fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends work of many steps between two of them when the server is to stop.
    ///
    /// # Errors
    /// [`Error::Unavailable`] then.
    pub(crate) fn go_on_unless_stopping(&self) -> Result<()> {
        if self.is_stopping() {
            Err(Error::Unavailable("the server is stopping"))
        } else {
            Ok(())
        }
    }

    /// Whether the server is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Writes what is held in memory and stops the writer: the last thing before the process ends.
    pub async fn close(&self) {
        match timeout(FLUSH_WITHIN, self.flush_tally()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the last counts could not be written"),
            Err(_) => tracing::error!("the last counts could not be written in time"),
        }
        self.db.stop();
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The folder of the key files, as configured.
pub(crate) fn key_folder(config: &Config) -> KeyFolder {
    KeyFolder::new(&config.keys_dir, config.keys.allow_group_read)
}
