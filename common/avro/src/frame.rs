//! Confluent's frame around Avro data: the magic byte 0, the schema's id as four bytes big-endian,
//! then the data (Confluent, "Wire Format"). It names the writer's schema; it holds no length.
//!
//! Absent here: the registry that knows what the ids stand for.

use tidemesh_model::{Error, ErrorKind, Result};

/// The byte that every frame begins with.
pub const MAGIC: u8 = 0;

/// How many bytes of a frame stand before its data.
pub const FRAME_HEAD_BYTES: usize = 5;

/// The head of a frame; the data follows it.
#[must_use]
pub fn head(schema_id: u32) -> [u8; FRAME_HEAD_BYTES] {
    let [a, b, c, d] = schema_id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

/// Takes a frame apart: the id of the writer's schema, and the data.
///
/// # Errors
///
/// `Malformed` if it is shorter than its head or begins with another byte.
pub fn split(bytes: &[u8]) -> Result<(u32, &[u8])> {
    let wrong = |message: &str| {
        Error::new(ErrorKind::Malformed, "read a Confluent frame")
            .because(message)
            .with("bytes", bytes.len())
    };
    let Some(([magic, id @ ..], data)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else {
        return Err(wrong("it is shorter than the magic byte and the schema's id"));
    };
    if *magic != MAGIC {
        return Err(wrong("its first byte is not 0")
            .with("magic", magic)
            .help("write the topic with a serializer that uses Confluent's wire format"));
    }
    Ok((u32::from_be_bytes(*id), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_magic_id_and_data() {
        assert_eq!(head(0x0102_0304), [0, 1, 2, 3, 4]);
        assert_eq!(split(&[0, 1, 2, 3, 4, b'x']).unwrap(), (0x0102_0304, &b"x"[..]));
    }

    #[test]
    fn a_truncated_frame_is_rejected() {
        let error = split(&[0, 0, 0, 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("bytes=4"), "{error}");
    }

    #[test]
    fn another_magic_byte_is_rejected() {
        let error = split(&[1, 0, 0, 0, 1, 2]).unwrap_err();
        assert!(error.to_string().contains("magic=1"), "{error}");
    }

    #[test]
    fn a_frame_may_hold_no_data() {
        assert_eq!(split(&[0, 0, 0, 0, 7]).unwrap(), (7, &[][..]));
    }

    proptest! {
        #[test]
        fn frames_come_back(schema_id: u32, data: Vec<u8>) {
            let bytes = [&head(schema_id)[..], &data].concat();
            prop_assert_eq!(split(&bytes).unwrap(), (schema_id, data.as_slice()));
        }
    }
}
