//! Passwords of people: checked for length, stored as Argon2id, verified at the same cost for everybody.
//!
//! Hashing is slow on purpose. Do it outside of any transaction and off the threads that answer requests.

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;

use argon2::password_hash::phc;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use zeroize::Zeroizing;

/// The shortest password, in characters. Length alone is asked for: rules about digits and signs make
/// people choose `Password-2026!`, which is guessed sooner than four plain words.
pub const MIN_CHARACTERS: usize = 12;
/// The longest password, in bytes: nobody types more, and a larger one only costs.
pub const MAX_BYTES: usize = 1024;

/// Memory in KiB, passes and lanes: what OWASP's cheat sheet on password storage names first for Argon2id.
/// A guess costs an attacker's card 19 MiB, a sign-in costs this machine some 20 ms and the same memory,
/// so that a handful at once still fits into a small one.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// What is hashed where there is no password to compare with; no secret.
const NO_SALT: &[u8] = b"countersign-none";

/// A password as it was typed, long enough to be taken. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// What of a password is stored: an Argon2id hash in the PHC format. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl Password {
    /// Checks a new password.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = Zeroizing::new(text.into());
        if text.len() > MAX_BYTES {
            Err(format!("is longer than {MAX_BYTES} bytes"))
        } else if text.chars().count() < MIN_CHARACTERS {
            Err(format!("must have at least {MIN_CHARACTERS} characters"))
        } else {
            Ok(Self(text))
        }
    }

    /// Hashes it with a salt of its own; takes some 20 ms.
    ///
    /// # Errors
    /// The library's, when there is no memory or no randomness.
    pub fn hash(&self) -> Result<PasswordHash, String> {
        let hash: phc::PasswordHash = hasher()
            .hash_password(self.0.as_bytes())
            .map_err(|error| format!("a password cannot be hashed: {error}"))?;
        Ok(PasswordHash(hash.to_string()))
    }
}

impl PasswordHash {
    /// Reads a stored hash.
    ///
    /// # Errors
    /// When it is no Argon2id hash in the PHC format.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        match phc::PasswordHash::new(&text) {
            Ok(hash) if hash.algorithm.as_str() == "argon2id" => Ok(Self(text)),
            _ => Err("is no Argon2id hash".to_owned()),
        }
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `presented` is the password behind `stored`.
///
/// Without a stored hash (no such person, or one without a password) the same work is done for nothing,
/// so that the time an answer takes does not tell who is known.
pub fn verify_or_burn(stored: Option<&PasswordHash>, presented: &str) -> bool {
    // Nobody has a longer password, and what is hashed stays bounded.
    let bytes = presented.as_bytes();
    let (bytes, fits) = match bytes.get(..MAX_BYTES + 1) {
        Some(too_many) => (too_many, false),
        None => (bytes, true),
    };
    let parsed = stored.and_then(|stored| phc::PasswordHash::new(stored.as_str()).ok());
    match parsed {
        Some(hash) => hasher().verify_password(bytes, &hash).is_ok() && fits,
        None => {
            let _ = black_box(hasher().hash_password_with_salt(bytes, NO_SALT));
            false
        }
    }
}

fn hasher() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None)
        .expect("the cost is a constant, and a test hashes with it");
    Argon2::from(params)
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl utoipa::__dev::ComposeSchema for Password {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some(
                "Any text of 12 characters or more; never shown again.",
            ))
            .min_length(Some(MIN_CHARACTERS))
            .max_length(Some(MAX_BYTES))
            .write_only(true)
            .into()
    }
}

impl utoipa::ToSchema for Password {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "correct horse battery staple";

    #[test]
    fn a_password_is_verified_by_its_hash_and_no_other_one_is() {
        let hash = Password::parse(WORDS).unwrap().hash().unwrap();
        assert!(verify_or_burn(Some(&hash), WORDS));
        for wrong in ["", "correct horse battery stapl", &WORDS.to_uppercase()] {
            assert!(!verify_or_burn(Some(&hash), wrong), "{wrong}");
        }
        let longest = "a".repeat(MAX_BYTES);
        let hash = Password::parse(longest.as_str()).unwrap().hash().unwrap();
        assert!(verify_or_burn(Some(&hash), &longest));
        assert!(!verify_or_burn(Some(&hash), &format!("{longest}a")));
    }

    #[test]
    fn nobody_is_let_in_without_a_stored_hash() {
        assert!(!verify_or_burn(None, WORDS));
        assert!(!verify_or_burn(None, ""));
    }

    #[test]
    fn the_same_password_hashes_to_another_text_each_time() {
        let password = Password::parse(WORDS).unwrap();
        assert_ne!(password.hash().unwrap(), password.hash().unwrap());
    }

    #[test]
    fn what_is_stored_says_how_it_was_made_and_costs_what_burning_costs() {
        let hash = Password::parse(WORDS).unwrap().hash().unwrap();
        assert!(
            hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.as_str()
        );
        let burned: phc::PasswordHash = hasher()
            .hash_password_with_salt(WORDS.as_bytes(), NO_SALT)
            .unwrap();
        let stored = phc::PasswordHash::new(hash.as_str()).unwrap();
        assert_eq!(burned.params, stored.params);
        assert_eq!(burned.algorithm, stored.algorithm);
        assert_eq!(PasswordHash::parse(hash.as_str()), Ok(hash));
    }

    #[test]
    fn length_is_the_only_rule() {
        assert!(Password::parse("a".repeat(12)).is_ok());
        assert!(Password::parse("ж".repeat(12)).is_ok());
        assert!(Password::parse("a".repeat(MAX_BYTES)).is_ok());
        for wrong in ["", "elevenchars", "жжжжжж", &"a".repeat(MAX_BYTES + 1)] {
            assert!(Password::parse(wrong).is_err(), "{}", wrong.len());
        }
    }

    #[test]
    fn neither_a_password_nor_its_hash_is_ever_shown() {
        let password = Password::parse(WORDS).unwrap();
        let hash = password.hash().unwrap();
        let shown = format!("{password:?} {hash:?}");
        assert!(
            !shown.contains("horse") && !shown.contains("argon2"),
            "{shown}"
        );
        let problem = Password::parse("short one").unwrap_err();
        assert!(!problem.contains("short one"), "{problem}");
    }

    #[test]
    fn a_text_that_is_no_hash_of_ours_is_not_taken_for_one() {
        for wrong in [
            "",
            WORDS,
            "$2b$12$abc",
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        ] {
            assert!(PasswordHash::parse(wrong).is_err(), "{wrong}");
        }
    }
}
