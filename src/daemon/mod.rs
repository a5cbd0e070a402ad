//! The roles of a daemon, run in one process and stopped together.

mod canary;
mod control;
mod gateway;
mod lag;
mod mesh;
mod metrics;
mod pipelines;
mod roles;
mod signals;
mod sources;
mod topics;
mod verify;
mod watch;
mod workers;

pub(crate) use control::{Endpoints, VerifyLine};
pub(crate) use gateway::emit_gateway;
pub(crate) use mesh::{controller, pipeline};
pub(crate) use roles::{connector, registry, up};
pub(crate) use verify::VerifyPipeline;
