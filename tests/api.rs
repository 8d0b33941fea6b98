//! The interface as a whole: its document, its pages, its manners.

use reqwest::Method;
use serde_json::json;

use crate::support::on_both_databases;

on_both_databases! {
    async fn every_answer_carries_a_request_id_of_its_own(app: TestApp) {
        let mut ids = std::collections::HashSet::new();
        for path in ["/healthz", "/nothing", "/v1/products", "/docs/"] {
            let answer = app.software().get(path).await;
            assert!(ids.insert(answer.headers["x-request-id"].clone()), "{path}");
        }
    }

    async fn a_wrong_method_is_told_which_are_right_and_head_works_where_get_does(app: TestApp) {
        for (method, path, allow) in [
            (Method::DELETE, "/v1/orders", "GET, HEAD"),
            (Method::GET, "/v1/validate", "POST"),
            (Method::POST, "/v1/products/x", "GET, HEAD, PATCH, DELETE"),
            (Method::PUT, "/healthz", "GET, HEAD"),
        ] {
            let answer = app.admin.send(app.admin.request(method, path)).await;
            answer.refused(405, "method_not_allowed");
            assert_eq!(answer.headers["allow"], allow, "{path}");
        }
        for path in ["/healthz", "/v1/products", "/.well-known/jwks.json", "/openapi.json"] {
            let head = app.admin.send(app.admin.request(Method::HEAD, path)).await;
            assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
            let get = app.admin.get(path).await;
            assert_eq!(head.headers["content-type"], get.headers["content-type"], "{path}");
        }
    }

    async fn the_server_says_that_it_is_alive_and_ready(app: TestApp) {
        assert_eq!(app.software().get("/healthz").await.ok(), json!({ "status": "ok" }));
        if app.database.is_sqlite() {
            assert_eq!(app.software().get("/readyz").await.ok(), json!({ "status": "ok" }));
        } else {
            // The test's clock is far from the database's.
            let answer = app.software().get("/readyz").await;
            answer.refused(503, "unavailable");
            assert_eq!(answer.headers["retry-after"], "1");
        }
    }

    async fn the_pages_work_without_the_internet(app: TestApp) {
        let index = app.software().get("/docs/").await;
        assert!(index.headers["content-type"].to_str().unwrap().starts_with("text/html"));
        let mut files = 0;
        for part in index.text.split(['"', '\'']) {
            if part.ends_with(".js") || part.ends_with(".css") {
                assert!(!part.contains("//"), "{part} is elsewhere");
                let file = app.software().get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
                assert_eq!(file.status, 200, "{part}");
                files += 1;
            }
        }
        assert!(files >= 3, "{}", index.text);
        assert!(!index.text.contains("https://") && !index.text.contains("http://"), "{}", index.text);
        let initializer = app.software().get("/docs/swagger-initializer.js").await;
        assert!(initializer.text.contains("/openapi.json"), "{}", initializer.text);
        let errors = app.software().get("/errors").await;
        assert!(errors.text.contains("id=\"key_revoked\""));
    }

    async fn the_document_is_served_and_names_every_path_that_is(app: TestApp) {
        let document = app.software().get("/openapi.json").await.ok();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
        for (path, item) in document["paths"].as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            for method in ["get", "put", "post", "patch", "delete"] {
                let request = app.admin.request(method.to_uppercase().parse().unwrap(), &path);
                let answer = app.admin.send(request).await;
                assert_eq!(answer.status == 405, item.get(method).is_none(), "{method} {path}: {}", answer.text);
            }
        }
    }
}

#[test]
fn the_openapi_document_is_the_one_that_was_agreed() {
    let document = serde_json::to_value(countersign::api::document()).unwrap();
    let declared: Vec<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].clone())
        .collect();
    let mut ids = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{method} {path}"
            );
            let tags = operation["tags"].as_array().unwrap();
            assert!(
                tags.len() == 1 && declared.contains(&tags[0]),
                "{method} {path}: {tags:?}"
            );
            assert!(
                operation["responses"]
                    .as_object()
                    .is_some_and(|all| !all.is_empty()),
                "{method} {path}"
            );
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} leads nowhere"
        );
    }
    insta::assert_json_snapshot!("openapi", document);
}
