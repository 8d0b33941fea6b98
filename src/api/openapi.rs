//! The frame of the OpenAPI document; the operations come from the route table.

use std::sync::LazyLock;

use actix_web::{HttpResponse, Resource, web};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::routes;

/// The document without its operations.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "Licensing and activation: a paid order becomes a product key, a key and an installation \
                       become a signed activation token.\n\nErrors are `application/problem+json` (RFC 9457); \
                       `code` is stable and listed at `/errors`. Times are RFC 3339 in UTC. Lists take `limit` \
                       (1 to 500) and `after`. Every answer carries `X-Request-Id`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "software", description = "For shipped software. The key or a token is the credential."),
        (name = "shops", description = "For shops; an API token of the role `shop` or `admin`."),
        (name = "staff", description = "For staff; an API token of the role `admin`, or `viewer` for reading."),
        (name = "operation", description = "For machines that look after this one."),
    ),
    components(schemas(super::problem::Problem)),
    modifiers(&Security),
)]
pub(crate) struct Document;

/// `/openapi.json`, written once.
pub(crate) fn resource() -> Resource {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        super::document()
            .to_json()
            .expect("the document is plain data")
    });
    let show = || async {
        HttpResponse::Ok()
            .content_type("application/json")
            .body(TEXT.as_str())
    };
    routes::get(web::resource("/openapi.json"), show).default_service(routes::only(&["get"]))
}

#[derive(Debug)]
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API token, made with `countersign token create` or `POST /v1/tokens`.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_token", SecurityScheme::Http(bearer));
    }
}

/// The members of a query that every list takes.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `extract::Page` reads")]
pub(crate) struct Paging {
    /// Rows on the page, 1 to 500.
    #[param(default = 50, minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// The `next` of the page before.
    after: Option<String>,
}
