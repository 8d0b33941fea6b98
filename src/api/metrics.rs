//! What the server measures of itself.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::auth::Watch;
use super::call::Call;
use super::problem::{ApiResult, Problem};

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Measurements for Prometheus
///
/// In the text format of OpenMetrics. Needs no API token where the setting `metrics.public` says so.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(("api_token" = [])),
    responses(
        (status = 200, description = "The measurements", body = String, content_type = "text/plain"),
        (status = "4XX", body = Problem),
    ),
)]
pub(crate) async fn show_metrics(call: Call<Watch, HttpRequest>) -> ApiResult<HttpResponse> {
    let accepted = call.input.headers().get_all(header::ACCEPT);
    let asked = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(OPEN_METRICS));
    let media_type = if asked {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let text = call.app.show_metrics().await?;
    Ok(HttpResponse::Ok().content_type(media_type).body(text))
}
