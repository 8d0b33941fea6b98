//! What the formats share that are read line by line.

use super::pieces::{LineBreak, Piece};
use super::{FailedLine, MAX_LINE_BYTES, Output, Reader};
use crate::error::Refusal;

/// A whole line, without its end.
pub(super) struct Line<'a> {
    pub(super) number: u64,
    /// `None` when it is longer than [`MAX_LINE_BYTES`].
    pub(super) text: Option<&'a str>,
    /// How long it is, in bytes.
    pub(super) length: usize,
    /// `None` for the last line of a text that does not end with a line break.
    pub(super) end: Option<LineBreak>,
}

/// A format that is read line by line.
pub(super) trait LineReader: Send {
    /// Takes a whole line.
    fn line(&mut self, line: &Line<'_>, out: &mut Output);

    /// Takes the end of the text.
    fn end(self, out: &mut Output);
}

/// Gathers the pieces of a line.
pub(super) struct ByLine<R> {
    reader: R,
    text: String,
    length: usize,
}

impl<R> ByLine<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            text: String::new(),
            length: 0,
        }
    }
}

impl<R: LineReader> ByLine<R> {
    fn complete(&mut self, number: u64, end: Option<LineBreak>, out: &mut Output) {
        let line = Line {
            number,
            text: (self.length <= MAX_LINE_BYTES).then_some(self.text.as_str()),
            length: self.length,
            end,
        };
        self.reader.line(&line, out);
        self.text.clear();
        self.length = 0;
    }
}

impl<R: LineReader> Reader for ByLine<R> {
    fn take(&mut self, line: u64, piece: Piece<'_>, out: &mut Output) -> Result<(), Refusal> {
        match piece {
            Piece::Text(text) => {
                self.length = self.length.saturating_add(text.len());
                if self.length <= MAX_LINE_BYTES {
                    self.text.push_str(text);
                }
            }
            Piece::Break(end) => self.complete(line, Some(end), out),
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, line: u64, out: &mut Output) -> Result<(), Refusal> {
        if self.length > 0 {
            self.complete(line, None, out);
        }
        self.reader.end(out);
        Ok(())
    }
}

/// A line that is too long to be looked at.
pub(super) fn line_too_long(line: u64) -> FailedLine {
    FailedLine::new(
        line,
        "line_too_long",
        format!("is longer than {MAX_LINE_BYTES} bytes; is the format right?"),
    )
}
