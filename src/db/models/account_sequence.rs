//! The sequences that accounts of the role importer may push keys into. By id, so that renaming a
//! sequence changes nothing, and one made later under the name of a deleted one is another.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::connection::{DbConnection, each_backend};
use crate::db::models::account::AccountId;
use crate::db::models::sequence::SequenceId;
use crate::db::schema::{account_sequences, sequences};

/// Whether the account may push into the sequence.
pub(crate) fn exists(
    conn: &mut DbConnection,
    account: AccountId,
    sequence: SequenceId,
) -> QueryResult<bool> {
    let row = account_sequences::table.find((account, sequence));
    diesel::select(diesel::dsl::exists(row)).get_result(conn)
}

/// The names of the sequences of each account, in alphabetical order; deleted ones left out.
pub(crate) fn names(
    conn: &mut DbConnection,
    accounts: &[AccountId],
) -> QueryResult<HashMap<AccountId, Vec<String>>> {
    let rows: Vec<(AccountId, String)> = account_sequences::table
        .inner_join(sequences::table)
        .filter(account_sequences::account_id.eq_any(accounts))
        .filter(sequences::deleted_at.is_null())
        .select((account_sequences::account_id, sequences::name))
        .load(conn)?;
    let mut names: HashMap<AccountId, Vec<String>> = HashMap::new();
    for (account, name) in rows {
        names.entry(account).or_default().push(name);
    }
    // Here, because the databases sort texts differently.
    names.values_mut().for_each(|names| names.sort_unstable());
    Ok(names)
}

/// Gives the account these sequences and no others.
pub(crate) fn replace(
    conn: &mut DbConnection,
    account: AccountId,
    sequences: &[SequenceId],
) -> QueryResult<()> {
    diesel::delete(account_sequences::table.filter(account_sequences::account_id.eq(account)))
        .execute(conn)?;
    let rows: Vec<_> = sequences
        .iter()
        .map(|sequence| {
            (
                account_sequences::account_id.eq(account),
                account_sequences::sequence_id.eq(*sequence),
            )
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    each_backend!(conn, |inner| {
        diesel::insert_into(account_sequences::table)
            .values(&rows)
            .execute(inner)
            .map(drop)
    })
}
