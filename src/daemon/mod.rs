//! The roles of a daemon, run in one process and stopped together.

mod control;
mod metrics;
mod roles;
mod signals;

pub(crate) use control::{Endpoints, VerifyLine};
pub(crate) use roles::{connector, registry, up};
