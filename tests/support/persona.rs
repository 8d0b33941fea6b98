//! People and programs that call the server.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Someone with or without an API token.
#[derive(Clone)]
pub(crate) struct Persona {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Persona {
    pub(crate) fn new(base: &str, token: Option<String>) -> Self {
        // Nobody has to go through a proxy to reach this machine.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            http,
            base: base.to_owned(),
            token,
        }
    }

    /// The secret of its API token.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// As [`Persona::send`], to a server that may die before it has answered.
    pub(crate) async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body))
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Posts bytes as they are.
    pub(crate) async fn post_bytes(
        &self,
        path: &str,
        media_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", media_type)
            .body(body.into());
        self.send(request).await
    }

    /// Imports keys into a sequence that is there, one per line.
    pub(crate) async fn import(&self, sequence: &str, query: &str, keys: &[&str]) -> Answer {
        let path = format!("/v1/sequences/{sequence}/import?{query}");
        self.post_bytes(&path, "text/plain", keys.join("\n")).await
    }

    /// Makes a sequence and a product of the same name that uses it, with some more members.
    pub(crate) async fn make_product(&self, sku: &str, more: Value) {
        let answer = self
            .post("/v1/sequences", serde_json::json!({ "name": sku }))
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let mut body = serde_json::json!({ "sku": sku, "sequence": sku });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = self.post("/v1/products", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    /// Makes a product with these keys in stock.
    pub(crate) async fn make_stocked_product(&self, sku: &str, query: &str, keys: &[&str]) {
        self.make_product(sku, serde_json::json!({})).await;
        let answer = self.import(sku, query, keys).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Reports an order of one product.
    pub(crate) async fn order(
        &self,
        reference: &str,
        sku: &str,
        quantity: i64,
        status: &str,
    ) -> Answer {
        let body = serde_json::json!({ "status": status, "lines": [{ "sku": sku, "quantity": quantity }] });
        self.put(&format!("/v1/orders/{reference}"), body).await
    }

    /// Buys one piece of a product and returns the key's id and text.
    pub(crate) async fn buy(&self, reference: &str, sku: &str) -> (i64, String) {
        let order = self.order(reference, sku, 1, "payment_received").await.ok();
        let key = &order["lines"][0]["keys"][0];
        (
            key["id"].as_i64().expect("the order has a key"),
            key["key"].as_str().unwrap().to_owned(),
        )
    }

    /// Activates an installation on a key.
    pub(crate) async fn activate(&self, key: &str, installation: &str) -> Answer {
        let body = serde_json::json!({ "key": key, "installation_id": installation });
        self.post("/v1/activations", body).await
    }
}

impl Answer {
    /// The body as JSON, of whatever status.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{}: {}",
            self.status,
            self.text
        );
        self.json()
    }

    /// Asserts a refusal as problem+json and returns its body.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        let media_type = self
            .headers
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        assert_eq!(
            media_type,
            Some("application/problem+json"),
            "{}",
            self.text
        );
        assert!(self.headers.contains_key("x-request-id"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(problem["status"], status);
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        problem
    }

    /// The keys on the lines of an order, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        keys_of(&self.ok())
    }
}

/// The texts of the keys on the lines of an order.
pub(crate) fn keys_of(order: &Value) -> Vec<String> {
    let lines = order["lines"].as_array().unwrap().iter();
    lines
        .flat_map(|line| line["keys"].as_array().unwrap())
        .map(|key| key["key"].as_str().unwrap().to_owned())
        .collect()
}
