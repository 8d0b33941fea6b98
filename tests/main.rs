//! The integration tests, as one program. `support` has the harness; the other modules follow what they
//! test. Every test that touches a database runs on both.

#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    reason = "a test that panics has failed, which is what it is for"
)]

mod support;

mod accounts;
mod activations;
mod api;
mod backup;
mod bad_input;
mod command_line;
mod crashes;
mod customers;
mod doctor;
mod documents;
mod engine;
mod events;
mod exports;
mod generators;
mod goods;
mod hot_path;
mod idempotency;
mod imports;
mod key_actions;
mod key_commands;
mod key_edits;
mod key_files;
mod key_histories;
mod key_races;
mod keys;
mod limits;
mod metrics;
mod migrations;
mod orders;
mod permissions;
mod pools;
mod products;
mod races;
mod requirements;
mod secrecy;
mod tokens;
mod users;
mod verdicts;
