//! What PostgreSQL's own tools do for a backup: the command lines to type.

use std::path::Path;

use crate::db::DatabaseUrl;

/// The command that copies the database beside an archive; `None` for an embedded database.
pub fn dump_command(url: &DatabaseUrl, archive: &Path) -> Option<String> {
    let url = quoted(&url.for_tools()?);
    let file = quoted(&dump_file(archive));
    Some(format!(
        "pg_dump --format=custom --file={file} --dbname={url}"
    ))
}

/// The command that puts the copy into an empty database; `None` for an embedded database.
pub fn restore_command(url: &DatabaseUrl, archive: &Path) -> Option<String> {
    let url = quoted(&url.for_tools()?);
    let file = quoted(&dump_file(archive));
    Some(format!(
        "pg_restore --no-owner --exit-on-error --single-transaction --dbname={url} {file}"
    ))
}

/// `backup.dump` for `backup.tar.gz`.
fn dump_file(archive: &Path) -> String {
    let text = archive.display().to_string();
    let stem = [".tar.gz", ".tgz"]
        .iter()
        .find_map(|ending| text.strip_suffix(ending))
        .unwrap_or(&text);
    format!("{stem}.dump")
}

/// One word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_name_the_database_without_its_password_and_survive_a_shell() {
        let url = DatabaseUrl::parse("postgres://app:secret@db.example/it's").unwrap();
        let archive = Path::new("/backups/a b.tar.gz");
        let dump = dump_command(&url, archive).unwrap();
        assert_eq!(
            dump,
            r"pg_dump --format=custom --file='/backups/a b.dump' --dbname='postgres://app@db.example/it'\''s'"
        );
        let restore = restore_command(&url, archive).unwrap();
        assert!(
            restore.ends_with(" '/backups/a b.dump'") && !restore.contains("secret"),
            "{restore}"
        );
        let embedded = DatabaseUrl::parse("sqlite://x.db").unwrap();
        assert_eq!(dump_command(&embedded, archive), None);
    }
}
