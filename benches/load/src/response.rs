//! Reads answers: as little of HTTP/1.1 as this server's need, from a buffer that is used again.

use std::ops::Range;

/// A complete answer at the start of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Body,
    /// Bytes of the buffer that belong to it.
    pub(crate) length: usize,
}

/// Where the body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// In the buffer, as it came.
    Plain(Range<usize>),
    /// It came in chunks, put together here.
    Joined(Vec<u8>),
}

impl Response {
    pub(crate) fn body<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match &self.body {
            Body::Plain(range) => &buffer[range.clone()],
            Body::Joined(bytes) => bytes,
        }
    }
}

/// The answer at the start of `buffer`; `None` when more of it has to come.
///
/// # Errors
/// What of it is no answer.
pub(crate) fn parse(buffer: &[u8]) -> Result<Option<Response>, String> {
    let mut lines = Lines { buffer, at: 0 };
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    let status = status(first).ok_or("the answer does not begin with a status")?;
    let mut length = None;
    let mut chunked = false;
    loop {
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        if line.is_empty() {
            break;
        }
        if let Some(value) = header(line, b"content-length") {
            length = Some(number(value, 10).ok_or("the answer's length is no number")?);
        } else if let Some(value) = header(line, b"transfer-encoding") {
            chunked = value.eq_ignore_ascii_case(b"chunked");
        }
    }
    let begin = lines.at;
    if chunked {
        return Ok(joined(buffer, begin)?.map(|(bytes, length)| Response {
            status,
            body: Body::Joined(bytes),
            length,
        }));
    }
    // Without either there is none: 204 and the like.
    let end = begin + length.unwrap_or(0);
    Ok((buffer.len() >= end).then_some(Response {
        status,
        body: Body::Plain(begin..end),
        length: end,
    }))
}

/// The chunks that begin at `at`, and where they end.
fn joined(buffer: &[u8], at: usize) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut bytes = Vec::new();
    let mut lines = Lines { buffer, at };
    loop {
        let Some(size) = lines.next() else {
            return Ok(None);
        };
        let size = size.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = number(size, 16).ok_or("a chunk's size is no number")?;
        if size == 0 {
            // Trailers, then an empty line.
            while let Some(line) = lines.next() {
                if line.is_empty() {
                    return Ok(Some((bytes, lines.at)));
                }
            }
            return Ok(None);
        }
        let Some(chunk) = buffer.get(lines.at..lines.at + size) else {
            return Ok(None);
        };
        bytes.extend_from_slice(chunk);
        lines.at += size;
        match lines.next() {
            None => return Ok(None),
            Some(b"") => {}
            Some(_) => return Err("a chunk is longer than it says".to_owned()),
        }
    }
}

struct Lines<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next complete line, without its end.
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.buffer.get(self.at..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.at += end + 1;
        let line = &rest[..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let digits = line.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    number(digits, 10)?.try_into().ok()
}

/// The value of a header line, when it is of this name, in small letters.
fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.get(name.len()..)?.strip_prefix(b":")?;
    line[..name.len()]
        .eq_ignore_ascii_case(name)
        .then(|| value.trim_ascii())
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Response {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn an_answer_with_a_length_is_read_and_the_next_one_left() {
        let text =
            "HTTP/1.1 201 Created\r\nContent-Length: 5\r\nx-request-id: 1\r\n\r\nhelloHTTP/1.1";
        let response = whole(text);
        assert_eq!(response.status, 201);
        assert_eq!(response.body(text.as_bytes()), b"hello");
        assert_eq!(&text[response.length..], "HTTP/1.1");
    }

    #[test]
    fn an_answer_in_chunks_is_put_together() {
        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\nrest";
        let response = whole(text);
        assert_eq!(response.body(text.as_bytes()), b"hello");
        assert_eq!(&text[response.length..], "rest");
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        let response = whole("HTTP/1.1 204 No Content\r\nx-request-id: 1\r\n\r\n");
        assert_eq!((response.status, response.body), (204, Body::Plain(44..44)));
    }

    #[test]
    fn every_part_of_an_answer_waits_for_the_rest() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            for length in 0..text.len() {
                assert_eq!(
                    parse(&text.as_bytes()[..length]),
                    Ok(None),
                    "{length} bytes of {text}"
                );
            }
            assert_eq!(whole(text).length, text.len());
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "hello\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nhello\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
