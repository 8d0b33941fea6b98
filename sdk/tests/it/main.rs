//! The crate as its users see it.

#[cfg(feature = "http")]
mod answers;
#[cfg(feature = "http")]
mod client;
mod encoding;
mod keys;
mod product_key;
#[cfg(feature = "http")]
mod server;
mod support;
mod token;
#[cfg(feature = "http")]
mod validate;
mod verdict;
mod verifier;
