//! What every source shares: the traits a connector implements, the run loop that carries batches
//! from a source to topics, snapshots beside the log, the checkpoint in between, and the proof that
//! topics hold what tables hold.
//!
//! The path of a batch: `run` opens a `session` → `Source::next_batch` → `encode` (with
//! `snapshot`'s chunks between) → one append with the `checkpoint` → `Source::confirm`.
//! Absent here: any database's protocol or types.

mod announce;
mod checkpoint;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod discover;
mod encode;
mod findings;
mod found_tables;
mod lost;
mod mask;
mod measure;
mod newcomer;
mod observe;
mod outbox;
mod remove;
mod run;
mod selection;
mod session;
mod snapshot;
mod source;
mod status;
mod stored;
mod terms;
mod truncate;
mod verify;
mod vitals;
mod wanted;
mod watch;
mod wire;

pub use checkpoint::{POSITION_KEY, position_item, read_checkpoint};
pub use clock::now_us;
pub use findings::Findings;
pub use found_tables::FoundTables;
pub use lost::position_lost;
pub use mask::Mask;
pub use newcomer::Newcomer;
pub use observe::observe;
pub use remove::{Remove, RemoveRequest, Removed, remove_state};
pub use run::Runner;
pub use selection::{Choice, Selection, Wrong};
pub use snapshot::{
    Chunk, ChunkRequest, Key, MarkBoard, Part, Range, RowBytes, RowVisitor, SnapshotCommand,
    SnapshotReport, SnapshotRequest, SourceHandle, TablePlan, TableReader, TableSnapshot,
    TableState,
};
pub use source::{BatchLimit, Checkpoint, Connector, Source};
pub use status::{SourceReport, SourceState, SourceStatus};
pub use stored::{read_stored, stored_item};
pub use terms::Terms;
pub use verify::{
    Cell, ColumnDifference, ColumnForm, Comparison, DIFFERENCES_LISTED, Difference, LookedUp,
    Outcome, OutputRequest, OutputVerdict, QueryColumn, QueryPart, QueryRequest, RecordForm,
    StepBefore, TableTexts, TableVerdict, TextPart, TextRequest, TextRow, TextRows, Verify,
    VerifyEvent, VerifyRequest, What, mask_rows, text_row,
};
pub use vitals::{SlotReport, Vitals};
pub use wanted::Wanted;
pub use watch::Watch;
pub use wire::{
    Broken, Endpoint, LogConnection, LogStream, Pending, Pieces, Socket, Wait, client_config,
    tls_refused, without_tls, would_block,
};
