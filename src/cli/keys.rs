//! `countersign keys`

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use data_encoding::HEXLOWER;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

use super::{command, note, print_line};
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::db::models::instance::{SigningKeyRow, SigningKeyState};

/// Signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print the public keys
    Show {
        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Retire the key that signs, sign with the next one, and publish a new next one
    Rotate,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// One line each: kid, state, since when, the raw key in hex
    Table,
    /// `SubjectPublicKeyInfo` in PEM, as most libraries read it
    Pem,
}

impl Keys {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Show { format } => show(config, format),
            Self::Rotate => match command::run(config, Command::RotateKeys)? {
                Reply::Rotated { warning } => {
                    if let Some(warning) = warning {
                        note(format_args!("warning: {warning}"));
                    }
                    show(config, Format::Table)
                }
                other => bail!("the server answered {other:?}, which is no rotation"),
            },
        }
    }
}

fn show(config: &Config, format: Format) -> anyhow::Result<()> {
    let rows = command::read(config, |conn| Ok(SigningKeyRow::all(conn)?))?;
    if rows.is_empty() {
        bail!("there are no signing keys yet; start the server once to make them");
    }
    for row in rows {
        print_row(&row, format)?;
    }
    Ok(())
}

fn print_row(row: &SigningKeyRow, format: Format) -> anyhow::Result<()> {
    let since = match row.state {
        SigningKeyState::Next => Some(row.created_at),
        SigningKeyState::Signing => row.signing_at,
        SigningKeyState::Retired => row.retired_at,
        SigningKeyState::Revoked => row.revoked_at,
    };
    match format {
        Format::Table => print_line(format_args!(
            "{}  {:<8} since {}  {}",
            row.kid,
            row.state.as_str(),
            since.unwrap_or(row.created_at),
            HEXLOWER.encode(&row.public_key)
        )),
        Format::Pem => {
            let key = VerifyingKey::try_from(row.public_key.as_slice())?;
            print_line(format_args!("# {} ({})", row.kid, row.state));
            print_line(key.to_public_key_pem(LineEnding::LF)?.trim_end());
        }
    }
    Ok(())
}
