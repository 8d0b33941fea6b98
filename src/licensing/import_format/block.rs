//! The format `block`: the name of a sequence, the lines of a key, the end mark; and again [UC-35..37].

use super::line::{Line, LineReader, line_too_long};
use super::pieces::LineBreak;
use super::record::{self, Record};
use super::{FailedLine, Output};
use crate::error::Refusal;
use crate::licensing::text::{MAX_KEY_BYTES, Name};

pub(super) struct Block {
    end_mark: String,
    /// The block that is being read.
    open: Option<Open>,
}

/// A block whose end mark has not come.
struct Open {
    /// Where it begins.
    line: u64,
    sequence: Result<Name, FailedLine>,
    /// Its lines so far; cut where it is too long to be a key.
    key: String,
    /// How long the key is, in bytes.
    length: usize,
    /// The end of the last line, part of the key only when another line follows.
    end: Option<LineBreak>,
}

impl Block {
    pub(super) fn new(end_mark: String) -> Result<Self, Refusal> {
        if end_mark.is_empty() {
            return Err(Refusal::wrong("end_mark", "invalid", "must not be empty"));
        }
        if end_mark.contains(['\r', '\n']) {
            let detail = "must not contain a line break";
            return Err(Refusal::wrong("end_mark", "invalid", detail));
        }
        if end_mark.len() > MAX_KEY_BYTES {
            let detail = format!("must not be longer than {MAX_KEY_BYTES} bytes");
            return Err(Refusal::wrong("end_mark", "invalid", detail));
        }
        Ok(Self {
            end_mark,
            open: None,
        })
    }
}

impl LineReader for Block {
    fn line(&mut self, line: &Line<'_>, out: &mut Output) {
        let is_mark = line.text == Some(self.end_mark.as_str());
        match (self.open.take(), line.text) {
            (Some(open), _) if is_mark => out.push(open.close()),
            (Some(mut open), text) => {
                open.add(text, line);
                self.open = Some(open);
            }
            (None, _) if is_mark => {
                let detail = "is an end mark without a block before it";
                out.push(Err(FailedLine::new(line.number, "stray_end_mark", detail)));
            }
            (None, Some(text)) if text.trim().is_empty() => {}
            (None, text) => {
                self.open = Some(Open {
                    line: line.number,
                    sequence: match text {
                        Some(text) => record::sequence(line.number, text),
                        None => Err(line_too_long(line.number)),
                    },
                    key: String::new(),
                    length: 0,
                    end: None,
                });
            }
        }
    }

    fn end(self, out: &mut Output) {
        if let Some(open) = self.open {
            let detail = format!(
                "the block that begins here is not finished; end it with a line that is only `{}`",
                self.end_mark
            );
            out.push(Err(FailedLine::new(open.line, "unfinished_block", detail)));
        }
    }
}

impl Open {
    fn add(&mut self, text: Option<&str>, line: &Line<'_>) {
        let end = self.end.map_or("", LineBreak::as_str);
        self.length = self.length.saturating_add(end.len() + line.length);
        self.end = line.end;
        match text {
            Some(text) if self.length <= MAX_KEY_BYTES => {
                self.key.push_str(end);
                self.key.push_str(text);
            }
            _ => self.key.clear(),
        }
    }

    fn close(self) -> Result<Record, FailedLine> {
        let sequence = self.sequence?;
        if self.length > MAX_KEY_BYTES {
            return Err(record::key_too_long(self.line, self.length));
        }
        Ok(Record {
            sequence: Some(sequence),
            ..Record::new(self.line, record::key(self.line, &self.key)?)
        })
    }
}
