//! What is asked: one workload for each kind of call, and their mixture.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value;

use crate::check::{Expected, Samples};
use crate::client::Workload;
use crate::keys::{Chance, Kind, write_text};
use crate::request::{self, write_number};

/// What calls are made with.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Keys sold.
    pub(crate) keys: u64,
    /// Tokens of the installations [`hot_installation`] on the first keys, one each.
    pub(crate) tokens: Rc<Vec<String>>,
    /// An administrator's API token.
    pub(crate) api_token: Rc<str>,
    /// The API token of a shop, which reports orders.
    pub(crate) shop_token: Rc<str>,
    /// Tells the installations and orders of one run from those of every other.
    pub(crate) run: u64,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The ceilings, see the server's `ceilings.rs`.
    Hello,
    ParseOnly,
    SignOnly,
    VerifyAndSign,
    /// Of an installation that is activated, one of those with a token.
    Validate,
    /// The same with a nonce, so that the verdict is signed.
    ValidateSigned,
    /// With a nonce, of any key.
    ValidateAny,
    /// By token.
    Renew,
    /// A new installation on any key.
    Activate,
    /// A new installation on the unlimited key of this number.
    ActivateOn(u64),
    /// The installation that the tokens are of, on the next key.
    Prepare,
    /// An order of one key, paid; from where many were sold before or none was.
    Issue(Kind),
    /// An order of a thousand keys, paid.
    IssueThousand,
    /// 70 % renew, 20 % validate, 8 % activate, 1 % issue, 1 % revoke what was issued.
    Mixed,
}

impl Call {
    /// What it is called in tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Hello => "hello",
            Self::ParseOnly => "parse-only",
            Self::SignOnly => "sign-only",
            Self::VerifyAndSign => "verify-and-sign",
            Self::Validate => "validate, hot",
            Self::ValidateSigned => "validate with nonce, hot",
            Self::ValidateAny => "validate with nonce, any key",
            Self::Renew => "renew by token",
            Self::Activate => "activate",
            Self::ActivateOn(_) => "activate on one key",
            Self::Prepare => "activate the hot keys",
            Self::Issue(Kind::OldStock) => "issue, from an old pool",
            Self::Issue(_) => "issue, from a new pool",
            Self::IssueThousand => "issue a thousand",
            Self::Mixed => "mixed",
        }
        .to_owned()
    }
}

/// The sku of the product that sells keys of a kind, and the name of its sequence.
pub(crate) fn sku(kind: Kind) -> &'static str {
    match kind {
        Kind::Sold | Kind::Unlimited => "bench",
        Kind::Stock => "new",
        Kind::OldStock => "old",
        Kind::Import(_) => "import",
    }
}

/// A run of calls of one kind.
#[derive(Debug)]
pub(crate) struct Calls {
    call: Call,
    stage: Stage,
    /// How many are to be made; endless without.
    left: Option<u64>,
    chance: Chance,
    made: u64,
    /// What the answer to each connection's request should be.
    waiting: Vec<Waiting>,
    body: Vec<u8>,
    path: String,
    /// Ids of keys that were issued and may be revoked.
    issued: VecDeque<i64>,
    /// Tokens in the order of their keys, when they are collected.
    tokens: Vec<String>,
    pub(crate) samples: Samples,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: Call,
    number: u64,
    status: u16,
    expected: Expected,
}

impl Calls {
    pub(crate) fn new(call: Call, stage: &Stage, limit: Option<u64>) -> Self {
        Self {
            call,
            stage: stage.clone(),
            left: limit,
            chance: Chance::new(stage.run << 32),
            made: 0,
            waiting: Vec::new(),
            body: Vec::new(),
            path: String::new(),
            issued: VecDeque::new(),
            tokens: Vec::new(),
            samples: Samples::default(),
        }
    }

    /// The tokens that [`Call::Prepare`] got.
    pub(crate) fn into_tokens(self) -> Vec<String> {
        self.tokens
    }

    /// Which call comes next.
    fn draw(&mut self) -> Call {
        if self.call != Call::Mixed {
            return self.call;
        }
        match self.chance.below(100) {
            0..70 => Call::Renew,
            70..90 => Call::Validate,
            90..98 => Call::Activate,
            98 if !self.issued.is_empty() => Call::Mixed,
            _ => Call::Issue(Kind::Stock),
        }
    }

    /// Writes the request of `call`, the `number`th of this run, and says what its answer should be.
    fn write(&mut self, call: Call, number: u64, request: &mut Vec<u8>) -> (u16, Expected) {
        self.body.clear();
        match call {
            Call::Hello => {
                request::write("GET", "/bench/hello", None, b"", request);
                (200, Expected::Text)
            }
            Call::ParseOnly => self.post(
                "/bench/parse-only",
                Expected::Verdict,
                request,
                Self::validate_hot,
            ),
            Call::Validate => self.post(
                "/v1/validate",
                Expected::Verdict,
                request,
                Self::validate_hot,
            ),
            Call::SignOnly | Call::ValidateSigned => {
                let path = if call == Call::SignOnly {
                    "/bench/sign-only"
                } else {
                    "/v1/validate"
                };
                self.post(path, Expected::Signed(number), request, |calls| {
                    calls.validate_hot();
                    calls.nonce(number);
                })
            }
            Call::ValidateAny => {
                self.post("/v1/validate", Expected::Signed(number), request, |calls| {
                    calls.any_key();
                    calls.nonce(number);
                })
            }
            Call::VerifyAndSign => self.post(
                "/bench/verify-and-sign",
                Expected::Token,
                request,
                Self::renew,
            ),
            Call::Renew => self.post(
                "/v1/activations/renew",
                Expected::Activation,
                request,
                Self::renew,
            ),
            Call::Activate | Call::ActivateOn(_) | Call::Prepare => {
                self.post("/v1/activations", Expected::Activation, request, |calls| {
                    calls.activate(call, number);
                });
                (201, Expected::Activation)
            }
            Call::Issue(kind) => self.order(kind, number, 1, request),
            Call::IssueThousand => self.order(Kind::OldStock, number, 1000, request),
            Call::Mixed => self.revoke(request),
        }
    }

    fn post(
        &mut self,
        path: &str,
        expected: Expected,
        request: &mut Vec<u8>,
        fill: impl FnOnce(&mut Self),
    ) -> (u16, Expected) {
        self.body.push(b'{');
        fill(self);
        self.body.push(b'}');
        request::write("POST", path, None, &self.body, request);
        (200, expected)
    }

    fn validate_hot(&mut self) {
        let key = self.chance.below(self.hot());
        self.key(Kind::Sold, key);
        self.body.extend_from_slice(br#","installation_id":"#);
        hot_installation(key, &mut self.body);
    }

    fn any_key(&mut self) {
        let key = self.chance.below(self.stage.keys);
        self.key(Kind::Sold, key);
    }

    fn nonce(&mut self, number: u64) {
        self.body.extend_from_slice(br#","nonce":"nonce-"#);
        write_number(format_args!("{number:016x}\""), &mut self.body);
    }

    fn renew(&mut self) {
        let key = usize::try_from(self.chance.below(self.hot())).unwrap_or(0);
        self.body.extend_from_slice(br#""token":""#);
        self.body
            .extend_from_slice(self.stage.tokens[key].as_bytes());
        self.body.push(b'"');
    }

    fn activate(&mut self, call: Call, number: u64) {
        match call {
            Call::ActivateOn(key) => self.key(Kind::Unlimited, key),
            Call::Prepare => self.key(Kind::Sold, number),
            _ => self.any_key(),
        }
        self.body.extend_from_slice(br#","installation_id":"#);
        if call == Call::Prepare {
            hot_installation(number, &mut self.body);
        } else {
            // Of the length of a UUID, as most software sends, and not in order.
            let (run, mixed) = (self.stage.run, Chance::new(number).next());
            write_number(
                format_args!("\"{run:08x}-{number:010x}-{mixed:016x}\""),
                &mut self.body,
            );
        }
    }

    fn order(
        &mut self,
        kind: Kind,
        number: u64,
        pieces: u32,
        request: &mut Vec<u8>,
    ) -> (u16, Expected) {
        self.body
            .extend_from_slice(br#"{"status":"payment_received","lines":[{"sku":""#);
        self.body.extend_from_slice(sku(kind).as_bytes());
        self.body.extend_from_slice(br#"","quantity":"#);
        write_number(pieces, &mut self.body);
        self.body.extend_from_slice(b"}]}");
        self.path.clear();
        for part in ["/v1/orders/", sku(kind), "-"] {
            self.path.push_str(part);
        }
        self.path
            .push_str(&format!("{:x}-{number}", self.stage.run));
        let token = Some(&*self.stage.shop_token);
        request::write("PUT", &self.path, token, &self.body, request);
        (201, Expected::Order)
    }

    fn revoke(&mut self, request: &mut Vec<u8>) -> (u16, Expected) {
        let key = self.issued.pop_front().unwrap_or(0);
        self.path.clear();
        self.path.push_str(&format!("/v1/keys/{key}/revoke"));
        let token = Some(&*self.stage.api_token);
        request::write("POST", &self.path, token, b"{}", request);
        (200, Expected::Text)
    }

    fn key(&mut self, kind: Kind, number: u64) {
        self.body.extend_from_slice(br#""key":""#);
        write_text(kind, number, &mut self.body);
        self.body.push(b'"');
    }

    /// Keys that have an installation with a token.
    fn hot(&self) -> u64 {
        u64::try_from(self.stage.tokens.len()).unwrap_or(1).max(1)
    }

    /// Takes of an answer what later calls need.
    fn learn(&mut self, waiting: Waiting, body: &[u8]) {
        match waiting.call {
            Call::Prepare => {
                let answer: Value = serde_json::from_slice(body).unwrap_or_default();
                let place = usize::try_from(waiting.number).unwrap_or(0);
                if self.tokens.len() <= place {
                    self.tokens.resize(place + 1, String::new());
                }
                self.tokens[place] = answer["token"].as_str().unwrap_or_default().to_owned();
            }
            Call::Issue(_) if self.call == Call::Mixed => {
                let answer: Value = serde_json::from_slice(body).unwrap_or_default();
                self.issued
                    .extend(answer["lines"][0]["keys"][0]["id"].as_i64());
            }
            _ => {}
        }
    }
}

impl Workload for Calls {
    fn ask(&mut self, connection: usize, request: &mut Vec<u8>) -> bool {
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        let call = self.draw();
        let number = self.made;
        self.made += 1;
        let (status, expected) = self.write(call, number, request);
        let waiting = Waiting {
            call,
            number,
            status,
            expected,
        };
        match self.waiting.get_mut(connection) {
            Some(place) => *place = waiting,
            // Connections ask in order for the first time.
            None => self.waiting.resize(connection + 1, waiting),
        }
        true
    }

    fn judge(&mut self, connection: usize, status: u16, body: &[u8]) -> Result<(), String> {
        let waiting = self.waiting[connection];
        self.samples
            .take(status, waiting.status, waiting.expected, body)?;
        self.learn(waiting, body);
        Ok(())
    }
}

/// The installation on a hot key, in quotes.
fn hot_installation(key: u64, body: &mut Vec<u8>) {
    write_number(format_args!("\"installation-{key:016x}\""), body);
}
