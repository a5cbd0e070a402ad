//! Numbers with a scale of their own: Debezium's `VariableScaleDecimal`.

use crate::varint::{write_length, write_long};
use tidemesh_model::DecimalRef;

/// Digits that fit 128 bits whatever they are.
const SMALL_DIGITS_MAX: usize = 38;

/// Digits that one step of a long number takes.
const STEP_DIGITS: usize = 9;

/// Appends the record of `scale` and `value` of a number as PostgreSQL prints it: trailing zeros
/// behind the point are dropped, as Debezium drops them. None for a text that is no finite number.
pub(super) fn write_variable_scale(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    write_long(out, i64::try_from(fraction.len()).ok()?);
    let scale = u32::try_from(fraction.len()).ok()?;
    if whole.len() + fraction.len() > SMALL_DIGITS_MAX {
        let unscaled = long_number(whole, fraction, negative);
        write_unscaled(DecimalRef::Big { unscaled: &unscaled, scale }, out);
        return Some(());
    }
    let digits = whole.bytes().chain(fraction.bytes());
    let unscaled = digits.fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    let unscaled = if negative { -unscaled } else { unscaled };
    write_unscaled(DecimalRef::Small { unscaled, scale }, out);
    Some(())
}

fn write_unscaled(number: DecimalRef<'_>, out: &mut Vec<u8>) {
    number.with_unscaled(|bytes| {
        write_length(out, bytes.len());
        out.extend_from_slice(bytes);
    });
}

/// Two's complement, big-endian, of any number of digits. The one number that takes memory.
#[cold]
pub(crate) fn long_number(whole: &str, fraction: &str, negative: bool) -> Vec<u8> {
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    // The lowest word first.
    let mut words: Vec<u32> = Vec::with_capacity(digits.len() / STEP_DIGITS + 2);
    for step in digits.chunks(STEP_DIGITS) {
        let mut carry = step.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        let by = step.iter().fold(1_u64, |by, _| by * 10);
        for word in &mut words {
            carry += u64::from(*word) * by;
            *word = low(carry);
            carry >>= 32;
        }
        if carry > 0 {
            words.push(low(carry));
        }
    }
    // A word above for the sign.
    words.push(0);
    if negative {
        negate(&mut words);
    }
    words.iter().rev().flat_map(|word| word.to_be_bytes()).collect()
}

fn negate(words: &mut [u32]) {
    let mut carry = true;
    for word in words {
        let (value, over) = (!*word).overflowing_add(u32::from(carry));
        *word = value;
        carry = over;
    }
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decimal_text;
    use crate::read_long;
    use proptest::prelude::*;

    fn record(text: &str) -> Option<(i64, Vec<u8>)> {
        let mut out = Vec::new();
        write_variable_scale(text, &mut out)?;
        let mut rest = &out[..];
        let scale = read_long(&mut rest).unwrap();
        let length = read_long(&mut rest).unwrap();
        assert_eq!(usize::try_from(length).unwrap(), rest.len());
        Some((scale, rest.to_vec()))
    }

    #[test]
    fn trailing_zeros_are_dropped() {
        assert_eq!(record("0.000000001000"), Some((9, vec![1])));
        assert_eq!(record("-0.00"), Some((0, vec![0])));
        assert_eq!(record("100"), Some((0, vec![100])));
        assert_eq!(record("-123.4500"), Some((2, vec![0xcf, 0xc7])));
        assert_eq!(record("100000000000000000000"), Some((0, b"\x05k\xc7^-c\x10\0\0".to_vec())));
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        for text in ["NaN", "Infinity", "-Infinity", "", "-", ".5", "1e5", "1.2.3", "+1"] {
            assert_eq!(record(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_of_any_length_come_back(whole in "0|[1-9][0-9]{0,120}", fraction in "([0-9]{0,60}[1-9])?", negative: bool) {
            let zero = whole == "0" && fraction.is_empty();
            let sign = if negative && !zero { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{point}{fraction}");
            let (scale, unscaled) = record(&text).unwrap();
            prop_assert_eq!(usize::try_from(scale).unwrap(), fraction.len());
            prop_assert_eq!(decimal_text(&unscaled, fraction.len()), text);
        }
    }
}
