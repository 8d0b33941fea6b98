//! Answers that are refused, and what is told about them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use countersign_client::{Client, ClientError, TokenError};
use serde_json::json;

use crate::client::{KEY, activation, client, current_claims, request};
use crate::server::TestServer;
use crate::support::TestSigner;

/// What `activate` makes of this answer.
fn activate_answered(status: &str, headers: &[&str], body: &str) -> ClientError {
    let server = TestServer::answering(status, headers, body);
    client(&server).activate(&request()).unwrap_err()
}

fn problem(code: &str, status: u16, detail: &str) -> String {
    json!({"type": format!("https://example.com/errors#{code}"), "title": "Refused",
        "status": status, "code": code, "detail": detail})
    .to_string()
}

#[test]
fn a_refusal_tells_code_status_and_detail() {
    for (code, status) in [
        ("key_not_found", 404),
        ("activation_limit_reached", 409),
        ("key_revoked", 403),
        ("token_invalid", 401),
        ("product_mismatch", 422),
        ("internal_error", 500),
    ] {
        let error = activate_answered(
            &format!("{status} X"),
            &["Content-Type: application/problem+json"],
            &problem(code, status, "Because."),
        );
        assert_eq!(
            error,
            ClientError::Refused {
                code: code.to_owned(),
                status,
                detail: "Because.".to_owned()
            }
        );
        assert!(error.to_string().contains(code));
    }
}

#[test]
fn a_busy_server_tells_when_to_come_back() {
    let body = problem("rate_limited", 429, "Slowly.");
    for (status, header, retry_after) in [
        (503, "Retry-After: 17", Some(17)),
        (429, "retry-after: 0", Some(0)),
        (429, "Retry-After: Sun, 22 Nov 2026 10:00:00 GMT", None),
        (503, "X-Other: 1", None),
        (502, "X-Other: 1", None),
        (504, "X-Other: 1", None),
    ] {
        assert_eq!(
            activate_answered(&format!("{status} X"), &[header], &body),
            ClientError::Unavailable {
                status,
                retry_after
            }
        );
    }
}

#[test]
fn a_token_signed_by_a_foreign_key_is_refused() {
    let foreign = TestSigner::new(2);
    let answer = activation(&foreign, &current_claims());

    assert_eq!(
        activate_answered("201 Created", &[], &answer.to_string()),
        ClientError::Token(TokenError::UnknownKey { kid: foreign.kid() })
    );
}

#[test]
fn a_token_for_another_installation_is_refused() {
    let mut claims = current_claims();
    claims.installation_id = "machine-2".to_owned();
    let mut answer = activation(&TestSigner::new(1), &claims);
    let wrong = ClientError::Token(TokenError::WrongInstallation);
    assert_eq!(
        activate_answered("201 Created", &[], &answer.to_string()),
        wrong
    );

    answer["installation_id"] = json!("machine-1");
    assert_eq!(
        activate_answered("201 Created", &[], &answer.to_string()),
        wrong
    );
}

#[test]
fn a_token_for_another_product_than_the_one_named_is_refused() {
    let answer = activation(&TestSigner::new(1), &current_claims());
    let server = TestServer::answering("201 Created", &[], &answer.to_string());
    let mut request = request();

    request.product = Some("editor-pro".to_owned());
    assert!(client(&server).activate(&request).is_ok());
    request.product = Some("editor-basic".to_owned());
    assert_eq!(
        client(&server).activate(&request).unwrap_err(),
        ClientError::Token(TokenError::WrongProduct)
    );
}

#[test]
fn a_replayed_answer_with_an_expired_token_is_refused() {
    let mut claims = current_claims();
    claims.exp -= 7_200;
    let answer = activation(&TestSigner::new(1), &claims);

    assert_eq!(
        activate_answered("200 OK", &[], &answer.to_string()),
        ClientError::Token(TokenError::Expired { exp: claims.exp })
    );
}

#[test]
fn an_answer_that_contradicts_its_token_is_refused() {
    for member in ["activation_id", "installation_id"] {
        let mut answer = activation(&TestSigner::new(1), &current_claims());
        answer[member] = json!("other");
        assert!(matches!(
            activate_answered("201 Created", &[], &answer.to_string()),
            ClientError::Protocol(_)
        ));
    }
}

#[test]
fn answers_outside_the_contract_are_protocol_errors() {
    let too_long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for (status, body) in [
        ("201 Created", ""),
        ("201 Created", "{"),
        ("201 Created", "{}"),
        ("200 OK", "<html>Please sign in</html>"),
        ("200 OK", too_long.as_str()),
        ("202 Accepted", "{}"),
        ("404 Not Found", "<html>"),
        ("500 Oops", r#"{"detail":"no code"}"#),
    ] {
        let error = activate_answered(status, &[], body);
        assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    }
}

#[test]
fn redirects_are_not_followed() {
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let target = TestServer::answering("201 Created", &[], "{}");
        let location = format!("Location: {}/v1/activations", target.url);
        let error = activate_answered(status, &[&location], "");

        assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
        assert!(target.was_asked_nothing());
    }
}

#[test]
fn a_server_that_is_not_there_or_talks_nonsense_is_told_apart() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let client_of_nobody =
        Client::new(&format!("http://{address}"), TestSigner::new(1).pinned()).unwrap();
    assert!(matches!(
        client_of_nobody.activate(&request()),
        Err(ClientError::Transport(_))
    ));

    let server = TestServer::answering_raw("SMTP ready\r\n\r\n".to_owned());
    assert!(matches!(
        client(&server).activate(&request()),
        Err(ClientError::Protocol(_))
    ));
    let server =
        TestServer::answering_raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_owned());
    assert!(matches!(
        client(&server).activate(&request()),
        Err(ClientError::Transport(_))
    ));
}

#[test]
fn a_silent_server_is_given_up_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&url, TestSigner::new(1).pinned())
        .unwrap()
        .timeout(Duration::from_millis(100));

    let begun = Instant::now();
    assert!(matches!(
        client.activate(&request()),
        Err(ClientError::Transport(_))
    ));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn neither_key_nor_token_is_shown_by_an_error() {
    let echoed = problem(KEY, 404, &format!("`{KEY}` is unknown."));
    let error = activate_answered("404 Not Found", &[], &echoed);
    assert!(!format!("{error} {error:?}").contains(KEY));
    assert!(error.to_string().contains("is unknown."));

    // `serde_json` would quote the text that stands where a number was expected.
    let mut answer = activation(&TestSigner::new(1), &current_claims());
    answer["key"]["activations"] = answer["token"].clone();
    let error = activate_answered("201 Created", &[], &answer.to_string());
    assert!(!format!("{error} {error:?}").contains(answer["token"].as_str().unwrap()));
}
