//! Database URLs, and errors about opening a database that a person can act on.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// A parsed `--database-url`.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://path/to/file.db`; the path is relative to the current folder unless it starts with `/`.
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// The most pages that the file may have (`?max_pages=`); a write beyond it fails as on a full disk.
        max_pages: Option<u32>,
        /// Memory for its pages.
        memory: PageMemory,
    },
    /// `postgres://…` or `postgresql://…`, as libpq takes it.
    Postgres {
        /// The URL, with time-outs added that it does not name.
        url: String,
    },
}

/// How an embedded database uses memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageMemory {
    /// For pages that are being written.
    pub cache_mib: u32,
    /// How much of the file is mapped for look-ups. SQLite maps 2047 at most.
    pub map_mib: u32,
}

impl Default for PageMemory {
    /// What a server's settings say unless they are changed, and what commands use that have none.
    fn default() -> Self {
        Self {
            cache_mib: 64,
            map_mib: 2047,
        }
    }
}

/// Why a database could not be opened, in one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(String);

/// What libpq is told unless the URL says otherwise, so that a server or a network that went away without
/// a word is noticed: while connecting in 5 seconds, while nothing is said in 25 (10 until the first of
/// three questions, 5 between them), and when what was sent gets no answer from the machine in 25 (in
/// milliseconds).
const DEFAULTS: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
];

impl DatabaseUrl {
    /// The same database; an embedded one uses memory like this.
    #[must_use]
    pub fn with_memory(mut self, wanted: PageMemory) -> Self {
        if let Self::Sqlite { memory, .. } = &mut self {
            *memory = wanted;
        }
        self
    }

    /// Whether a URL holds a password, which must not be printed.
    pub fn holds_password(text: &str) -> bool {
        Url::parse(text).is_ok_and(|url| {
            url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
        })
    }

    /// The URL to hand to PostgreSQL's own tools, without its password; `None` for an embedded database.
    pub fn for_tools(&self) -> Option<String> {
        let Self::Postgres { url } = self else {
            return None;
        };
        let mut url = Url::parse(url).ok()?;
        // Fails only for URLs that cannot have a password in the first place.
        let _ = url.set_password(None);
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != "password" && DEFAULTS.iter().all(|(of, _)| name != of))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        Some(url.into())
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// [`OpenError`] for another scheme, a missing path, an unknown parameter, or TLS asked of a
    /// program that was built without it.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "sqlite" => parse_sqlite(text),
            "postgres" | "postgresql" => parse_postgres(text),
            _ => Err(OpenError(format!(
                "the database URL must start with sqlite:// or postgres://, for instance \
                 sqlite://data/countersign.db; got `{}`",
                shown(text)
            ))),
        }
    }
}

fn parse_sqlite(text: &str) -> Result<DatabaseUrl, OpenError> {
    let rest = text.strip_prefix("sqlite://").ok_or_else(|| {
        OpenError(format!(
            "a SQLite URL is written sqlite://PATH; got `{text}`"
        ))
    })?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() || path.ends_with('/') || path == ":memory:" {
        return Err(OpenError(format!(
            "a SQLite URL names a database file, for instance sqlite://data/countersign.db; got `{text}`"
        )));
    }
    let mut max_pages = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        max_pages = pair
            .strip_prefix("max_pages=")
            .and_then(|pages| pages.parse().ok());
        if max_pages.is_none() {
            return Err(OpenError(format!(
                "the SQLite URL's parameter `{pair}` is not known; there is max_pages=N"
            )));
        }
    }
    Ok(DatabaseUrl::Sqlite {
        path: PathBuf::from(path),
        max_pages,
        memory: PageMemory::default(),
    })
}

fn parse_postgres(text: &str) -> Result<DatabaseUrl, OpenError> {
    let mut url = Url::parse(text).map_err(|error| {
        OpenError(format!(
            "the PostgreSQL URL cannot be read ({error}); it is written postgres://USER:PASSWORD@HOST:PORT/DATABASE"
        ))
    })?;
    let mode = url
        .query_pairs()
        .find(|(name, _)| name == "sslmode")
        .map(|(_, mode)| mode.into_owned());
    let wants_tls = matches!(
        mode.as_deref(),
        Some("require" | "verify-ca" | "verify-full")
    );
    if wants_tls && !cfg!(feature = "postgres-tls") {
        return Err(OpenError(format!(
            "the database URL asks for TLS (sslmode={}), which this build does not have; build it with \
             `cargo build --release --features postgres-tls` or use sslmode=disable inside a private network",
            mode.unwrap_or_default()
        )));
    }
    for (name, value) in DEFAULTS {
        if url.query_pairs().all(|(given, _)| given != name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    Ok(DatabaseUrl::Postgres { url: url.into() })
}

impl OpenError {
    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(super) fn path_is_not_text(path: &Path) -> Self {
        Self(format!(
            "the database path {} is not valid UTF-8",
            path.display()
        ))
    }

    pub(super) fn sqlite(path: &Path, error: &diesel::ConnectionError) -> Self {
        Self(format!(
            "cannot open the database file {}: {}; check that its folder exists and that this user may write there",
            path.display(),
            one_line(&error.to_string())
        ))
    }

    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self(format!(
            "cannot open the database file {}: {error}; check that its folder exists and that this user may write there",
            path.display()
        ))
    }

    pub(super) fn sqlite_file(path: &Path, error: &diesel::result::Error) -> Self {
        let reason = one_line(&error.to_string());
        let advice = if reason.contains("not a database") {
            "; name another file with --database-url, or restore this one from your backup"
        } else {
            ""
        };
        Self(format!(
            "the database file {} cannot be used: {reason}{advice}",
            path.display()
        ))
    }

    pub(super) fn postgres(url: &str, error: &diesel::ConnectionError) -> Self {
        let reason = one_line(&error.to_string());
        let advice = if reason.contains("password authentication failed")
            || reason.contains("no password supplied")
        {
            "check the user and the password in the database URL"
        } else if reason.contains("does not exist") {
            "create it, or correct the database URL"
        } else if reason.contains("SSL") || reason.contains("certificate") {
            "check the URL's sslmode and the server's TLS settings"
        } else {
            "check that PostgreSQL runs there and that the database URL is right"
        };
        Self(format!(
            "cannot connect to PostgreSQL at {}: {reason}; {advice}",
            shown(url)
        ))
    }

    pub(super) fn postgres_session(url: &str, error: &diesel::result::Error) -> Self {
        Self(format!(
            "PostgreSQL at {} refused the session: {}",
            shown(url),
            one_line(&error.to_string())
        ))
    }
}

/// The URL without its password and parameters.
fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) => {
            // Both fail only for URLs that cannot have a password in the first place.
            let _ = url.set_password(None);
            url.set_query(None);
            url.into()
        }
        Err(_) => text.split('@').next_back().unwrap_or_default().to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path, .. } => write!(f, "sqlite://{}", path.display()),
            Self::Postgres { url } => f.write_str(&shown(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_and_an_absolute_sqlite_path_are_kept_as_written() {
        for (text, path) in [
            ("sqlite://data/c.db", "data/c.db"),
            ("sqlite:///var/c.db", "/var/c.db"),
        ] {
            assert_eq!(
                DatabaseUrl::parse(text),
                Ok(DatabaseUrl::Sqlite {
                    path: PathBuf::from(path),
                    max_pages: None,
                    memory: PageMemory::default()
                })
            );
        }
    }

    #[test]
    fn an_unknown_scheme_is_refused_and_the_two_known_ones_are_named() {
        let message = DatabaseUrl::parse("mysql://root:secret@localhost/x")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("sqlite://") && message.contains("postgres://"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn a_folder_is_no_sqlite_file() {
        for text in [
            "sqlite://",
            "sqlite://data/",
            "sqlite:data.db",
            "sqlite://:memory:",
        ] {
            assert!(DatabaseUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = DatabaseUrl::parse("postgres://app:secret@db.example:5433/licences").unwrap();
        assert_eq!(
            format!("{url:?}"),
            "postgres://app@db.example:5433/licences"
        );
    }

    #[test]
    fn tools_get_the_host_and_the_database_and_no_password() {
        let url =
            "postgres://app:secret@db.example:5433/licences?password=secret&application_name=x";
        let url = DatabaseUrl::parse(url).unwrap();
        assert_eq!(
            url.for_tools().as_deref(),
            Some("postgres://app@db.example:5433/licences?application_name=x")
        );
        assert_eq!(
            DatabaseUrl::parse("sqlite://x.db").unwrap().for_tools(),
            None
        );
    }

    #[test]
    fn what_is_set_against_a_silent_server_is_kept_and_the_rest_is_added() {
        let text = "postgres://h/d?keepalives_idle=60&tcp_user_timeout=0";
        let DatabaseUrl::Postgres { url } = DatabaseUrl::parse(text).unwrap() else {
            panic!("it is PostgreSQL's")
        };
        let url = Url::parse(&url).unwrap();
        let mut pairs: Vec<_> = url.query_pairs().collect();
        pairs.sort_unstable();
        let expected = [
            ("connect_timeout", "5"),
            ("keepalives_count", "3"),
            ("keepalives_idle", "60"),
            ("keepalives_interval", "5"),
            ("tcp_user_timeout", "0"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    #[cfg(not(feature = "postgres-tls"))]
    fn tls_asked_of_a_build_without_it_is_refused_naming_the_feature() {
        let message = DatabaseUrl::parse("postgres://h/d?sslmode=require")
            .unwrap_err()
            .to_string();
        assert!(message.contains("postgres-tls"), "{message}");
    }
}
