//! The text of an import, handed on as it comes.

use actix_web::http::header;
use actix_web::{HttpRequest, web};
use futures_util::StreamExt;

use crate::error::{Code, Refusal, Result};
use crate::licensing::import::{ImportHandle, ReadImport};
use crate::licensing::import_format::{Format, FormatOptions, Header};

/// How much of a body that is not wanted any more is still read, so that the client gets to read the
/// answer instead of a broken connection.
const MAX_DISCARDED: usize = 64 << 20;

/// What a query says about the format.
#[derive(Clone, Debug, Default)]
pub(super) struct FormatQuery {
    pub(super) format: Option<Format>,
    pub(super) end_mark: Option<String>,
    pub(super) columns: Option<String>,
    pub(super) header: Option<bool>,
}

impl FormatQuery {
    /// The format: as the query says, else as the media type does.
    ///
    /// # Errors
    /// `unsupported_media_type`, or `validation_failed` when nothing says it.
    pub(super) fn options(
        self,
        request: &HttpRequest,
        plain: Option<Format>,
    ) -> Result<FormatOptions> {
        let media_type = media_type(request);
        let by_type = match media_type.as_deref() {
            None | Some("text/plain" | "application/octet-stream") => plain,
            Some("text/csv") => Some(Format::Csv),
            Some("text/tab-separated-values") => Some(Format::Tsv),
            Some(_) => {
                let detail = "Send the keys as text/plain, text/csv or text/tab-separated-values.";
                return Err(Refusal::because(Code::UnsupportedMediaType, detail).into());
            }
        };
        let Some(format) = self.format.or(by_type) else {
            let detail = "say `tsv`, `csv` or `block`: the text has to name the sequences";
            return Err(Refusal::wrong("format", "required", detail).into());
        };
        let mut options = FormatOptions::new(format);
        if let Some(mark) = self.end_mark {
            if format != Format::Block {
                let detail = "only the format `block` has an end mark";
                return Err(Refusal::wrong("end_mark", "not_applicable", detail).into());
            }
            options.end_mark = mark;
        }
        if let Some(columns) = self.columns {
            options.columns = columns
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
        }
        if self.header == Some(true) {
            options.header = Header::Present;
        }
        Ok(options)
    }
}

/// Feeds the body to the import, to its end.
///
/// # Errors
/// `body_too_large`, or `malformed_request` when the body breaks off. Nothing is imported then.
pub(super) async fn feed(
    handle: ImportHandle,
    mut body: web::Payload,
    limit: usize,
) -> Result<ReadImport> {
    let mut length = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| {
            let detail = "The body broke off before its end. Nothing was imported.";
            Refusal::because(Code::MalformedRequest, detail)
        })?;
        length += piece.len();
        if length > limit {
            drop(handle);
            discard(body).await;
            let detail = format!(
                "The body is larger than {limit} bytes (imports.max_bytes). Nothing was imported."
            );
            return Err(Refusal::because(Code::BodyTooLarge, detail).into());
        }
        if !handle.push(piece).await {
            discard(body).await;
            break;
        }
    }
    Ok(handle.finish().await)
}

async fn discard(mut body: web::Payload) {
    let mut discarded = 0;
    while let Some(Ok(piece)) = body.next().await {
        discarded += piece.len();
        if discarded > MAX_DISCARDED {
            break;
        }
    }
}

fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}
