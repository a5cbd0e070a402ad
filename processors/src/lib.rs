//! What shapes records between topics.
//!
//! `fused` runs a chain of SQL processors as one step from input bytes to output bytes, and knows
//! neither topics nor offsets. `run` is the loop around it: fetch, process, append output and offsets
//! at once. `sdk` is for processors in Rust, and `testing` tests them. Absent here: which pipelines there are, which the controller knows.

pub mod fused;
mod run;
mod schemas;
pub mod sdk;
pub mod testing;

pub use fused::LOOKUP_BYTES_MAX;
pub use run::{AcceptedLoss, Cannot, Cut, Ended, Lost, PipelineJob, Progress, Until};
pub use schemas::Schemas;
