//! Activation tokens, as other software sees them.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_client::{PublicKeys, TokenError, Verifier, verify_signature};
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases};

async fn a_token(app: &TestApp) -> (String, PublicKeys) {
    let entitlements = json!({ "entitlements": { "plugins": ["spell"], "seats": 5 } });
    app.admin.make_product("editor", entitlements).await;
    app.admin
        .import("editor", "valid_for_days=365", &["K1"])
        .await
        .ok();
    let (_, key) = app.admin.buy("1", "editor").await;
    let activation = app.software().activate(&key, "machine-1").await.ok();
    let jwks = app.software().get("/.well-known/jwks.json").await;
    (
        activation["token"].as_str().unwrap().to_owned(),
        PublicKeys::from_jwks(&jwks.text).unwrap(),
    )
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

on_both_databases! {
    async fn a_token_says_what_the_contract_says(app: TestApp) {
        let (token, keys) = a_token(app).await;
        let header = part(&token, 0);
        assert_eq!(header["alg"], "EdDSA");
        assert_eq!(header["typ"], "activation+jwt");
        assert!(keys.kids().any(|kid| header["kid"] == kid));
        let claims = part(&token, 1);
        let now = app.clock.now().seconds();
        let expected = json!({
            "iss": "countersign", "sub": "KEY.00000001", "aud": "editor", "jti": claims["jti"],
            "iat": now, "nbf": now - 300, "exp": now + 30 * 86_400,
            "activation_id": claims["activation_id"], "installation_id": "machine-1",
            "key_expires_at": now + 365 * 86_400,
            "entitlements": { "plugins": ["spell"], "seats": 5 }, "attached": [],
        });
        assert_eq!(claims, expected);
        let verifier = Verifier::new(keys).issuer("countersign").product("editor").installation_id("machine-1");
        verifier.verify_at(&token, now).unwrap();
        assert!(matches!(verifier.verify_at(&token, now + 40 * 86_400), Err(TokenError::Expired { .. })));
    }

    async fn a_library_that_is_not_ours_verifies_it_and_refuses_every_forgery(app: TestApp) {
        let (token, keys) = a_token(app).await;
        let header = part(&token, 0);
        let jwks = app.software().get("/.well-known/jwks.json").await.json();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        let changed_signature = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        let mut claims = part(&token, 1);
        claims["exp"] = json!(claims["exp"].as_i64().unwrap() + 1);
        let changed_claims =
            [token.split('.').next().unwrap(), &URL_SAFE_NO_PAD.encode(claims.to_string()), signature].join(".");
        let none = with_header(&token, &json!({ "alg": "none", "typ": "activation+jwt", "kid": header["kid"] }));
        let hs256 = with_header(&token, &json!({ "alg": "HS256", "typ": "activation+jwt", "kid": header["kid"] }));
        let other_key = with_header(&token, &json!({ "alg": "EdDSA", "typ": "activation+jwt", "kid": "other" }));
        let forgeries = [&changed_signature, &changed_claims, &none, &hs256];

        for forgery in forgeries.into_iter().chain([&other_key]) {
            assert!(verify_signature(forgery, &keys).is_err(), "{forgery}");
            let renewed = app.software().post("/v1/activations/renew", json!({ "token": forgery })).await;
            renewed.refused(401, "token_invalid");
        }
        let jwk = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        let other = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] != header["kid"]).unwrap();
        let accepted = verify_with_python(&json!({
            "jwk": jwk, "other": other, "token": token, "forgeries": forgeries, "audience": "editor",
        }));
        assert_eq!(accepted, part(&token, 1), "the claims as the other library reads them");
    }

    async fn the_public_keys_are_published_for_verifying_and_for_pinning_ahead(app: TestApp) {
        let answer = app.software().get("/.well-known/jwks.json").await;
        assert_eq!(answer.headers["cache-control"], "public, max-age=300");
        let jwks = answer.json();
        assert_eq!(jwks["keys"].as_array().unwrap().len(), 2, "the one that signs and the next one");
        for key in jwks["keys"].as_array().unwrap() {
            assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
            assert_eq!((&key["use"], &key["alg"]), (&json!("sig"), &json!("EdDSA")));
            let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
            assert_eq!(key["kid"], countersign_client::kid(&x.try_into().unwrap()));
            assert!(key.get("d").is_none(), "the private half stays here");
        }
    }

    async fn after_a_rotation_old_tokens_verify_and_renew_and_new_ones_name_the_next_key(app: TestApp) {
        let (token, keys) = a_token(app).await;
        let rotated = app.app.obey(countersign::control::Command::RotateKeys).await.unwrap();
        let countersign::control::Reply::Rotated { warning } = rotated else { panic!("{rotated:?}") };
        assert!(warning.unwrap().contains("published only"), "the next key was made a moment ago");
        let renewed = app.software().post("/v1/activations/renew", json!({ "token": token })).await.ok();
        let renewed = renewed["token"].as_str().unwrap();
        assert_ne!(part(renewed, 0)["kid"], part(&token, 0)["kid"]);
        verify_signature(renewed, &keys).expect("the next key was published before it signed");
        let jwks = app.software().get("/.well-known/jwks.json").await;
        assert_eq!(jwks.json()["keys"].as_array().unwrap().len(), 3);
        verify_signature(&token, &PublicKeys::from_jwks(&jwks.text).unwrap()).unwrap();
    }
}

/// Lets `PyJWT` read the token and refuse the forgeries; returns the claims.
fn verify_with_python(input: &Value) -> Value {
    const PROGRAM: &str = r#"
import json, sys, jwt
given = json.load(sys.stdin)
def read(token, jwk):
    key = jwt.algorithms.OKPAlgorithm.from_jwk(json.dumps(jwk))
    # The test's clock stands still, so the times are the test's to check.
    return jwt.decode(token, key, algorithms=["EdDSA"], audience=given["audience"], issuer="countersign",
                      options={"verify_exp": False, "verify_nbf": False, "verify_iat": False})
claims = read(given["token"], given["jwk"])
for token, jwk in [(forgery, given["jwk"]) for forgery in given["forgeries"]] + [(given["token"], given["other"])]:
    try:
        read(token, jwk)
    except jwt.InvalidTokenError:
        continue
    sys.exit("accepted a forgery: " + token)
json.dump(claims, sys.stdout)
"#;
    use std::io::Write;
    let python = std::env::var("TEST_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let Ok(mut child) = Command::new(&python)
        .args(["-c", PROGRAM])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
    else {
        return without_python(input);
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if std::env::var("TEST_PYTHON").is_err() && complaint.contains("No module named") {
        return without_python(input);
    }
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// On a machine without `PyJWT` (`scripts/test` installs it) the other library is jsonwebtoken.
fn without_python(input: &Value) -> Value {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    crate::support::jwt::install();
    let read = |token: &Value, jwk: &Value| {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["editor"]);
        validation.set_issuer(&["countersign"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_ed_components(jwk["x"].as_str().unwrap()).unwrap();
        decode::<Value>(token.as_str().unwrap(), &key, &validation).map(|token| token.claims)
    };
    for forgery in input["forgeries"].as_array().unwrap() {
        assert!(read(forgery, &input["jwk"]).is_err(), "{forgery}");
    }
    assert!(read(&input["token"], &input["other"]).is_err());
    read(&input["token"], &input["jwk"]).unwrap()
}
