//! Emitters against a real log behind its data port, and a real registry, each in this process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conforming;
mod emitting;
mod full;
#[cfg(feature = "spool")]
mod full_disk;
mod lost;
#[cfg(feature = "outbox")]
mod outbox;
#[cfg(feature = "spool")]
mod spooled;
mod support;
mod traced;
