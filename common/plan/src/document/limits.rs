//! How much a text of documents may hold.

/// The most bytes of a text.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most documents of a text.
pub const DOCUMENTS_MAX: usize = 10_000;

/// How deep lists and tables may stand within each other.
pub const DEPTH_MAX: usize = 64;

/// The most values of a list, and keys of a table.
pub const ENTRIES_MAX: usize = 4_096;

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 512;

/// The most problems that are told of one text.
pub const PROBLEMS_MAX: usize = 100;

/// The most characters of a name.
pub const NAME_CHARS_MAX: usize = 64;

/// The most characters of a topic's name: Kafka's bound.
pub const TOPIC_CHARS_MAX: usize = tidemesh_model::TOPIC_NAME_BYTES_MAX;

/// The most tags of one thing.
pub const TAGS_MAX: usize = 64;
