//! Reading the text of an import, record by record, in bounded memory [UC-32..37, UC-63, SHOP-45..48].
//!
//! A [`Parser`] takes bytes in pieces of any size and hands out records as they are complete. It
//! holds one record at most, whatever the length of the text or of its lines.
//!
//! What all formats have in common: UTF-8 (anything else refuses the whole, naming the line), a byte
//! order mark at the start is dropped, a line ends with LF or CR LF, a CR anywhere else is part of
//! the text, and the last line needs no end. What a record holds is kept byte for byte. A record that
//! cannot be a key is a [`FailedLine`], and reading goes on behind it.
//!
//! - `lines`: every line is a key. Lines of blanks alone are skipped.
//! - `csv` (RFC 4180): every row is a key. The first cell is its text and the others are ignored,
//!   unless columns are declared. Rows of blank cells alone are skipped.
//! - `tsv`: `sequence<TAB>key`, split at the first TAB, so a key may hold some [UC-34]. A name or key
//!   that stands in quotes is taken out of them only when there is no doubt that a spreadsheet put
//!   them there (see `tsv`). With declared columns the rows are those of `csv`, with TABs.
//! - `block`: the name of a sequence, the lines of a key, a line that is only the end mark, and again
//!   [UC-35..37]. The line breaks within a key are part of it, as they came (CR LF or LF); the one
//!   before the end mark is not. Blank lines are skipped before a name and kept in a key.
//!
//! **Columns** have names, given by the caller or by the first row. `key` is the text, `sequence` where
//! it goes, `expires_at` (RFC 3339), `valid_for_days` and `max_activations` are the key's own; every
//! other name makes a text of that name in `extra` [UC-63]. A column without a name is ignored, and so
//! is an empty cell, except that a key and a sequence have to be there.

mod block;
mod columns;
mod line;
mod lines;
mod pieces;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod tsv;

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Refusal, Result};
use line::ByLine;
use pieces::{Piece, Pieces};
pub(crate) use record::Record;
use table::Table;

/// The longest line, or row, that is held, in bytes. What is longer fails and is skipped.
const MAX_LINE_BYTES: usize = 65_536;

crate::db::types::word_enum! {
    /// The format of the text of an import.
    pub enum Format {
        /// One key per line.
        Lines = "lines",
        /// Comma-separated values: the first column, or named columns.
        Csv = "csv",
        /// `sequence<TAB>key`, or named columns.
        Tsv = "tsv",
        /// The name of a sequence, the key's lines, the end mark; and again.
        Block = "block",
    }
}

/// Whether the first row of a `csv` or `tsv` is one of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Header {
    /// It is a key like the others.
    #[default]
    Absent,
    /// It names the columns; passed over where the caller has named them.
    Present,
}

/// How to read.
#[derive(Clone, Debug)]
pub(crate) struct FormatOptions {
    pub format: Format,
    /// For `block` [UC-36].
    pub end_mark: String,
    /// For `csv` and `tsv`: the names of the columns in their order; empty when they are not declared.
    pub columns: Vec<String>,
    pub header: Header,
}

impl FormatOptions {
    /// A format with nothing declared, and `.` as the end mark.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            end_mark: ".".to_owned(),
            columns: Vec::new(),
            header: Header::Absent,
        }
    }
}

/// A line that cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FailedLine {
    /// Counted from 1; where the record begins.
    pub line: u64,
    /// A stable word.
    #[schema(example = "too_long")]
    pub code: &'static str,
    /// For people. Never repeats what the line says.
    pub detail: String,
}

impl FailedLine {
    /// What is wrong with a line, without repeating it.
    pub(super) fn new(line: u64, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { line, code, detail }
    }
}

/// Reads a text that comes in pieces.
pub(crate) struct Parser {
    pieces: Pieces,
    reader: Box<dyn Reader>,
}

/// What one format makes of a text that is cut at its line breaks.
trait Reader: Send {
    /// Takes the next piece, which stands on the line of this number.
    fn take(&mut self, line: u64, piece: Piece<'_>, out: &mut Output) -> Result<(), Refusal>;

    /// Takes the end of the text.
    fn finish(self: Box<Self>, line: u64, out: &mut Output) -> Result<(), Refusal>;
}

/// The records and failures that were found, in the order of their lines.
pub(crate) type Output = Vec<Result<Record, FailedLine>>;

impl Parser {
    /// A parser before the first byte.
    ///
    /// # Errors
    /// `validation_failed` for an end mark or columns that cannot be.
    pub(crate) fn new(options: FormatOptions) -> Result<Self, Refusal> {
        let has_columns = !options.columns.is_empty() || options.header == Header::Present;
        let reader: Box<dyn Reader> = match options.format {
            Format::Lines | Format::Block if has_columns => {
                let detail = "only the formats `csv` and `tsv` have columns";
                return Err(Refusal::wrong("columns", "not_applicable", detail));
            }
            Format::Lines => Box::new(ByLine::new(lines::Lines)),
            Format::Block => Box::new(ByLine::new(block::Block::new(options.end_mark)?)),
            Format::Tsv if !has_columns => Box::new(ByLine::new(tsv::Tsv)),
            Format::Csv | Format::Tsv => Box::new(Table::new(&options)?),
        };
        Ok(Self {
            pieces: Pieces::default(),
            reader,
        })
    }

    /// Takes the next bytes and adds what they complete to `out`. After a refusal the rest of the
    /// text means nothing.
    ///
    /// # Errors
    /// `malformed_request` naming the line when the bytes are not UTF-8; `validation_failed` when the
    /// first row should name the columns and does not.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Output) -> Result<(), Refusal> {
        let reader = &mut self.reader;
        self.pieces
            .push(bytes, &mut |line, piece| reader.take(line, piece, out))
    }

    /// Takes the end of the text and adds what it completes to `out`.
    ///
    /// # Errors
    /// As [`Parser::push`].
    pub(crate) fn finish(self, out: &mut Output) -> Result<(), Refusal> {
        let mut reader = self.reader;
        let line = self
            .pieces
            .finish(&mut |line, piece| reader.take(line, piece, out))?;
        reader.finish(line, out)
    }
}
