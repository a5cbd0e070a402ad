//! Rows in `COPY`'s binary format (documentation 18, `COPY`, "Binary Format"): kept as they came,
//! read when they are visited.

use std::ops::Range;
use tidemesh_model::{Error, ErrorKind, Result};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, length of the extension.
const HEAD_BYTES: usize = SIGNATURE.len() + 4 + 4;

/// Whole rows, up to a limit of bytes.
#[derive(Debug)]
pub(super) struct CopyRows {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// The most bytes of one row.
    row_bytes_max: usize,
    /// Where the rows begin; none before the head is there.
    begin: Option<usize>,
    /// Where the whole rows end.
    end: usize,
    last: Option<Range<usize>>,
    count: u64,
    ended: bool,
}

pub(super) fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "read a table").because("the server's rows are not understood")
}

impl CopyRows {
    pub(super) fn new(bytes_max: usize, row_bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
            row_bytes_max,
            begin: None,
            end: 0,
            last: None,
            count: 0,
            ended: false,
        }
    }

    /// Takes the next piece of the stream; false once there are bytes enough.
    ///
    /// # Errors
    ///
    /// `Malformed`; `TooLarge` for a row above its limit.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<bool> {
        self.bytes.extend_from_slice(piece);
        if self.begin.is_none() && !self.take_head()? {
            return Ok(true);
        }
        while let Some(row) = self.next_row()? {
            if self.count > 0 && row.end - self.begin.unwrap_or(0) > self.bytes_max {
                return Ok(false);
            }
            self.check_row(row.len())?;
            self.end = row.end;
            self.count += 1;
            self.last = Some(row);
        }
        self.check_row(self.bytes.len() - self.end)?;
        Ok(true)
    }

    fn check_row(&self, bytes: usize) -> Result<()> {
        if bytes <= self.row_bytes_max {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooLarge, "read a table")
            .because("a row is larger than the limit")
            .with("message_bytes_max", self.row_bytes_max)
            .help("raise postgres.message_bytes_max, and see that there is memory for it"))
    }

    fn take_head(&mut self) -> Result<bool> {
        let Some(head) = self.bytes.first_chunk::<HEAD_BYTES>() else { return Ok(false) };
        if !head.starts_with(SIGNATURE) {
            return Err(malformed());
        }
        let extension = head.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes)) as usize;
        let begin = HEAD_BYTES + extension;
        if self.bytes.len() < begin {
            return Ok(false);
        }
        (self.begin, self.end) = (Some(begin), begin);
        Ok(true)
    }

    /// The next row, if it is whole.
    fn next_row(&mut self) -> Result<Option<Range<usize>>> {
        let Some(columns) = self.bytes.get(self.end..).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let columns = i16::from_be_bytes(*columns);
        if columns == -1 {
            self.ended = true;
            return Ok(None);
        }
        let mut at = self.end + 2;
        for _ in 0..u16::try_from(columns).map_err(|_| malformed())? {
            let Some(length) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) else {
                return Ok(None);
            };
            // -1 is null, and has no bytes.
            at += 4 + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        }
        Ok((at <= self.bytes.len()).then_some(self.end..at))
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.end - self.begin.unwrap_or(0)
    }

    /// Whether the stream came to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.ended
    }

    /// The last row's cells.
    pub(super) fn last_row(&self) -> Option<CopyCells<'_>> {
        let row = self.last.clone()?;
        CopyCells::of(&self.bytes[row]).map(|(cells, _)| cells)
    }

    /// Every row's cells.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<CopyCells<'_>>> {
        let mut rest = &self.bytes[self.begin.unwrap_or(0)..self.end];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            match CopyCells::of(rest) {
                Some((cells, after)) => {
                    rest = after;
                    Some(Ok(cells))
                }
                None => {
                    rest = &[];
                    Some(Err(malformed()))
                }
            }
        })
    }
}

/// The cells of one row: none is null.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyCells<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl<'a> CopyCells<'a> {
    /// The row that the bytes begin with, and the bytes behind it.
    fn of(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (columns, bytes) = bytes.split_first_chunk()?;
        let columns = u16::try_from(i16::from_be_bytes(*columns)).ok()?;
        let mut rest = Self { left: columns, bytes };
        while rest.left > 0 {
            rest.next()?.ok()?;
        }
        Some((Self { left: columns, bytes }, rest.bytes))
    }

    pub(super) fn len(&self) -> usize {
        self.left.into()
    }
}

impl<'a> Iterator for CopyCells<'a> {
    type Item = Result<Option<&'a [u8]>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let Some((length, rest)) = self.bytes.split_first_chunk() else {
            return Some(Err(malformed()));
        };
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.bytes = rest;
            return Some(Ok(None));
        };
        match rest.split_at_checked(length) {
            Some((cell, rest)) => {
                self.bytes = rest;
                Some(Ok(Some(cell)))
            }
            None => Some(Err(malformed())),
        }
    }
}

/// Reads any bytes as a stream that comes in pieces.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_rows(bytes: &[u8], piece: usize, bytes_max: usize) {
    let mut read = CopyRows::new(bytes_max, usize::MAX);
    for piece in bytes.chunks(piece) {
        if !matches!(read.push(piece), Ok(true)) {
            break;
        }
    }
    read.rows().flatten().flatten().for_each(drop);
    read.last_row().into_iter().flatten().for_each(drop);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Cells = Vec<Option<Vec<u8>>>;

    fn encode(rows: &[Cells]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend_from_slice(&[0; 8]);
        for row in rows {
            out.extend_from_slice(&i16::try_from(row.len()).unwrap().to_be_bytes());
            for cell in row {
                match cell {
                    None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                    Some(cell) => {
                        out.extend_from_slice(&i32::try_from(cell.len()).unwrap().to_be_bytes());
                        out.extend_from_slice(cell);
                    }
                }
            }
        }
        out.extend_from_slice(&(-1_i16).to_be_bytes());
        out
    }

    fn owned(cells: CopyCells<'_>) -> Cells {
        cells.map(|cell| cell.unwrap().map(<[u8]>::to_vec)).collect()
    }

    fn some_rows() -> impl Strategy<Value = Vec<Cells>> {
        let cell = prop::option::of(prop::collection::vec(any::<u8>(), 0..5));
        prop::collection::vec(prop::collection::vec(cell, 1..4), 0..20)
    }

    #[test]
    fn a_row_above_its_limit_is_refused_before_it_is_whole() {
        let rows = encode(&[vec![Some(vec![7; 10])], vec![Some(vec![7; 100])]]);
        // A count of cells, and each cell's length.
        let (small, large) = (2 + 4 + 10, 2 + 4 + 100);
        let read = |limit: usize, bytes: &[u8]| CopyRows::new(usize::MAX, limit).push(bytes);
        assert!(read(large, &rows).unwrap());
        let short = HEAD_BYTES + small + 50;
        assert!(read(50, &rows[..short]).unwrap());
        for bytes in [&rows[..], &rows[..=short]] {
            assert_eq!(read(50, bytes).unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }

    proptest! {
        #[test]
        fn rows_come_back_however_the_stream_is_cut(rows in some_rows(), piece in 1..40_usize) {
            let mut read = CopyRows::new(usize::MAX, usize::MAX);
            for piece in encode(&rows).chunks(piece) {
                prop_assert!(read.push(piece).unwrap());
            }
            prop_assert!(read.is_whole());
            let found: Vec<Cells> = read.rows().map(|row| owned(row.unwrap())).collect();
            prop_assert_eq!(read.last_row().map(owned), found.last().cloned());
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn a_limit_of_bytes_cuts_behind_a_whole_row(rows in some_rows(), most in 1..60_usize) {
            let mut read = CopyRows::new(most, usize::MAX);
            for piece in encode(&rows).chunks(7) {
                if !read.push(piece).unwrap() {
                    break;
                }
            }
            prop_assert!(read.len_bytes() <= most || read.count() == 1);
            let found: Vec<Cells> = read.rows().map(|row| owned(row.unwrap())).collect();
            prop_assert_eq!(&found[..], &rows[..found.len()]);
            prop_assert!(found.len() == rows.len() || !read.is_whole());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut read = CopyRows::new(50, 70);
            let _ = read.push(&bytes);
            let mut framed = encode(&[]);
            framed.truncate(HEAD_BYTES);
            framed.extend_from_slice(&bytes);
            let mut read = CopyRows::new(50, 70);
            let _ = read.push(&framed);
            read.rows().for_each(|row| drop(row.map(|cells| cells.for_each(drop))));
        }
    }
}
