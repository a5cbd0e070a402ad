//! The stream's frames: `CopyData` messages that hold a piece of the log or a keepalive. Pure.
//!
//! Source: PostgreSQL 18 documentation, chapter 54.4, "Streaming Replication Protocol".

use tidemesh_model::{Error, ErrorKind, Result};

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A piece of the log.
    Data {
        /// Where it stands in the log.
        lsn: u64,
        /// One message of pgoutput.
        message: &'a [u8],
    },
    /// Nothing but how far the log was read.
    Keepalive {
        /// The log up to here has been sent.
        end: u64,
        /// The server's clock, microseconds since 2000-01-01.
        at_us: i64,
    },
}

/// Takes the frame at the front of `input`, which holds whole messages; none at its end.
///
/// # Errors
///
/// `Malformed` for bytes that are no frame.
#[inline]
pub(crate) fn next_frame<'a>(input: &mut &'a [u8]) -> Result<Option<Frame<'a>>> {
    if input.is_empty() {
        return Ok(None);
    }
    frame(input).map(Some).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "decode the log").because("the bytes are not a frame")
    })
}

#[inline]
fn frame<'a>(input: &mut &'a [u8]) -> Option<Frame<'a>> {
    let (head, rest) = input.split_first_chunk::<6>()?;
    if head[0] != b'd' {
        return None;
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let (body, after) = rest.split_at_checked(length.checked_sub(5)?)?;
    *input = after;
    let (first, message) = body.split_first_chunk::<8>()?;
    let first = u64::from_be_bytes(*first);
    match head[5] {
        b'w' => Some(Frame::Data { lsn: first, message: message.get(16..)? }),
        b'k' => {
            let at_us = i64::from_be_bytes(*message.first_chunk()?);
            Some(Frame::Keepalive { end: first, at_us })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_piece_of_the_log_and_a_keepalive_are_told_apart() {
        let mut bytes = vec![b'd', 0, 0, 0, 31, b'w'];
        bytes.extend_from_slice(&7_u64.to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(b"XY");
        bytes.extend_from_slice(&[b'd', 0, 0, 0, 22, b'k']);
        bytes.extend_from_slice(&9_u64.to_be_bytes());
        bytes.extend_from_slice(&5_i64.to_be_bytes());
        bytes.push(0);
        let mut input = bytes.as_slice();
        let data = Frame::Data { lsn: 7, message: b"XY" };
        assert_eq!(next_frame(&mut input).unwrap(), Some(data));
        assert_eq!(next_frame(&mut input).unwrap(), Some(Frame::Keepalive { end: 9, at_us: 5 }));
        assert_eq!(next_frame(&mut input).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut input = bytes.as_slice();
            while let Ok(Some(_)) = next_frame(&mut input) {}
        }
    }
}
