//! Importers: accounts that push keys into the sequences that are named for them, and do nothing else.

use super::context::Actor;
use super::sequences;
use crate::db::DbConnection;
use crate::db::models::account::{AccountId, Role};
use crate::db::models::account_sequence;
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::error::{FieldError, Refusal, Result};

/// The most sequences of an importer: they are stored in one transaction.
const MAX_SEQUENCES: usize = 500;

/// Whether the caller may push keys into this sequence: an importer only into those named for it.
///
/// # Errors
/// The database's.
pub(crate) fn may_push(
    conn: &mut DbConnection,
    actor: &Actor,
    sequence: SequenceId,
) -> Result<bool> {
    match actor {
        Actor::Account {
            id,
            role: Role::Importer,
        } => Ok(account_sequence::exists(conn, *id, sequence)?),
        Actor::CommandLine
        | Actor::System
        | Actor::Account {
            role: Role::Admin, ..
        } => Ok(true),
        Actor::Public | Actor::Account { .. } => Ok(false),
    }
}

/// As [`may_push`], as an error: to one who may not, there is no such sequence.
///
/// # Errors
/// `sequence_not_found`.
pub(crate) fn check_may_push(
    conn: &mut DbConnection,
    actor: &Actor,
    sequence: SequenceId,
) -> Result<()> {
    if may_push(conn, actor, sequence)? {
        Ok(())
    } else {
        Err(sequences::not_found(&Sequence::find(conn, sequence)?.name).into())
    }
}

impl Actor {
    /// Whether the caller may make a sequence by pushing keys into it.
    pub(crate) fn may_make_sequences(&self) -> bool {
        !matches!(
            self,
            Self::Account {
                role: Role::Importer,
                ..
            }
        )
    }
}

/// The sequences that are named for an account of this role; `None` where none are.
///
/// # Errors
/// Which names are wrong, or that the role takes none.
pub(crate) fn find_sequences(
    conn: &mut DbConnection,
    role: Role,
    named: Option<&[String]>,
) -> Result<Option<Vec<SequenceId>>> {
    let Some(named) = named else {
        return Ok(None);
    };
    if role != Role::Importer {
        let detail = format!("is for the role importer; this account's is {role}");
        return Err(Refusal::wrong("sequences", "other_role", detail).into());
    }
    if named.len() > MAX_SEQUENCES {
        let detail = format!("must be at most {MAX_SEQUENCES} names");
        return Err(Refusal::wrong("sequences", "out_of_range", detail).into());
    }
    let found = Sequence::ids_of_names(conn, named)?;
    let unknown: Vec<_> = named
        .iter()
        .enumerate()
        .filter(|(_, name)| !found.contains_key(*name))
        .map(|(index, name)| {
            let detail = format!("there is no sequence `{name}`");
            FieldError::new(format!("sequences[{index}]"), "unknown_sequence", detail)
        })
        .collect();
    if unknown.is_empty() {
        // As a map: a name that is given twice counts once.
        Ok(Some(found.into_values().collect()))
    } else {
        Err(Refusal::invalid(unknown).into())
    }
}

/// The names of the sequences that an importer may push into.
///
/// # Errors
/// The database's.
pub(crate) fn sequences_of(conn: &mut DbConnection, account: AccountId) -> Result<Vec<String>> {
    let mut names = account_sequence::names(conn, &[account])?;
    Ok(names.remove(&account).unwrap_or_default())
}
