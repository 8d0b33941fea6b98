//! Unpacking an archive that may be damaged or made by somebody who means harm.
//!
//! Nothing of it decides where anything is written: its entries must be exactly those that its manifest
//! names, in that order, as plain files of the lengths and with the checksums given there, and the
//! manifest may name only what a backup has.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::Path;

use flate2::bufread::GzDecoder;
use tar::{Archive, Entry};

use super::manifest::{self, Manifest, PackedFile, refused};
use super::{BackupError, DATABASE, KEYS};
use crate::doctor::{free_bytes, size};

/// Room to leave on the disk, in bytes.
const SPARE: u64 = 16 << 20;
/// What may stand behind the last file: the empty blocks that end a tar file, in bytes.
const MAX_TAIL: u64 = 64 << 10;

type Source = GzDecoder<BufReader<File>>;

/// Unpacks an archive into an empty folder for nobody else, and returns what is there.
///
/// # Errors
/// [`BackupError`] when anything of it is not as it should be; what is in the folder is worth nothing then.
pub(super) fn unpack(archive: &Path, staging: &Path) -> Result<Manifest, BackupError> {
    let file = File::open(archive).map_err(|error| BackupError::file(archive, &error))?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(file)));
    let manifest = {
        // As they stand: no entry changes the name or the length of the next one.
        let mut entries = archive.entries().map_err(unreadable)?.raw(true);
        let mut next = || match entries.next() {
            Some(entry) => entry.map(Some).map_err(unreadable),
            None => Ok(None),
        };
        let manifest = read_manifest(next()?)?;
        check_room(&manifest, staging)?;
        make_folder(&staging.join(KEYS))?;
        for file in &manifest.files {
            let entry = next()?.ok_or_else(|| refused(format!("{} is missing", file.name)))?;
            unpack_file(entry, file, staging)?;
        }
        if next()?.is_some() {
            return Err(refused(
                "it has more files than its manifest names".to_owned(),
            ));
        }
        manifest
    };
    read_to_end(archive.into_inner())?;
    Ok(manifest)
}

fn read_manifest(entry: Option<Entry<'_, Source>>) -> Result<Manifest, BackupError> {
    let mut entry = entry.ok_or_else(|| refused("it is empty".to_owned()))?;
    if entry.path_bytes().as_ref() != manifest::FILE.as_bytes()
        || !entry.header().entry_type().is_file()
        || entry.size() > manifest::MAX_BYTES
    {
        return Err(refused(format!(
            "it does not begin with {}",
            manifest::FILE
        )));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(unreadable)?;
    Manifest::parse(&text)
}

/// A length that the disk has no room for is known before anything is written.
fn check_room(manifest: &Manifest, staging: &Path) -> Result<(), BackupError> {
    let needed = manifest
        .files
        .iter()
        .fold(SPARE, |sum, file| sum.saturating_add(file.bytes));
    let free = free_bytes(staging).map_err(|error| BackupError::file(staging, &error))?;
    if needed > free {
        return Err(BackupError::because(format!(
            "the backup needs {} at {}, and {} are free",
            size(needed),
            staging.display(),
            size(free)
        )));
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|error| BackupError::file(folder, &error))
}

fn unpack_file(
    entry: Entry<'_, Source>,
    file: &PackedFile,
    staging: &Path,
) -> Result<(), BackupError> {
    let name = &file.name;
    if entry.path_bytes().as_ref() != name.as_bytes() {
        return Err(refused(format!(
            "there is another file where {name} should be"
        )));
    }
    if !entry.header().entry_type().is_file() || entry.size() != file.bytes {
        return Err(refused(format!(
            "{name} is not the file that its manifest names"
        )));
    }
    // Two names can come here, and neither leads out of the folder.
    let path = match file.key_file() {
        Some(key) => staging.join(KEYS).join(key),
        None => staging.join(DATABASE),
    };
    let target = new_private_file(&path).map_err(|error| BackupError::file(&path, &error))?;
    let mut copied = Copied {
        source: entry.take(file.bytes),
        target,
        failure: None,
    };
    let measured = PackedFile::measure(name.clone(), &mut copied);
    if let Some(error) = copied.failure {
        return Err(BackupError::file(&path, &error));
    }
    if measured.map_err(unreadable)? != *file {
        return Err(refused(format!(
            "{name} is damaged: its checksum is another"
        )));
    }
    copied
        .target
        .sync_all()
        .map_err(|error| BackupError::file(&path, &error))
}

fn new_private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes down what is read through it, and tells a full disk from a damaged archive.
struct Copied<R> {
    source: R,
    target: File,
    failure: Option<std::io::Error>,
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        if let Err(error) = self
            .target
            .write_all(buffer.get(..read).unwrap_or_default())
        {
            self.failure = Some(error);
            return Err(std::io::ErrorKind::Other.into());
        }
        Ok(read)
    }
}

/// Reads what ends the archive, which is when its own checksum is compared.
fn read_to_end(mut source: Source) -> Result<(), BackupError> {
    let mut tail = Vec::new();
    (&mut source)
        .take(MAX_TAIL)
        .read_to_end(&mut tail)
        .map_err(unreadable)?;
    let more = source.read(&mut [0]).map_err(unreadable)? > 0;
    let mut rest = source.into_inner();
    let behind = rest.read(&mut [0]).map_err(unreadable)? > 0;
    if more || behind || tail.iter().any(|byte| *byte != 0) {
        return Err(refused("something follows its last file".to_owned()));
    }
    Ok(())
}

fn unreadable(error: std::io::Error) -> BackupError {
    refused(format!(
        "it cannot be read ({error}); it is damaged or not complete"
    ))
}
