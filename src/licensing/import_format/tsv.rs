//! The format `tsv` without declared columns: `sequence<TAB>key` [UC-33, UC-34].
//!
//! The first TAB splits, and what follows is the key, further TABs included. A spreadsheet puts a cell
//! into quotes when it holds a TAB or a quote, and doubles the quotes inside. Such a cell is read as
//! what it was: one that begins and ends with a quote, holds inside no quote that is not doubled, and
//! holds a doubled quote or a TAB. A key like `"ABC"`, which no spreadsheet had a reason to quote, is
//! kept with its quotes. (A cell with a line break needs declared columns.)

use std::borrow::Cow;

use super::line::{Line, LineReader, line_too_long};
use super::record::{self, Record};
use super::{FailedLine, Output};

pub(super) struct Tsv;

impl LineReader for Tsv {
    fn line(&mut self, line: &Line<'_>, out: &mut Output) {
        match line.text {
            None => out.push(Err(line_too_long(line.number))),
            Some(text) if text.trim().is_empty() => {}
            Some(text) => out.push(row(line.number, text)),
        }
    }

    fn end(self, _: &mut Output) {}
}

fn row(line: u64, text: &str) -> Result<Record, FailedLine> {
    let Some((sequence, key)) = split(text) else {
        let detail = "has no TAB between the name of a sequence and a key";
        return Err(FailedLine::new(line, "no_tab", detail));
    };
    let sequence = record::sequence(line, &unquoted(sequence))?;
    Ok(Record {
        sequence: Some(sequence),
        ..Record::new(line, record::key(line, &unquoted(key))?)
    })
}

/// Splits at the first TAB that is not inside a quoted cell.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('"') {
        let quoted = text
            .match_indices('\t')
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .find(|(cell, _)| is_quoted(cell));
        if quoted.is_some() {
            return quoted;
        }
    }
    text.split_once('\t')
}

fn unquoted(cell: &str) -> Cow<'_, str> {
    if is_quoted(cell) {
        Cow::Owned(cell[1..cell.len() - 1].replace("\"\"", "\""))
    } else {
        Cow::Borrowed(cell)
    }
}

/// Whether a spreadsheet put the cell into quotes, beyond doubt.
fn is_quoted(cell: &str) -> bool {
    let inside = cell
        .strip_prefix('"')
        .and_then(|cell| cell.strip_suffix('"'));
    inside.is_some_and(|inside| {
        let single = inside.replace("\"\"", "");
        !single.contains('"') && (single.len() < inside.len() || inside.contains('\t'))
    })
}
