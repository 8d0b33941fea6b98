//! Bytes that come in pieces of any size, as text that is cut at its line breaks.

use std::str;

use crate::error::{Code, Refusal};

const BYTE_ORDER_MARK: char = '\u{feff}';
/// The longest UTF-8 sequence.
const MAX_SEQUENCE: usize = 4;

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Part of a line, never empty, without a line break.
    Text(&'a str),
    /// The end of a line.
    Break(LineBreak),
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineBreak {
    Lf,
    CrLf,
}

impl LineBreak {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
        }
    }
}

/// Decodes and cuts. Holds a few bytes between two calls.
#[derive(Debug)]
pub(super) struct Pieces {
    /// The start of a UTF-8 sequence whose rest has not come.
    pending: Vec<u8>,
    /// Whether the last character was a CR, which has not been handed out.
    after_cr: bool,
    at_start: bool,
    line: u64,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            pending: Vec::with_capacity(MAX_SEQUENCE),
            after_cr: false,
            at_start: true,
            line: 1,
        }
    }
}

impl Pieces {
    /// Hands out what the bytes complete, each with the number of its line.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(u64, Piece<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        while !self.pending.is_empty() {
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.pending.push(*first);
            let sequence = std::mem::take(&mut self.pending);
            match str::from_utf8(&sequence) {
                Ok(text) => self.cut(text, sink)?,
                Err(error) if error.error_len().is_none() => self.pending = sequence,
                Err(_) => return Err(self.not_utf8()),
            }
        }
        match str::from_utf8(bytes) {
            Ok(text) => self.cut(text, sink),
            Err(error) => {
                let (good, rest) = bytes.split_at(error.valid_up_to());
                let good = str::from_utf8(good).expect("it is valid up to there");
                self.cut(good, sink)?;
                if error.error_len().is_some() {
                    return Err(self.not_utf8());
                }
                self.pending.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    /// Hands out what is left, and says which line is the last.
    pub(super) fn finish(
        self,
        sink: &mut impl FnMut(u64, Piece<'_>) -> Result<(), Refusal>,
    ) -> Result<u64, Refusal> {
        if !self.pending.is_empty() {
            return Err(self.not_utf8());
        }
        if self.after_cr {
            sink(self.line, Piece::Text("\r"))?;
        }
        Ok(self.line)
    }

    fn cut(
        &mut self,
        mut text: &str,
        sink: &mut impl FnMut(u64, Piece<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.at_start) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        while !text.is_empty() {
            if std::mem::take(&mut self.after_cr) {
                if let Some(rest) = text.strip_prefix('\n') {
                    self.end_line(LineBreak::CrLf, sink)?;
                    text = rest;
                    continue;
                }
                sink(self.line, Piece::Text("\r"))?;
            }
            let (line, rest) = match text.split_once('\n') {
                Some((line, rest)) => (line, Some(rest)),
                None => (text, None),
            };
            let (line, has_cr) = match line.strip_suffix('\r') {
                Some(line) => (line, true),
                None => (line, false),
            };
            if !line.is_empty() {
                sink(self.line, Piece::Text(line))?;
            }
            let Some(rest) = rest else {
                self.after_cr = has_cr;
                break;
            };
            let end = if has_cr {
                LineBreak::CrLf
            } else {
                LineBreak::Lf
            };
            self.end_line(end, sink)?;
            text = rest;
        }
        Ok(())
    }

    fn end_line(
        &mut self,
        end: LineBreak,
        sink: &mut impl FnMut(u64, Piece<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        sink(self.line, Piece::Break(end))?;
        self.line += 1;
        Ok(())
    }

    fn not_utf8(&self) -> Refusal {
        Refusal::because(
            Code::MalformedRequest,
            format!("Line {} is not UTF-8; save the file as UTF-8.", self.line),
        )
    }
}
