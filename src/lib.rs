//! Countersign: a licensing and activation server in one process.

pub mod api;
pub mod app;
pub mod background;
pub mod backup;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod cli;
pub mod clock;
pub mod codes;
pub mod config;
pub mod control;
pub mod db;
pub mod doctor;
pub mod error;
pub mod jobs;
pub mod licensing;
mod limits;
pub mod lock;
mod metrics;
mod readiness;
pub mod server;
pub mod signing;
pub mod telemetry;
