//! `[rate_limit]`

use std::num::NonZeroU32;

use serde::Deserialize;

/// How often may be called. Rates are a number per minute and how many may come at once; 0 is refused:
/// who wants no limits sets `enabled` to false.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Calls of shipped software from one address, a minute.
    pub address_per_minute: NonZeroU32,
    /// As many at once.
    pub address_burst: NonZeroU32,
    /// Calls with one key, from wherever, a minute.
    pub key_per_minute: NonZeroU32,
    /// As many at once.
    pub key_burst: NonZeroU32,
    /// Different unknown keys from one address, a minute.
    pub address_unknown_keys_per_minute: NonZeroU32,
    /// As many at once.
    pub address_unknown_keys_burst: NonZeroU32,
    /// Different unknown keys in all, a minute.
    pub all_unknown_keys_per_minute: NonZeroU32,
    /// As many at once.
    pub all_unknown_keys_burst: NonZeroU32,
    /// Wrong API tokens from one address, a minute.
    pub address_failed_tokens_per_minute: NonZeroU32,
    /// As many at once.
    pub address_failed_tokens_burst: NonZeroU32,
}

/// A rate with its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A minute.
    pub per_minute: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl RateLimit {
    /// Calls of shipped software from one address.
    pub fn address(&self) -> Rate {
        Rate {
            per_minute: self.address_per_minute,
            burst: self.address_burst,
        }
    }

    /// Calls with one key.
    pub fn key(&self) -> Rate {
        Rate {
            per_minute: self.key_per_minute,
            burst: self.key_burst,
        }
    }

    /// Unknown keys from one address.
    pub fn address_unknown_keys(&self) -> Rate {
        Rate {
            per_minute: self.address_unknown_keys_per_minute,
            burst: self.address_unknown_keys_burst,
        }
    }

    /// Unknown keys in all.
    pub fn all_unknown_keys(&self) -> Rate {
        Rate {
            per_minute: self.all_unknown_keys_per_minute,
            burst: self.all_unknown_keys_burst,
        }
    }

    /// Wrong API tokens from one address.
    pub fn address_failed_tokens(&self) -> Rate {
        Rate {
            per_minute: self.address_failed_tokens_per_minute,
            burst: self.address_failed_tokens_burst,
        }
    }
}
