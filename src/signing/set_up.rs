//! The first start makes the key files; every later start checks that they are the ones that this
//! database was made with; a rotation moves the signing keys along.

use diesel::prelude::*;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

use super::key_file::{KeyFileError, KeyFolder};
use super::keyring::{Keyring, file_name, parse_private};
use super::vault::{self, Vault};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::models::instance::{
    SigningKeyRow, SigningKeyState, claim_first_start, insert_vault_fingerprint, lock_instance,
    vault_fingerprints,
};

/// The name of one of the vault's keys and what it is recognised by.
type Fingerprint = (String, Vec<u8>);

/// Loads the vault and the keyring; at the first start on this database makes them.
///
/// Files that are there before the database is (mounted secrets, a folder that outlived its database)
/// are taken over. On PostgreSQL a lock keeps two first starts apart.
///
/// # Errors
/// [`KeyFileError`] naming the file that is missing, exposed, damaged or another database's.
pub(crate) fn open_keys(
    conn: &mut DbConnection,
    folder: &KeyFolder,
    now: Timestamp,
) -> Result<(Vault, Keyring), KeyFileError> {
    let rows = conn.transaction(|conn| {
        claim_first_start(conn, &uuid::Uuid::now_v7().to_string(), now)?;
        open_vault(conn, folder, now)?;
        let rows = SigningKeyRow::all(conn)?;
        if rows.is_empty() {
            first_signing_keys(conn, folder, now)
        } else {
            Ok(rows)
        }
    })?;
    let vault = read_vault(folder)?;
    Ok((vault, Keyring::load(folder.clone(), rows)?))
}

/// What became of comparing key files with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysFit {
    /// They are the ones that it was made with: the vault's, and so many that sign.
    Yes {
        /// Signing keys whose files are there.
        signing: usize,
    },
    /// The database knows none yet; the first start takes over what is there and makes the rest.
    NotYetMade,
}

/// Compares the key files with the database, and changes neither.
///
/// # Errors
/// As [`open_keys`].
pub(crate) fn compare_keys(
    conn: &mut DbConnection,
    folder: &KeyFolder,
) -> Result<KeysFit, KeyFileError> {
    let known = vault_fingerprints(conn)?;
    let rows = SigningKeyRow::all(conn)?;
    if known.is_empty() && rows.is_empty() {
        check_files(folder)?;
        return Ok(KeysFit::NotYetMade);
    }
    compare_vault(&known, folder)?;
    let there = |row: &&SigningKeyRow| folder.contains(&file_name(&row.kid));
    let signing = rows.iter().filter(there).count();
    Keyring::load(folder.clone(), rows)?;
    Ok(KeysFit::Yes { signing })
}

/// Whether what is there of key files can be read, by itself.
///
/// # Errors
/// As [`open_keys`].
pub(crate) fn check_files(folder: &KeyFolder) -> Result<(), KeyFileError> {
    if folder.contains(vault::FILE) {
        read_vault(folder)?;
    }
    for name in signing_files(folder)? {
        parse_named(folder, &name)?;
    }
    Ok(())
}

/// The names of the signing keys' files in the folder.
///
/// # Errors
/// The file system's.
pub(crate) fn signing_files(folder: &KeyFolder) -> Result<Vec<String>, KeyFileError> {
    folder.names("signing-", ".pem")
}

/// A signing key whose file is written and which the database does not know yet.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    kid: String,
    public: [u8; 32],
}

impl NewKey {
    /// Makes a key and its file.
    ///
    /// # Errors
    /// [`KeyFileError`] naming the file.
    pub(crate) fn create(folder: &KeyFolder) -> Result<Self, KeyFileError> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        rand::fill(&mut seed[..]);
        let key = SigningKey::from_bytes(&seed);
        let public = key.verifying_key().to_bytes();
        let kid = countersign_client::kid(&public);
        let name = file_name(&kid);
        let pem = key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| KeyFileError::Damaged(folder.file(&name), error.to_string()))?;
        folder.create(&name, &pem)?;
        Ok(Self { kid, public })
    }

    /// Takes the file away again, when the database did not take the key.
    pub(crate) fn discard(&self, folder: &KeyFolder) {
        // What stays is a key that nothing refers to.
        let _ = std::fs::remove_file(folder.file(&file_name(&self.kid)));
    }

    /// What the database is to know of it.
    pub(crate) fn into_row(self, state: SigningKeyState, now: Timestamp) -> SigningKeyRow {
        new_row(self.kid, self.public, state, now)
    }

    fn insert(
        self,
        conn: &mut DbConnection,
        state: SigningKeyState,
        now: Timestamp,
    ) -> QueryResult<()> {
        self.into_row(state, now).insert(conn)
    }
}

/// Moves the signing keys along: the one that signs retires, the next one signs, `new` is the next.
/// Returns every key as it stands afterwards, none when the first start has not been yet.
///
/// # Errors
/// The database's.
pub(crate) fn rotate(
    conn: &mut DbConnection,
    new: &NewKey,
    now: Timestamp,
) -> QueryResult<Vec<SigningKeyRow>> {
    if !lock_instance(conn)? {
        return Ok(Vec::new());
    }
    let rows = SigningKeyRow::all(conn)?;
    // Retired first: only one key may sign at a time, also within this transaction.
    for mut row in rows
        .iter()
        .filter(|row| row.state == SigningKeyState::Signing)
        .cloned()
    {
        row.state = SigningKeyState::Retired;
        row.retired_at = Some(now);
        row.save(conn)?;
    }
    for mut row in rows
        .iter()
        .filter(|row| row.state == SigningKeyState::Next)
        .cloned()
    {
        row.state = SigningKeyState::Signing;
        row.signing_at = Some(now);
        row.save(conn)?;
    }
    new.clone().insert(conn, SigningKeyState::Next, now)?;
    SigningKeyRow::all(conn)
}

fn open_vault(
    conn: &mut DbConnection,
    folder: &KeyFolder,
    now: Timestamp,
) -> Result<(), KeyFileError> {
    let known = vault_fingerprints(conn)?;
    if known.is_empty() && !folder.contains(vault::FILE) {
        folder.create(vault::FILE, &Vault::new_file())?;
    }
    let fingerprints = compare_vault(&known, folder)?;
    for (name, fingerprint) in fingerprints.iter().filter(|pair| !known.contains(pair)) {
        insert_vault_fingerprint(conn, name, fingerprint, now)?;
    }
    Ok(())
}

/// The fingerprints of the vault's file, among which must be those that the database knows.
fn compare_vault(
    known: &[Fingerprint],
    folder: &KeyFolder,
) -> Result<Vec<Fingerprint>, KeyFileError> {
    let fingerprints = read_vault(folder)?.fingerprints();
    if known.iter().all(|known| fingerprints.contains(known)) {
        Ok(fingerprints)
    } else {
        Err(KeyFileError::Foreign(folder.file(vault::FILE)))
    }
}

fn read_vault(folder: &KeyFolder) -> Result<Vault, KeyFileError> {
    Vault::from_file(&folder.read(vault::FILE)?)
        .map_err(|problem| KeyFileError::Damaged(folder.file(vault::FILE), problem))
}

/// Takes over the signing keys in the folder, by name: the first signs, the second is next, further
/// ones verify. Makes what is missing of the first two.
fn first_signing_keys(
    conn: &mut DbConnection,
    folder: &KeyFolder,
    now: Timestamp,
) -> Result<Vec<SigningKeyRow>, KeyFileError> {
    let mut states = [SigningKeyState::Signing, SigningKeyState::Next].into_iter();
    for name in signing_files(folder)? {
        let (kid, public) = parse_named(folder, &name)?;
        let state = states.next().unwrap_or(SigningKeyState::Retired);
        new_row(kid, public, state, now).insert(conn)?;
    }
    for state in states {
        // The file first: a row without its file could not be started from.
        NewKey::create(folder)?.insert(conn, state, now)?;
    }
    Ok(SigningKeyRow::all(conn)?)
}

/// The kid and the public half of a signing key whose file must be named after it.
fn parse_named(folder: &KeyFolder, name: &str) -> Result<(String, [u8; 32]), KeyFileError> {
    let public = parse_private(folder, name)?.verifying_key().to_bytes();
    let kid = countersign_client::kid(&public);
    if name == file_name(&kid) {
        Ok((kid, public))
    } else {
        let problem = format!("its name should be {}", file_name(&kid));
        Err(KeyFileError::Damaged(folder.file(name), problem))
    }
}

fn new_row(kid: String, public: [u8; 32], state: SigningKeyState, now: Timestamp) -> SigningKeyRow {
    SigningKeyRow {
        kid,
        public_key: public.to_vec(),
        state,
        created_at: now,
        signing_at: (state == SigningKeyState::Signing).then_some(now),
        retired_at: (state == SigningKeyState::Retired).then_some(now),
        revoked_at: None,
    }
}
