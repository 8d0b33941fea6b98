//! Who may call what: one table for every operation of the OpenAPI document. A new operation is a new
//! line.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Persona, TestApp, on_both_databases};

/// What each caller gets. `yes`: the call is allowed, whatever comes of it. A number: it is refused with
/// this status. `shop` calls for an order of its own and `importer` for a sequence of its own; `other
/// shop` and `other importer` for the same ones, which are not theirs. The last column is the body, where
/// the answer hangs on one.
const TABLE: &str = r#"
    operation                                nobody  admin  viewer  shop  other shop  importer  other importer  partner

    POST   /v1/activations                   yes     yes    yes     yes   yes         yes       yes             yes
    POST   /v1/activations/renew             yes     yes    yes     yes   yes         yes       yes             yes
    POST   /v1/activations/release           yes     yes    yes     yes   yes         yes       yes             yes
    POST   /v1/validate                      yes     yes    yes     yes   yes         yes       yes             yes
    GET    /.well-known/jwks.json            yes     yes    yes     yes   yes         yes       yes             yes

    GET    /v1/orders                        401     yes    yes     yes   yes         403       403             403
    POST   /v1/orders/check                  401     yes    yes     yes   yes         403       403             403
    PUT    /v1/orders/{ref}                  401     yes    403     yes   yes         403       403             403
    GET    /v1/orders/{ref}                  401     yes    yes     yes   404         403       403             403
    PATCH  /v1/orders/{ref}                  401     yes    403     yes   404         403       403             403  {}
    POST   /v1/orders/{ref}/issue            401     yes    403     yes   404         403       403             403
    GET    /v1/stock                         401     yes    yes     yes   yes         403       403             403
    GET    /v1/products                      401     yes    yes     yes   yes         403       403             403
    GET    /v1/products/{sku}                401     yes    yes     yes   yes         403       403             403

    POST   /v1/products                      401     yes    403     403   403         403       403             403
    PATCH  /v1/products/{sku}                401     yes    403     403   403         403       403             403
    DELETE /v1/products/{sku}                401     yes    403     403   403         403       403             403
    GET    /v1/sequences                     401     yes    yes     403   403         403       403             403
    POST   /v1/sequences                     401     yes    403     403   403         403       403             403
    GET    /v1/sequences/{name}              401     yes    yes     403   403         403       403             403
    PATCH  /v1/sequences/{name}              401     yes    403     403   403         403       403             403
    DELETE /v1/sequences/{name}              401     yes    403     403   403         403       403             403
    POST   /v1/sequences/{name}/import       401     yes    403     403   403         yes       404             403  K1
    POST   /v1/import                        401     yes    403     403   403         yes       yes             403
    GET    /v1/imports                       401     yes    yes     403   403         yes       yes             403
    GET    /v1/imports/{id}                  401     yes    yes     403   403         yes       404             403
    GET    /v1/generators                    401     yes    yes     403   403         403       403             403
    POST   /v1/generators                    401     yes    403     403   403         403       403             403
    GET    /v1/generators/{id}               401     yes    yes     403   403         403       403             403
    PATCH  /v1/generators/{id}               401     yes    403     403   403         403       403             403
    DELETE /v1/generators/{id}               401     yes    403     403   403         403       403             403
    POST   /v1/generators/{id}/generate      401     yes    403     403   403         403       403             403
    GET    /v1/keys                          401     yes    yes     403   403         403       403             403
    POST   /v1/keys                          401     yes    403     403   403         403       403             403
    GET    /v1/keys/export                   401     yes    403     403   403         403       403             403
    POST   /v1/keys/lookup                   401     yes    yes     403   403         403       403             403
    POST   /v1/keys/increment                401     yes    403     yes   404         403       403             403  {"key":"K0"}
    POST   /v1/keys/bulk                     401     yes    403     403   403         403       403             403
    GET    /v1/keys/{id}                     401     yes    yes     403   403         403       403             403
    PATCH  /v1/keys/{id}                     401     yes    403     403   403         403       403             403
    DELETE /v1/keys/{id}                     401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/revoke              401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/unrevoke            401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/disable             401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/enable              401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/suspend             401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/resume              401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/deliver             401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/terminate           401     yes    403     403   403         403       403             403
    POST   /v1/keys/{id}/replace             401     yes    403     403   403         403       403             403
    GET    /v1/activations                   401     yes    yes     403   403         403       403             403
    DELETE /v1/activations/{activation_id}   401     yes    403     403   403         403       403             403
    GET    /v1/customers                     401     yes    yes     403   403         403       403             403
    GET    /v1/customers/{id}                401     yes    yes     403   403         403       403             403
    POST   /v1/customers/{id}/erase          401     yes    403     403   403         403       403             403
    GET    /v1/customers/{id}/export         401     yes    403     403   403         403       403             403
    GET    /v1/events                        401     yes    yes     403   403         403       403             403
    GET    /v1/accounts                      401     yes    yes     403   403         403       403             403
    POST   /v1/accounts                      401     yes    403     403   403         403       403             403
    GET    /v1/accounts/{id}                 401     yes    yes     403   403         403       403             403
    PATCH  /v1/accounts/{id}                 401     yes    403     403   403         403       403             403
    GET    /v1/tokens                        401     yes    yes     403   403         403       403             403
    POST   /v1/tokens                        401     yes    403     403   403         403       403             403
    DELETE /v1/tokens/{id}                   401     yes    403     403   403         403       403             403
    GET    /v1/users                         401     yes    yes     403   403         403       403             403
    POST   /v1/users                         401     yes    403     403   403         403       403             403
    GET    /v1/users/{id}                    401     yes    yes     403   403         403       403             403
    PATCH  /v1/users/{id}                    401     yes    403     403   403         403       403             403
    DELETE /v1/users/{id}                    401     yes    403     403   403         403       403             403

    GET    /metrics                          401     yes    yes     403   403         403       403             403
    GET    /healthz                          yes     yes    yes     yes   yes         yes       yes             yes
    GET    /readyz                           yes     yes    yes     yes   yes         yes       yes             yes
"#;

/// The callers, in the order of the table's columns.
const CALLERS: [&str; 8] = [
    "nobody",
    "admin",
    "viewer",
    "shop",
    "other shop",
    "importer",
    "other importer",
    "partner",
];

/// A line of the table.
struct Operation {
    method: Method,
    path: &'static str,
    expected: [&'static str; CALLERS.len()],
    body: Option<&'static str>,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with names in it: of the order and the sequence that belong to somebody. What would
    /// change them for the callers after this one goes to things that are not there.
    fn target(&self) -> String {
        let changes = self.method == Method::DELETE || self.method == Method::PUT;
        let (order, sequence) = if changes {
            ("another", "another")
        } else {
            ("1", "editor")
        };
        // The import that made the importer's own keys was the first.
        let id = if self.path.starts_with("/v1/imports") {
            "1"
        } else {
            "4711"
        };
        self.path
            .replace("{ref}", order)
            .replace("{name}", sequence)
            .replace("{sku}", sequence)
            .replace("{activation_id}", "X")
            .replace("{id}", id)
    }

    async fn call(&self, caller: &Persona) -> u16 {
        let mut request = caller.request(self.method.clone(), &self.target());
        if let Some(body) = self.body {
            let media_type = if body.starts_with('{') {
                "application/json"
            } else {
                "text/plain"
            };
            request = request.header("content-type", media_type).body(body);
        }
        caller.send(request).await.status
    }
}

fn table() -> Vec<Operation> {
    let mut lines = TABLE.lines().map(str::trim).filter(|line| !line.is_empty());
    let heading: Vec<_> = lines.next().unwrap().split("  ").map(str::trim).collect();
    let callers: Vec<_> = heading
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(callers[1..], CALLERS);
    let operation = |line: &'static str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (what, rest) = words.split_at(2);
        let expected = rest
            .first_chunk()
            .unwrap_or_else(|| panic!("too short: {line}"));
        assert!(rest.len() <= expected.len() + 1, "too long: {line}");
        Operation {
            method: what[0].parse().unwrap(),
            path: what[1],
            expected: *expected,
            body: rest.get(expected.len()).copied(),
        }
    };
    lines.map(operation).collect()
}

/// The callers of the table, and what is theirs.
async fn callers(app: &TestApp) -> [Persona; CALLERS.len()] {
    app.admin.make_product("editor", json!({})).await;
    let shop = app.persona("shop", "shop").await;
    let importer = json!({ "name": "importer", "role": "importer", "sequences": ["editor"] });
    app.admin.post("/v1/accounts", importer).await.ok();
    let importer = app.persona_of("importer").await;
    importer.import("editor", "", &["K0"]).await.ok();
    shop.order("1", "editor", 1, "completed").await.ok();
    [
        app.software(),
        app.admin.clone(),
        app.persona("viewer", "viewer").await,
        shop,
        app.persona("other shop", "shop").await,
        importer,
        app.persona("other importer", "importer").await,
        app.persona("partner", "partner").await,
    ]
}

#[test]
fn every_operation_is_in_the_table_once_and_every_line_of_it_is_an_operation() {
    let document = serde_json::to_value(countersign::api::document()).unwrap();
    let methods = |item: &Value| {
        item.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let served: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let name = move |method: String| format!("{} {path}", method.to_uppercase());
            methods(item).into_iter().map(name)
        })
        .collect();
    let table = table();
    let written: BTreeSet<String> = table.iter().map(Operation::name).collect();
    assert_eq!(
        written.len(),
        table.len(),
        "an operation stands in the table twice"
    );
    let missing: Vec<_> = served.difference(&written).collect();
    let gone: Vec<_> = written.difference(&served).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the table: {missing:?}; in the table, but no operation: {gone:?}"
    );
}

on_both_databases! {
    /// [UC-21, UC-22]
    async fn every_operation_answers_every_caller_as_the_table_says(app: TestApp) {
        let personas = callers(app).await;
        let mut wrong = Vec::new();
        for operation in table() {
            for ((name, caller), expected) in CALLERS.iter().zip(&personas).zip(operation.expected) {
                let status = operation.call(caller).await;
                let right = match expected {
                    "yes" => ![401, 403, 500].contains(&status),
                    refused => refused == status.to_string(),
                };
                if !right {
                    wrong.push(format!("{}: {name} gets {status}, not {expected}", operation.name()));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    async fn what_is_somebody_elses_cannot_be_told_from_what_is_not_there(app: TestApp) {
        let [.., other_shop, _, other_importer, _] = &callers(app).await;
        for path in ["/v1/orders/1", "/v1/orders/1?shop=shop"] {
            let hidden = other_shop.get(path).await;
            let missing = other_shop.get(&path.replace("/1", "/2").replace("=shop", "=nobody")).await;
            let told = |text: &str| text.replace("`1`", "`2`").replace("`shop`", "`nobody`");
            assert_eq!((hidden.status, told(&hidden.text)), (404, told(&missing.text)), "{path}");
        }
        assert_eq!(other_shop.get("/v1/orders").await.ok()["items"], json!([]));
        let hidden = other_importer.import("editor", "", &["K1"]).await;
        let missing = other_importer.import("nothing", "", &["K1"]).await;
        assert_eq!((hidden.status, hidden.text.replace("editor", "nothing")), (404, missing.text));
        for dry_run in ["", "&dry_run=true"] {
            for create_missing in ["", "&create_missing=true"] {
                let path = format!("/v1/import?format=tsv{dry_run}{create_missing}");
                let hidden = other_importer.post_bytes(&path, "text/plain", "editor\tK9").await;
                let missing = other_importer.post_bytes(&path, "text/plain", "nothing\tK9").await;
                assert!(hidden.text.contains("unknown_sequence"), "{path}: {}", hidden.text);
                assert_eq!((hidden.status, &hidden.text), (missing.status, &missing.text), "{path}");
            }
        }
        assert_eq!(other_importer.get("/v1/imports?limit=500").await.ok()["items"].as_array().unwrap().len(), 4, "its own");
        app.admin.get("/v1/sequences/nothing").await.refused(404, "sequence_not_found");
    }
}
