//! Asking for a verdict.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_client::{ClientError, TokenError, ValidateRequest, VerdictClaims};
use serde_json::{Value, json};

use crate::client::{KEY, client};
use crate::server::TestServer;
use crate::support::TestSigner;
use crate::verdict::{sign, verdict};

/// A verdict of now that says what was asked.
fn answer_to(request: &Value) -> VerdictClaims {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(elapsed.as_secs()).unwrap();
    let text = |member: &str| request[member].as_str().map(str::to_owned);
    VerdictClaims {
        iat: now,
        nbf: now - 300,
        exp: now + 300,
        nonce: text("nonce").unwrap(),
        installation_id: text("installation_id"),
        product: text("product"),
        ..verdict()
    }
}

/// A server whose verdicts are changed by `change` before they are signed with the key of `seed`.
fn server(seed: u8, change: fn(&mut VerdictClaims)) -> TestServer {
    TestServer::answering_json(move |request| {
        let mut claims = answer_to(&request.json());
        change(&mut claims);
        // Beside the signature anybody can write anything.
        json!({"valid": true, "code": "ok", "signed": sign(&TestSigner::new(seed), &claims)})
    })
}

fn request() -> ValidateRequest {
    let mut request = ValidateRequest::new(KEY);
    request.installation_id = Some("machine-1".to_owned());
    request
}

#[test]
fn a_verdict_is_asked_for_with_a_nonce_that_is_new_each_time() {
    let server = server(1, |_| {});
    let client = client(&server);

    let first = client.validate(&request()).unwrap();
    assert!(first.valid);
    let sent = server.request();
    assert_eq!(sent.line, "POST /v1/validate");
    assert_eq!(
        sent.json(),
        json!({"key": KEY, "installation_id": "machine-1", "nonce": first.nonce})
    );
    assert_eq!(first.nonce.len(), 32);
    let second = client.validate(&ValidateRequest::new(KEY)).unwrap();
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(second.installation_id, None);
}

#[test]
fn a_key_that_is_not_good_is_a_verdict_and_no_error() {
    let server = server(1, |claims| {
        claims.valid = false;
        claims.code = "key_not_found".to_owned();
        claims.key = None;
    });

    let verdict = client(&server).validate(&request()).unwrap();
    assert_eq!(
        (verdict.valid, verdict.code.as_str()),
        (false, "key_not_found")
    );
}

#[test]
fn a_verdict_that_is_not_the_server_s_or_on_something_else_is_an_error() {
    let cases: [(u8, fn(&mut VerdictClaims), TokenError); 5] = [
        (
            2,
            |_| {},
            TokenError::UnknownKey {
                kid: TestSigner::new(2).kid(),
            },
        ),
        (
            1,
            |claims| claims.nonce = "n-1".to_owned(),
            TokenError::WrongNonce,
        ),
        (
            1,
            |claims| claims.installation_id = None,
            TokenError::WrongInstallation,
        ),
        (
            1,
            |claims| claims.product = Some("other".to_owned()),
            TokenError::WrongProduct,
        ),
        (
            1,
            |claims| claims.exp = 1_000,
            TokenError::Expired { exp: 1_000 },
        ),
    ];
    for (seed, change, error) in cases {
        assert_eq!(
            client(&server(seed, change)).validate(&request()),
            Err(ClientError::Token(error))
        );
    }
}

#[test]
fn an_answer_without_a_signed_verdict_is_an_error() {
    let server = TestServer::answering_json(|_| json!({"valid": true, "code": "ok"}));

    let error = client(&server).validate(&request()).unwrap_err();
    assert!(matches!(error, ClientError::Protocol(_)), "{error}");
    assert!(!error.to_string().contains(KEY));
    assert!(!format!("{:?}", request()).contains(KEY));
}
