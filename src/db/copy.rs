//! A copy of an embedded database that others go on using.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::connection::{Access, DbConnection, create_private, open};
use super::url::{DatabaseUrl, OpenError};

/// Writes one state of an embedded database into a file that must not be there yet, for its owner alone.
///
/// `VACUUM INTO` reads in one transaction, so the copy is consistent, and in WAL mode a reader holds up no
/// writer, however large the database is. What it costs a running server is that the file beside the
/// database cannot start over before the copy is done, and grows by what is written meanwhile. (SQLite's
/// backup interface would be C called without a net: in one go it holds the same lock for the same time,
/// in steps it begins again with every write of another process, which under load is for ever.)
///
/// # Errors
/// [`OpenError`], in one line.
pub(crate) fn copy_database(url: &DatabaseUrl, target: &Path) -> Result<(), OpenError> {
    let DatabaseUrl::Sqlite { path, .. } = url else {
        return Err(OpenError::because("PostgreSQL copies its databases itself"));
    };
    let text = target
        .to_str()
        .ok_or_else(|| OpenError::path_is_not_text(target))?;
    let failed = |error: diesel::result::Error| {
        OpenError::because(format!(
            "cannot copy the database {} to {text}: {error}",
            path.display()
        ))
    };
    create_private(target).map_err(|error| OpenError::file(target, &error))?;
    let DbConnection::Sqlite(mut conn) = open(url, Access::Read)? else {
        return Err(OpenError::because("this is no embedded database"));
    };
    // It would forbid the copy, too.
    conn.batch_execute("PRAGMA query_only = OFF")
        .map_err(failed)?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(text)
        .execute(&mut conn)
        .map_err(failed)?;
    Ok(())
}
