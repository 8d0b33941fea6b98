//! What is seen of every request: its id, a line in the log and the metrics, both by the route's pattern.
//!
//! Never the target or the query: portal links and foreign interfaces carry secrets there.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, web};

use crate::app::App;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request at hand.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub String);

/// Gives the request an id, answers with it, and logs how it went.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let id = uuid::Uuid::now_v7().simple().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let mut response = next.call(request).await?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    let app = response.request().app_data::<web::Data<App>>().cloned();
    if app.as_ref().is_some_and(|app| app.is_stopping()) {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    let route = response
        .request()
        .match_pattern()
        .unwrap_or_else(|| "(none)".to_owned());
    let status = response.status().as_u16();
    let took = started.elapsed();
    if let Some(app) = app {
        app.metrics.request(&route, method.as_str(), status, took);
    }
    let duration_us = took.as_micros();
    match response.response().error() {
        Some(error) if status >= 500 => {
            tracing::error!(request.id = id, %method, route, status, duration_us, %error, "request failed");
        }
        _ => tracing::info!(request.id = id, %method, route, status, duration_us, "request"),
    }
    Ok(response)
}
