//! `countersign user`

use std::io::{IsTerminal, Read};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::table::{ListFormat, or_dash, print_list};
use super::{command, name, one_of, print_line};
use crate::config::Config;
use crate::control::{Command, UserChange};
use crate::db::models::user::UserRole;
use crate::licensing::email::Email;
use crate::licensing::text::Name;
use crate::licensing::users::{self, UserView};
use crate::signing::password::{MAX_BYTES, Password, PasswordHash};

/// People who sign in to the console.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a person; the password is asked for
    Add {
        /// The e-mail address, by which the person signs in
        #[arg(value_parser = email)]
        email: Email,
        /// What the person may do: admin (everything) or viewer (sees everything, changes nothing)
        #[arg(long, value_parser = one_of::<UserRole>(UserRole::ALL.iter().map(|role| role.as_str())))]
        role: UserRole,
        /// The name for people
        #[arg(long, value_parser = name)]
        name: Option<Name>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// List the people
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Give a person another password, which is asked for
    Password {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Keep a person out
    Disable(Who),
    /// Let a person in again
    Enable(Who),
    /// Remove a person for good
    Remove(Who),
}

/// Whom it is about.
#[derive(Debug, Args)]
pub(super) struct Who {
    /// The person's e-mail address
    #[arg(value_parser = email)]
    email: Email,
}

/// Where the password comes from: never from an argument, which other users of the machine can see.
#[derive(Debug, Args)]
pub(super) struct PasswordSource {
    /// Read the password from standard input instead of asking for it twice
    #[arg(long)]
    password_stdin: bool,
}

impl User {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Add {
                email,
                role,
                name,
                password,
            } => {
                let password = password.read()?;
                let add = Command::AddUser {
                    email,
                    name,
                    role,
                    password,
                };
                command::run_quietly(config, add)?;
                print_line("added");
                Ok(())
            }
            Self::List { format } => list(config, format),
            Self::Password { who, password } => {
                let password = UserChange::Password(password.read()?);
                who.change(config, password, "the password is changed")
            }
            Self::Disable(who) => who.change(config, UserChange::Disable, "disabled"),
            Self::Enable(who) => who.change(config, UserChange::Enable, "enabled"),
            Self::Remove(who) => who.change(config, UserChange::Remove, "removed"),
        }
    }
}

impl Who {
    fn change(self, config: &Config, change: UserChange, done: &str) -> anyhow::Result<()> {
        let email = self.email;
        command::run_quietly(config, Command::ChangeUser { email, change })?;
        print_line(done);
        Ok(())
    }
}

impl PasswordSource {
    /// Reads a password and hashes it here, so that it goes no further than this process.
    fn read(&self) -> anyhow::Result<PasswordHash> {
        let text = if self.password_stdin {
            from_standard_input()?
        } else if std::io::stdin().is_terminal() {
            from_terminal()?
        } else {
            bail!("there is no terminal to ask for the password; use --password-stdin");
        };
        let password =
            Password::parse(text.as_str()).map_err(|problem| anyhow!("the password {problem}"))?;
        password.hash().map_err(anyhow::Error::msg)
    }
}

/// All of standard input but for the end of its line.
fn from_standard_input() -> anyhow::Result<Zeroizing<String>> {
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) + 3;
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        bail!("standard input has more than one line; the password is one");
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn from_terminal() -> anyhow::Result<Zeroizing<String>> {
    let ask = |prompt| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .context("cannot ask for the password")
    };
    let first = ask("Password: ")?;
    if *first != *ask("Again: ")? {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(first)
}

fn list(config: &Config, format: ListFormat) -> anyhow::Result<()> {
    let people: Vec<UserView> = command::read(config, |conn| {
        command::every(|page| users::list_users(conn, page))
    })?;
    let headings = ["id", "email", "name", "role", "created", "disabled"];
    print_list(&people, format, headings, |user| {
        [
            user.id.to_string(),
            user.email.clone(),
            or_dash(user.name.as_ref()),
            user.role.to_string(),
            user.created_at.to_string(),
            or_dash(user.disabled_at),
        ]
    })
}

fn email(text: &str) -> Result<Email, String> {
    Email::parse(text)
}
