//! Decimal text as the unscaled number of a schema's scale: exact, or refused.

use super::text::Wrong;
use crate::types::long_number;
use crate::varint::write_length;
use tidemesh_model::DecimalRef;

/// Digits that fit 128 bits whatever they are.
const SMALL_DIGITS_MAX: usize = 38;

/// The most digits of one number, whatever precision a schema claims: an exponent of few digits
/// could ask for as many as memory has.
const DIGITS_MAX: usize = 10_000;

const FORM: Wrong = Some("the text is no decimal number");
const SCALE: Wrong = Some("the number has more digits behind the point than the scale");
const PRECISION: Wrong = Some("the number has more digits than the precision");
const SIZE: Wrong = Some("the number does not fit the fixed type's bytes");

/// A number as it is written: its digits are `whole` and `fraction`.
struct Number<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

/// Appends the number that `text` is, times `10^scale`: two's complement, big-endian; the shortest
/// behind its length, or as many bytes as `fixed` says. If it is refused, nothing is appended.
pub(super) fn write(
    text: &str,
    precision: usize,
    scale: usize,
    fixed: Option<usize>,
    out: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let number = parse(text).ok_or(FORM)?;
    let digits = || number.whole.bytes().chain(number.fraction.bytes());
    let leading = digits().take_while(|digit| *digit == b'0').count();
    let all = number.whole.len() + number.fraction.len();
    let trailing = digits().rev().take_while(|digit| *digit == b'0').count();
    // None of zero.
    let significant = (all - leading).saturating_sub(trailing);
    let shift = if significant == 0 { 0 } else { shift(&number, trailing, scale)? };
    let count = significant.saturating_add(shift);
    if count > precision.min(DIGITS_MAX) {
        return Err(PRECISION);
    }
    let digits = digits().skip(leading).take(significant);
    let digits = digits.chain(std::iter::repeat_n(b'0', shift));
    if count > SMALL_DIGITS_MAX {
        let text: String = digits.map(char::from).collect();
        let unscaled = long_number(&text, "", number.negative);
        return append(DecimalRef::Big { unscaled: &unscaled, scale: 0 }, fixed, out);
    }
    let unscaled = digits.fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    let unscaled = if number.negative { -unscaled } else { unscaled };
    append(DecimalRef::Small { unscaled, scale: 0 }, fixed, out)
}

/// How many zeros the scale adds behind the last digit that is not zero, of which there is one.
fn shift(number: &Number<'_>, trailing: usize, scale: usize) -> Result<usize, Wrong> {
    let signed = |count: usize| i64::try_from(count).map_err(|_| PRECISION);
    let zeros = signed(scale)?
        .saturating_add(signed(trailing)?)
        .saturating_sub(signed(number.fraction.len())?);
    match zeros.saturating_add(number.exponent) {
        shift @ 0.. => usize::try_from(shift).map_err(|_| PRECISION),
        _ => Err(SCALE),
    }
}

fn append(number: DecimalRef<'_>, fixed: Option<usize>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    number.with_unscaled(|bytes| {
        let Some(size) = fixed else {
            write_length(out, bytes.len());
            out.extend_from_slice(bytes);
            return Ok(());
        };
        let padding = size.checked_sub(bytes.len()).ok_or(SIZE)?;
        let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
        out.extend(std::iter::repeat_n(sign, padding));
        out.extend_from_slice(bytes);
        Ok(())
    })
}

/// `[+-]digits[.digits][e[+-]digits]`, with a digit before or behind the point.
fn parse(text: &str) -> Option<Number<'_>> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let any = !(whole.is_empty() && fraction.is_empty());
    (any && all_digits(whole) && all_digits(fraction)).then_some(Number {
        negative,
        whole,
        fraction,
        exponent,
    })
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let huge = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(huge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decimal_text;
    use crate::read_long;
    use proptest::prelude::*;

    /// The number as the reader of JSON prints it.
    fn there_and_back(text: &str, precision: usize, scale: usize) -> Result<String, Wrong> {
        let mut out = Vec::new();
        write(text, precision, scale, None, &mut out)?;
        let mut rest = &out[..];
        let length = read_long(&mut rest).unwrap();
        assert_eq!(usize::try_from(length).unwrap(), rest.len());
        Ok(decimal_text(rest, scale))
    }

    #[test]
    fn decimals_are_exact() {
        for (text, printed) in [
            ("12.34", "12.34"),
            ("-0.5", "-0.50"),
            ("+7", "7.00"),
            ("1.500", "1.50"),
            ("1e3", "1000.00"),
            ("12345E-2", "123.45"),
            ("0.0012e3", "1.20"),
            ("100e-4", "0.01"),
            (".5", "0.50"),
            ("5.", "5.00"),
            ("0", "0.00"),
            ("-0.000", "0.00"),
            ("0e999999999999999999999", "0.00"),
            ("00012.3400", "12.34"),
        ] {
            assert_eq!(there_and_back(text, 10, 2).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn what_would_lose_a_digit_is_refused() {
        assert_eq!(there_and_back("1.005", 10, 2), Err(SCALE));
        assert_eq!(there_and_back("1e-3", 10, 2), Err(SCALE));
        assert_eq!(there_and_back("1e-99999999999999999999", 10, 2), Err(SCALE));
        assert_eq!(there_and_back("123456789.5", 10, 2), Err(PRECISION));
        assert_eq!(there_and_back("1e99999999999999999999", 10, 2), Err(PRECISION));
        assert_eq!(there_and_back("1e999999999", usize::MAX, 2), Err(PRECISION));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "NaN", "inf", "1,5", "1.2.3", "1e", "e5", "--1", "1e+-2", "0x1"]
        {
            assert_eq!(there_and_back(text, 10, 2), Err(FORM), "{text}");
        }
    }

    #[test]
    fn fixed_decimals_are_padded_by_their_sign() {
        let fixed = |text, size| {
            let mut out = Vec::new();
            write(text, 18, 2, Some(size), &mut out).map(|()| out)
        };
        assert_eq!(fixed("-1", 4), Ok(vec![0xff, 0xff, 0xff, 0x9c]));
        assert_eq!(fixed("1", 3), Ok(vec![0, 0, 0x64]));
        assert_eq!(fixed("1.28", 1), Err(SIZE));
        assert_eq!(fixed("1.27", 1), Ok(vec![0x7f]));
    }

    proptest! {
        #[test]
        fn numbers_of_any_length_come_back(
            whole in "0|[1-9][0-9]{0,90}", fraction in "[0-9]{7}", negative: bool, exponent in -5_i64..5,
        ) {
            let zero = whole == "0" && fraction == "0000000";
            let sign = if negative && !zero { "-" } else { "" };
            let text = format!("{sign}{whole}.{fraction}");
            prop_assert_eq!(there_and_back(&text, 200, 7), Ok(text.clone()));
            // With an exponent, at a scale that has room for it.
            let moved = there_and_back(&format!("{text}e{exponent}"), 200, 12);
            let back = moved.and_then(|moved| there_and_back(&format!("{moved}e{}", -exponent), 200, 7));
            prop_assert_eq!(back, Ok(text));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9eE.]{0,30}|.{0,10}") {
            let _ = there_and_back(&text, 60, 3);
        }
    }
}
