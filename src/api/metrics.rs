//! What the server measures of itself.

use actix_web::HttpResponse;

use super::auth::Watch;
use super::call::Call;
use super::problem::{ApiResult, Problem};

/// Whatever is asked for: the classic text format knows no `info`, and says so in its media type.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Measurements for Prometheus
///
/// In the text format of OpenMetrics. Needs no API token where the setting `metrics.public` says so.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(("api_token" = [])),
    responses(
        (status = 200, description = "The measurements", body = String, content_type = "application/openmetrics-text"),
        (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn show_metrics(call: Call<Watch>) -> ApiResult<HttpResponse> {
    let text = call.app.show_metrics().await?;
    Ok(HttpResponse::Ok().content_type(MEDIA_TYPE).body(text))
}
