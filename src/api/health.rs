//! Whether the process is alive, and whether it can serve.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Anyone;
use super::call::Call;
use super::problem::{ApiError, ApiResult};
use crate::error::Error;

/// A short word.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = Status)))]
pub(crate) async fn show_health() -> HttpResponse {
    HttpResponse::Ok().json(Status { status: "ok" })
}

/// The process can serve: its database answers and their clocks agree
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses((status = 200, body = Status), (status = 503, body = super::problem::Problem)),
)]
pub(crate) async fn show_readiness(call: Call<Anyone>) -> ApiResult<HttpResponse> {
    match call.app.check_ready().await {
        Ok(()) => Ok(HttpResponse::Ok().json(Status { status: "ok" })),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(ApiError::from(Error::Unavailable("not ready")))
        }
    }
}
