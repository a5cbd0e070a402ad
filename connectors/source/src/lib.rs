//! What every source shares: the traits a connector implements, the run loop that carries batches
//! from a source to topics, snapshots beside the log, and the checkpoint in between.
//!
//! The path of a batch: [`run`] opens a [`session`] → `Source::next_batch` → [`encode`] (with
//! [`snapshot`]'s chunks between) → one append with the [`checkpoint`] → `Source::confirm`.
//! Absent here: any database's protocol or types.

mod checkpoint;
mod clock;
mod encode;
mod run;
mod session;
mod snapshot;
mod source;
mod status;
mod truncate;

pub use checkpoint::{POSITION_KEY, position_item, read_checkpoint};
pub use run::Runner;
pub use snapshot::{
    Chunk, ChunkRequest, Key, MarkBoard, Part, Range, RowVisitor, SnapshotCommand, SnapshotReport,
    SnapshotRequest, SourceHandle, TablePlan, TableReader, TableSnapshot, TableState,
};
pub use source::{BatchLimit, Checkpoint, Connector, Source};
pub use status::{SourceReport, SourceState, SourceStatus};
