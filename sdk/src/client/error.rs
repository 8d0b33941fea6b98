//! Why a call did not succeed.

use thiserror::Error;

use crate::TokenError;

/// Why a call did not succeed. No variant ever contains the text of a key or a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The base URL cannot be used, for the reason given.
    #[error("the base URL cannot be used: {0}")]
    BaseUrl(String),
    /// The server understood the request and refused it, with a problem document (RFC 9457).
    /// Repeating it changes nothing.
    #[error("the server refused ({status}, {code}): {detail}")]
    Refused {
        /// The reason, for programs. These codes are stable: decide by them.
        code: String,
        /// The HTTP status.
        status: u16,
        /// The reason, for people. Empty when the server gave none.
        detail: String,
    },
    /// The server cannot answer now: too many requests (429), overload or maintenance (503), or
    /// nobody behind its balancer (502, 504). Try again later.
    #[error("the server cannot answer now (status {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// After how many seconds to try again (RFC 9110 section 10.2.3), if the server said so as
        /// a number.
        retry_after: Option<u64>,
    },
    /// A token was refused: the one that was to be renewed, or the one that came back.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The server was not reached, or the connection broke, for the reason given. Try again later.
    #[error("the server was not reached: {0}")]
    Transport(String),
    /// The answer is not what a Countersign server sends, for the reason given.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl From<ureq::Error> for ClientError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::BodyExceedsLimit(limit) => {
                Self::Protocol(format!("it is longer than {limit} bytes"))
            }
            ureq::Error::Protocol(_) => Self::Protocol("it is not proper HTTP".to_owned()),
            other => Self::Transport(other.to_string()),
        }
    }
}
