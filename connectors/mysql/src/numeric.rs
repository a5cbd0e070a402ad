//! MySQL's packed `DECIMAL`: groups of nine digits in base 10^9, the highest byte first, the sign in
//! the highest bit (MySQL 9.1, `bin2decimal` in `strings/decimal.cc`).

use tidemesh_model::DecimalRef;

/// Digits of a whole group, and its bytes.
const GROUP_DIGITS: u32 = 9;
const GROUP_BYTES: u16 = 4;

/// Bytes of a group that is not whole, by its digits.
const PART_BYTES: [u16; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];

/// The most digits that a decimal has (`DECIMAL_MAX_PRECISION`), and the most behind its point
/// (`DECIMAL_MAX_SCALE`; MariaDB has 38).
const PRECISION_MAX: u8 = 65;
const SCALE_MAX: u8 = 38;

/// The most bytes that a packed decimal has: two groups on both sides that are not whole.
const PACKED_BYTES_MAX: usize = 36;

/// Digits that 128 bits hold in any case.
const SMALL_DIGITS_MAX: u32 = 38;

/// Words of 32 bits that hold 65 digits and a sign.
const WORDS: usize = 7;

/// Bytes of a `DECIMAL(precision, scale)`; none if there is no such type.
pub(crate) fn packed_bytes(precision: u8, scale: u8) -> Option<u16> {
    if precision == 0 || precision > PRECISION_MAX || scale > SCALE_MAX || scale > precision {
        return None;
    }
    let bytes = |digits: u8| {
        let digits = u32::from(digits);
        let whole = u16::try_from(digits / GROUP_DIGITS).unwrap_or_default();
        whole * GROUP_BYTES + PART_BYTES[(digits % GROUP_DIGITS) as usize]
    };
    Some(bytes(precision - scale) + bytes(scale))
}

/// The groups of a packed decimal, the highest first, each with the digits that it has.
struct Groups {
    bytes: [u8; PACKED_BYTES_MAX],
    negative: bool,
    /// Digits before the point and behind it.
    whole: u32,
    scale: u32,
}

impl Groups {
    /// Takes the sign away; none for bytes that are not of the type.
    #[inline]
    fn of(packed: &[u8], precision: u8, scale: u8) -> Option<Self> {
        let length = usize::from(packed_bytes(precision, scale)?);
        (packed.len() == length).then_some(())?;
        let negative = packed.first()? & 0x80 == 0;
        let mut bytes = [0; PACKED_BYTES_MAX];
        bytes.get_mut(..length)?.copy_from_slice(packed);
        if negative {
            bytes[..length].iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes[0] ^= 0x80;
        let whole = u32::from(precision - scale);
        Some(Self { bytes, negative, whole, scale: u32::from(scale) })
    }

    /// Hands over each group with its digits; none if a group has more digits than it may.
    #[inline]
    fn each(&self, mut take: impl FnMut(u32, u32) -> Option<()>) -> Option<()> {
        let mut at = 0;
        let mut group = |digits: u32| {
            let bytes = match digits {
                GROUP_DIGITS => usize::from(GROUP_BYTES),
                _ => usize::from(PART_BYTES[digits as usize]),
            };
            let value = self.bytes[at..at + bytes].iter().fold(0, |v, b| v << 8 | u32::from(*b));
            at += bytes;
            (value < 10_u32.pow(digits)).then_some(())?;
            take(value, digits)
        };
        if !self.whole.is_multiple_of(GROUP_DIGITS) {
            group(self.whole % GROUP_DIGITS)?;
        }
        for _ in 0..self.whole / GROUP_DIGITS + self.scale / GROUP_DIGITS {
            group(GROUP_DIGITS)?;
        }
        if !self.scale.is_multiple_of(GROUP_DIGITS) {
            group(self.scale % GROUP_DIGITS)?;
        }
        Some(())
    }
}

/// Hands a packed decimal to `take`; none for bytes that are not of the type.
#[inline]
pub(crate) fn with_decimal<T>(
    packed: &[u8],
    precision: u8,
    scale: u8,
    take: impl FnOnce(DecimalRef<'_>) -> T,
) -> Option<T> {
    let groups = Groups::of(packed, precision, scale)?;
    let scale = u32::from(scale);
    if u32::from(precision) > SMALL_DIGITS_MAX {
        return big(&groups, scale, take);
    }
    let mut value = 0_i128;
    groups.each(|group, digits| {
        value = value * 10_i128.pow(digits) + i128::from(group);
        Some(())
    })?;
    let unscaled = if groups.negative { -value } else { value };
    Some(take(DecimalRef::Small { unscaled, scale }))
}

#[cold]
fn big<T>(groups: &Groups, scale: u32, take: impl FnOnce(DecimalRef<'_>) -> T) -> Option<T> {
    // The lowest word first.
    let mut words = [0_u32; WORDS];
    groups.each(|group, digits| shift_in(&mut words, 10_u64.pow(digits), group))?;
    Some(of_words(words, groups.negative, scale, take))
}

/// Hands over the number of these words, of which the lowest is the first.
fn of_words<T>(
    mut words: [u32; WORDS],
    negative: bool,
    scale: u32,
    take: impl FnOnce(DecimalRef<'_>) -> T,
) -> T {
    if negative {
        let mut carry = true;
        for word in &mut words {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    let mut unscaled = [0; WORDS * 4];
    for (place, word) in words.iter().rev().enumerate() {
        unscaled[place * 4..place * 4 + 4].copy_from_slice(&word.to_be_bytes());
    }
    take(DecimalRef::Big { unscaled: &unscaled, scale })
}

/// Multiplies by a power of ten and adds; none if the words do not hold it.
fn shift_in(words: &mut [u32; WORDS], power: u64, group: u32) -> Option<()> {
    let mut carry = u64::from(group);
    for word in words {
        carry += u64::from(*word) * power;
        *word = (carry & 0xffff_ffff) as u32;
        carry >>= 32;
    }
    (carry == 0).then_some(())
}

/// Hands a decimal that the server printed to `take`, with `scale` digits behind its point; none for a
/// text that is no such number, or has more of them.
pub(crate) fn with_text<T>(
    text: &[u8],
    scale: u8,
    take: impl FnOnce(DecimalRef<'_>) -> T,
) -> Option<T> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, behind) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    let zeros = usize::from(scale).checked_sub(behind.len())?;
    let count = text.len() - usize::from(point.is_some());
    (count > 0).then_some(())?;
    let digits = whole.iter().chain(behind).chain(std::iter::repeat_n(&b'0', zeros));
    let digits = digits.map(|digit| digit.is_ascii_digit().then(|| u32::from(digit - b'0')));
    if count + zeros <= SMALL_DIGITS_MAX as usize {
        let mut value = 0_i128;
        for digit in digits {
            value = value * 10 + i128::from(digit?);
        }
        let unscaled = if negative { -value } else { value };
        return Some(take(DecimalRef::Small { unscaled, scale: scale.into() }));
    }
    let mut words = [0; WORDS];
    for digit in digits {
        shift_in(&mut words, 10, digit?)?;
    }
    Some(of_words(words, negative, scale.into(), take))
}

/// Appends a packed decimal as the server prints it; none for bytes that are not of the type.
pub(crate) fn write_text(packed: &[u8], precision: u8, scale: u8, out: &mut Vec<u8>) -> Option<()> {
    let groups = Groups::of(packed, precision, scale)?;
    let mut digits = [0_u8; PRECISION_MAX as usize];
    let mut end = 0;
    groups.each(|group, count| {
        let mut rest = group;
        for digit in digits[end..end + count as usize].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        end += count as usize;
        Some(())
    })?;
    let (whole, behind) = digits[..end].split_at(groups.whole as usize);
    if groups.negative {
        out.push(b'-');
    }
    let first = whole.iter().position(|digit| *digit != b'0').unwrap_or(whole.len());
    match &whole[first..] {
        [] => out.push(b'0'),
        significant => out.extend_from_slice(significant),
    }
    if !behind.is_empty() {
        out.push(b'.');
        out.extend_from_slice(behind);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(packed: &[u8], precision: u8, scale: u8) -> String {
        let mut out = Vec::new();
        write_text(packed, precision, scale, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn unscaled(packed: &[u8], precision: u8, scale: u8) -> Vec<u8> {
        with_decimal(packed, precision, scale, |d| d.with_unscaled(<[u8]>::to_vec)).unwrap()
    }

    // The example in `decimal2bin`'s comment: 1234567890.1234 and its negative, `DECIMAL(14,4)`.
    #[test]
    fn the_sources_example_is_read() {
        let positive = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let negative = [0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d];
        assert_eq!(text(&positive, 14, 4), "1234567890.1234");
        assert_eq!(text(&negative, 14, 4), "-1234567890.1234");
        assert_eq!(unscaled(&positive, 14, 4), 12_345_678_901_234_i64.to_be_bytes()[2..]);
        assert_eq!(unscaled(&negative, 14, 4), (-12_345_678_901_234_i64).to_be_bytes()[2..]);
    }

    #[test]
    fn a_group_with_too_many_digits_is_refused() {
        assert_eq!(with_decimal(&[0x80 | 0x7f], 2, 0, |_| ()), None);
        assert_eq!(with_decimal(&[0x80], 3, 0, |_| ()), None);
        assert_eq!(packed_bytes(66, 0), None);
        assert_eq!(packed_bytes(2, 3), None);
        assert_eq!(packed_bytes(65, 30), Some(30));
    }

    proptest! {
        #[test]
        fn a_text_is_the_number_that_was_packed(
            packed in proptest::collection::vec(any::<u8>(), 1..31), of in 0_usize..4,
        ) {
            let (precision, scale) = [(65, 30), (38, 38), (9, 2), (20, 0)][of];
            let mut out = Vec::new();
            if write_text(&packed, precision, scale, &mut out).is_some() {
                let read = with_text(&out, scale, |d| (d.scale(), d.with_unscaled(<[u8]>::to_vec)));
                prop_assert_eq!(read, Some((scale.into(), unscaled(&packed, precision, scale))));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-.0-9e]{0,80}", scale in 0_u8..40) {
            let _ = with_text(text.as_bytes(), scale, |_| ());
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..40), precision: u8, scale: u8,
        ) {
            let _ = with_decimal(&bytes, precision, scale, |_| ());
            let _ = write_text(&bytes, precision, scale, &mut Vec::new());
        }

        #[test]
        fn the_long_way_agrees_with_the_text(
            groups in proptest::collection::vec(0_u32..1_000_000_000, 7), negative: bool,
        ) {
            // DECIMAL(63,18): seven whole groups.
            let mut packed: Vec<u8> = groups.iter().flat_map(|g| g.to_be_bytes()).collect();
            packed[0] |= 0x80;
            if negative {
                packed.iter_mut().for_each(|byte| *byte = !*byte);
            }
            let digits: String = text(&packed, 63, 18).chars().filter(|c| *c != '.').collect();
            let mut number = unscaled(&packed, 63, 18);
            let sign = if number[0] & 0x80 != 0 { "-" } else { "" };
            if sign == "-" {
                let mut carry = true;
                for byte in number.iter_mut().rev() {
                    (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
                }
            }
            // Base 256 to base 10, by hand.
            let mut decimal = Vec::new();
            while number.iter().any(|byte| *byte != 0) {
                let mut rest = 0_u32;
                for byte in &mut number {
                    let value = rest << 8 | u32::from(*byte);
                    *byte = u8::try_from(value / 10).unwrap();
                    rest = value % 10;
                }
                decimal.insert(0, char::from(b'0' + u8::try_from(rest).unwrap()));
            }
            let decimal: String = decimal.into_iter().collect();
            let digits = digits.trim_start_matches('-').trim_start_matches('0');
            prop_assert_eq!(decimal.as_str(), digits);
            prop_assert!(digits.is_empty() || negative == (sign == "-"));
        }
    }
}
