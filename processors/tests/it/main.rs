//! Jobs and fused programs, as the daemon runs them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allocations;
mod any_bytes;
mod canary;
mod cut;
mod fused;
#[cfg(feature = "kafka")]
mod kafka;
mod lookup;
mod lost;
mod processors;
mod run;
mod sql;
#[path = "../support/mod.rs"]
mod support;
mod tables;
