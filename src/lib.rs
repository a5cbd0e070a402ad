//! The tidemesh daemon and its command line: configuration, telemetry, roles.
//!
//! Only this package reads the environment, installs loggers, handles signals and exits.

pub mod cli;
pub mod config;
mod daemon;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod telemetry;
