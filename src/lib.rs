//! The tidemesh daemon and its command line: configuration, telemetry, roles.
//!
//! [`Daemon`] is all of it as a library, for binaries with processors of their own, which [`sdk`] is for and
//! [`testing`] tests. Only this package reads the environment, installs loggers, handles signals and exits.

mod binary;
pub mod cli;
pub mod config;
mod daemon;
#[cfg(feature = "failpoints")]
pub mod failpoints;
mod memory;
pub mod telemetry;

pub use binary::Daemon;
pub use tidemesh_processors::{sdk, testing};
