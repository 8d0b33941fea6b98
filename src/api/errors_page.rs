//! `/errors`: what every error code means, for people who follow the `type` of a problem.

use actix_web::{HttpResponse, Resource, web};

use super::routes;
use crate::error::Code;

pub(crate) fn resource() -> Resource {
    routes::get(web::resource("/errors"), show_errors).default_service(routes::only(&["get"]))
}

async fn show_errors() -> HttpResponse {
    let rows: String = Code::ALL
        .iter()
        .map(|code| {
            let (word, status, title) = (code.as_str(), code.status(), code.title());
            format!("<tr id=\"{word}\"><td><code>{word}</code></td><td>{status}</td><td>{title}</td></tr>\n")
        })
        .collect();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Countersign: error codes</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         td,th{{text-align:left;padding:.3rem 1rem .3rem 0;vertical-align:top}}tr:target{{background:#fd8}}</style>\n\
         <h1>Error codes</h1>\n<table><tr><th>Code<th>Status<th>Meaning</tr>\n{rows}</table>\n"
    ))
}
