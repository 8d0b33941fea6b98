//! Client of Countersign, a licensing and activation server.
//!
//! Shipped software sends the key its user typed, and the name of the installation, to the server
//! once. The server countersigns: it returns an activation token, signed with Ed25519, that the
//! software stores and from then on verifies by itself, with a public key that it contains and
//! without network. Before the token expires, the software renews it.
//!
//! - [`PublicKeys`] are the keys that the software trusts, [`Verifier`] decides by them whether a
//!   token is good, and [`ActivationClaims`] is what the token says.
//! - [`verify_verdict`] verifies what the server says of a key now, to whoever asked it.
//! - [`verify_product_key`] reads product keys that verify themselves and need no server at all.
//! - `Client` (feature `http`, on by default; HTTPS by feature `tls`, on by default) activates,
//!   renews, releases, and asks for verdicts.
//!
//! Without default features the crate verifies only, and contains no network code.
//!
//! # Example
//!
//! At every start, before anything else:
//!
//! ```
//! use countersign_client::{PublicKeys, TokenError, Verifier};
//!
//! # const STORED: &str = concat!(
//! #     "eyJhbGciOiJFZERTQSIsInR5cCI6ImFjdGl2YXRpb24rand0Iiwia2lkIjoiRnpnYThBMmppbDFW",
//! #     "NGtKbyJ9.eyJpc3MiOiJodHRwczovL2xpY2Vuc2VzLmV4YW1wbGUuY29tIiwic3ViIjoiUExTSy4",
//! #     "wMDAwMDAxNyIsImF1ZCI6ImVkaXRvci1wcm8iLCJqdGkiOiIwMUo5Wlg0VDdSIiwiaWF0IjoxODA",
//! #     "wMDAwMDAwLCJuYmYiOjE3OTk5OTk3MDAsImV4cCI6MTgwMjU5MjAwMCwiYWN0aXZhdGlvbl9pZCI",
//! #     "6IjAxSjlaWDRUN1EiLCJpbnN0YWxsYXRpb25faWQiOiJtYWNoaW5lLTEiLCJrZXlfZXhwaXJlc19",
//! #     "hdCI6bnVsbCwiZW50aXRsZW1lbnRzIjp7fSwiYXR0YWNoZWQiOltdfQ.8FhRJxMF2d88S9o8KZzq",
//! #     "LtnHgzAo_RuPOe_qlKzOsWR7z5L5aL0TW_vysQ6x2Wawgpb1hWoMf84-z3q47x8iCQ",
//! # );
//! # const NOW: i64 = 1_800_000_000;
//! let mut keys = PublicKeys::new();
//! keys.pin_pem(
//!     "-----BEGIN PUBLIC KEY-----\n\
//!      MCowBQYDK2VwAyEAAt+UqufUzEjViP4TvnFoN/v8Zuw3QF9/zd+XfTy6y/8=\n\
//!      -----END PUBLIC KEY-----\n",
//! )?;
//! let verifier = Verifier::new(keys)
//!     .product("editor-pro")
//!     .installation_id("machine-1");
//!
//! # let (stored, now) = (STORED, NOW);
//! // Or `verifier.verify(stored)`, which takes the system's clock.
//! match verifier.verify_at(stored, now) {
//!     Ok(claims) => println!("unlocked by key {}", claims.sub),
//!     Err(TokenError::Expired { .. }) => println!("please connect to the Internet to renew"),
//!     Err(error) => println!("not activated: {error}"),
//! }
//! # verifier.verify_at(stored, now)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::expect_used, clippy::unwrap_used)
)]

mod claims;
#[cfg(feature = "http")]
mod client;
mod jws;
mod keys;
mod product_key;
mod token;
mod verdict;

pub use claims::{ActivationClaims, AttachedKey, TOKEN_TYPE};
#[cfg(feature = "http")]
pub use client::{ActivateRequest, Activation, Client, ClientError, KeySummary, ValidateRequest};
pub use jws::MAX_TOKEN_LENGTH;
pub use keys::{KeyError, PublicKeys, kid};
pub use product_key::{ProductKeyClaims, ProductKeyError, product_key_body, verify_product_key};
pub use token::{TokenError, Verifier, verify_signature};
pub use verdict::{VERDICT_TYPE, VerdictClaims, VerdictKey, verify_verdict};

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
