//! Writes requests into buffers that are used again.

use std::io::Write;

/// A request with a JSON body, and with an API token if it takes one.
pub(crate) fn write(
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &[u8],
    request: &mut Vec<u8>,
) {
    for part in [method, " ", path, " HTTP/1.1\r\nHost: bench\r\n"] {
        request.extend_from_slice(part.as_bytes());
    }
    if let Some(token) = token {
        for part in ["Authorization: Bearer ", token, "\r\n"] {
            request.extend_from_slice(part.as_bytes());
        }
    }
    if !body.is_empty() {
        request.extend_from_slice(b"Content-Type: application/json\r\nContent-Length: ");
        write_number(body.len(), request);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
}

/// Writes a number, or whatever else can be shown.
pub(crate) fn write_number(number: impl std::fmt::Display, text: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = write!(text, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let mut request = Vec::new();
        write("POST", "/v1/validate", None, b"{}", &mut request);
        let text = "POST /v1/validate HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
                    Content-Length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(request).unwrap(), text);
        let mut request = Vec::new();
        write("GET", "/", Some("t"), b"", &mut request);
        let text = "GET / HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer t\r\n\r\n";
        assert_eq!(String::from_utf8(request).unwrap(), text);
    }
}
