//! A look at the storage's journal before the storage opens it.
//!
//! `fjall` cuts a journal at the first bytes that it cannot read, wherever they stand, and says
//! nothing. A torn last write is cut here instead, and reported; damage with good batches behind it
//! stops the start, with file and place. Which of the two it is can be told because a write is
//! synced before the next one begins, and a journal before the next one is made: only the last
//! batch of the last journal can be torn.
//!
//! The format (fjall 3.1.13, `src/journal/{entry,writer}.rs`), numbers little-endian; a file is
//! made 64 MiB long, so zeros follow:
//!
//! ```text
//! 1  u32 items  u64 sequence number
//! 2  u8 type  u8 compression (0)  u64 keyspace  u16 key  u32 value  u32 stored  key  value  (an item)
//! 4  u64 keyspace                                            (a cleared keyspace, also an item)
//! 3  u64 XXH3 of the items  "FJL" 3
//! ```

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::Xxh3;

/// The length with which a journal is made; also the least that the storage may be limited to.
pub(super) const FILE_BYTES: u64 = 64 * 1024 * 1024;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const START_BYTES: usize = 13;
const ITEM_HEADER_BYTES: usize = 21;
const END_BYTES: usize = 13;
const TRAILER: &[u8] = &[b'F', b'J', b'L', 3];

/// What is read of a journal at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// The longest wait for the storage's threads to let go, and how often is looked.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);
const CLOSE_LOOK: Duration = Duration::from_millis(1);

/// A torn last write that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The journal's file.
    pub file: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes stood behind, zeros at the end not counted.
    pub bytes: u64,
}

/// Checks every journal in `folder` and cuts off a torn last write.
///
/// # Errors
///
/// `Corrupt` with file and offset if a good batch, or a later journal, stands behind a bad one;
/// `Storage` if a file cannot be read or cut.
pub(super) fn recover(folder: &Path) -> Result<Vec<Cut>> {
    let files = journals(folder)?;
    let mut cuts = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let mut scan = Scan::open(file)?;
        let good = scan.good(|_| true)?;
        let Some(dirty) = scan.dirty_from(good.end)? else {
            continue;
        };
        let behind = match scan.batch_behind(&good)? {
            Some(offset) => Some(format!("a good batch at {offset}")),
            None => files.get(index + 1).map(|next| next.display().to_string()),
        };
        if let Some(behind) = behind {
            return Err(damaged(file, good.end, &behind));
        }
        scan.cut(good.end)?;
        let cut = Cut { file: file.clone(), offset: good.end, bytes: dirty - good.end };
        tracing::warn!(
            file = %file.display(),
            offset = cut.offset,
            bytes_cut = cut.bytes,
            "a torn last write was cut off"
        );
        cuts.push(cut);
    }
    Ok(cuts)
}

/// Takes back a write that failed: cuts the journals at the first batch that has the sequence number
/// `from` or a higher one. The storage must be closed.
///
/// That need not be the last journal: the storage's worker may have begun another after the write. A
/// journal without batches stays as it is begun; from the newest back, so that what a crash leaves is
/// the write whole or not at all.
///
/// # Errors
///
/// `Storage`: then the write may show after the next start.
pub(super) fn take_back(folder: &Path, from: u64) -> Result<()> {
    for file in journals(folder)?.iter().rev() {
        let mut scan = Scan::open(file)?;
        let kept = scan.good(|sequence| sequence < from)?;
        scan.cut(kept.end)?;
        // All that is older has lower numbers.
        if kept.sequence.is_some() {
            break;
        }
    }
    Ok(())
}

/// Waits until no part of this process has a journal in `folder` open: the storage's threads let go
/// of it a moment after the storage was dropped, and write what they still hold as they do.
///
/// # Errors
///
/// `Storage` after [`CLOSE_WAIT_MAX`].
pub(super) fn wait_closed(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + CLOSE_WAIT_MAX;
    while held_open(folder) {
        if Instant::now() > deadline {
            return Err(Error::new(ErrorKind::Storage, "close the log's storage")
                .because("its journal is still open")
                .with("folder", folder.display()));
        }
        std::thread::sleep(CLOSE_LOOK);
    }
    Ok(())
}

/// Whether this process has a journal open (proc(5), `/proc/self/fd`).
fn held_open(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return false;
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .any(|file| file.starts_with(&folder) && file.extension().is_some_and(|e| e == "jnl"))
}

/// The journals, oldest first.
fn journals(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| failed(folder, error);
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|e| e.to_str())) {
            found.push((number, path));
        }
    }
    found.sort();
    if let Some(pair) = found.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1) {
        return Err(Error::new(ErrorKind::Corrupt, "open the log")
            .because("a journal is missing between two others")
            .with("file", pair[0].1.display())
            .with("next", pair[1].1.display())
            .help("restore the folder from a backup, or remove it and snapshot anew"));
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn damaged(file: &Path, offset: u64, behind: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "open the log")
        .because("its journal is damaged before its end")
        .with("file", file.display())
        .with("offset", offset)
        .with("behind", behind)
        .help("restore the folder from a backup, or remove it and snapshot anew")
}

fn failed(file: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, "read the log's journal")
        .with("file", file.display())
        .caused_by(error)
}

/// The good batches that a journal begins with.
#[derive(Debug, Clone, Copy, Default)]
struct Good {
    /// Where the last ends.
    end: u64,
    /// Its sequence number.
    sequence: Option<u64>,
}

/// One journal, read in bounded pieces.
struct Scan<'p> {
    path: &'p Path,
    reader: BufReader<File>,
    length: u64,
}

impl<'p> Scan<'p> {
    fn open(path: &'p Path) -> Result<Self> {
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let length = file.metadata()?.len();
            Ok((BufReader::with_capacity(CHUNK_BYTES, file), length))
        };
        let (reader, length) = open().map_err(|error| failed(path, error))?;
        Ok(Self { path, reader, length })
    }

    /// Walks from the start over good batches whose sequence number is wanted.
    fn good(&mut self, wanted: impl Fn(u64) -> bool) -> Result<Good> {
        let mut good = Good::default();
        while let Some((end, sequence)) = self.batch_at(good.end)? {
            // A batch's checksum leaves out its sequence number.
            if good.sequence.is_some_and(|last| sequence <= last) {
                return Err(damaged(self.path, good.end, "a sequence number that does not rise"));
            }
            if !wanted(sequence) {
                break;
            }
            good = Good { end, sequence: Some(sequence) };
        }
        Ok(good)
    }

    /// Behind the last byte from `from` on that is not zero; none if all are.
    fn dirty_from(&mut self, from: u64) -> Result<Option<u64>> {
        let mut last = None;
        self.chunks(from, 0, |offset, chunk| {
            if let Some(index) = chunk.iter().rposition(|byte| *byte != 0) {
                last = Some(offset + index as u64 + 1);
            }
            None::<()>
        })?;
        Ok(last)
    }

    /// Where a whole batch with a higher sequence number begins behind `good`, if one does.
    fn batch_behind(&mut self, good: &Good) -> Result<Option<u64>> {
        let mut from = good.end + 1;
        let newer = |sequence: u64| good.sequence.is_none_or(|last| sequence > last);
        loop {
            let candidate = self.chunks(from, START_BYTES, |offset, chunk| {
                let starts = chunk.windows(START_BYTES + 1).enumerate();
                let mut likely = starts.filter(|(_, bytes)| {
                    bytes[0] == START
                        && matches!(bytes[START_BYTES], ITEM | CLEAR)
                        && sequence_of(bytes).is_some_and(newer)
                });
                likely.next().map(|(index, _)| offset + index as u64)
            })?;
            let Some(candidate) = candidate else {
                return Ok(None);
            };
            if self.batch_at(candidate)?.is_some() {
                return Ok(Some(candidate));
            }
            from = candidate + 1;
        }
    }

    /// Hands the bytes from `from` on to `look` in pieces that overlap by `overlap` bytes, until it
    /// answers something.
    fn chunks<T>(
        &mut self,
        from: u64,
        overlap: usize,
        mut look: impl FnMut(u64, &[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut chunk = vec![0; CHUNK_BYTES + overlap];
        let mut offset = from;
        while offset < self.length {
            let wanted = self.left(offset).min(chunk.len());
            let piece = &mut chunk[..wanted];
            self.seek(offset)?;
            self.reader.read_exact(piece).map_err(|error| failed(self.path, error))?;
            if let Some(found) = look(offset, piece) {
                return Ok(Some(found));
            }
            offset += CHUNK_BYTES as u64;
        }
        Ok(None)
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        let here = self.reader.stream_position();
        let moved =
            here.and_then(|here| match i64::try_from(i128::from(offset) - i128::from(here)) {
                // Keeps what is buffered where it can.
                Ok(distance) => self.reader.seek_relative(distance),
                Err(_) => self.reader.seek(SeekFrom::Start(offset)).map(drop),
            });
        moved.map_err(|error| failed(self.path, error))
    }

    fn left(&self, offset: u64) -> usize {
        usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    /// The end and the sequence number of the batch at `offset`, if it is whole and its checksum
    /// holds.
    fn batch_at(&mut self, offset: u64) -> Result<Option<(u64, u64)>> {
        self.seek(offset)?;
        let mut left = self.left(offset);
        let Some(start) = self.take::<START_BYTES>(&mut left)? else {
            return Ok(None);
        };
        let items = u32::from_le_bytes([start[1], start[2], start[3], start[4]]);
        let Some(sequence) = sequence_of(&start).filter(|_| start[0] == START) else {
            return Ok(None);
        };
        let mut checksum = Xxh3::new();
        for _ in 0..items {
            if !self.item(&mut left, &mut checksum)? {
                return Ok(None);
            }
        }
        let Some(end) = self.take::<END_BYTES>(&mut left)? else {
            return Ok(None);
        };
        let whole =
            end[0] == END && end[9..] == *TRAILER && end[1..9] == checksum.digest().to_le_bytes();
        Ok(whole.then(|| (self.length - left as u64, sequence)))
    }

    /// Reads one item into the checksum; false if there is none.
    fn item(&mut self, left: &mut usize, checksum: &mut Xxh3) -> Result<bool> {
        let Some([tag]) = self.take::<1>(left)? else {
            return Ok(false);
        };
        checksum.update(&[tag]);
        match tag {
            CLEAR => {
                let Some(keyspace) = self.take::<8>(left)? else {
                    return Ok(false);
                };
                checksum.update(&keyspace);
                Ok(true)
            }
            ITEM => {
                let Some(header) = self.take::<{ ITEM_HEADER_BYTES - 1 }>(left)? else {
                    return Ok(false);
                };
                checksum.update(&header);
                // Values are not compressed: `Store::open_at`.
                let key = u16::from_le_bytes([header[10], header[11]]);
                let stored = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
                let length = usize::from(key).saturating_add(stored as usize);
                if header[1] != 0 || length > *left {
                    return Ok(false);
                }
                self.hash(length, checksum)?;
                *left -= length;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn take<const N: usize>(&mut self, left: &mut usize) -> Result<Option<[u8; N]>> {
        let Some(rest) = left.checked_sub(N) else {
            return Ok(None);
        };
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| failed(self.path, error))?;
        *left = rest;
        Ok(Some(bytes))
    }

    fn hash(&mut self, mut length: usize, checksum: &mut Xxh3) -> Result<()> {
        let mut piece = [0; 8192];
        while length > 0 {
            let wanted = length.min(piece.len());
            self.reader
                .read_exact(&mut piece[..wanted])
                .map_err(|error| failed(self.path, error))?;
            checksum.update(&piece[..wanted]);
            length -= wanted;
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> Result<()> {
        let file = self.reader.get_ref();
        file.set_len(length)
            .and_then(|()| file.sync_all())
            .map_err(|error| failed(self.path, error))
    }
}

/// The sequence number in the start of a batch.
fn sequence_of(start: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*start.get(5..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BATCHES: u8 = 4;

    /// A journal as the pinned storage itself writes it, and its sequence numbers.
    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let database = fjall::Database::builder(folder.path())
            .journal_compression(fjall::CompressionType::None)
            .open()
            .unwrap();
        let keyspace = database.keyspace("k", fjall::KeyspaceCreateOptions::default).unwrap();
        let mut sequences = Vec::new();
        for index in 0..BATCHES {
            let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
            batch.insert(&keyspace, [index], vec![index; 5000]);
            batch.insert(&keyspace, [index, 1], vec![1; 30]);
            batch.remove(&keyspace, [index, 2]);
            sequences.push(database.seqno());
            batch.commit().unwrap();
        }
        drop(keyspace);
        drop(database);
        let file = journals(folder.path()).unwrap().pop().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let end = Scan::open(&file).unwrap().good(|_| true).unwrap().end;
        (folder, file, bytes[..usize::try_from(end).unwrap()].to_vec(), sequences)
    }

    fn keys(folder: &Path) -> usize {
        let database = fjall::Database::builder(folder).open().unwrap();
        let keyspace = database.keyspace("k", fjall::KeyspaceCreateOptions::default).unwrap();
        keyspace.len().unwrap()
    }

    #[test]
    fn the_storages_own_journal_is_read_to_its_end() {
        let (folder, _, bytes, _) = written();
        assert!(bytes.len() > 5000 * usize::from(BATCHES));
        assert_eq!(recover(folder.path()).unwrap(), []);
        assert_eq!(keys(folder.path()), 2 * usize::from(BATCHES));
    }

    #[test]
    fn a_torn_last_write_is_cut_and_reported_wherever_it_was_torn() {
        let (folder, file, bytes, _) = written();
        let last = bytes.len() - bytes.len() / usize::from(BATCHES);
        for torn in [last + 1, last + 12, last + 40, last + 5000, bytes.len() - 1] {
            let mut file_bytes = bytes[..torn].to_vec();
            file_bytes.resize(bytes.len() + 1000, 0);
            std::fs::write(&file, &file_bytes).unwrap();
            let cuts = recover(folder.path()).unwrap();
            assert_eq!(cuts.len(), 1, "torn at {torn}");
            assert_eq!(cuts[0].offset, last as u64);
            assert!(cuts[0].bytes > 0 && cuts[0].bytes <= (torn - last) as u64);
            assert_eq!(std::fs::metadata(&file).unwrap().len(), last as u64);
            assert_eq!(recover(folder.path()).unwrap(), []);
        }
        assert_eq!(keys(folder.path()), 2 * usize::from(BATCHES - 1));
    }

    #[test]
    fn damage_before_the_end_stops_with_file_and_place_and_changes_nothing() {
        let (folder, file, bytes, _) = written();
        let one = bytes.len() / usize::from(BATCHES);
        for place in [0, 13, 20, 60, 4000, one - 1, one, one + 30, 3 * one - 1] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0xff;
            std::fs::write(&file, &damaged).unwrap();
            let error = recover(folder.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "at {place}");
            let text = error.to_string();
            assert!(text.contains(&format!("file={}", file.display())), "{text}");
            assert!(text.contains(&format!("offset={}", place / one * one)), "{text}");
            assert_eq!(std::fs::read(&file).unwrap(), damaged);
        }
    }

    #[test]
    fn a_sequence_number_that_was_changed_stops() {
        let (folder, file, bytes, _) = written();
        let one = bytes.len() / usize::from(BATCHES);
        for (place, flip) in [(one + 5, 0xff), (one + 11, 1), (2 * one + 5, 0x0f)] {
            let mut damaged = bytes.clone();
            damaged[place] ^= flip;
            std::fs::write(&file, &damaged).unwrap();
            let error = recover(folder.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "at {place}");
        }
    }

    #[test]
    fn a_hole_of_zeros_before_the_end_stops() {
        let (folder, file, mut bytes, _) = written();
        let one = bytes.len() / usize::from(BATCHES);
        bytes[one..2 * one].fill(0);
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(recover(folder.path()).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_torn_journal_with_another_behind_it_stops() {
        let (folder, file, bytes, _) = written();
        std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
        std::fs::write(folder.path().join("1.jnl"), [0; 64]).unwrap();
        assert_eq!(recover(folder.path()).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_missing_journal_stops() {
        let (folder, _, bytes, _) = written();
        std::fs::write(folder.path().join("2.jnl"), &bytes).unwrap();
        let error = recover(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_failed_write_is_taken_back() {
        let (folder, _, _, sequences) = written();
        take_back(folder.path(), sequences[2]).unwrap();
        assert_eq!(keys(folder.path()), 4);
        take_back(folder.path(), sequences[2]).unwrap();
        assert_eq!(keys(folder.path()), 4);
    }

    /// The worker may begin another journal between the write that failed and the closing.
    #[test]
    fn a_failed_write_is_taken_back_from_behind_a_newer_journal() {
        for kept in [2, 0] {
            let (folder, file, _, sequences) = written();
            let number: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let newer = folder.path().join(format!("{}.jnl", number + 1));
            File::create(&newer).unwrap().set_len(FILE_BYTES).unwrap();
            take_back(folder.path(), sequences[kept]).unwrap();
            assert_eq!(recover(folder.path()).unwrap(), []);
            assert_eq!(keys(folder.path()), 2 * kept);
            assert_eq!(keys(folder.path()), 2 * kept, "also once it was opened and closed");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("0.jnl"), &bytes).unwrap();
            let _ = recover(folder.path());
        }
    }
}
