//! Calls: what is sent, and what is made of a good answer.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_client::{
    ActivateRequest, ActivationClaims, Client, ClientError, PublicKeys, TokenError,
};
use serde_json::{Value, json};

use crate::server::TestServer;
use crate::support::{TestSigner, claims, encode};

pub const KEY: &str = "ABCDE-FGHIJ-KLMNO";

pub fn current_claims() -> ActivationClaims {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(elapsed.as_secs()).unwrap();
    ActivationClaims {
        iat: now,
        nbf: now - 300,
        exp: now + 3_600,
        ..claims()
    }
}

pub fn activation(signer: &TestSigner, claims: &ActivationClaims) -> Value {
    json!({
        "activation_id": claims.activation_id,
        "installation_id": claims.installation_id,
        "created_at": "2026-11-22T10:00:00Z",
        "renew_by": "2026-12-22T10:00:00Z",
        "token": signer.sign(claims),
        "key": {"number": "PLSK.00000017.0001", "product": "editor-pro", "status": "delivered",
            "expires_at": null, "max_activations": 3, "activations": 1},
        "attached": [{"number": "EXT.00000018.0000", "product": "editor-spell",
            "expires_at": null}],
        "member of a later version": 1,
    })
}

pub fn client(server: &TestServer) -> Client {
    Client::new(&server.url, TestSigner::new(1).pinned()).unwrap()
}

pub fn request() -> ActivateRequest {
    ActivateRequest::new(KEY, "machine-1")
}

#[test]
fn an_activation_returns_the_verified_claims() {
    let claims = current_claims();
    let answer = activation(&TestSigner::new(1), &claims);
    for status in ["201 Created", "200 OK"] {
        let server = TestServer::answering(status, &[], &answer.to_string());

        let activation = client(&server).activate(&request()).unwrap();

        assert_eq!(activation.claims, claims);
        assert_eq!(activation.token, answer["token"]);
        assert_eq!(activation.key.number, "PLSK.00000017.0001");
        assert_eq!(activation.key.max_activations, Some(3));
        assert_eq!(activation.attached[0].product, "editor-spell");
        let sent = server.request();
        assert_eq!(sent.line, "POST /v1/activations");
        assert_eq!(
            sent.json(),
            json!({"key": KEY, "installation_id": "machine-1"})
        );
    }
}

#[test]
fn everything_that_is_set_is_sent() {
    let server = TestServer::answering("503 Busy", &[], "");
    let mut request = request();
    request.product = Some("editor-pro".to_owned());
    request.label = Some("Ann's laptop".to_owned());
    request.platform = Some("linux".to_owned());
    request.app_version = Some("2.1".to_owned());
    request.extra = json!({"seat": 4}).as_object().cloned();

    client(&server).activate(&request).unwrap_err();

    assert_eq!(
        server.request().json(),
        json!({"key": KEY, "installation_id": "machine-1", "product": "editor-pro",
            "label": "Ann's laptop", "platform": "linux", "app_version": "2.1",
            "extra": {"seat": 4}})
    );
}

#[test]
fn renewals_name_the_token_or_the_key() {
    let signer = TestSigner::new(1);
    let claims = current_claims();
    let server = TestServer::answering("200 OK", &[], &activation(&signer, &claims).to_string());
    let client = client(&server);
    let old = signer.sign(&ActivationClaims {
        exp: 1,
        nbf: 0,
        ..claims.clone()
    });

    assert_eq!(client.renew(&old).unwrap().claims, claims);
    let sent = server.request();
    assert_eq!(sent.line, "POST /v1/activations/renew");
    assert_eq!(sent.json(), json!({"token": old}));

    assert_eq!(
        client.renew_with_key(KEY, "machine-1").unwrap().claims,
        claims
    );
    let sent = server.request();
    assert_eq!(sent.line, "POST /v1/activations/renew");
    assert_eq!(
        sent.json(),
        json!({"key": KEY, "installation_id": "machine-1"})
    );
}

#[test]
fn a_token_without_a_good_signature_is_not_sent_to_be_renewed() {
    let server = TestServer::answering("200 OK", &[], "{}");
    let foreign = TestSigner::new(2);

    assert_eq!(
        client(&server).renew(&foreign.sign(&claims())).unwrap_err(),
        ClientError::Token(TokenError::UnknownKey { kid: foreign.kid() })
    );
    assert!(server.was_asked_nothing());
}

#[test]
fn releases_name_the_token_or_the_key() {
    let server = TestServer::answering("204 No Content", &[], "");
    let client = client(&server);

    client.release("a.b.c").unwrap();
    let sent = server.request();
    assert_eq!(sent.line, "POST /v1/activations/release");
    assert_eq!(sent.json(), json!({"token": "a.b.c"}));

    client.release_with_key(KEY, "machine-1").unwrap();
    assert_eq!(
        server.request().json(),
        json!({"key": KEY, "installation_id": "machine-1"})
    );
}

#[test]
fn a_release_is_done_only_when_the_server_says_so() {
    let server = TestServer::answering("200 OK", &[], "<html>Welcome to our hotel</html>");

    assert!(matches!(
        client(&server).release("a.b.c"),
        Err(ClientError::Protocol(_))
    ));
}

#[test]
fn the_keys_of_the_server_can_be_fetched() {
    let signer = TestSigner::new(1);
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": signer.kid(),
        "x": encode(signer.public_key())}]});
    let server = TestServer::answering("200 OK", &[], &set.to_string());
    let client = Client::new(&server.url, PublicKeys::new()).unwrap();

    assert_eq!(client.fetch_jwks(), Ok(signer.pinned()));
    assert_eq!(server.request().line, "GET /.well-known/jwks.json");

    let server = TestServer::answering("200 OK", &[], r#"{"keys":[]}"#);
    let client = Client::new(&server.url, PublicKeys::new()).unwrap();
    assert!(matches!(client.fetch_jwks(), Err(ClientError::Protocol(_))));
}

#[test]
fn the_base_url_may_have_a_folder_and_a_slash() {
    let server = TestServer::answering("204 No Content", &[], "");
    for base in [
        format!("{}/licenses", server.url),
        format!("{}/licenses/", server.url),
    ] {
        let client = Client::new(&base, PublicKeys::new()).unwrap();
        client.release("a.b.c").unwrap();
        assert_eq!(
            server.request().line,
            "POST /licenses/v1/activations/release"
        );
    }
}

#[test]
fn a_base_url_that_cannot_be_used_is_refused_at_once() {
    for url in [
        "",
        "licenses.example.com",
        "/v1",
        "ftp://licenses.example.com",
        "https://",
        "https://user:password@licenses.example.com",
        "https://licenses.example.com/?a=b",
        "https://licenses.example.com/#a",
    ] {
        let error = Client::new(url, PublicKeys::new()).unwrap_err();
        assert!(matches!(error, ClientError::BaseUrl(_)), "{url}");
        assert!(!format!("{error} {error:?}").contains("password@"));
    }
}

#[test]
fn neither_key_nor_token_is_shown_by_debug() {
    let signer = TestSigner::new(1);
    let answer = activation(&signer, &current_claims());
    let server = TestServer::answering("201 Created", &[], &answer.to_string());
    let client = client(&server);
    let activation = client.activate(&request()).unwrap();

    let shown = format!("{:?} {client:?} {activation:?}", request());

    assert!(!shown.contains(KEY));
    assert!(!shown.contains(&activation.token));
    assert!(shown.contains("machine-1"));
    assert!(shown.contains(&signer.kid()));
}
