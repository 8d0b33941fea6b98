//! The rules and use cases of licensing: what a licensing engineer reads. No HTTP, no SQL text.
//!
//! One use case is one public function named by its verb; the API, the console and the command line
//! all call it. A function that takes `tx` runs inside a transaction that its caller opened; use cases
//! of several steps are methods on [`App`](crate::app::App).

pub(crate) mod accounts;
pub(crate) mod activate;
pub(crate) mod activations;
pub(crate) mod context;
pub(crate) mod customer_erasure;
pub(crate) mod customer_export;
pub(crate) mod customers;
pub(crate) mod email;
pub(crate) mod event_list;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod generators;
pub(crate) mod idempotency;
pub(crate) mod import;
pub(crate) mod import_end;
mod import_flow;
pub(crate) mod import_format;
pub(crate) mod import_run;
pub(crate) mod import_sweep;
pub(crate) mod import_target;
pub(crate) mod import_view;
pub(crate) mod importers;
pub(crate) mod issue;
pub(crate) mod key_actions;
pub(crate) mod key_binding;
pub(crate) mod key_bulk;
pub(crate) mod key_creation;
pub(crate) mod key_edits;
pub(crate) mod key_increment;
pub(crate) mod key_moves;
pub(crate) mod key_query;
pub(crate) mod key_replace;
pub(crate) mod keys;
pub(crate) mod making;
pub(crate) mod mint;
pub(crate) mod number;
pub(crate) mod order_lines;
pub(crate) mod order_progress;
pub(crate) mod order_view;
pub(crate) mod orders;
pub(crate) mod pattern;
pub(crate) mod product_view;
pub(crate) mod products;
pub(crate) mod readiness;
pub(crate) mod release;
pub(crate) mod renew;
pub(crate) mod sequences;
pub(crate) mod signing_keys;
pub(crate) mod staging;
pub(crate) mod stock;
pub(crate) mod supply;
pub(crate) mod tally;
pub(crate) mod text;
pub(crate) mod token;
pub(crate) mod users;
pub(crate) mod validate;
pub(crate) mod verdict;
pub(crate) mod visit;
pub(crate) mod waiting_orders;
