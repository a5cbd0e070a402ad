//! How records travel: the [`Transport`] seam and its implementations, the writer that turns change
//! events into records, the reader that turns records into rows, and the registry's client.
//!
//! Only this crate knows how topics are stored or which protocol carries them. Absent here: any
//! database, any processor.

mod record;
mod topic;
mod transport;

pub use record::{FetchedBatch, RECORD_BYTES_MAX, RecordIter, RecordRef, Records};
pub use topic::{
    PARTITIONS_MAX, PartitionInfo, TOPIC_NAME_BYTES_MAX, TopicConfig, TopicInfo, check_topic_name,
};
pub use transport::{
    Append, Appended, FetchLimit, GroupOffset, PartitionBatch, Reader, Start, Subscription,
    Transport, WriterEpoch,
};
