//! Reading the text of an import: which keys it holds, and which lines cannot be one.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::text::MAX_KEY_BYTES;
use crate::error::{Code, Refusal, Result};

/// Failed lines that an answer lists at most.
const LISTED: usize = 1000;

/// A line that cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FailedLine {
    /// Counted from 1.
    pub line: u64,
    /// A stable word.
    #[schema(example = "too_long")]
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

/// The keys of a text in the format `lines`: one per line, CR LF or LF, a byte order mark dropped,
/// empty lines skipped, everything else kept as it is [SHOP-47]. A line of blanks alone is empty, too.
///
/// # Errors
/// `import_failed` with the line numbers, or `malformed_request` when it is no UTF-8.
pub(crate) fn parse_lines(body: &[u8]) -> Result<Vec<String>> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let line = 1 + body[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        Refusal::because(
            Code::MalformedRequest,
            format!("Line {line} is not UTF-8; save the file as UTF-8."),
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut keys = Vec::new();
    let mut failed = Vec::new();
    let mut failures = 0u64;
    for (line, key) in (1..).zip(
        text.split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line)),
    ) {
        if key.len() > MAX_KEY_BYTES {
            failures += 1;
            if failed.len() < LISTED {
                let detail = format!(
                    "is {} bytes long; a key has at most {MAX_KEY_BYTES}",
                    key.len()
                );
                failed.push(FailedLine {
                    line,
                    code: "too_long",
                    detail,
                });
            }
        } else if !key.trim().is_empty() {
            keys.push(key.to_owned());
        }
    }
    if failures > 0 {
        let refusal = Refusal::because(
            Code::ImportFailed,
            format!("Lines that cannot be keys: {failures}. Nothing was imported."),
        );
        return Err(refusal
            .with("added", 0)
            .with("failures", failures)
            .with("failed", json!(failed))
            .into());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn keys_are_taken_line_by_line_and_byte_for_byte() {
        let body = "\u{feff}K1\r\n\r\n  K 2 \nсекрет\n\n钥匙\tx".as_bytes();
        assert_eq!(
            parse_lines(body).unwrap(),
            ["K1", "  K 2 ", "секрет", "钥匙\tx"]
        );
    }

    #[test]
    fn a_line_that_is_too_long_refuses_the_whole_and_is_named() {
        let body = format!("K1\n{}\nK3\n", "x".repeat(MAX_KEY_BYTES + 1));
        let Err(Error::Refused(refusal)) = parse_lines(body.as_bytes()) else {
            panic!("taken")
        };
        assert_eq!(refusal.code, Code::ImportFailed);
        assert_eq!(refusal.facts["failed"][0]["line"], 2);
        assert_eq!(refusal.facts["added"], 0);
    }

    #[test]
    fn a_body_that_is_no_utf_8_is_refused_with_its_line() {
        let Err(Error::Refused(refusal)) = parse_lines(b"K1\nK\xff2\n") else {
            panic!("taken")
        };
        assert_eq!(refusal.code, Code::MalformedRequest);
        assert!(refusal.detail.contains("Line 2"), "{}", refusal.detail);
    }
}
