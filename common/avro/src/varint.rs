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

/// More than one byte.
#[inline(never)]
fn write_bytes(out: &mut Vec<u8>, value: u64) {
    if value >> SPREAD_BITS != 0 {
        return write_one_by_one(out, value);
    }
    let length = (u64::BITS - value.leading_zeros()).div_ceil(7);
    let all_but_last = (1 << (8 * (length - 1))) - 1;
    let bytes = spread(value) | (0x8080_8080_8080_8080 & all_but_last);
    // All eight are appended and those not needed cut off: a copy of a length that is known is a
    // store, of one that is not a call.
    let end = out.len() + length as usize;
    out.extend_from_slice(&bytes.to_le_bytes());
    out.truncate(end);
}

/// The bits of a number that eight bytes hold.
const SPREAD_BITS: u32 = 56;

/// The lowest 56 bits, seven to each byte: halves apart, their halves, and theirs.
#[inline]
fn spread(value: u64) -> u64 {
    let value = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let value = (value & 0x0000_3fff_0000_3fff) | ((value & 0x0fff_c000_0fff_c000) << 2);
    (value & 0x007f_007f_007f_007f) | ((value & 0x3f80_3f80_3f80_3f80) << 1)
}

#[cold]
fn write_one_by_one(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_byte(rest));
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
        fn many_bytes_at_once_are_those_of_one_by_one(value: u64, bits in 0_u32..64) {
            let (mut at_once, mut one_by_one) = (vec![7], vec![7]);
            let value = value >> bits | 0x80;
            write_bytes(&mut at_once, value);
            write_one_by_one(&mut one_by_one, value);
            prop_assert_eq!(at_once, one_by_one);
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
