//! What an archive says of itself: when and by what it was made, and every file with its checksum.

use std::io::{self, Read};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BackupError, DATABASE, KEYS, MAX_KEY_FILE};
use crate::clock::Timestamp;
use crate::signing::vault;

/// The name of the manifest in an archive.
pub(super) const FILE: &str = "manifest.json";
/// The largest manifest that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// What changes when an older program could not read an archive any more.
const FORMAT: i64 = 1;
/// The most files in an archive: one for every rotation that ever was.
const MAX_FILES: usize = 1_000;

/// The list of what is in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: i64,
    /// The version of the program that made it.
    pub program: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Where the database was.
    pub database: DatabaseKind,
    /// The newest migration of the database.
    pub schema: String,
    /// The files that follow, in this order.
    pub files: Vec<PackedFile>,
}

/// Where a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// Embedded; in the archive.
    Sqlite,
    /// On a PostgreSQL server; not in the archive.
    Postgres,
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedFile {
    /// `countersign.db`, `keys/vault.key` or `keys/signing-<kid>.pem`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, in hex.
    pub sha256: String,
}

#[derive(Deserialize)]
struct Format {
    format: i64,
}

impl Manifest {
    pub(super) fn new(
        made_at: Timestamp,
        database: DatabaseKind,
        schema: String,
        files: Vec<PackedFile>,
    ) -> Self {
        Self {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            database,
            schema,
            files,
        }
    }

    /// Reads a manifest and checks that it names what an archive has, and nothing else.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BackupError> {
        let unreadable =
            |error: serde_json::Error| refused(format!("its manifest cannot be read: {error}"));
        let Format { format } = serde_json::from_slice(text).map_err(unreadable)?;
        if format != FORMAT {
            return Err(refused(format!(
                "its format is {format}, and this program reads {FORMAT}; restore it with the version that made it"
            )));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(unreadable)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The key files: their names without the folder.
    pub fn key_files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(PackedFile::key_file)
    }

    fn check(&self) -> Result<(), BackupError> {
        if self.files.len() > MAX_FILES {
            return Err(refused(format!("it names more than {MAX_FILES} files")));
        }
        for (number, file) in self.files.iter().enumerate() {
            let twice = self
                .files
                .iter()
                .take(number)
                .any(|other| other.name == file.name);
            let known = file.name == DATABASE || file.key_file().is_some();
            if twice || !known {
                return Err(refused(format!(
                    "it names {:?}, which does not belong there",
                    file.name
                )));
            }
            if file.key_file().is_some() && file.bytes > MAX_KEY_FILE {
                return Err(refused(format!(
                    "{} is too large for a key file",
                    file.name
                )));
            }
        }
        let has_database = self.files.iter().any(|file| file.name == DATABASE);
        let has_vault = self.key_files().any(|name| name == vault::FILE);
        if has_database != (self.database == DatabaseKind::Sqlite) || !has_vault {
            return Err(refused("it lacks a part".to_owned()));
        }
        Ok(())
    }
}

impl PackedFile {
    /// Measures what is to be packed under this name.
    pub(super) fn measure(name: String, mut content: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = content.read(&mut buffer)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
                break;
            };
            hasher.update(part);
            bytes += u64::try_from(read).unwrap_or(u64::MAX);
        }
        Ok(Self {
            name,
            bytes,
            sha256: HEXLOWER.encode(&hasher.finalize()),
        })
    }

    /// The name of a key file in its folder; `None` for anything else.
    pub(super) fn key_file(&self) -> Option<&str> {
        let name = self.name.strip_prefix(KEYS)?.strip_prefix('/')?;
        let kid = name
            .strip_prefix("signing-")
            .and_then(|rest| rest.strip_suffix(".pem"));
        let is_kid = |kid: &str| {
            (1..=100).contains(&kid.len())
                && kid
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        (name == vault::FILE || kid.is_some_and(is_kid)).then_some(name)
    }
}

/// For an archive that is not taken.
pub(super) fn refused(reason: String) -> BackupError {
    BackupError::because(format!("this is no whole backup of Countersign: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PackedFile {
        PackedFile::measure(name.to_owned(), &b"content"[..]).unwrap()
    }

    fn manifest(names: &[&str]) -> Manifest {
        let files = names.iter().map(|name| file(name)).collect();
        Manifest::new(
            Timestamp::from_micros(0),
            DatabaseKind::Sqlite,
            "1".into(),
            files,
        )
    }

    fn read(manifest: &Manifest) -> Result<Manifest, BackupError> {
        Manifest::parse(&serde_json::to_vec(manifest).unwrap())
    }

    #[test]
    fn a_manifest_reads_back_and_measures_what_it_lists() {
        let written = manifest(&[DATABASE, "keys/vault.key", "keys/signing-a_B-9.pem"]);
        assert_eq!(read(&written).unwrap(), written);
        assert_eq!(
            written.key_files().collect::<Vec<_>>(),
            ["vault.key", "signing-a_B-9.pem"]
        );
        let empty = PackedFile::measure("x".into(), &b""[..]).unwrap();
        assert_eq!(empty.bytes, 0);
        assert!(empty.sha256.starts_with("e3b0c442"));
    }

    #[test]
    fn names_that_lead_elsewhere_or_twice_to_the_same_place_are_refused() {
        for bad in [
            "../vault.key",
            "/etc/passwd",
            "keys/../../x",
            "keys/signing-../x.pem",
            "keys/signing-.pem",
            "keys/other.key",
            "keys/",
            "manifest.json",
            "keys/vault.key",
            "",
        ] {
            assert!(
                read(&manifest(&[DATABASE, "keys/vault.key", bad])).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_part_that_is_missing_a_key_file_that_is_huge_and_another_format_are_refused() {
        assert!(read(&manifest(&[DATABASE])).is_err());
        assert!(read(&manifest(&["keys/vault.key"])).is_err());
        let mut huge = manifest(&[DATABASE, "keys/vault.key"]);
        huge.files[1].bytes = MAX_KEY_FILE + 1;
        assert!(read(&huge).is_err());
        let mut later = manifest(&[DATABASE, "keys/vault.key"]);
        later.format = 2;
        assert!(
            read(&later)
                .unwrap_err()
                .to_string()
                .contains("the version that made it")
        );
        assert!(Manifest::parse(b"{}").is_err());
    }
}
