//! Rows of table and topic, put into buckets by their key's hash: in memory up to a bound, in
//! unlinked temporary files beyond it. A bucket is folded alone, so that memory holds one at a time.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufReader, Read, Seek, Write};
use tidemesh_model::{Error, ErrorKind, Position, Result};

/// How many there are: a table of this many times a comfortable amount of memory can be compared.
const BUCKETS: usize = 256;

/// Bytes that all buckets hold in memory before they are written to files.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

const ROW: u8 = 0;
const RECORD: u8 = 1;
const DELETE: u8 = 2;

/// What is known of one key.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The row, and the mark before which the log's part of it was written.
    pub(super) row: Option<(Position, Box<[u8]>)>,
    /// The topic's latest record: its position and its row, none for a delete.
    pub(super) record: Option<(Position, Option<Box<[u8]>>)>,
    /// Whether there were several rows, and not all the same.
    pub(super) repeats: bool,
}

/// All buckets.
pub(super) struct Buckets {
    hasher: RandomState,
    memory: Vec<Vec<u8>>,
    files: Vec<Option<File>>,
    bytes: usize,
    bytes_max: usize,
}

fn storage(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, "spill rows to a temporary file")
        .caused_by(error)
        .help("make room where TMPDIR points, or point it elsewhere")
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self::with_memory(MEMORY_BYTES_MAX)
    }

    fn with_memory(bytes_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            memory: vec![Vec::new(); BUCKETS],
            files: (0..BUCKETS).map(|_| None).collect(),
            bytes: 0,
            bytes_max,
        }
    }

    /// A row of the table, read behind the mark at `low`.
    pub(super) fn row(&mut self, low: Position, key: &[u8], row: &[u8]) -> Result<()> {
        self.put(ROW, low, key, row)
    }

    /// A record of the topic, in the topic's order.
    pub(super) fn record(&mut self, at: Position, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        match row {
            Some(row) => self.put(RECORD, at, key, row),
            None => self.put(DELETE, at, key, &[]),
        }
    }

    fn put(&mut self, kind: u8, at: Position, key: &[u8], row: &[u8]) -> Result<()> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % BUCKETS as u64).unwrap_or(0);
        let memory = &mut self.memory[index];
        let before = memory.len();
        memory.push(kind);
        memory.extend_from_slice(&at.to_bytes());
        for part in [key, row] {
            memory.extend_from_slice(&(part.len() as u64).to_le_bytes());
            memory.extend_from_slice(part);
        }
        self.bytes += memory.len() - before;
        if self.bytes > self.bytes_max { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        for (memory, file) in self.memory.iter_mut().zip(&mut self.files) {
            if memory.is_empty() {
                continue;
            }
            let file = match file {
                Some(file) => file,
                None => file.insert(tempfile::tempfile().map_err(storage)?),
            };
            file.write_all(memory).map_err(storage)?;
            // The capacity goes too: it is what the bound is about.
            *memory = Vec::new();
        }
        self.bytes = 0;
        Ok(())
    }

    /// Each bucket, folded by key. Blocking: for a thread that may wait.
    pub(super) fn fold(
        self,
    ) -> impl Iterator<Item = Result<HashMap<Box<[u8]>, Folded>>> + Send + 'static {
        self.memory.into_iter().zip(self.files).map(|(memory, file)| {
            let mut folded = HashMap::new();
            if let Some(mut file) = file {
                file.rewind().map_err(storage)?;
                read(&mut BufReader::with_capacity(1 << 20, file), &mut folded)?;
            }
            read(&mut &memory[..], &mut folded)?;
            Ok(folded)
        })
    }
}

fn read(from: &mut impl Read, folded: &mut HashMap<Box<[u8]>, Folded>) -> Result<()> {
    let mut kind = [0];
    while from.read(&mut kind).map_err(storage)? == 1 {
        let mut at = [0; Position::BYTES];
        from.read_exact(&mut at).map_err(storage)?;
        let at = Position::from_bytes(&at)?;
        let (key, row) = (read_part(from)?, read_part(from)?);
        let entry = folded.entry(key).or_default();
        match kind[0] {
            ROW => {
                entry.repeats |= entry.row.as_ref().is_some_and(|(_, before)| *before != row);
                entry.row = Some((at, row));
            }
            RECORD => entry.record = Some((at, Some(row))),
            _ => entry.record = Some((at, None)),
        }
    }
    Ok(())
}

fn read_part(from: &mut impl Read) -> Result<Box<[u8]>> {
    let mut length = [0; 8];
    from.read_exact(&mut length).map_err(storage)?;
    let length = u64::from_le_bytes(length);
    let mut part = Vec::new();
    // What this process wrote itself, into a file that has no name.
    from.take(length).read_to_end(&mut part).map_err(storage)?;
    Ok(part.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(memory: usize) -> Vec<(Box<[u8]>, Folded)> {
        let mut buckets = Buckets::with_memory(memory);
        let at = |commit| Position { epoch: 1, commit, ordinal: 1 };
        for number in 0..2000_u64 {
            let key = number.to_le_bytes();
            buckets.row(at(number), &key, b"row").unwrap();
            buckets.record(at(number + 1), &key, Some(b"first")).unwrap();
        }
        for number in (0..2000_u64).step_by(2) {
            buckets.record(at(number + 5), &number.to_le_bytes(), None).unwrap();
        }
        buckets.fold().flat_map(Result::unwrap).collect()
    }

    #[test]
    fn the_latest_record_of_each_key_is_kept_in_memory_or_on_disk() {
        for memory in [usize::MAX, 10_000] {
            let folded = filled(memory);
            assert_eq!(folded.len(), 2000);
            for (key, folded) in folded {
                let number = u64::from_le_bytes(key.as_ref().try_into().unwrap());
                let (low, row) = folded.row.unwrap();
                assert_eq!((low.commit, row.as_ref()), (number, b"row".as_slice()));
                let (at, record) = folded.record.unwrap();
                let last = if number % 2 == 0 { (number + 5, false) } else { (number + 1, true) };
                assert_eq!((at.commit, record.is_some()), last);
            }
        }
    }
}
