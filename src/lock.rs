//! One process owns an embedded database: a lock file beside it, and a socket for commands.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::db::DatabaseUrl;

/// The lock on an embedded database; held until it is dropped.
#[derive(Debug)]
pub struct DatabaseLock {
    database: PathBuf,
    _file: File,
}

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another countersign process is using {0}; stop it first, or use another --database-url"
    )]
    Taken(PathBuf),
    /// The file system failed.
    #[error("cannot create {0}: {1}; check that this user may write there")]
    Io(PathBuf, io::Error),
}

impl DatabaseLock {
    /// Takes the lock of an embedded database, making its folder if there is none. PostgreSQL needs
    /// none: any number of processes may share it.
    ///
    /// # Errors
    /// [`LockError::Taken`] when another process has it.
    pub fn for_serving(url: &DatabaseUrl) -> Result<Option<Self>, LockError> {
        let DatabaseUrl::Sqlite { path, .. } = url else {
            return Ok(None);
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            create_private_folder(folder)
                .map_err(|error| LockError::Io(folder.to_owned(), error))?;
        }
        // Under one name, however many links lead to the file.
        let path = &path.canonicalize().unwrap_or_else(|_| path.clone());
        let lock_path = beside(path, "lock");
        let file =
            File::create(&lock_path).map_err(|error| LockError::Io(lock_path.clone(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                database: path.clone(),
                _file: file,
            })),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken(path.clone())),
            Err(TryLockError::Error(error)) => Err(LockError::Io(lock_path, error)),
        }
    }

    /// Whether a process has the lock of this embedded database now; makes no file.
    ///
    /// # Errors
    /// The file system's.
    pub fn is_taken(path: &Path) -> io::Result<bool> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let file = match File::open(beside(&path, "lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // Asking is trying. It is let go of at once, so that hardly any start can run into it.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The socket on which the process that holds this lock takes commands.
    pub fn control_path(&self) -> PathBuf {
        control_path(&self.database)
    }
}

/// The control socket of an embedded database.
pub fn control_path(database: &Path) -> PathBuf {
    beside(database, "sock")
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
