//! Signed verdicts, as shipped software gets and checks them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Clock;
use countersign_client::{
    ActivateRequest, Client, PublicKeys, TokenError, ValidateRequest, verify_signature,
    verify_verdict,
};
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases};

async fn public_keys(app: &TestApp) -> PublicKeys {
    let jwks = app.software().get("/.well-known/jwks.json").await;
    PublicKeys::from_jwks(&jwks.text).unwrap()
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Asks for a verdict, which is verified, and returns it beside what stands in clear.
async fn verdict(app: &TestApp, body: Value) -> (Value, Value) {
    let answer = app.software().post("/v1/validate", body.clone()).await.ok();
    let signed = answer["signed"].as_str().unwrap();
    let nonce = body["nonce"].as_str().unwrap();
    let now = app.clock.now().seconds();
    let claims = verify_verdict(signed, &public_keys(app).await, nonce, now).unwrap();
    assert_eq!(part(signed, 1), serde_json::to_value(claims).unwrap());
    (part(signed, 1), answer)
}

on_both_databases! {
    async fn a_verdict_is_signed_for_whoever_sends_a_nonce(app: TestApp) {
        app.admin.make_product("editor", json!({ "grace_days": 5 })).await;
        app.admin.import("editor", "valid_for_days=10&max_activations=2", &["K1"]).await.ok();
        let (_, key) = app.admin.buy("1", "editor").await;
        app.software().activate(&key, "m1").await.ok();
        app.pass_days(10);
        let now = app.clock.now().seconds();
        let body = json!({ "key": key, "installation_id": "m1", "product": "editor", "nonce": "n-1 é" });
        let (claims, answer) = verdict(app, body.clone()).await;
        assert_eq!(claims, json!({
            "iss": "countersign", "iat": now, "nbf": now - 300, "exp": now + 300, "nonce": "n-1 é",
            "valid": true, "code": "ok", "in_grace": true, "installation_id": "m1", "product": "editor",
            "key": { "number": "KEY.00000001.0001", "product": "editor", "expires_at": now,
                     "max_activations": 2, "activations": 1 },
        }));
        assert_eq!(part(answer["signed"].as_str().unwrap(), 0)["typ"], "validation+jwt");
        assert_eq!(answer["key"]["expires_at"], "2026-12-02T10:00:00Z");

        let mut without = body;
        without.as_object_mut().unwrap().remove("nonce");
        let plain = app.software().post("/v1/validate", without).await.ok();
        assert!(plain.get("signed").is_none(), "nobody asked for it");
    }

    async fn refusals_are_signed_too(app: TestApp) {
        app.admin.make_stocked_product("editor", "max_activations=1", &["K1", "K2"]).await;
        let (id, key) = app.admin.buy("1", "editor").await;
        app.software().activate(&key, "m1").await.ok();
        for (body, code) in [
            (json!({ "key": "nothing" }), "key_not_found"),
            (json!({ "key": "K2" }), "key_not_found"),
            (json!({ "key": key }), "activation_limit_reached"),
            (json!({ "key": key, "installation_id": "m2" }), "installation_not_activated"),
            (json!({ "key": key, "product": "player" }), "product_mismatch"),
        ] {
            let mut body = body;
            body["nonce"] = json!("n");
            let (claims, answer) = verdict(app, body.clone()).await;
            assert_eq!((&claims["valid"], &claims["code"]), (&json!(false), &json!(code)));
            assert_eq!((&answer["valid"], &answer["code"]), (&json!(false), &json!(code)));
            assert_eq!(claims["key"].is_null(), code == "key_not_found");
            assert_eq!(claims["product"], body.get("product").cloned().unwrap_or_default());
            assert_eq!(claims["installation_id"], body.get("installation_id").cloned().unwrap_or_default());
        }
        app.admin.post(&format!("/v1/keys/{id}/revoke"), json!({})).await.ok();
        let (claims, _) = verdict(app, json!({ "key": key, "installation_id": "m1", "nonce": "n" })).await;
        assert_eq!(claims["code"], "key_revoked");
    }

    async fn a_verdict_is_no_activation_and_an_activation_no_verdict(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        let activation = app.software().activate(&key, "m1").await.ok();
        let activation = activation["token"].as_str().unwrap();
        let body = json!({ "key": key, "installation_id": "m1", "nonce": "n" });
        let answer = app.software().post("/v1/validate", body).await.ok();
        let verdict = answer["signed"].as_str().unwrap();

        let (keys, now) = (public_keys(app).await, app.clock.now().seconds());
        assert_eq!(verify_verdict(activation, &keys, "n", now), Err(TokenError::WrongType));
        assert_eq!(verify_signature(verdict, &keys), Err(TokenError::WrongType));
        for path in ["/v1/activations/renew", "/v1/activations/release"] {
            let answer = app.software().post(path, json!({ "token": verdict })).await;
            answer.refused(401, "token_invalid");
        }
        assert_eq!(verify_verdict(verdict, &keys, "m", now), Err(TokenError::WrongNonce));
        let exp = now + 300;
        assert_eq!(verify_verdict(verdict, &keys, "n", exp + 60), Err(TokenError::Expired { exp }));
    }

    async fn a_nonce_has_1_to_255_bytes(app: TestApp) {
        for nonce in [json!(""), json!("n".repeat(256)), json!(1), json!("a\0")] {
            let body = json!({ "key": "K1", "nonce": nonce });
            let problem = app.software().post("/v1/validate", body).await.refused(422, "validation_failed");
            assert_eq!(problem["errors"][0]["field"], "nonce");
        }
        verdict(app, json!({ "key": "K1", "nonce": "n".repeat(255) })).await;
    }

    async fn the_client_library_asks_with_a_nonce_of_its_own(app: TestApp) {
        app.admin.make_stocked_product("editor", "", &["K1"]).await;
        let (_, key) = app.admin.buy("1", "editor").await;
        // The library goes by the system's clock.
        app.clock.set(Clock::system().now());
        let (base, keys) = (app.base.clone(), public_keys(app).await);
        let asked = tokio::task::spawn_blocking(move || {
            let client = Client::new(&base, keys).unwrap().without_proxy();
            let mut request = ValidateRequest::new(&key);
            request.installation_id = Some("m1".to_owned());
            request.product = Some("editor".to_owned());
            let before = client.validate(&request).unwrap();
            client.activate(&ActivateRequest::new(&key, "m1")).unwrap();
            let after = client.validate(&request).unwrap();
            let unknown = client.validate(&ValidateRequest::new("nothing")).unwrap();
            (before, after, unknown)
        });
        let (before, after, unknown) = asked.await.unwrap();
        assert_eq!((before.valid, before.code.as_str()), (false, "installation_not_activated"));
        assert_eq!((after.valid, after.code.as_str()), (true, "ok"));
        assert_ne!(before.nonce, after.nonce);
        assert_eq!((unknown.code.as_str(), unknown.key), ("key_not_found", None));
    }
}
