//! What can go wrong, in two kinds that never mix.
//!
//! A [`Refusal`] is an answer: the request was understood and the rules say no. It carries a stable
//! [`Code`], so every door can show it. The other variants of [`Error`] are requests that could not be
//! served; their cause goes to the log and never to the caller.
//!
//! Both travel in the `Err` arm so that `?` rolls back whatever a use case had written before it
//! learned that it must refuse.

use serde_json::{Map, Value};

pub use crate::codes::Code;

/// The rules say no.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The stable code; decides the HTTP status.
    pub code: Code,
    /// One sentence for people: what is wrong and what to do.
    pub detail: String,
    /// Further members of the answer, such as `max_activations`.
    pub facts: Map<String, Value>,
    /// For [`Code::ValidationFailed`]: which fields, and why.
    pub errors: Vec<FieldError>,
    /// The id of the key it is about, for counting; never shown.
    pub(crate) key: Option<i64>,
    /// With [`Code::RateLimited`]: how soon to come back, in seconds.
    pub(crate) retry_after: Option<u64>,
}

/// One wrong member of a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where: `lines[0].sku`.
    #[schema(example = "lines[0].sku")]
    pub field: String,
    /// A stable word for the kind of mistake.
    #[schema(example = "unknown_product")]
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl FieldError {
    /// Names a field, the kind of mistake, and what to do.
    pub fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            code,
            detail: detail.into(),
        }
    }
}

impl Refusal {
    /// A refusal with the sentence that its code stands for.
    pub fn new(code: Code) -> Self {
        Self::because(code, code.title())
    }

    /// A refusal with a sentence of its own.
    pub fn because(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            facts: Map::new(),
            errors: Vec::new(),
            key: None,
            retry_after: None,
        }
    }

    /// Wrong members, each named.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("`{}`: {}", one.field, one.detail),
            many => format!("{} fields are wrong; see `errors`", many.len()),
        };
        Self {
            errors,
            ..Self::because(Code::ValidationFailed, detail)
        }
    }

    /// One wrong member: where it stands, the kind of mistake, and what to do.
    pub fn wrong(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, code, detail)])
    }

    /// Adds a member to the answer.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Says how soon to come back, in seconds.
    #[must_use]
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Says which key it is about, by its id.
    #[must_use]
    pub(crate) fn about(mut self, key: i64) -> Self {
        self.key = Some(key);
        self
    }
}

/// Why a use case did not answer with its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules say no: an answer, not a fault.
    #[error("refused: {}", .0.code.as_str())]
    Refused(Box<Refusal>),
    /// The database reported an error.
    #[error("database: {0}")]
    Database(#[from] diesel::result::Error),
    /// No capacity or no database within the time allowed; the same request may work soon.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// Something that must hold does not.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// The code that callers are told.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Database(_) | Self::Internal(_) => Code::InternalError,
        }
    }

    /// For a broken invariant; the text is for the log.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal(what.into())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Refusal::new(code).into()
    }
}

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;
