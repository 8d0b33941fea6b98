//! The key files: there, private, and the ones that the database was made with.

use super::Finding;
use crate::db::DbConnection;
use crate::signing::key_file::{KeyFileError, KeyFolder};
use crate::signing::set_up::{KeysFit, check_files, compare_keys, signing_files};
use crate::signing::vault;

const CHECK: &str = "keys";

pub(super) fn examine(conn: Option<&mut DbConnection>, folder: &KeyFolder) -> Finding {
    let fit = match conn {
        Some(conn) => compare_keys(conn, folder),
        None => check_files(folder).map(|()| KeysFit::NotYetMade),
    };
    match fit {
        Ok(KeysFit::Yes { signing }) => Finding::ok(
            CHECK,
            format!("the vault key and {signing} signing keys in {folder} fit the database"),
        ),
        Ok(KeysFit::NotYetMade) => not_yet_made(folder),
        // Its tables may not be there yet, of which the schema's finding tells.
        Err(KeyFileError::Database(error)) => Finding::warning(
            CHECK,
            format!("cannot be compared with the database: {error}"),
            "see to the database first",
        ),
        Err(error) => Finding::failed(CHECK, error),
    }
}

fn not_yet_made(folder: &KeyFolder) -> Finding {
    let has_signing_keys = signing_files(folder).is_ok_and(|names| !names.is_empty());
    if folder.contains(vault::FILE) || has_signing_keys {
        return Finding::warning(
            CHECK,
            format!("there is no database that knows the keys in {folder} yet"),
            "the first start takes over what is there and makes the rest",
        );
    }
    Finding::warning(
        CHECK,
        format!("there are no key files in {folder} yet"),
        "if this is the right place, the first start makes them; otherwise name theirs with --keys-dir",
    )
}
