//! Making a backup, beside a running server or without one.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::{NamedTempFile, TempDir};

use super::manifest::{self, Manifest, PackedFile};
use super::{BackupError, DATABASE, KEYS, folder_of, kind, sync_folder};
use crate::app::key_folder;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::db::copy::copy_database;
use crate::db::inspect::damage;
use crate::db::{self, DatabaseUrl, DbConnection, PageMemory, schema_state};
use crate::signing::key_file::KeyFolder;
use crate::signing::set_up::{KeysFit, compare_keys, signing_files};
use crate::signing::vault;

/// What to do when there is a file of the archive's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it, and make no backup.
    Keep,
    /// Replace it, once the new one is whole.
    Replace,
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What is in it.
    pub manifest: Manifest,
    /// How large the archive is.
    pub bytes: u64,
}

/// Makes a backup. Nothing stands under its name before it is whole and on disk.
///
/// # Errors
/// [`BackupError`]; nothing is left then.
pub fn make_backup(
    config: &Config,
    archive: &Path,
    existing: Existing,
    clock: &Clock,
) -> Result<Made, BackupError> {
    let url = DatabaseUrl::parse(&config.database_url())?;
    if existing == Existing::Keep && archive.exists() {
        return Err(is_there(archive));
    }
    let folder = folder_of(archive);
    // Beside the archive: a copy of the database may be too large for where temporary files go.
    let staging = tempfile::Builder::new()
        .prefix(".countersign-backup-")
        .tempdir_in(&folder)
        .map_err(|error| BackupError::file(&folder, &error))?;
    let made_at = clock.now();
    let keys = key_folder(config);
    let sources = Sources::gather(&url, &keys, &staging)?;
    let manifest = Manifest::new(
        made_at,
        kind(&url),
        sources.schema.clone(),
        sources.measure()?,
    );
    let packed = sources
        .pack(&manifest, &staging)
        .map_err(|error| BackupError::file(archive, &error))?;
    let bytes = packed.as_file().metadata().map_or(0, |file| file.len());
    match existing {
        Existing::Keep => packed.persist_noclobber(archive),
        Existing::Replace => packed.persist(archive),
    }
    .map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => is_there(archive),
        _ => BackupError::file(archive, &error.error),
    })?;
    sync_folder(&folder)?;
    Ok(Made { manifest, bytes })
}

fn is_there(archive: &Path) -> BackupError {
    BackupError::because(format!(
        "{} is there already; choose another name, or replace it with --force",
        archive.display()
    ))
}

/// What goes into an archive.
struct Sources<'a> {
    /// The copy of the database, where there is one.
    database: Option<PathBuf>,
    schema: String,
    keys: &'a KeyFolder,
    key_files: Vec<String>,
}

impl<'a> Sources<'a> {
    /// Copies the database first: a rotation that comes in between then only adds a key file.
    fn gather(
        url: &DatabaseUrl,
        keys: &'a KeyFolder,
        staging: &TempDir,
    ) -> Result<Self, BackupError> {
        let (mut conn, database) = match url {
            DatabaseUrl::Sqlite { path, .. } if !path.exists() => {
                return Err(BackupError::because(format!(
                    "there is no database at {}",
                    path.display()
                )));
            }
            DatabaseUrl::Sqlite { .. } => {
                let copy = staging.path().join(DATABASE);
                copy_database(url, &copy)?;
                (open_copy(&copy)?, Some(copy))
            }
            DatabaseUrl::Postgres { .. } => (db::open_to_look(url)?, None),
        };
        let schema = schema_state(&mut conn)?.newest.unwrap_or_default();
        if schema.is_empty() || compare_keys(&mut conn, keys)? == KeysFit::NotYetMade {
            return Err(BackupError::because(
                "there is nothing to back up before the first start of the server",
            ));
        }
        let mut key_files = vec![vault::FILE.to_owned()];
        key_files.extend(signing_files(keys)?);
        Ok(Self {
            database,
            schema,
            keys,
            key_files,
        })
    }

    fn measure(&self) -> Result<Vec<PackedFile>, BackupError> {
        let mut files = Vec::new();
        if let Some(copy) = &self.database {
            let measured = File::open(copy)
                .and_then(|content| PackedFile::measure(DATABASE.to_owned(), content))
                .map_err(|error| BackupError::file(copy, &error))?;
            files.push(measured);
        }
        for name in &self.key_files {
            let text = self.keys.read(name)?;
            let measured = PackedFile::measure(format!("{KEYS}/{name}"), text.as_bytes())
                .map_err(|error| BackupError::file(&self.keys.file(name), &error))?;
            files.push(measured);
        }
        Ok(files)
    }

    /// Writes the archive into a file of its own, mode 0600, and has it reach the disk.
    fn pack(&self, manifest: &Manifest, staging: &TempDir) -> std::io::Result<NamedTempFile> {
        let file = NamedTempFile::new_in(staging.path())?;
        let packer = GzEncoder::new(BufWriter::new(file), Compression::fast());
        let mut archive = tar::Builder::new(packer);
        let text = serde_json::to_vec_pretty(manifest)?;
        let listed = PackedFile::measure(manifest::FILE.to_owned(), text.as_slice())?;
        append(&mut archive, &listed, manifest.made_at, text.as_slice())?;
        for packed in &manifest.files {
            match (packed.key_file(), &self.database) {
                (Some(name), _) => {
                    let text = self.keys.read(name).map_err(std::io::Error::other)?;
                    append(&mut archive, packed, manifest.made_at, text.as_bytes())?;
                }
                (None, Some(copy)) => {
                    append(&mut archive, packed, manifest.made_at, File::open(copy)?)?;
                }
                (None, None) => {}
            }
        }
        let mut writer = archive.into_inner()?.finish()?;
        writer.flush()?;
        let file = writer
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

/// Opens the copy, which must be whole: a backup that cannot be restored is none.
fn open_copy(copy: &Path) -> Result<DbConnection, BackupError> {
    let url = DatabaseUrl::Sqlite {
        path: copy.to_owned(),
        max_pages: None,
        memory: PageMemory::default(),
    };
    let mut conn = db::open_to_look(&url)?;
    let damage = damage(&mut conn)?;
    if damage.is_empty() {
        Ok(conn)
    } else {
        Err(BackupError::because(format!(
            "the database is damaged ({}); `countersign doctor` says more",
            damage.join("; ")
        )))
    }
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    file: &PackedFile,
    made_at: Timestamp,
    content: impl Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(file.bytes);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(made_at.seconds()).unwrap_or_default());
    // A file that changed its length meanwhile must not spoil what comes after it.
    archive.append_data(&mut header, &file.name, content.take(file.bytes))
}
