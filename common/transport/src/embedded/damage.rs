//! Finds the file of the storage that is damaged, once something could not be read.
//!
//! The storage keeps a checksum of each of its files. In files of values the place is found too:
//! their layout is simple (lsm-tree 3.1.10, `src/vlog/blob_file/writer.rs`): `"BLOB"`, u128 XXH3 of
//! key and value, u64 sequence number, u16 key, u32 length, u32 length on disk, key, value; again.

use super::store::Store;
use fjall::AbstractTree as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use tidemesh_model::{Error, ErrorKind};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8] = b"BLOB";
const HEADER_BYTES: usize = 38;

/// Adds to an error of kind `Corrupt` which file is damaged, and where.
pub(super) fn located(error: Error, store: &Store) -> Error {
    if error.kind() != ErrorKind::Corrupt {
        return error;
    }
    match locate(store) {
        None => error,
        Some((file, None)) => error.with("file", file.display()),
        Some((file, Some(offset))) => {
            error.with("file", file.display()).with("offset_in_file", offset)
        }
    }
}

/// The first file whose bytes do not have its checksum; in a file of values, the place.
fn locate(store: &Store) -> Option<(PathBuf, Option<u64>)> {
    for keyspace in [&store.meta, &store.records] {
        let version = keyspace.tree.current_version();
        for table in version.iter_tables() {
            if !has_checksum(&table.path, table.checksum().into_u128()) {
                return Some((table.path.to_path_buf(), None));
            }
        }
        for values in version.blob_files.iter() {
            if !has_checksum(values.path(), values.checksum().into_u128()) {
                return Some((values.path().to_owned(), damaged_value(values.path())));
            }
        }
    }
    None
}

fn has_checksum(file: &Path, checksum: u128) -> bool {
    let Ok(file) = File::open(file) else { return false };
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { return false };
    digest(&mut BufReader::new(file), length) == Some(checksum)
}

/// Where the first value begins that is not what was written.
fn damaged_value(file: &Path) -> Option<u64> {
    let mut reader = BufReader::new(File::open(file).ok()?);
    let mut offset = 0;
    loop {
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header).ok()?;
        if !header.starts_with(MAGIC) {
            return Some(offset);
        }
        let checksum = u128::from_le_bytes(*header[4..].first_chunk()?);
        let key = u16::from_le_bytes(*header[28..].first_chunk()?);
        let stored = u32::from_le_bytes(*header[34..].first_chunk()?);
        let length = u64::from(key) + u64::from(stored);
        if digest(&mut reader, length) != Some(checksum) {
            return Some(offset);
        }
        offset += HEADER_BYTES as u64 + length;
    }
}

/// The checksum of the next `length` bytes, if there are so many.
fn digest(reader: &mut impl Read, length: u64) -> Option<u128> {
    let (mut rest, mut piece, mut hash) = (length, [0; 8192], Xxh3::new());
    while rest > 0 {
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(piece.len());
        reader.read_exact(&mut piece[..wanted]).ok()?;
        hash.update(&piece[..wanted]);
        rest -= wanted as u64;
    }
    Some(hash.digest128())
}
