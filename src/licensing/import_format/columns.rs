//! What the columns of a row stand for [UC-63].

use serde_json::{Map, Value};

use super::FailedLine;
use super::record::{self, Record};
use crate::clock::Timestamp;
use crate::db::models::key::KeyStatus;
use crate::db::types::JsonObject;
use crate::licensing::text::{Extra, Name};

/// The most days that a key may be valid for.
const MAX_DAYS: i64 = 36_500;

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Column>,
    surplus: Surplus,
}

/// What a cell is.
#[derive(Debug, PartialEq, Eq)]
enum Column {
    Key,
    Sequence,
    ExpiresAt,
    ValidForDays,
    MaxActivations,
    /// What the key was where it was exported from; it cannot come in as something else.
    Status,
    /// What must be empty in stock: when it was revoked, terminated or assigned.
    Fact,
    /// `extra` as a whole, a JSON object.
    WholeExtra,
    /// A member of `extra` of this name.
    Extra(String),
    Ignored,
}

/// What becomes of cells beyond the last column.
#[derive(Debug)]
enum Surplus {
    Ignored,
    /// They fail, unless they are empty.
    Refused,
}

impl Columns {
    /// The first cell is the key, and the others mean nothing.
    pub(super) fn undeclared() -> Self {
        Self {
            columns: vec![Column::Key],
            surplus: Surplus::Ignored,
        }
    }

    /// Reads the names of columns.
    ///
    /// # Errors
    /// What is wrong with them, without repeating any: the first row may hold keys instead of names.
    pub(super) fn named<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut columns = Vec::new();
        for (number, name) in (1..).zip(names) {
            let column = Column::named(name.trim())
                .map_err(|problem| format!("the name of column {number} {problem}"))?;
            let may_repeat = matches!(column, Column::Ignored | Column::Fact);
            if !may_repeat && columns.contains(&column) {
                return Err(format!("column {number} has the name of an earlier one"));
            }
            columns.push(column);
        }
        if !columns.contains(&Column::Key) {
            return Err("no column is named `key`".to_owned());
        }
        Ok(Self {
            columns,
            surplus: Surplus::Refused,
        })
    }

    /// Makes a record of a row.
    pub(super) fn record<'a>(
        &self,
        line: u64,
        cells: impl Iterator<Item = &'a str>,
    ) -> Result<Record, FailedLine> {
        let mut cells = cells.fuse();
        let mut key = None;
        let mut sequence = None;
        let (mut expires_at, mut valid_for_days, mut max_activations) = (None, None, None);
        let (mut status, mut is_stock) = (None, true);
        let mut extra = JsonObject::default();
        for column in &self.columns {
            let cell = cells.next().unwrap_or_default();
            match column {
                Column::Key => key = Some(record::key(line, cell)?),
                Column::Sequence => sequence = Some(record::sequence(line, cell)?),
                Column::Ignored => {}
                _ if cell.is_empty() => {}
                Column::ExpiresAt => expires_at = Some(instant(line, cell)?),
                Column::ValidForDays => valid_for_days = Some(days(line, cell)?),
                Column::MaxActivations => max_activations = Some(count(line, cell)?),
                Column::Status => status = Some(standing(line, cell)?),
                Column::Fact if cell == "false" => {}
                Column::Fact => is_stock = false,
                Column::WholeExtra => extra.0.extend(object(line, cell)?),
                Column::Extra(name) => {
                    extra.0.insert(name.clone(), text(line, cell)?);
                }
            }
        }
        if matches!(self.surplus, Surplus::Refused) && cells.any(|cell| !cell.is_empty()) {
            let detail = format!("has more cells than the {} columns", self.columns.len());
            return Err(FailedLine::new(line, "too_many_cells", detail));
        }
        let extra = Extra::checked(extra)
            .map_err(|problem| FailedLine::new(line, "invalid_extra", problem))?;
        let key = key.expect("no columns without a key are made");
        Ok(Record {
            sequence,
            expires_at,
            valid_for_days,
            max_activations,
            status,
            is_stock,
            extra: extra.0,
            ..Record::new(line, key)
        })
    }
}

impl Column {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "" => Self::Ignored,
            "key" => Self::Key,
            "sequence" => Self::Sequence,
            "expires_at" => Self::ExpiresAt,
            "valid_for_days" => Self::ValidForDays,
            "max_activations" => Self::MaxActivations,
            "status" => Self::Status,
            "revoked_at" | "terminated_at" | "assigned_at" | "suspended" => Self::Fact,
            "extra" => Self::WholeExtra,
            // What else an export says of a key is the old installation's.
            "id" | "number" | "product" | "source" | "activations" | "order" | "customer"
            | "created_at" => Self::Ignored,
            other => Self::Extra(Name::parse(other)?.into_string()),
        })
    }
}

fn instant(line: u64, cell: &str) -> Result<Timestamp, FailedLine> {
    Timestamp::parse(cell).map_err(|_| {
        let detail = "`expires_at` is no RFC 3339 time such as 2030-05-04T09:30:00Z";
        FailedLine::new(line, "invalid_expires_at", detail)
    })
}

fn standing(line: u64, cell: &str) -> Result<KeyStatus, FailedLine> {
    cell.parse().map_err(|_| {
        let detail = "`status` is none of active, inactive, sold, delivered, disabled";
        FailedLine::new(line, "invalid_status", detail)
    })
}

fn object(line: u64, cell: &str) -> Result<Map<String, Value>, FailedLine> {
    serde_json::from_str(cell)
        .map_err(|_| FailedLine::new(line, "invalid_extra", "`extra` is no JSON object"))
}

fn days(line: u64, cell: &str) -> Result<i64, FailedLine> {
    whole_number(cell, MAX_DAYS).ok_or_else(|| {
        let detail = format!("`valid_for_days` is no whole number from 1 to {MAX_DAYS}");
        FailedLine::new(line, "invalid_valid_for_days", detail)
    })
}

fn count(line: u64, cell: &str) -> Result<i64, FailedLine> {
    whole_number(cell, i64::MAX).ok_or_else(|| {
        let detail = "`max_activations` is no whole number from 1 on; leave it empty for no limit";
        FailedLine::new(line, "invalid_max_activations", detail)
    })
}

fn whole_number(cell: &str, most: i64) -> Option<i64> {
    let number = cell.parse().ok()?;
    (1..=most).contains(&number).then_some(number)
}

fn text(line: u64, cell: &str) -> Result<Value, FailedLine> {
    if cell.contains('\0') {
        let detail = "a cell contains the character U+0000";
        return Err(FailedLine::new(line, "invalid_extra", detail));
    }
    Ok(Value::String(cell.to_owned()))
}
