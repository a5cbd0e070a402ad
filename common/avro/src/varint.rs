//! Avro's variable-length numbers (specification 1.12, "Primitive Types"): zig-zag, seven bits a
//! byte, the lowest first.

/// The most bytes of one number of 64 bits.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Appends `value` as an Avro int or long.
#[inline]
pub fn write_long(out: &mut Vec<u8>, value: i64) {
    let rest = zigzag(value);
    if rest < 0x80 {
        out.push(low_byte(rest));
        return;
    }
    write_bytes(out, rest);
}

/// More than one byte. All that there can be are appended and those not needed cut off: a copy of
/// a length that is known is a store, of one that is not a call.
#[inline(never)]
fn write_bytes(out: &mut Vec<u8>, mut rest: u64) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut length = 0;
    while rest >= 0x80 {
        bytes[length] = low_byte(rest) | 0x80;
        rest >>= 7;
        length += 1;
    }
    bytes[length] = low_byte(rest);
    let end = out.len() + length + 1;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// Appends a length or count, which in memory never passes `i64::MAX`.
#[inline]
pub(crate) fn write_length(out: &mut Vec<u8>, length: usize) {
    write_long(out, i64::try_from(length).unwrap_or(i64::MAX));
}

/// Takes an Avro long off the front; none if it is cut short or longer than 64 bits.
#[inline]
pub fn read_long(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for (index, byte) in input.iter().enumerate().take(VARINT_BYTES_MAX) {
        let bits = u64::from(byte & 0x7f);
        if index == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *input = &input[index + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[inline]
fn low_byte(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn longs_come_back(value: i64) {
            let mut bytes = Vec::new();
            write_long(&mut bytes, value);
            let mut input = bytes.as_slice();
            prop_assert_eq!(read_long(&mut input), Some(value));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = read_long(&mut bytes.as_slice());
        }
    }

    #[test]
    fn the_specifications_examples_hold() {
        for (value, bytes) in
            [(0, &[0][..]), (-1, &[1]), (1, &[2]), (-64, &[0x7f]), (64, &[0x80, 1])]
        {
            let mut out = Vec::new();
            write_long(&mut out, value);
            assert_eq!(out, bytes);
        }
    }
}
