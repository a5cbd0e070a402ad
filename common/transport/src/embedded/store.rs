//! The storage: `fjall`, opened so that its memory is bounded, and what is asked of it.
//!
//! Keyspace `records`: `u32 topic id, u32 partition, u64 base offset` (big-endian) → one batch
//! (`batch.rs`). Keyspace `meta`: `state.rs`.
//!
//! `fjall` is pinned to one version, and three of its habits are worked around here and in
//! `writer.rs` (fjall 3.1.13): its worker rotates a full memtable only when it has time, so memory
//! is bounded by rotating from outside ([`Store::make_room`]); a commit sleeps for ever when flushing
//! has failed, so it is never called while flushes are behind; after a failed write it refuses
//! everything, so the writing thread opens it anew.

use super::EmbeddedConfig;
use super::folder::Folder;
use super::journal::{self, Cut};
use super::state::Puts;
use fjall::{
    AbstractTree as _, CompressionType, Database, Keyspace, KeyspaceCreateOptions,
    KvSeparationOptions, LsmError, PersistMode,
};
use std::path::Path;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};

/// Values from here on are written once and not moved when the storage merges its tables.
const SEPARATED_BYTES_MIN: u32 = 4096;

/// The share of a value file that must be garbage before its rest is moved.
const STALE_SHARE_MIN: f32 = 0.5;

/// Memtables that may wait to be flushed. With the active one they bound the storage's memory.
const SEALED_MEMTABLES_MAX: usize = 2;

/// How often a wait for a flush looks again; the storage has nothing to wake us.
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// Files of the storage held open.
const OPEN_FILES_MAX: usize = 256;

/// The storage and its keyspaces.
pub(super) struct Store {
    pub(super) database: Database,
    pub(super) records: Keyspace,
    pub(super) meta: Keyspace,
    memtable_bytes_max: u64,
}

impl Store {
    /// Opens the storage in its folder, or makes it. Answers the torn writes that were cut first.
    pub(super) fn open(folder: &Folder, config: &EmbeddedConfig) -> Result<(Self, Vec<Cut>)> {
        let path = folder.store();
        if !path.exists() {
            drop(Self::open_at(&folder.store_new(), config)?);
            folder.finish_store()?;
        }
        let cuts = journal::recover(&path)?;
        Ok((Self::open_at(&path, config)?, cuts))
    }

    fn open_at(path: &Path, config: &EmbeddedConfig) -> Result<Self> {
        let failed = |error| storage_error(error, "open the log", path);
        let database = Database::builder(path)
            .cache_size(config.cache_bytes_max)
            .max_journaling_size(config.journal_bytes_max.max(journal::FILE_BYTES))
            .max_cached_files(Some(OPEN_FILES_MAX))
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let separated = KvSeparationOptions::default()
            .separation_threshold(SEPARATED_BYTES_MIN)
            .staleness_threshold(STALE_SHARE_MIN);
        // Never reached: memtables are rotated by `make_room`, and by the size of the journal.
        let options = || KeyspaceCreateOptions::default().max_memtable_size(u64::MAX);
        let records = database
            .keyspace("records", || options().with_kv_separation(Some(separated)))
            .map_err(failed)?;
        let meta = database.keyspace("meta", options).map_err(failed)?;
        Ok(Self { database, records, meta, memtable_bytes_max: config.memtable_bytes_max })
    }

    /// Whether the storage still takes writes.
    pub(super) fn healthy(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_ok()
    }

    /// Waits until flushes have caught up, and begins one where a memtable is full. Called before
    /// each write, on the writing thread only. Returns early where the storage has failed.
    pub(super) fn make_room(&self) -> fjall::Result<()> {
        for keyspace in [&self.records, &self.meta] {
            while keyspace.tree.sealed_memtable_count() >= SEALED_MEMTABLES_MAX {
                self.database.persist(PersistMode::Buffer)?;
                std::thread::sleep(FLUSH_LOOK);
            }
            if keyspace.tree.active_memtable().size() >= self.memtable_bytes_max {
                keyspace.rotate_memtable()?;
            }
        }
        Ok(())
    }

    /// Writes records and metadata as one batch and syncs it.
    pub(super) fn write(&self, records: Writes, puts: Puts) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in records {
            match value {
                Some(value) => batch.insert(&self.records, key, value),
                None => batch.remove(&self.records, key),
            }
        }
        for (key, value) in puts {
            match value {
                Some(value) => batch.insert(&self.meta, key, value),
                None => batch.remove(&self.meta, key),
            }
        }
        batch.commit()
    }
}

/// Keys of `records` to be written, none to remove one; each key at most once.
pub(super) type Writes = Vec<([u8; 16], Option<Vec<u8>>)>;

/// A failure of the storage, by kind.
pub(super) fn storage_error(error: fjall::Error, doing: &'static str, folder: &Path) -> Error {
    let failed = Error::new(kind_of(&error), doing).with("folder", folder.display());
    let failed = match failed.kind() {
        ErrorKind::Corrupt => failed
            .because("the storage's bytes are not what was written")
            .help("restore the folder from a backup, or remove it and snapshot anew"),
        ErrorKind::NewerVersion => failed.because("the storage's format is another version's"),
        _ => failed.because("the storage failed").help("see that the disk has room and works"),
    };
    failed.caused_by(error)
}

fn kind_of(error: &fjall::Error) -> ErrorKind {
    match error {
        fjall::Error::Locked => ErrorKind::Conflict,
        fjall::Error::InvalidVersion(_) => ErrorKind::NewerVersion,
        fjall::Error::Storage(LsmError::Io(error)) | fjall::Error::Io(error) => {
            match error.kind() {
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => {
                    ErrorKind::Corrupt
                }
                _ => ErrorKind::Storage,
            }
        }
        fjall::Error::Storage(_)
        | fjall::Error::JournalRecovery(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Decompress(_)
        | fjall::Error::Unrecoverable => ErrorKind::Corrupt,
        _ => ErrorKind::Storage,
    }
}

pub(super) fn record_key(topic: u32, partition: u32, offset: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The base offset in a key of `records`.
pub(super) fn base_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
