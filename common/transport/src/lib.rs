//! How records travel: the [`Transport`] seam and its implementations, the writer that turns change
//! events into records, the reader that turns records into rows, and the registry's client.
//!
//! Only this crate knows how topics are stored or which protocol carries them. Absent here: any
//! database, any processor.

mod announced;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "embedded")]
mod embedded;
mod event_writer;
#[cfg(feature = "kafka")]
pub mod kafka;
mod partition;
mod record;
mod registry_access;
mod registry_client;
mod remote;
mod revision;
mod stored;
mod table_topic;
mod topic;
mod transport;

pub use announced::{
    ANNOUNCED_MAX, ANNOUNCED_TOPIC, Announced, AnnouncedReader, announce, announced_by, withdraw,
};
#[cfg(feature = "embedded")]
pub use embedded::{
    Cut, EmbeddedCommitter, EmbeddedConfig, EmbeddedReader, EmbeddedTransport, Recovery,
};
pub use event_writer::{
    Counts, EventWriter, OutboxTopics, Outputs, POSITION_HEADER, Prepared, SideNames,
    WrittenSchemas,
};
pub use partition::partition_of;
pub use record::{FetchedBatch, RECORD_BYTES_MAX, RecordIter, RecordRef, Records};
pub use registry_access::{RegistryAccess, RegistryLogin};
pub use registry_client::{RegistryClient, SubjectHistory, SubjectVersion, Verdict, escape};
pub use remote::{
    FRAME_BYTES_MAX, Listener, RemoteCommitter, RemoteReader, RemoteTransport, serve_remote,
};
pub use stored::{read_stored, stored_item, take_stored};
pub use table_topic::{Generations, check_topics, topic_name};
pub use topic::{
    PARTITIONS_MAX, PartitionInfo, Retention, TopicConfig, TopicInfo, check_topic_name,
};
pub use transport::{
    Append, Appended, Committer, FetchLimit, GroupOffset, OffsetBreak, PartitionBatch, Progress,
    Reader, Start, Submitted, Subscription, Transport, WriterEpoch,
};
