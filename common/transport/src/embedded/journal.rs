//! A look at the storage's journal before the storage opens it.
//!
//! `fjall` cuts a journal at the first bytes that it cannot read, wherever they stand, and says
//! nothing. A torn last write is cut here instead, and reported; damage with good batches behind it
//! stops the start, with file and place. The format is that of `fjall` 3.1 (`src/journal/entry.rs`):
//! batches of `1, u32 items, u64 seqno`, items, `3, u64 xxh3 of the items, "FJL" 3`, then zeros.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use tidemesh_model::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const START_BYTES: usize = 13;
const TRAILER: &[u8] = &[b'F', b'J', b'L', 3];

/// A torn last write that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The journal's file.
    pub file: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes that were not zero stood behind.
    pub bytes: u64,
}

/// Checks every journal in `folder` and cuts off torn last writes.
///
/// # Errors
///
/// `Corrupt` with file and offset if a good batch stands behind a bad one; `Storage` if a file
/// cannot be read or cut.
pub(super) fn check(folder: &Path) -> Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(cuts);
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    files.sort();
    for file in files {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Storage, "read the log's journal")
                .with("file", file.display())
                .caused_by(error)
        };
        let bytes = std::fs::read(&file).map_err(failed)?;
        let good = good_bytes(&bytes);
        let dirty = bytes[good..].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        if dirty == 0 {
            continue;
        }
        if let Some(later) = batch_behind(&bytes, good) {
            return Err(Error::new(ErrorKind::Corrupt, "open the log")
                .because("its journal is damaged before its end: good batches stand behind")
                .with("file", file.display())
                .with("offset", good)
                .with("next_good_offset", later)
                .help("restore the folder from a backup, or remove it and snapshot anew"));
        }
        let handle = OpenOptions::new().write(true).open(&file).map_err(failed)?;
        handle.set_len(good as u64).map_err(failed)?;
        handle.sync_all().map_err(failed)?;
        cuts.push(Cut { file: file.clone(), offset: good as u64, bytes: dirty as u64 });
    }
    Ok(cuts)
}

/// The end of the last batch before the first byte that begins none.
fn good_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = batch(&bytes[at..]) {
        at += length;
    }
    at
}

/// Where a whole batch begins behind `from`, if one does.
fn batch_behind(bytes: &[u8], from: usize) -> Option<usize> {
    (from + 1..bytes.len()).find(|at| bytes[*at] == START && batch(&bytes[*at..]).is_some())
}

/// The length of the batch that `bytes` begins with, if it is whole and its checksum holds.
fn batch(bytes: &[u8]) -> Option<usize> {
    if *bytes.first()? != START {
        return None;
    }
    let items = u32::from_le_bytes(*bytes.get(1..5)?.first_chunk()?);
    let mut at = START_BYTES;
    for _ in 0..items {
        at += item(bytes.get(at..)?)?;
    }
    let end = bytes.get(at..)?;
    if *end.first()? != END || end.get(9..13)? != TRAILER {
        return None;
    }
    let checksum = u64::from_le_bytes(*end.get(1..9)?.first_chunk()?);
    (xxh3_64(&bytes[START_BYTES..at]) == checksum).then_some(at + 13)
}

/// The length of the item that `bytes` begins with. Values are not compressed here.
fn item(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        CLEAR => bytes.get(..9).map(|_| 9),
        ITEM => {
            // tag, value type, compression (0: none), u64 keyspace, u16 key, u32 value, u32 stored
            if *bytes.get(2)? != 0 {
                return None;
            }
            let key = u16::from_le_bytes(*bytes.get(11..13)?.first_chunk()?);
            let stored = u32::from_le_bytes(*bytes.get(17..21)?.first_chunk()?);
            let length = 21_usize.checked_add(key.into())?.checked_add(stored as usize)?;
            bytes.get(..length).map(|_| length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A journal as the pinned storage itself writes it: three batches.
    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let database = fjall::Database::builder(folder.path())
            .journal_compression(fjall::CompressionType::None)
            .open()
            .unwrap();
        let keyspace = database.keyspace("k", fjall::KeyspaceCreateOptions::default).unwrap();
        for index in 0..3_u8 {
            let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
            batch.insert(&keyspace, [index], vec![index; 5000]);
            batch.insert(&keyspace, [index, 1], vec![index; 3]);
            batch.commit().unwrap();
        }
        drop(keyspace);
        drop(database);
        let file = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
            .unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let bytes = bytes[..good_bytes(&bytes)].to_vec();
        (folder, file, bytes)
    }

    #[test]
    fn the_storages_own_journal_is_read_to_its_end() {
        let (folder, _, bytes) = written();
        assert!(bytes.len() > 15_000);
        assert_eq!(check(folder.path()).unwrap(), []);
    }

    #[test]
    fn a_torn_last_write_is_cut_and_reported() {
        let (folder, file, bytes) = written();
        std::fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
        let cuts = check(folder.path()).unwrap();
        assert_eq!(cuts.len(), 1);
        assert_eq!(cuts[0].offset + cuts[0].bytes, bytes.len() as u64 - 7);
        assert_eq!(check(folder.path()).unwrap(), []);
    }

    #[test]
    fn damage_before_the_end_stops_with_file_and_place() {
        let (folder, file, mut bytes) = written();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&file, &bytes).unwrap();
        let error = check(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(".jnl") && error.to_string().contains("offset="));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let good = good_bytes(&bytes);
            let _ = batch_behind(&bytes, good);
        }
    }
}
