//! Rows and cells: the format `csv` (RFC 4180), and `tsv` with declared columns.

use csv_core::{ReadFieldResult, ReaderBuilder, Terminator};

use super::columns::Columns;
use super::pieces::{LineBreak, Piece};
use super::{FailedLine, Format, FormatOptions, Header, MAX_LINE_BYTES, Output, Reader, Record};
use crate::error::Refusal;

/// How many bytes of a cell are taken over at a time.
const STEP: usize = 4096;

pub(super) struct Table {
    cells: csv_core::Reader,
    columns: Columns,
    header: FirstRow,
    row: Row,
}

/// What the next row is, if it is the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstRow {
    /// The names of the columns.
    Names,
    /// Names that nobody asked for.
    PassedOver,
    /// A key.
    Key,
}

/// The row that is being read.
#[derive(Default)]
struct Row {
    /// Where it begins; `None` between two rows.
    line: Option<u64>,
    /// Its cells, one behind the other.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    is_too_long: bool,
}

/// What a line break did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    OfRow,
    /// It is part of a cell in quotes.
    InCell,
}

impl Table {
    /// # Errors
    /// `validation_failed` for columns that cannot be.
    pub(super) fn new(options: &FormatOptions) -> Result<Self, Refusal> {
        let header = match (options.header, options.columns.is_empty()) {
            (Header::Absent, _) => FirstRow::Key,
            (Header::Present, true) => FirstRow::Names,
            (Header::Present, false) => FirstRow::PassedOver,
        };
        let columns = if options.columns.is_empty() {
            Columns::undeclared()
        } else {
            Columns::named(options.columns.iter().map(String::as_str))
                .map_err(|problem| Refusal::wrong("columns", "invalid", problem))?
        };
        let delimiter = match options.format {
            Format::Tsv => b'\t',
            _ => b',',
        };
        let mut cells = ReaderBuilder::new()
            .delimiter(delimiter)
            // CR LF arrives here as LF, and another CR is part of a cell.
            .terminator(Terminator::Any(b'\n'))
            .build();
        // It would drop a second byte order mark, unless it has read something before.
        cells.read_field(b"\n", &mut []);
        Ok(Self {
            cells,
            columns,
            header,
            row: Row::default(),
        })
    }

    fn text(&mut self, line: u64, text: &str) {
        self.row.line.get_or_insert(line);
        self.feed(text.as_bytes());
    }

    /// Feeds bytes of one line; says whether the row ended with them.
    fn feed(&mut self, mut bytes: &[u8]) -> Ending {
        let mut buffer = [0; STEP];
        // Without any bytes the reader would take it for the end of the text.
        while !bytes.is_empty() {
            let (result, read, written) = self.cells.read_field(bytes, &mut buffer);
            self.row.add(&buffer[..written]);
            bytes = &bytes[read..];
            match result {
                ReadFieldResult::Field { record_end } => {
                    self.row.end_cell();
                    if record_end {
                        return Ending::OfRow;
                    }
                }
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::End => break,
            }
        }
        Ending::InCell
    }

    fn line_break(&mut self, end: LineBreak, out: &mut Output) -> Result<(), Refusal> {
        let Some(line) = self.row.line else {
            return Ok(());
        };
        match self.feed(b"\n") {
            Ending::OfRow => self.end_row(line, out),
            Ending::InCell => {
                self.row.restore_line_break(end);
                Ok(())
            }
        }
    }

    fn end_row(&mut self, line: u64, out: &mut Output) -> Result<(), Refusal> {
        let row = std::mem::take(&mut self.row);
        if !row.is_too_long && row.cells().all(|cell| cell.trim().is_empty()) {
            return Ok(());
        }
        match std::mem::replace(&mut self.header, FirstRow::Key) {
            FirstRow::Names => {
                self.columns = Columns::named(row.cells())
                    .map_err(|problem| Refusal::wrong("header", "invalid", problem))?;
            }
            FirstRow::PassedOver => {}
            FirstRow::Key => out.push(row.record(line, &self.columns)),
        }
        Ok(())
    }
}

impl Reader for Table {
    fn take(&mut self, line: u64, piece: Piece<'_>, out: &mut Output) -> Result<(), Refusal> {
        match piece {
            Piece::Text(text) => {
                self.text(line, text);
                Ok(())
            }
            Piece::Break(end) => self.line_break(end, out),
        }
    }

    fn finish(mut self: Box<Self>, _: u64, out: &mut Output) -> Result<(), Refusal> {
        self.line_break(LineBreak::Lf, out)?;
        if let Some(line) = self.row.line {
            let detail = "a quote that opens in this row is never closed";
            out.push(Err(FailedLine::new(line, "unclosed_quote", detail)));
        }
        if self.header == FirstRow::Names {
            let problem = "there is no first row that names the columns";
            return Err(Refusal::wrong("header", "invalid", problem));
        }
        Ok(())
    }
}

impl Row {
    fn add(&mut self, bytes: &[u8]) {
        let length = self.text.len() + bytes.len();
        if self.is_too_long || length > MAX_LINE_BYTES {
            self.give_up();
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    fn end_cell(&mut self) {
        if self.is_too_long || self.text.len() + self.ends.len() > MAX_LINE_BYTES {
            self.give_up();
        } else {
            self.ends.push(self.text.len());
        }
    }

    fn give_up(&mut self) {
        self.is_too_long = true;
        self.text.clear();
        self.ends.clear();
    }

    /// Puts the line break at the end of the text back to what it was.
    fn restore_line_break(&mut self, end: LineBreak) {
        if self.text.pop().is_some() {
            self.add(end.as_str().as_bytes());
        }
    }

    fn cells(&self) -> impl Iterator<Item = &str> {
        let text = str::from_utf8(&self.text).expect("cells of a text are text");
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .map(|(start, end)| &text[start..end])
    }

    fn record(&self, line: u64, columns: &Columns) -> Result<Record, FailedLine> {
        if self.is_too_long {
            return Err(super::line::line_too_long(line));
        }
        columns.record(line, self.cells())
    }
}
