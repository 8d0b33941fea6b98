//! Whether answers are right: the status of each, and for a sample everything that is signed.

use countersign_client::{PublicKeys, verify_signature, verify_verdict};
use serde_json::Value;

/// One in so many answers is kept for a closer look.
const EVERY: u64 = 500;
/// At most so many of one run.
const MOST: usize = 200;

/// What an answer should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Anything.
    Text,
    /// A verdict that is good.
    Verdict,
    /// A verdict that is good, signed with the nonce of this number.
    Signed(u64),
    /// An activation with its token.
    Activation,
    /// What `/bench/verify-and-sign` makes of a token.
    Token,
    /// An order that has its keys.
    Order,
}

/// Answers that were kept.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    seen: u64,
    kept: Vec<(Expected, Vec<u8>)>,
}

impl Samples {
    /// Judges a status, and keeps the answer if it is its turn.
    ///
    /// # Errors
    /// Which status it was instead, and what it said.
    pub(crate) fn take(
        &mut self,
        status: u16,
        wanted: u16,
        expected: Expected,
        body: &[u8],
    ) -> Result<(), String> {
        if status != wanted {
            let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            return Err(format!("{status} instead of {wanted}: {text}"));
        }
        if expected == Expected::Order && !has_keys(body) {
            return Err("an order was taken and has no keys".to_owned());
        }
        if self.seen.is_multiple_of(EVERY) && self.kept.len() < MOST {
            self.kept.push((expected, body.to_vec()));
        }
        self.seen += 1;
        Ok(())
    }

    /// Looks at what was kept; how many there were.
    ///
    /// # Errors
    /// The first that is wrong.
    pub(crate) fn check(&self, keys: &PublicKeys) -> Result<usize, String> {
        for (expected, body) in &self.kept {
            check(*expected, body, keys).map_err(|wrong| {
                format!(
                    "{wrong}: {}",
                    String::from_utf8_lossy(&body[..body.len().min(400)])
                )
            })?;
        }
        Ok(self.kept.len())
    }
}

/// The text of a nonce.
pub(crate) fn nonce(number: u64) -> String {
    format!("nonce-{number:016x}")
}

fn check(expected: Expected, body: &[u8], keys: &PublicKeys) -> Result<(), String> {
    if expected == Expected::Text {
        return if body.is_empty() {
            Err("nothing was answered".to_owned())
        } else {
            Ok(())
        };
    }
    let answer: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match expected {
        Expected::Text => Ok(()),
        Expected::Verdict => good(&answer),
        Expected::Signed(number) => {
            good(&answer)?;
            let signed = answer["signed"].as_str().unwrap_or_default();
            let verdict = verify_verdict(signed, keys, &nonce(number), now());
            match verdict.map_err(|error| error.to_string())? {
                verdict if verdict.valid => Ok(()),
                _ => Err("the signed verdict is another".to_owned()),
            }
        }
        Expected::Activation | Expected::Token => {
            let token = answer["token"].as_str().unwrap_or_default();
            let claims = verify_signature(token, keys).map_err(|error| error.to_string())?;
            let says = |member: &str, claim: &str| answer[member] == claim;
            if says("activation_id", &claims.activation_id)
                && says("installation_id", &claims.installation_id)
            {
                Ok(())
            } else {
                Err("the token is of another activation".to_owned())
            }
        }
        Expected::Order if answer["issue_state"] == "done" => Ok(()),
        Expected::Order => Err("the order has no keys".to_owned()),
    }
}

fn has_keys(body: &[u8]) -> bool {
    const DONE: &[u8] = br#""issue_state":"done""#;
    body.windows(DONE.len()).any(|window| window == DONE)
}

fn good(answer: &Value) -> Result<(), String> {
    if answer["valid"] == true && answer["code"] == "ok" {
        Ok(())
    } else {
        Err("the verdict is not good".to_owned())
    }
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_status_is_told_with_what_it_said() {
        let mut samples = Samples::default();
        let wrong = samples
            .take(503, 201, Expected::Activation, b"busy")
            .unwrap_err();
        assert_eq!(wrong, "503 instead of 201: busy");
        assert_eq!(samples.check(&PublicKeys::new()), Ok(0));
    }

    #[test]
    fn one_in_so_many_is_looked_at() {
        let mut samples = Samples::default();
        for _ in 0..=EVERY {
            samples
                .take(
                    200,
                    200,
                    Expected::Verdict,
                    br#"{"valid":true,"code":"ok"}"#,
                )
                .unwrap();
        }
        assert_eq!(samples.check(&PublicKeys::new()), Ok(2));
        let mut samples = Samples::default();
        samples
            .take(200, 200, Expected::Verdict, br#"{"valid":false}"#)
            .unwrap();
        assert!(samples.check(&PublicKeys::new()).is_err());
    }

    #[test]
    fn a_token_that_nobody_signed_is_found() {
        let mut samples = Samples::default();
        samples
            .take(201, 201, Expected::Activation, br#"{"token":"a.b.c"}"#)
            .unwrap();
        assert!(samples.check(&PublicKeys::new()).is_err());
    }
}
