//! What every source shares: the traits a connector implements, the run loop that carries batches
//! from a source to topics, and the checkpoint in between.
//!
//! Absent here: any database's protocol or types.

mod source;

pub use source::{BatchLimit, Checkpoint, Connector, Source};
