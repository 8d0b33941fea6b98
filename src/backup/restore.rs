//! Restoring a backup into a place where nothing is: all of it is checked before any of it is put there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, refused};
use super::unpack::unpack;
use super::{BackupError, DATABASE, DatabaseKind, folder_of, kind, staged_keys, sync_folder};
use crate::app::key_folder;
use crate::config::Config;
use crate::db::inspect::damage;
use crate::db::{self, DatabaseUrl, PageMemory, schema_state};
use crate::doctor::nearest_folder;
use crate::lock::DatabaseLock;
use crate::signing::key_file::{KeyFileError, KeyFolder};
use crate::signing::set_up::{KeysFit, check_files, compare_keys, signing_files};
use crate::signing::vault;

/// A backup that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What was in it.
    pub manifest: Manifest,
    /// Where its database is, or is to be.
    pub database: DatabaseUrl,
    /// Whether that database still has to be filled, by PostgreSQL's own tools.
    pub database_is_empty: bool,
}

/// Restores a backup to where the settings say that database and keys are.
///
/// # Errors
/// [`BackupError`] when something is there already, or anything of the archive is not as it should be;
/// nothing of it is left then.
pub fn restore_backup(config: &Config, archive: &Path) -> Result<Restored, BackupError> {
    let url = DatabaseUrl::parse(&config.database_url())?;
    let keys = key_folder(config);
    check_empty(&url, &keys)?;
    let beside = match &url {
        DatabaseUrl::Sqlite { path, .. } => path.as_path(),
        DatabaseUrl::Postgres { .. } => config.keys_dir.as_path(),
    };
    // On the same file system as the place, so that the database can be moved there.
    let folder = nearest_folder(beside)
        .ok_or_else(|| BackupError::because(format!("no folder above {}", beside.display())))?;
    let staging = tempfile::Builder::new()
        .prefix(".countersign-restore-")
        .tempdir_in(folder)
        .map_err(|error| BackupError::file(folder, &error))?;
    let manifest = unpack(archive, staging.path())?;
    let database_is_empty = verify(&manifest, &url, staging.path())?;
    put_in_place(&manifest, &url, &keys, staging.path())?;
    Ok(Restored {
        manifest,
        database: url,
        database_is_empty,
    })
}

/// Refuses a place where something is that a restored backup would mix with.
fn check_empty(url: &DatabaseUrl, keys: &KeyFolder) -> Result<(), BackupError> {
    if let DatabaseUrl::Sqlite { path, .. } = url {
        for ending in ["", "-wal", "-shm", "-journal"] {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            let file = PathBuf::from(name);
            if file.symlink_metadata().is_ok() {
                return Err(is_there(&file));
            }
        }
    }
    let mut names = signing_files(keys)?;
    names.push(vault::FILE.to_owned());
    match names
        .iter()
        .map(|name| keys.file(name))
        .find(|file| file.symlink_metadata().is_ok())
    {
        Some(file) => Err(is_there(&file)),
        None => Ok(()),
    }
}

fn is_there(file: &Path) -> BackupError {
    BackupError::because(format!(
        "{} is there already, and a backup is restored only where nothing is; move it away, or restore elsewhere \
         with --database-url and --keys-dir",
        file.display()
    ))
}

/// Checks that what was unpacked is one whole, and says whether the database still has to be filled.
fn verify(manifest: &Manifest, url: &DatabaseUrl, staging: &Path) -> Result<bool, BackupError> {
    if manifest.database != kind(url) {
        let word = match manifest.database {
            DatabaseKind::Sqlite => "an embedded database (sqlite://...)",
            DatabaseKind::Postgres => "a database on PostgreSQL (postgres://...)",
        };
        return Err(BackupError::because(format!(
            "this is the backup of {word}, and the settings name {url}; give --database-url"
        )));
    }
    let keys = staged_keys(staging);
    match url {
        DatabaseUrl::Sqlite { .. } => verify_copy(manifest, &keys, staging).map(|()| false),
        DatabaseUrl::Postgres { .. } => {
            check_files(&keys)?;
            let mut conn = db::open_to_look(url)?;
            if schema_state(&mut conn)?.newest.is_none() {
                return Ok(true);
            }
            let fit = compare_keys(&mut conn, &keys);
            match fit
                .map_err(|error| refused(format!("its keys do not fit the database: {error}")))?
            {
                KeysFit::Yes { .. } => Ok(false),
                KeysFit::NotYetMade => Err(BackupError::because(format!(
                    "the database {url} has tables, and no keys that a backup could fit; make an empty one"
                ))),
            }
        }
    }
}

fn verify_copy(manifest: &Manifest, keys: &KeyFolder, staging: &Path) -> Result<(), BackupError> {
    let copy = DatabaseUrl::Sqlite {
        path: staging.join(DATABASE),
        max_pages: None,
        memory: PageMemory::default(),
    };
    let unusable = |what: String| refused(format!("its database cannot be used: {what}"));
    let mut conn = db::open_to_look(&copy).map_err(|error| unusable(error.to_string()))?;
    let damage = damage(&mut conn).map_err(|error| unusable(error.to_string()))?;
    if !damage.is_empty() {
        return Err(unusable(damage.join("; ")));
    }
    let schema = schema_state(&mut conn).map_err(|error| unusable(error.to_string()))?;
    if let Some(unknown) = schema.unknown.last() {
        return Err(BackupError::because(format!(
            "the backup is of a newer version ({}, migration {unknown}); restore it with that one",
            manifest.program
        )));
    }
    if schema.newest.as_ref() != Some(&manifest.schema) {
        return Err(unusable(
            "it has another schema than the manifest says".to_owned(),
        ));
    }
    match compare_keys(&mut conn, keys) {
        Ok(KeysFit::Yes { .. }) => Ok(()),
        Ok(KeysFit::NotYetMade) => Err(unusable("it knows no keys".to_owned())),
        Err(error) => Err(refused(format!(
            "its keys do not fit its database: {error}"
        ))),
    }
}

/// Puts the files where they belong. The database first: without its keys a server refuses to start, while
/// keys without a database would be taken over into a new, empty one.
fn put_in_place(
    manifest: &Manifest,
    url: &DatabaseUrl,
    keys: &KeyFolder,
    staging: &Path,
) -> Result<(), BackupError> {
    // Held until all is there, so that no server starts in between.
    let _lock =
        DatabaseLock::for_serving(url).map_err(|error| BackupError::because(error.to_string()))?;
    check_empty(url, keys)?;
    let mut placed = Placed(Vec::new());
    if let DatabaseUrl::Sqlite { path, .. } = url {
        let staged = tempfile::TempPath::try_from_path(staging.join(DATABASE))
            .map_err(|error| BackupError::file(path, &error))?;
        staged
            .persist_noclobber(path)
            .map_err(|error| BackupError::file(path, &error.error))?;
        placed.0.push(path.clone());
        sync_folder(&folder_of(path))?;
    }
    let staged = staged_keys(staging);
    for name in manifest.key_files() {
        let text = staged.read(name)?;
        let created = keys.create(name, &text);
        // A disk that got full leaves half a file; one that somebody else made meanwhile is theirs.
        if !matches!(&created, Err(KeyFileError::Io(_, error)) if error.kind() == ErrorKind::AlreadyExists)
        {
            placed.0.push(keys.file(name));
        }
        created?;
    }
    placed.0.clear();
    Ok(())
}

/// Files that are taken away again unless all of them came into place.
struct Placed(Vec<PathBuf>);

impl Drop for Placed {
    fn drop(&mut self) {
        for file in &self.0 {
            // It is reported why not all came into place; more cannot be done about this one.
            let _ = std::fs::remove_file(file);
        }
    }
}
