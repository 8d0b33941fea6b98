//! How often may be called: budgets of calls for shipped software, of unknown keys for whoever guesses,
//! and of wrong API tokens. docs/architecture.md says why they are what they are.
//!
//! All of it is in this process's memory, of bounded size, and costs a request a look into a few maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Once;
use std::time::Duration;

use crate::app::App;
use crate::clock::{Clock, Timestamp};
use crate::config::RateLimit;
use crate::error::{Code, Error, Refusal};
use crate::signing::api_token;

mod budget;
mod table;

use budget::{Budget, Failures, Memory, Recall};

/// Addresses, keys or tokens that one table holds at most; a few megabytes in all.
const CAPACITY: usize = 65_536;
/// How long an address is known for its good keys.
const GOOD: Duration = Duration::from_secs(86_400);
/// How long an unknown key is known for one: presented again, it is no new guess.
const UNKNOWN: Duration = Duration::from_secs(3600);

/// Where a call comes from, as it is counted: an IPv4 address, or a /64 network of IPv6, which is what one
/// customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// The client at this address; all whose address is not known are one.
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self(match address.map_or(unknown, |at| at.to_canonical()) {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The key that a call of shipped software presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PresentedKey {
    /// By the hash of its text.
    Text([u8; 32]),
    /// By its id, in a token that we signed: no guess.
    Signed(i64),
}

/// What a call with a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Good,
    /// It was refused for what is no guess: the key is known, or something else was wrong.
    Refused,
    /// Nobody knows the key.
    Unknown,
}

/// Which budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exceeded {
    Address,
    Key,
    AddressUnknownKeys,
    AllUnknownKeys,
    AddressFailedTokens,
}

impl Exceeded {
    /// The word for metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Key => "key",
            Self::AddressUnknownKeys => "address_unknown_keys",
            Self::AllUnknownKeys => "all_unknown_keys",
            Self::AddressFailedTokens => "address_failed_tokens",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Address => "Too many requests from this address",
            Self::Key => "Too many requests with this key",
            Self::AddressUnknownKeys => "Too many unknown keys from this address",
            Self::AllUnknownKeys => "Too many unknown keys are being tried",
            Self::AddressFailedTokens => "Too many wrong API tokens from this address",
        }
    }
}

/// A budget is used up for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) exceeded: Exceeded,
    wait: Duration,
}

impl Limited {
    fn by(exceeded: Exceeded) -> impl Fn(Duration) -> Self {
        move |wait| Self { exceeded, wait }
    }

    /// Whole seconds, rounded up.
    fn seconds(self) -> u64 {
        self.wait
            .as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        let seconds = limited.seconds();
        let what = limited.exceeded.detail();
        let detail = format!("{what}; try again in {seconds} s.");
        Self::because(Code::RateLimited, detail).after(seconds)
    }
}

/// The budgets, or none when they are switched off.
#[derive(Debug)]
pub(crate) struct Limits {
    budgets: Option<Budgets>,
    pub(crate) unlisted_proxy: Once,
}

#[derive(Debug)]
struct Budgets {
    calls_by_address: Budget<Client>,
    calls_by_key: Budget<PresentedKey>,
    unknown_keys_by_address: Failures<Client>,
    unknown_keys: Failures<()>,
    failed_tokens_by_address: Failures<Client>,
    /// Keys that were unknown lately.
    guessed: Memory<PresentedKey>,
    /// Addresses whose last key was good.
    in_good_standing: Memory<Client>,
    /// API tokens that were good lately, by their hash.
    good_tokens: Memory<Vec<u8>>,
}

impl Limits {
    pub(crate) fn new(config: &RateLimit, clock: &Clock) -> Self {
        Self {
            budgets: config.enabled.then(|| Budgets::new(config, clock)),
            unlisted_proxy: Once::new(),
        }
    }

    /// Lets shipped software call, whatever it calls.
    ///
    /// # Errors
    /// The budget of the address.
    pub(crate) fn allow_call(&self, client: Client) -> Result<(), Limited> {
        self.budgets.as_ref().map_or(Ok(()), |budgets| {
            let taken = budgets.calls_by_address.take(&client);
            taken.map_err(Limited::by(Exceeded::Address))
        })
    }

    /// Lets shipped software present a key, before anybody looks whether it is known.
    ///
    /// # Errors
    /// A budget of unknown keys, or that of the key.
    pub(crate) fn allow_key(&self, client: Client, key: PresentedKey) -> Result<(), Limited> {
        self.budgets
            .as_ref()
            .map_or(Ok(()), |budgets| budgets.allow_key(client, key))
    }

    /// Notes what a call with a key came to.
    pub(crate) fn note_key(&self, client: Client, key: PresentedKey, outcome: Outcome) {
        if let Some(budgets) = &self.budgets {
            budgets.note_key(client, key, outcome);
        }
    }

    /// Lets someone present an API token, before anybody looks whether it is known.
    ///
    /// # Errors
    /// The budget of wrong tokens from this address, unless the token was good lately.
    pub(crate) fn allow_token(&self, client: Client, secret: &str) -> Result<(), Limited> {
        let Some(budgets) = &self.budgets else {
            return Ok(());
        };
        match budgets.failed_tokens_by_address.look(&client) {
            Err(_) if budgets.good_tokens.knows(&api_token::hash(secret)) => Ok(()),
            looked => looked.map_err(Limited::by(Exceeded::AddressFailedTokens)),
        }
    }

    /// Notes whether an API token was accepted.
    pub(crate) fn note_token(&self, client: Client, secret: &str, outcome: Outcome) {
        let Some(budgets) = &self.budgets else { return };
        match outcome {
            Outcome::Good => {
                budgets.good_tokens.remember(&api_token::hash(secret));
            }
            Outcome::Unknown => {
                budgets.good_tokens.lose(&api_token::hash(secret));
                budgets.failed_tokens_by_address.charge(&client);
            }
            Outcome::Refused => {}
        }
    }

    /// Gives back the memory of what is over.
    pub(crate) fn forget(&self) {
        if let Some(budgets) = &self.budgets {
            budgets.forget();
        }
    }
}

impl Budgets {
    fn new(config: &RateLimit, clock: &Clock) -> Self {
        Self {
            calls_by_address: Budget::new(config.address(), CAPACITY, clock),
            calls_by_key: Budget::new(config.key(), CAPACITY, clock),
            unknown_keys_by_address: Failures::new(config.address_unknown_keys(), CAPACITY, clock),
            unknown_keys: Failures::new(config.all_unknown_keys(), 1, clock),
            failed_tokens_by_address: Failures::new(
                config.address_failed_tokens(),
                CAPACITY,
                clock,
            ),
            guessed: Memory::new(UNKNOWN, CAPACITY, clock),
            in_good_standing: Memory::new(GOOD, CAPACITY, clock),
            good_tokens: Memory::new(GOOD, CAPACITY, clock),
        }
    }

    fn allow_key(&self, client: Client, key: PresentedKey) -> Result<(), Limited> {
        match self.afford_guess(client, key) {
            // Whether it was guessed before says nothing about the keys that there are.
            Err(_) if self.guessed.knows(&key) => {}
            affordable => affordable?,
        }
        let taken = self.calls_by_key.take(&key);
        taken.map_err(Limited::by(Exceeded::Key))
    }

    /// Whether the call may turn out to be a guess. The answer does not depend on what the key is.
    fn afford_guess(&self, client: Client, key: PresentedKey) -> Result<(), Limited> {
        if let PresentedKey::Signed(_) = key {
            return Ok(());
        }
        self.unknown_keys_by_address
            .look(&client)
            .map_err(Limited::by(Exceeded::AddressUnknownKeys))?;
        match self.unknown_keys.look(&()) {
            Err(_) if self.in_good_standing.knows(&client) => Ok(()),
            looked => looked.map_err(Limited::by(Exceeded::AllUnknownKeys)),
        }
    }

    fn note_key(&self, client: Client, key: PresentedKey, outcome: Outcome) {
        match (outcome, key) {
            (Outcome::Good, _) => {
                self.in_good_standing.remember(&client);
            }
            (Outcome::Unknown, PresentedKey::Text(_)) => {
                if self.guessed.remember(&key) == Recall::New {
                    self.in_good_standing.lose(&client);
                    self.unknown_keys_by_address.charge(&client);
                    self.unknown_keys.charge(&());
                }
            }
            (Outcome::Unknown | Outcome::Refused, _) => {}
        }
    }

    fn forget(&self) {
        self.calls_by_address.forget();
        self.calls_by_key.forget();
        self.unknown_keys_by_address.forget();
        self.unknown_keys.forget();
        self.failed_tokens_by_address.forget();
        self.guessed.forget();
        self.in_good_standing.forget();
        self.good_tokens.forget();
    }
}

impl App {
    /// Counts a call that was limited, and makes it an answer.
    pub(crate) fn refuse_limited(&self, limited: Limited, now: Timestamp) -> Error {
        self.metrics.limited(limited.exceeded);
        if limited.exceeded != Exceeded::AddressFailedTokens {
            self.tally.refused(None, Code::RateLimited, now);
        }
        Refusal::from(limited).into()
    }
}
