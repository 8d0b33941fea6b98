//! The format `lines`: every line is a key, and nothing is done to it.

use super::line::{Line, LineReader};
use super::record::{self, Record};
use super::{FailedLine, Output};

pub(super) struct Lines;

impl LineReader for Lines {
    fn line(&mut self, line: &Line<'_>, out: &mut Output) {
        match line.text {
            None => out.push(Err(record::key_too_long(line.number, line.length))),
            Some(text) if text.trim().is_empty() => {}
            Some(text) => out.push(key(line.number, text)),
        }
    }

    fn end(self, _: &mut Output) {}
}

fn key(line: u64, text: &str) -> Result<Record, FailedLine> {
    Ok(Record::new(line, record::key(line, text)?))
}
