//! What every source shares: the traits a connector implements, the run loop that carries batches
//! from a source to topics, and the checkpoint in between.
//!
//! Absent here: any database's protocol or types.

mod checkpoint;
mod run;
mod source;
mod status;
mod truncate;

pub use checkpoint::{POSITION_KEY, position_item, read_checkpoint};
pub use run::Runner;
pub use source::{BatchLimit, Checkpoint, Connector, Source};
pub use status::{SourceReport, SourceState, SourceStatus};
