//! What is the same on both databases.

use super::Finding;
use crate::db::{DatabaseUrl, DbConnection, schema_state};

const SCHEMA: &str = "schema";

/// That the database could be opened.
pub(super) fn opened(url: &DatabaseUrl) -> Finding {
    let DatabaseUrl::Sqlite { path, .. } = url else {
        return Finding::ok("database", url.to_string());
    };
    let detail = match std::fs::metadata(path) {
        Ok(file) => format!("{url}, {}", super::surroundings::size(file.len())),
        Err(_) => url.to_string(),
    };
    match others_may_read(path) {
        Some(mode) => Finding::warning(
            "database",
            format!("{detail}; others may read the file (mode {mode:04o})"),
            format!("run: chmod 600 {}", path.display()),
        ),
        None => Finding::ok("database", detail),
    }
}

/// Whether the schema is this program's.
pub(super) fn schema(conn: &mut DbConnection) -> Finding {
    let state = match schema_state(conn) {
        Ok(state) => state,
        Err(error) => return Finding::failed(SCHEMA, error),
    };
    if let Some(unknown) = state.unknown.last() {
        return Finding::problem(
            SCHEMA,
            format!("the database has migration {unknown}, which this program does not know"),
            "start the newer version that made it, or restore a backup from before the upgrade",
        );
    }
    if !state.pending.is_empty() {
        return Finding::warning(
            SCHEMA,
            format!("migrations are pending: {}", state.pending.join(", ")),
            "make a backup; the next start applies them, or `countersign migrate`",
        );
    }
    Finding::ok(
        SCHEMA,
        format!("up to date ({})", state.newest.unwrap_or_default()),
    )
}

fn others_may_read(path: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o007 != 0).then_some(mode)
}
