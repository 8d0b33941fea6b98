//! Verdicts: the signature, the nonce and the times, and that no other token is one.

use countersign_client::{
    PublicKeys, TokenError, VERDICT_TYPE, VerdictClaims, VerdictKey, verify_signature,
    verify_verdict,
};
use serde_json::{Value, json};

use crate::support::{NOW, TestSigner, claims};

pub fn verdict() -> VerdictClaims {
    VerdictClaims {
        iss: "https://licenses.example.com".to_owned(),
        iat: NOW,
        nbf: NOW - 300,
        exp: NOW + 300,
        nonce: "n-1".to_owned(),
        valid: true,
        code: "ok".to_owned(),
        in_grace: false,
        installation_id: Some("machine-1".to_owned()),
        product: None,
        key: Some(VerdictKey {
            number: "PLSK.00000017.0001".to_owned(),
            product: "editor-pro".to_owned(),
            expires_at: Some(NOW + 86_400),
            max_activations: Some(3),
            activations: 1,
        }),
    }
}

pub fn sign(signer: &TestSigner, claims: &VerdictClaims) -> String {
    sign_as(VERDICT_TYPE, signer, &serde_json::to_value(claims).unwrap())
}

fn sign_as(typ: &str, signer: &TestSigner, payload: &Value) -> String {
    let mut header = signer.header();
    header["typ"] = json!(typ);
    signer.sign_json(&header, payload)
}

#[test]
fn a_good_verdict_yields_its_claims() {
    let signer = TestSigner::new(1);
    let mut unknown = verdict();
    unknown.valid = false;
    unknown.code = "key_not_found".to_owned();
    unknown.key = None;

    for claims in [verdict(), unknown] {
        let token = sign(&signer, &claims);
        assert_eq!(
            verify_verdict(&token, &signer.pinned(), "n-1", NOW),
            Ok(claims)
        );
    }
}

#[test]
fn the_claims_have_the_names_of_the_contract() {
    assert_eq!(
        serde_json::to_string(&verdict()).unwrap(),
        concat!(
            r#"{"iss":"https://licenses.example.com","iat":1800000000,"nbf":1799999700,"#,
            r#""exp":1800000300,"nonce":"n-1","valid":true,"code":"ok","in_grace":false,"#,
            r#""installation_id":"machine-1","product":null,"key":{"#,
            r#""number":"PLSK.00000017.0001","product":"editor-pro","expires_at":1800086400,"#,
            r#""max_activations":3,"activations":1}}"#
        )
    );
}

#[test]
fn the_answer_to_another_request_is_refused() {
    let signer = TestSigner::new(1);
    let token = sign(&signer, &verdict());

    for nonce in ["", "n-2", "N-1", "n-1 "] {
        assert_eq!(
            verify_verdict(&token, &signer.pinned(), nonce, NOW),
            Err(TokenError::WrongNonce)
        );
    }
}

#[test]
fn a_verdict_holds_for_minutes_and_clocks_may_differ_by_one() {
    let signer = TestSigner::new(1);
    let token = sign(&signer, &verdict());
    let verify = |now| verify_verdict(&token, &signer.pinned(), "n-1", now);
    let (nbf, exp) = (verdict().nbf, verdict().exp);

    assert_eq!(verify(nbf - 60), Ok(verdict()));
    assert_eq!(verify(nbf - 61), Err(TokenError::NotYetValid { nbf }));
    assert_eq!(verify(exp + 59), Ok(verdict()));
    assert_eq!(verify(exp + 60), Err(TokenError::Expired { exp }));
    assert!(verify(i64::MAX).is_err() && verify(i64::MIN).is_err());
}

#[test]
fn no_token_of_one_type_is_accepted_as_the_other() {
    let signer = TestSigner::new(1);
    let keys = signer.pinned();
    let activation = signer.sign(&claims());
    let token = sign(&signer, &verdict());

    assert_eq!(
        verify_verdict(&activation, &keys, "n-1", NOW),
        Err(TokenError::WrongType)
    );
    assert_eq!(verify_signature(&token, &keys), Err(TokenError::WrongType));

    // Not even when it says everything that the other says.
    let mut both = serde_json::to_value(claims()).unwrap();
    for (name, value) in serde_json::to_value(verdict())
        .unwrap()
        .as_object()
        .unwrap()
    {
        both[name] = value.clone();
    }
    both["installation_id"] = json!("machine-1");
    let as_activation = signer.sign_json(&signer.header(), &both);
    let as_verdict = sign_as(VERDICT_TYPE, &signer, &both);
    assert!(verify_signature(&as_activation, &keys).is_ok());
    assert!(verify_verdict(&as_verdict, &keys, "n-1", NOW).is_ok());
    assert_eq!(
        verify_verdict(&as_activation, &keys, "n-1", NOW),
        Err(TokenError::WrongType)
    );
    assert_eq!(
        verify_signature(&as_verdict, &keys),
        Err(TokenError::WrongType)
    );
}

#[test]
fn nobody_else_can_make_one() {
    let ours = TestSigner::new(1);
    let foreign = TestSigner::new(2);
    let header = json!({"alg": "EdDSA", "typ": VERDICT_TYPE, "kid": ours.kid()});
    let forged = foreign.sign_json(&header, &serde_json::to_value(verdict()).unwrap());

    assert_eq!(
        verify_verdict(&forged, &ours.pinned(), "n-1", NOW),
        Err(TokenError::BadSignature)
    );
    assert_eq!(
        verify_verdict(&sign(&foreign, &verdict()), &ours.pinned(), "n-1", NOW),
        Err(TokenError::UnknownKey { kid: foreign.kid() })
    );
    assert!(verify_verdict(&sign(&ours, &verdict()), &PublicKeys::new(), "n-1", NOW).is_err());
    assert_eq!(
        verify_verdict("", &ours.pinned(), "n-1", NOW),
        Err(TokenError::Malformed)
    );
}
