//! Generators, for staff.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{Look, Manage};
use super::call::Call;
use super::creation::{Creation, IdempotencyKey, created, done};
use super::extract::{Body, Filter, Nothing, Page};
use super::given::Given;
use super::list::List;
use super::problem::{ApiResult, Problem};
use crate::app::App;
use crate::db::models::generator::{GeneratorColumns, GeneratorId, GeneratorKind};
use crate::db::models::key::KeyStatus;
use crate::error::{Refusal, Result};
use crate::licensing::generate::{Generate, Generated};
use crate::licensing::generators::{self, GeneratorView};
use crate::licensing::idempotency;
use crate::licensing::staging::NamedOrder;
use crate::licensing::text::{Name, Text};

/// A part of a pattern; may be empty.
type Part = String;

/// A generator to make (only `name` is required), or the members of one to change.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GeneratorBody {
    /// Its unique name.
    #[serde(default)]
    name: Given<Name>,
    /// `pattern` by default. It stays what it is made as.
    #[serde(default)]
    kind: Given<GeneratorKind>,
    /// The characters to choose from, each once; digits and capitals but for 0, O, 1 and I by default.
    #[serde(default)]
    charset: Given<Text<4096>>,
    /// How many chunks, 1 to 99; 5 by default.
    #[serde(default)]
    chunks: Given<i64>,
    /// Characters in each chunk, 1 to 99; 5 by default. In a signed text (8 by default): how many
    /// characters stand between two separators.
    #[serde(default)]
    chunk_length: Given<i64>,
    /// What stands between two chunks; `-` by default.
    #[serde(default)]
    separator: Given<Part>,
    /// What stands at the very front.
    #[serde(default)]
    prefix: Given<Part>,
    /// What stands at the very end.
    #[serde(default)]
    suffix: Given<Part>,
    /// How many installations each key admits at once; null, the default, for any number.
    #[serde(default)]
    max_activations: Given<Option<i64>>,
    /// Days that a key is valid from its purchase on; null, the default, for ever.
    #[serde(default)]
    expires_in_days: Given<Option<i64>>,
}

impl GeneratorBody {
    fn apply(self, columns: &mut GeneratorColumns) {
        self.name.put_as(&mut columns.name, Name::into_string);
        self.charset.put_as(&mut columns.charset, Text::into_string);
        self.chunks.put_into(&mut columns.chunks);
        self.chunk_length.put_into(&mut columns.chunk_length);
        self.separator.put_into(&mut columns.separator);
        self.prefix.put_into(&mut columns.prefix);
        self.suffix.put_into(&mut columns.suffix);
        self.max_activations.put_into(&mut columns.max_activations);
        self.expires_in_days.put_into(&mut columns.expires_in_days);
    }
}

/// What to make.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerateBody {
    /// How many keys, 1 to 1,000,000.
    quantity: i64,
    /// The name of the sequence that they go into; the product's own by default.
    sequence: Option<Name>,
    /// The sku of the only product that may take them.
    product: Option<Name>,
    /// `active`, for sale, by default; with an order `sold` or `delivered`, as the product says.
    status: Option<KeyStatus>,
    /// The `ref` of the order that they are for; takes `product`.
    order: Option<Name>,
    /// The name of its shop, where several have such an order.
    shop: Option<Name>,
    /// Days that they are valid from their purchase on; the generator's by default.
    valid_for_days: Option<i64>,
}

/// List generators
#[utoipa::path(
    get, path = "/v1/generators", tag = "staff", params(super::openapi::Paging), security(("api_token" = [])),
    responses((status = 200, body = List<GeneratorView>), (status = "4XX", body = Problem)),
)]
pub(crate) async fn list_generators(
    call: Call<Look, (Filter<Nothing>, Page)>,
) -> ApiResult<web::Json<List<GeneratorView>>> {
    let (_, Page(page)) = call.input;
    let list = call
        .app
        .db
        .read(move |conn| generators::list_generators(conn, &page))
        .await?;
    Ok(web::Json(list.into()))
}

/// Make a generator
#[utoipa::path(
    post, path = "/v1/generators", tag = "staff", params(IdempotencyKey), request_body = GeneratorBody,
    security(("api_token" = [])),
    responses((status = 201, body = GeneratorView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn create_generator(
    call: Call<Manage, Creation<GeneratorBody>>,
) -> ApiResult<HttpResponse> {
    let (cx, Creation { body, repeatable }) = (call.cx, call.input);
    let name = body.name.clone().required("name")?;
    let kind = body.kind.0.unwrap_or(GeneratorKind::Pattern);
    let mut columns = GeneratorColumns::new(name.into_string(), kind, cx.now);
    body.apply(&mut columns);
    let made = call
        .app
        .db
        .write(move |tx| {
            idempotency::once(tx, &cx, repeatable.as_ref(), |tx| {
                Ok((generators::create_generator(tx, &cx, &columns)?.0, ()))
            })
        })
        .await?;
    let generator = show(&call.app, GeneratorId(made.id)).await?;
    Ok(created(&made, &generator))
}

/// Show a generator
#[utoipa::path(
    get, path = "/v1/generators/{id}", tag = "staff", params(("id" = i64, Path)), security(("api_token" = [])),
    responses((status = 200, body = GeneratorView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn show_generator(
    call: Call<Look, web::Path<i64>>,
) -> ApiResult<web::Json<GeneratorView>> {
    let id = GeneratorId(call.input.into_inner());
    Ok(web::Json(show(&call.app, id).await?))
}

/// Change a generator; what is left out stays, and so do the keys that it made
#[utoipa::path(
    patch, path = "/v1/generators/{id}", tag = "staff", params(("id" = i64, Path)), request_body = GeneratorBody,
    security(("api_token" = [])),
    responses((status = 200, body = GeneratorView), (status = "4XX", body = Problem)),
)]
pub(crate) async fn update_generator(
    call: Call<Manage, (web::Path<i64>, Body<GeneratorBody>)>,
) -> ApiResult<web::Json<GeneratorView>> {
    let (cx, (id, Body(body))) = (call.cx, call.input);
    let id = GeneratorId(id.into_inner());
    if body.kind.0.is_some() {
        let detail = "cannot be changed; make another generator";
        return Err(Refusal::wrong("kind", "read_only", detail).into());
    }
    call.app
        .db
        .write(move |tx| {
            let change = |columns: &mut GeneratorColumns| body.clone().apply(columns);
            generators::update_generator(tx, &cx, id, &change)
        })
        .await?;
    call.app.nudge_jobs();
    Ok(web::Json(show(&call.app, id).await?))
}

/// Delete a generator that nothing uses; the keys that it made stay
#[utoipa::path(
    delete, path = "/v1/generators/{id}", tag = "staff", params(("id" = i64, Path)),
    security(("api_token" = [])), responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(crate) async fn delete_generator(
    call: Call<Manage, web::Path<i64>>,
) -> ApiResult<HttpResponse> {
    let (cx, id) = (call.cx, GeneratorId(call.input.into_inner()));
    call.app
        .db
        .write(move |tx| generators::delete_generator(tx, &cx, id))
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Make keys into stock: all of them, or none
#[utoipa::path(
    post, path = "/v1/generators/{id}/generate", tag = "staff", params(("id" = i64, Path), IdempotencyKey),
    request_body = GenerateBody, security(("api_token" = [])),
    responses((status = 200, body = Generated), (status = "4XX", body = Problem)),
)]
pub(crate) async fn generate_keys(
    call: Call<Manage, (web::Path<i64>, Creation<GenerateBody>)>,
) -> ApiResult<HttpResponse> {
    let (cx, (id, Creation { body, repeatable })) = (call.cx, call.input);
    let input = Generate {
        generator: GeneratorId(id.into_inner()),
        quantity: body.quantity,
        sequence: body.sequence.map(Name::into_string),
        product: body.product.map(Name::into_string),
        status: body.status,
        order: body.order.map(|reference| NamedOrder {
            reference: reference.into_string(),
            shop: body.shop.map(Name::into_string),
        }),
        valid_for_days: body.valid_for_days,
        repeatable,
    };
    let (made, generated) = call.app.generate_keys(cx, input).await?;
    Ok(done(&made, &generated))
}

async fn show(app: &App, id: GeneratorId) -> Result<GeneratorView> {
    app.db
        .read(move |conn| generators::show_generator(conn, id))
        .await
}
