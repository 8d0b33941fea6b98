//! Backups: one archive with a copy of the embedded database, the key files, and a list of both.
//!
//! The archive is a tar file, packed with gzip: `manifest.json` first, then exactly the files that it
//! names, in its order. A database on PostgreSQL is not in it; PostgreSQL's own tools copy it.

use std::path::{Path, PathBuf};

use crate::db::{DatabaseUrl, MigrateError, OpenError};
use crate::signing::key_file::{KeyFileError, KeyFolder};

mod manifest;
mod pack;
mod postgres;
mod restore;
mod unpack;

pub use manifest::{DatabaseKind, Manifest, PackedFile};
pub use pack::{Existing, Made, make_backup};
pub use postgres::{dump_command, restore_command};
pub use restore::{Restored, restore_backup};

/// The name of the database in an archive.
const DATABASE: &str = "countersign.db";
/// The folder of the key files in an archive.
const KEYS: &str = "keys";
/// The largest key file, in bytes: they have a few hundred.
const MAX_KEY_FILE: u64 = 64 << 10;

/// Why there is no backup, or nothing was restored, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackupError(String);

impl BackupError {
    fn because(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn file(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("cannot use {}: {error}", path.display()))
    }
}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> Self {
        Self(error.to_string())
    }
}

impl From<MigrateError> for BackupError {
    fn from(error: MigrateError) -> Self {
        Self(error.to_string())
    }
}

impl From<KeyFileError> for BackupError {
    fn from(error: KeyFileError) -> Self {
        Self(error.to_string())
    }
}

impl From<diesel::result::Error> for BackupError {
    fn from(error: diesel::result::Error) -> Self {
        Self(format!("the database failed: {error}"))
    }
}

/// Which kind of database a URL names.
fn kind(url: &DatabaseUrl) -> DatabaseKind {
    match url {
        DatabaseUrl::Sqlite { .. } => DatabaseKind::Sqlite,
        DatabaseUrl::Postgres { .. } => DatabaseKind::Postgres,
    }
}

/// The folder of the key files inside of a folder with the content of an archive.
fn staged_keys(staging: &Path) -> KeyFolder {
    KeyFolder::new(staging.join(KEYS), false)
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the entries of a folder durable.
fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| BackupError::file(folder, &error))
}
