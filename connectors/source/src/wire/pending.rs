//! Buffers of the log: those that were read and not yet given out, and what a batch has of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;

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
    pub fn take(&mut self, bytes: usize) -> Pieces {
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
        Pieces { pieces, spare: None }
    }
}

/// Pieces of the log's buffers, in the log's order.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<(Arc<Vec<u8>>, Range<usize>)>,
    /// Where buffers go that nobody else has a piece of.
    spare: Option<mpsc::Sender<Vec<u8>>>,
}

impl Pieces {
    /// The same, whose emptied buffers go there.
    #[must_use]
    pub fn returned_to(mut self, spare: mpsc::Sender<Vec<u8>>) -> Self {
        self.spare = Some(spare);
        self
    }

    /// The bytes, piece by piece.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|(buffer, range)| &buffer[range.clone()])
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let Some(spare) = &self.spare else { return };
        for (buffer, _) in self.pieces.drain(..) {
            if let Some(buffer) = Arc::into_inner(buffer) {
                // With enough spare buffers there, this one is freed.
                let _ = spare.try_send(buffer);
            }
        }
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
                pending.take(take).iter().for_each(|piece| found.extend_from_slice(piece));
                let left: usize = pending.pieces().map(<[u8]>::len).sum();
                prop_assert_eq!(left, pending.bytes());
            }
            prop_assert_eq!(&found[..], &all[..found.len()]);
            prop_assert_eq!(pending.pieces().collect::<Vec<_>>().concat(), &all[found.len()..]);
        }
    }
}
