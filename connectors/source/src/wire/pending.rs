//! Buffers of the log that were read and not yet given out.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Buffers that were read and not yet given out. How many there may be, whoever fills it sees to.
#[derive(Debug, Default)]
pub struct Pending {
    buffers: VecDeque<Arc<Vec<u8>>>,
    /// Bytes of the first buffer that were given out.
    offset: usize,
    bytes: usize,
}

impl Pending {
    /// Adds a buffer of whole messages.
    pub fn push(&mut self, buffer: Vec<u8>) {
        self.bytes += buffer.len();
        self.buffers.push_back(Arc::new(buffer));
    }

    /// Bytes that were not given out.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was not given out, buffer by buffer.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let offsets = std::iter::once(self.offset).chain(std::iter::repeat(0));
        self.buffers.iter().zip(offsets).map(|(buffer, offset)| &buffer[offset..])
    }

    /// Takes the first `bytes` as pieces of the buffers.
    pub fn take(&mut self, bytes: usize) -> Vec<(Arc<Vec<u8>>, Range<usize>)> {
        let mut pieces = Vec::new();
        let mut left = bytes.min(self.bytes);
        self.bytes -= left;
        while left > 0
            && let Some(front) = self.buffers.front()
        {
            let end = front.len().min(self.offset + left);
            pieces.push((Arc::clone(front), self.offset..end));
            left -= end - self.offset;
            self.offset = end;
            if end == front.len() {
                self.buffers.pop_front();
                self.offset = 0;
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            buffers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 0..6),
            takes in proptest::collection::vec(0_usize..12, 0..12),
        ) {
            let mut pending = Pending::default();
            let all = buffers.concat();
            buffers.into_iter().for_each(|buffer| pending.push(buffer));
            let mut found = Vec::new();
            for take in takes {
                for (buffer, range) in pending.take(take) {
                    found.extend_from_slice(&buffer[range]);
                }
                let left: usize = pending.pieces().map(<[u8]>::len).sum();
                prop_assert_eq!(left, pending.bytes());
            }
            prop_assert_eq!(&found[..], &all[..found.len()]);
            prop_assert_eq!(pending.pieces().collect::<Vec<_>>().concat(), &all[found.len()..]);
        }
    }
}
