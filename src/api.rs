//! The native HTTP interface: every path, its methods and their handlers, in one table.
//!
//! A handler's name is its operation id in the OpenAPI document, which is built from the same table.

use actix_web::web;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

mod accounts;
mod activations;
mod auth;
mod call;
mod client_address;
mod creation;
mod customers;
mod errors_page;
mod events;
mod export;
pub(crate) mod extract;
mod generators;
mod given;
mod health;
mod import_body;
mod imports;
mod key_actions;
mod key_bodies;
mod key_edits;
mod keys;
mod list;
mod metrics;
mod object;
mod observe;
mod openapi;
mod order_bodies;
mod orders;
mod problem;
mod products;
mod public;
mod routes;
mod sequences;
mod stock;
mod users;

pub(crate) use observe::observe;
#[cfg(feature = "bench")]
pub(crate) use public::ceilings::parse_activate;

routes::routes! {
    // For shipped software: the key or a token is the credential.
    "/v1/activations" { get => activations::list_activations, post => public::create_activation }
    "/v1/activations/renew" { post => public::renew_activation }
    "/v1/activations/release" { post => public::release_activation }
    "/v1/activations/{activation_id}" { delete => activations::delete_activation }
    "/v1/validate" { post => public::validate_key }
    "/.well-known/jwks.json" { get => public::show_jwks }

    // For shops and staff.
    "/v1/orders" { get => orders::list_orders }
    "/v1/orders/check" { post => orders::check_order }
    "/v1/orders/{ref}" { get => orders::show_order, put => orders::report_order, patch => orders::update_order }
    "/v1/orders/{ref}/issue" { post => orders::issue_order }
    "/v1/stock" { get => stock::show_stock }
    "/v1/products" { get => products::list_products, post => products::create_product }
    "/v1/products/{sku}" {
        get => products::show_product, patch => products::update_product, delete => products::delete_product
    }

    // For staff.
    "/v1/sequences" { get => sequences::list_sequences, post => sequences::create_sequence }
    "/v1/sequences/{name}" {
        get => sequences::show_sequence, patch => sequences::update_sequence, delete => sequences::delete_sequence
    }
    "/v1/sequences/{name}/import" { post => imports::import_keys }
    "/v1/import" { post => imports::import_named_keys }
    "/v1/imports" { get => imports::list_imports }
    "/v1/imports/{id}" { get => imports::show_import }
    "/v1/generators" { get => generators::list_generators, post => generators::create_generator }
    "/v1/generators/{id}" {
        get => generators::show_generator, patch => generators::update_generator,
        delete => generators::delete_generator
    }
    "/v1/generators/{id}/generate" { post => generators::generate_keys }
    "/v1/keys" { get => keys::list_keys, post => key_edits::create_key }
    "/v1/keys/export" { get => export::export_keys }
    "/v1/keys/lookup" { post => keys::look_up_key }
    "/v1/keys/increment" { post => key_actions::increment_key }
    "/v1/keys/bulk" { post => key_actions::change_keys }
    "/v1/keys/{id}" { get => keys::show_key, patch => key_edits::update_key, delete => key_edits::delete_key }
    "/v1/keys/{id}/revoke" { post => key_actions::revoke_key }
    "/v1/keys/{id}/unrevoke" { post => key_actions::unrevoke_key }
    "/v1/keys/{id}/disable" { post => key_actions::disable_key }
    "/v1/keys/{id}/enable" { post => key_actions::enable_key }
    "/v1/keys/{id}/suspend" { post => key_actions::suspend_key }
    "/v1/keys/{id}/resume" { post => key_actions::resume_key }
    "/v1/keys/{id}/deliver" { post => key_actions::deliver_key }
    "/v1/keys/{id}/terminate" { post => key_actions::terminate_key }
    "/v1/keys/{id}/replace" { post => key_actions::replace_key }
    "/v1/accounts" { get => accounts::list_accounts, post => accounts::create_account }
    "/v1/accounts/{id}" { get => accounts::show_account, patch => accounts::update_account }
    "/v1/tokens" { get => accounts::list_tokens, post => accounts::create_token }
    "/v1/tokens/{id}" { delete => accounts::revoke_token }
    "/v1/users" { get => users::list_users, post => users::create_user }
    "/v1/users/{id}" { get => users::show_user, patch => users::update_user, delete => users::delete_user }
    "/v1/customers" { get => customers::list_customers }
    "/v1/customers/{id}" { get => customers::show_customer }
    "/v1/customers/{id}/erase" { post => customers::erase_customer }
    "/v1/customers/{id}/export" { get => customers::export_customer }
    "/v1/events" { get => events::list_events }

    // For machines that look after this one.
    "/healthz" { get => health::show_health }
    "/readyz" { get => health::show_readiness }
    "/metrics" { get => metrics::show_metrics }
}

/// The complete OpenAPI document.
pub fn document() -> OpenApi {
    let mut document = openapi::Document::openapi();
    add_operations(&mut document);
    document
}

/// Everything that this interface serves, for an actix application.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    #[cfg(feature = "bench")]
    config.configure(public::ceilings::configure);
    config
        .app_data(extract::path_config())
        .configure(add_services)
        .service(errors_page::resource())
        .service(web::redirect("/docs", "/docs/"))
        .service(openapi::resource())
        .service(
            SwaggerUi::new("/docs/{_:.*}")
                .config(utoipa_swagger_ui::Config::new(["/openapi.json"])),
        )
        .default_service(web::to(problem::nothing_here));
}
