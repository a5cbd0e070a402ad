//! What is stored and under which keys: the embedded log's format.
//!
//! Keyspace `records`: `u32 topic, u32 partition, u64 base offset` (big-endian) → one batch.
//! Keyspace `meta`: `t<topic name>` → its id and configuration; `p<topic id, partition>` → begin,
//! end, bytes; `w<writer>` → its epoch; `s<writer>\0<key>` → its state; `g<group>\0<topic>\0
//! <partition>` → the committed offset; `version` → the format's version.
//!
//! A batch's value: `u32 CRC-32C of the rest, u32 records, u64 base offset, u64 next offset,
//! i64 largest timestamp, ms`, then the records in the layout of `record.rs`.

use crate::record::RecordIter;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};
use std::path::Path;
use tidemesh_model::{Error, ErrorKind, Result};

/// The format's version, in `meta` under [`VERSION_KEY`].
pub(super) const VERSION: u32 = 1;
pub(super) const VERSION_KEY: &[u8] = b"version";

/// Room for blocks read from disk.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Room for what is written and not yet in a table.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
const META_MEMTABLE_BYTES: u64 = 2 * 1024 * 1024;
/// Journals on disk: the storage's least.
const JOURNALS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Values from here on are written once and not moved by the storage's own compaction.
const SEPARATED_BYTES_MIN: u32 = 4096;

/// The bytes before a batch's records.
pub(super) const BATCH_HEADER_BYTES: usize = 32;

/// The storage and its keyspaces.
pub(super) struct Store {
    pub(super) database: Database,
    pub(super) records: Keyspace,
    pub(super) meta: Keyspace,
}

impl Store {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let failed = |error| storage_error(error, "open the log", folder);
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let separated = KvSeparationOptions::default().separation_threshold(SEPARATED_BYTES_MIN);
        let records = database
            .keyspace("records", || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE_BYTES)
                    .with_kv_separation(Some(separated))
            })
            .map_err(failed)?;
        let meta = database
            .keyspace("meta", || {
                KeyspaceCreateOptions::default().max_memtable_size(META_MEMTABLE_BYTES)
            })
            .map_err(failed)?;
        let store = Self { database, records, meta };
        store.check_version(folder)?;
        Ok(store)
    }

    fn check_version(&self, folder: &Path) -> Result<()> {
        let failed = |error| storage_error(error, "open the log", folder);
        match self.meta.get(VERSION_KEY).map_err(failed)? {
            None => {
                let mut batch = self.batch();
                batch.insert(&self.meta, VERSION_KEY, VERSION.to_be_bytes());
                batch.commit().map_err(failed)
            }
            Some(stored) => {
                let stored = stored.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                if stored == VERSION {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::NewerVersion, "open the log")
                    .because("its folder was written by another version of tidemesh")
                    .with("folder", folder.display())
                    .with("version", stored)
                    .with("version_known", VERSION)
                    .help("run the version that wrote it, or a newer one"))
            }
        }
    }

    /// A batch that is durable once it is committed.
    pub(super) fn batch(&self) -> fjall::OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncData))
    }
}

/// A failure of the storage, by kind.
pub(super) fn storage_error(error: fjall::Error, doing: &'static str, folder: &Path) -> Error {
    let kind = match &error {
        fjall::Error::Locked => {
            return Error::new(ErrorKind::Conflict, doing)
                .because("another process has this folder open")
                .with("folder", folder.display())
                .help("stop the other `tidemesh up`, or use another data_dir");
        }
        fjall::Error::InvalidVersion(_) => ErrorKind::NewerVersion,
        fjall::Error::JournalRecovery(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Decompress(_)
        | fjall::Error::Unrecoverable => ErrorKind::Corrupt,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, doing)
        .because("the storage failed")
        .with("folder", folder.display())
        .caused_by(error)
        .help("see that the disk has room and works, then start again")
}

pub(super) fn record_key(topic: u32, partition: u32, offset: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

pub(super) fn partition_key(topic: u32, partition: u32) -> [u8; 9] {
    let mut key = [b'p'; 9];
    key[1..5].copy_from_slice(&topic.to_be_bytes());
    key[5..].copy_from_slice(&partition.to_be_bytes());
    key
}

/// A key of `meta`: a letter and texts, a zero byte between them.
pub(super) fn text_key(letter: u8, parts: &[&str]) -> Vec<u8> {
    let mut key = vec![letter];
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            key.push(0);
        }
        key.extend_from_slice(part.as_bytes());
    }
    key
}

/// A stored batch, checked.
pub(super) struct StoredBatch<'a> {
    pub(super) base_offset: u64,
    pub(super) next_offset: u64,
    pub(super) timestamp_ms_max: i64,
    pub(super) records: &'a [u8],
}

/// A batch's value for the storage.
pub(super) fn batch_value(
    base_offset: u64,
    next_offset: u64,
    count: u32,
    records: &[u8],
) -> Vec<u8> {
    let timestamp_ms_max = RecordIter::new(records)
        .filter_map(|record| record.ok().map(|record| record.timestamp_ms))
        .max()
        .unwrap_or(0);
    let mut value = Vec::with_capacity(BATCH_HEADER_BYTES + records.len());
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(&count.to_le_bytes());
    value.extend_from_slice(&base_offset.to_le_bytes());
    value.extend_from_slice(&next_offset.to_le_bytes());
    value.extend_from_slice(&timestamp_ms_max.to_le_bytes());
    value.extend_from_slice(records);
    let checksum = crc32c::crc32c(&value[4..]);
    value[..4].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// Reads and checks a batch's value.
pub(super) fn read_batch(value: &[u8]) -> Option<StoredBatch<'_>> {
    let (header, records) = value.split_at_checked(BATCH_HEADER_BYTES)?;
    let checksum = u32::from_le_bytes(*header.first_chunk()?);
    if crc32c::crc32c(&value[4..]) != checksum {
        return None;
    }
    Some(StoredBatch {
        base_offset: u64::from_le_bytes(*header.get(8..16)?.first_chunk()?),
        next_offset: u64::from_le_bytes(*header.get(16..24)?.first_chunk()?),
        timestamp_ms_max: i64::from_le_bytes(*header.get(24..32)?.first_chunk()?),
        records,
    })
}

/// The error for a batch whose bytes are not what was written.
pub(super) fn corrupt_batch(folder: &Path, topic: &str, partition: u32, base_offset: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "read the log")
        .because("a batch's bytes are not what was written")
        .with("folder", folder.display())
        .with("topic", topic)
        .with("partition", partition)
        .with("base_offset", base_offset)
        .help("restore the folder from a backup, or remove it and snapshot anew")
}
