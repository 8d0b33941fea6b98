//! Export: keys with their texts, as a spreadsheet or as JSON lines, in pages: however many they are,
//! one page is held at a time.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::context::Context;
use super::events::{self, Subject};
use super::key_query::KeyQuery;
use super::keys::{self, KeyView};
use crate::clock::Timestamp;
use crate::db::{Cursor, DbConnection, PageRequest, Paged};
use crate::error::{Error, Result};
use crate::signing::vault::Vault;

crate::db::types::word_enum! {
    /// How exported keys are written.
    pub enum ExportFormat {
        /// Comma-separated values (RFC 4180), with a first row of names.
        Csv = "csv",
        /// A JSON object per line, as in lists of keys.
        Jsonl = "jsonl",
    }
}

/// What to do with cells that a spreadsheet would take for a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Formulas {
    /// Leave them as they are: what is exported can be imported again.
    Keep,
    /// Put an apostrophe before them, so that opening the file runs nothing.
    Disarm,
}

/// What is exported, for the record and for the pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    pub(crate) format: ExportFormat,
    pub(crate) formulas: Formulas,
    /// The names of the conditions that the keys had to meet; not what they were compared with, which
    /// may be an e-mail address.
    pub(crate) conditions: Vec<String>,
}

/// A part of the export.
#[derive(Debug)]
pub(crate) struct ExportPage {
    pub(crate) bytes: Vec<u8>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<Cursor>,
}

/// The names of the columns, which are those of the members of a key.
const COLUMNS: [&str; 19] = [
    "id",
    "number",
    "key",
    "sequence",
    "product",
    "status",
    "source",
    "expires_at",
    "valid_for_days",
    "max_activations",
    "activations",
    "order",
    "customer",
    "revoked_at",
    "suspended",
    "terminated_at",
    "assigned_at",
    "created_at",
    "extra",
];

/// Writes down that keys are exported, before the first of them leaves.
///
/// # Errors
/// The database's.
pub(crate) fn note_export(tx: &mut DbConnection, cx: &Context, export: &Export) -> Result<()> {
    let detail = json!({ "format": export.format, "conditions": export.conditions });
    events::record(tx, cx, "keys.exported", Subject::Keys, detail)
}

/// The next page of an export; the first one of CSV begins with the names of the columns.
///
/// # Errors
/// As [`keys::list_keys`].
pub(crate) fn export_page(
    conn: &mut DbConnection,
    vault: &Vault,
    export: &Export,
    query: &KeyQuery,
    after: Option<Cursor>,
    now: Timestamp,
) -> Result<ExportPage> {
    let is_first = after.is_none();
    let page = PageRequest {
        limit: PageRequest::MAX,
        after,
    };
    let Paged { items, next } = keys::list_keys(conn, vault, query, now, &page)?;
    let failed = |error: &dyn std::fmt::Display| Error::internal(format!("an export: {error}"));
    let bytes = match export.format {
        ExportFormat::Csv => {
            csv_page(&items, is_first, export.formulas).map_err(|error| failed(&error))?
        }
        ExportFormat::Jsonl => {
            let mut bytes = Vec::new();
            for key in &items {
                serde_json::to_writer(&mut bytes, key).map_err(|error| failed(&error))?;
                bytes.push(b'\n');
            }
            bytes
        }
    };
    Ok(ExportPage { bytes, next })
}

fn csv_page(
    keys: &[KeyView],
    is_first: bool,
    formulas: Formulas,
) -> std::result::Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    if is_first {
        writer.write_record(COLUMNS)?;
    }
    for key in keys {
        let Ok(Value::Object(members)) = serde_json::to_value(key) else {
            continue;
        };
        let cells = COLUMNS.map(|name| cell(members.get(name), formulas));
        writer.write_record(cells)?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(std::io::Error::other(error.to_string())))
}

fn cell(value: Option<&Value>, formulas: Formulas) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(members)) if members.is_empty() => String::new(),
        Some(other) => other.to_string(),
    };
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula && formulas == Formulas::Disarm {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_disarmed_only_if_that_is_wanted() {
        let value = json!("=HYPERLINK(\"https://evil.example\")");
        assert_eq!(cell(Some(&value), Formulas::Keep), value.as_str().unwrap());
        assert!(cell(Some(&value), Formulas::Disarm).starts_with("'="));
        assert_eq!(cell(Some(&json!("KEY-1")), Formulas::Disarm), "KEY-1");
    }

    #[test]
    fn what_is_not_there_is_an_empty_cell() {
        for value in [None, Some(&Value::Null), Some(&json!({}))] {
            assert_eq!(cell(value, Formulas::Keep), "");
        }
        assert_eq!(cell(Some(&json!(7)), Formulas::Keep), "7");
    }
}
