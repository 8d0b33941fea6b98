//! The macro behind the route table.

/// Makes of one table both the services (with HEAD beside GET, and a 405 that names what is allowed)
/// and the operations of the OpenAPI document.
macro_rules! routes {
    ($( $path:literal { $( $method:ident => $module:ident :: $handler:ident ),+ $(,)? } )+) => {
        fn add_services(config: &mut actix_web::web::ServiceConfig) {
            $(
                let resource = actix_web::web::resource($path);
                $( let resource = $crate::api::routes::$method(resource, $module::$handler); )+
                let others = $crate::api::routes::only(&[$(stringify!($method)),+]);
                config.service(resource.default_service(others));
            )+
        }

        fn add_operations(document: &mut utoipa::openapi::OpenApi) {
            let mut schemas = Vec::new();
            $($( pastey::paste! { {
                use $module::[<__path_ $handler>] as Described;
                let mut operation = <Described as utoipa::Path>::operation();
                let tags = <Described as utoipa::__dev::Tags<'_>>::tags();
                operation.tags = Some(tags.iter().map(ToString::to_string).collect());
                let methods = <Described as utoipa::Path>::methods();
                document.paths.add_path_operation($path, methods, operation);
                <Described as utoipa::__dev::SchemaReferences>::schemas(&mut schemas);
                debug_assert_eq!(<Described as utoipa::Path>::path(), $path);
            } } )+)+
            let components = document.components.get_or_insert_default();
            components.schemas.extend(schemas);
        }
    };
}
pub(crate) use routes;

use actix_web::web;
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, Route};

use super::problem::method_not_allowed;

/// The answer to every other method of a path.
pub(crate) fn only(methods: &[&str]) -> Route {
    let allowed = method_not_allowed(methods);
    web::to(move || {
        let allowed = allowed.clone();
        async move { Err::<HttpResponse, _>(allowed) }
    })
}

pub(crate) fn get<F, Args>(resource: Resource, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
}

macro_rules! verb {
    ($name:ident) => {
        pub(crate) fn $name<F, Args>(resource: Resource, handler: F) -> Resource
        where
            F: Handler<Args>,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            resource.route(web::$name().to(handler))
        }
    };
}
verb!(post);
verb!(put);
verb!(patch);
verb!(delete);
