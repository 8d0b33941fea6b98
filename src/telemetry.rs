//! Logging to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the process. What libraries would print of the bytes on the wire stays out at any
/// level: it holds keys and tokens.
///
/// # Errors
/// A level that cannot be read.
pub fn start(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!(
        "{},ureq=info,ureq_proto=info,actix_server=warn",
        log.level
    ))
    .map_err(|error| {
        format!(
            "the setting log.level `{}` cannot be read: {error}",
            log.level
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A log whose reader went away must not take the server with it.
        .log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("logging cannot start: {error}"))
}
