//! What the server answered.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{Response, StatusCode};

use super::activation::{Activation, UnverifiedActivation};
use super::error::ClientError;
use super::request::ValidateRequest;
use crate::token::now_seconds;
use crate::{PublicKeys, TokenError, VerdictClaims, Verifier, verify_verdict};

/// The longest answer that is read, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// A successful answer.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the whole answer, and makes every status that is not a success an error.
    ///
    /// Servers do not repeat `secret`, the key or token that was sent, but should one do so, it is
    /// masked.
    pub(super) fn read(mut response: Response<Body>, secret: &str) -> Result<Self, ClientError> {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_LENGTH)
            .read_to_vec()?;

        if status.is_success() {
            return Ok(Self { status, body });
        }
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => ClientError::Unavailable {
                status: status.as_u16(),
                retry_after,
            },
            _ => refusal(status, &body, secret),
        })
    }

    pub(super) fn into_activation(self, verifier: &Verifier) -> Result<Activation, ClientError> {
        self.expect_status(&[StatusCode::OK, StatusCode::CREATED])?;
        let activation: UnverifiedActivation = parse(&self.body)?;

        let claims = verifier.verify(&activation.token)?;
        if activation.activation_id != claims.activation_id
            || activation.installation_id != claims.installation_id
        {
            return Err(ClientError::Protocol(
                "the token is for another activation than the rest of it".to_owned(),
            ));
        }
        Ok(activation.with_claims(claims))
    }

    pub(super) fn into_verdict(
        self,
        keys: &PublicKeys,
        request: &ValidateRequest,
        nonce: &str,
    ) -> Result<VerdictClaims, ClientError> {
        self.expect_status(&[StatusCode::OK])?;
        let Verdict { signed } = parse(&self.body)?;

        let claims = verify_verdict(&signed, keys, nonce, now_seconds())?;
        // The question may have been changed on its way.
        if claims.installation_id != request.installation_id {
            return Err(TokenError::WrongInstallation.into());
        }
        if claims.product != request.product {
            return Err(TokenError::WrongProduct.into());
        }
        Ok(claims)
    }

    pub(super) fn into_keys(self) -> Result<PublicKeys, ClientError> {
        self.expect_status(&[StatusCode::OK])?;
        let text = str::from_utf8(&self.body)
            .map_err(|_| ClientError::Protocol("it is not UTF-8".to_owned()))?;
        PublicKeys::from_jwks(text).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    pub(super) fn into_nothing(self) -> Result<(), ClientError> {
        self.expect_status(&[StatusCode::NO_CONTENT])
    }

    /// Not any success will do: the sign-in page of a public network answers 200 to everything.
    fn expect_status(&self, expected: &[StatusCode]) -> Result<(), ClientError> {
        if expected.contains(&self.status) {
            return Ok(());
        }
        Err(ClientError::Protocol(format!(
            "its status is {}",
            self.status
        )))
    }
}

/// The part of a verdict that counts: what stands beside it is not signed.
#[derive(Deserialize)]
struct Verdict {
    signed: String,
}

/// The members of a problem document that are of use here.
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
}

fn refusal(status: StatusCode, body: &[u8], secret: &str) -> ClientError {
    if status.is_redirection() {
        return ClientError::Protocol(format!(
            "it redirects (status {status}); set the base URL to the final address"
        ));
    }
    match parse::<Problem>(body) {
        Ok(problem) => ClientError::Refused {
            code: mask(problem.code, secret),
            status: status.as_u16(),
            detail: mask(problem.detail, secret),
        },
        Err(_) => ClientError::Protocol(format!(
            "its status is {status}, without a problem document"
        )),
    }
}

fn mask(text: String, secret: &str) -> String {
    if secret.is_empty() {
        return text;
    }
    text.replace(secret, "…")
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ClientError> {
    // Only the place: the message of `serde_json` may quote the token.
    serde_json::from_slice(json).map_err(|error| {
        ClientError::Protocol(format!(
            "it is not the JSON that was expected (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}
