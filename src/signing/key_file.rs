//! Reading and writing the files of `keys/`: private, durable, and refused when others can read them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a key file cannot be used; every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not there.
    #[error(
        "the key file {0} is missing, and this database was made with it; restore it from your backup"
    )]
    Missing(PathBuf),
    /// Others can read it.
    #[error("the key file {0} can be read by others (mode {1:04o}); run: chmod 600 {0}")]
    Exposed(PathBuf, u32),
    /// It is not what it should be.
    #[error("the key file {0} is damaged ({1}); restore it from your backup")]
    Damaged(PathBuf, String),
    /// It belongs to another database.
    #[error(
        "the key file {0} is not the one that this database was made with; restore the right one from your backup"
    )]
    Foreign(PathBuf),
    /// The file system failed.
    #[error("cannot use the key file {0}: {1}")]
    Io(PathBuf, io::Error),
    /// The database failed.
    #[error("cannot compare the key files with the database: {0}")]
    Database(#[from] diesel::result::Error),
}

/// The folder of the key files and how strict to be about it.
#[derive(Clone, Debug)]
pub struct KeyFolder {
    path: PathBuf,
    allow_group_read: bool,
}

impl std::fmt::Display for KeyFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

impl KeyFolder {
    /// A folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>, allow_group_read: bool) -> Self {
        Self {
            path: path.into(),
            allow_group_read,
        }
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file that only its owner may read.
    pub(crate) fn read(&self, name: &str) -> Result<Zeroizing<String>, KeyFileError> {
        let path = self.file(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyFileError::Missing(path));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(KeyFileError::Damaged(path, "it is not text".into()));
            }
            Err(error) => return Err(KeyFileError::Io(path, error)),
        };
        self.check_mode(&path)?;
        Ok(text)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// The names of the files in the folder that start and end like this, sorted; none when there is no folder.
    pub(crate) fn names(&self, prefix: &str, suffix: &str) -> Result<Vec<String>, KeyFileError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(KeyFileError::Io(self.path.clone(), error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix) && name.ends_with(suffix))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Writes a new file with mode 0600 and makes it durable before returning.
    pub(crate) fn create(&self, name: &str, text: &str) -> Result<(), KeyFileError> {
        let path = self.file(name);
        self.write(&path, text)
            .map_err(|error| KeyFileError::Io(path, error))
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&self.path)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // The entry in the folder is data of the folder.
        fs::File::open(&self.path)?.sync_all()
    }

    #[cfg(unix)]
    fn check_mode(&self, path: &Path) -> Result<(), KeyFileError> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path).map_err(|error| KeyFileError::Io(path.to_owned(), error))?;
        let forbidden = if self.allow_group_read { 0o037 } else { 0o077 };
        if meta.mode() & forbidden != 0 {
            return Err(KeyFileError::Exposed(path.to_owned(), meta.mode() & 0o777));
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_mode(&self, _: &Path) -> Result<(), KeyFileError> {
        Ok(())
    }
}
