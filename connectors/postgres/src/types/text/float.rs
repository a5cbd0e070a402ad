//! Floats as PostgreSQL writes them with `extra_float_digits = 1`: the fewest digits that give the
//! number again, an exponent below `1e-4` and from as many digits on as the type surely keeps
//! (PostgreSQL 18, `src/common/d2s.c` and `f2s.c`).
//!
//! Rust finds the same digits but for two cases. It takes a decimal that lies exactly between two
//! floats, which reads back as the even one of them, where PostgreSQL does not (`acceptBounds`) and
//! writes a digit more. And of two decimals that are equally near it takes the upper one, where
//! PostgreSQL takes the even one.

use std::fmt::Write as _;
use std::io::Write as _;

/// Digits that a binary64 number and a binary32 number surely keep (`DBL_DIG`, `FLT_DIG`).
const DOUBLE_DIGITS: i32 = 15;
const FLOAT_DIGITS: i32 = 6;

/// Appends a `float8`.
pub(crate) fn write_float8(value: f64, out: &mut Vec<u8>) -> Option<()> {
    if let Some(special) = special(value) {
        return out.write_all(special).ok();
    }
    let bits = value.to_bits();
    let (exponent, fraction) = (i32::try_from((bits >> 52) & 0x7ff).ok()?, bits & ((1 << 52) - 1));
    let binary = match exponent {
        0 => Binary { mantissa: fraction, exponent: -1074, lower_is_nearer: false },
        _ => Binary {
            mantissa: fraction | (1 << 52),
            exponent: exponent - 1075,
            lower_is_nearer: fraction == 0 && exponent > 1,
        },
    };
    let is_same = |text: &str| text.parse::<f64>().is_ok_and(|read| read == value.abs());
    let decimal = shortest(value.abs(), &binary, is_same)?;
    layout(value.is_sign_negative(), decimal, DOUBLE_DIGITS, out)
}

/// Appends a `float4`.
pub(crate) fn write_float4(value: f32, out: &mut Vec<u8>) -> Option<()> {
    if let Some(special) = special(value.into()) {
        return out.write_all(special).ok();
    }
    let bits = value.to_bits();
    let (exponent, fraction) = (i32::try_from((bits >> 23) & 0xff).ok()?, bits & ((1 << 23) - 1));
    let binary = match exponent {
        0 => Binary { mantissa: fraction.into(), exponent: -149, lower_is_nearer: false },
        _ => Binary {
            mantissa: (fraction | (1 << 23)).into(),
            exponent: exponent - 150,
            lower_is_nearer: fraction == 0 && exponent > 1,
        },
    };
    let is_same = |text: &str| text.parse::<f32>().is_ok_and(|read| read == value.abs());
    let decimal = shortest(value.abs(), &binary, is_same)?;
    layout(value.is_sign_negative(), decimal, FLOAT_DIGITS, out)
}

fn special(value: f64) -> Option<&'static [u8]> {
    if value.is_nan() {
        Some(b"NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { b"Infinity" } else { b"-Infinity" })
    } else if value == 0.0 {
        Some(if value.is_sign_negative() { b"-0" } else { b"0" })
    } else {
        None
    }
}

/// `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

/// `mantissa * 2^exponent`.
struct Binary {
    mantissa: u64,
    exponent: i32,
    /// Whether the float below is half as far away as the one above.
    lower_is_nearer: bool,
}

impl Binary {
    /// Whether a decimal lies exactly between this float and one beside it.
    fn is_between(&self, decimal: Decimal) -> bool {
        let above = is_product(decimal, 2 * self.mantissa + 1, self.exponent - 1);
        let below = if self.lower_is_nearer {
            is_product(decimal, 4 * self.mantissa - 1, self.exponent - 2)
        } else {
            is_product(decimal, 2 * self.mantissa - 1, self.exponent - 1)
        };
        above || below
    }

    /// Whether the float lies exactly between a decimal and the one below it.
    fn is_tie(&self, decimal: Decimal) -> bool {
        let twos = self.mantissa.trailing_zeros();
        let (Ok(twos_exponent), Some(digits)) =
            (i32::try_from(twos), decimal.digits.checked_mul(10))
        else {
            return false;
        };
        let middle = Decimal { digits: digits - 5, exponent: decimal.exponent - 1 };
        is_product(middle, self.mantissa >> twos, self.exponent + twos_exponent)
    }
}

/// Whether `decimal = odd * 2^exponent`, by their odd parts and their powers of two.
fn is_product(decimal: Decimal, odd: u64, exponent: i32) -> bool {
    // Larger powers of five have more bits than an odd part or the digits can have.
    let Some(five) = 5_u64.checked_pow(decimal.exponent.unsigned_abs()) else { return false };
    let twos = decimal.digits.trailing_zeros();
    let digits = u128::from(decimal.digits >> twos);
    let (left, right) = if decimal.exponent >= 0 {
        (digits * u128::from(five), u128::from(odd))
    } else {
        (digits, u128::from(odd) * u128::from(five))
    };
    left == right && i32::try_from(twos).is_ok_and(|twos| twos + decimal.exponent == exponent)
}

/// The fewest digits within the bounds, and of those the nearest; `value` is above zero.
fn shortest<F: std::fmt::LowerExp>(
    value: F,
    binary: &Binary,
    is_same: impl Fn(&str) -> bool,
) -> Option<Decimal> {
    let mut text = Short::default();
    write!(text, "{value:e}").ok()?;
    let (mut decimal, mut count) = read(text.as_str())?;
    if decimal.digits % 2 == 1 && binary.is_tie(decimal) {
        // The even one, as Rust rounds to a given number of digits.
        text = Short::default();
        write!(text, "{value:.*e}", count - 1).ok()?;
        if is_same(text.as_str()) {
            (decimal, _) = read(text.as_str())?;
        }
    }
    while binary.is_between(decimal) {
        count += 1;
        text = Short::default();
        write!(text, "{value:.*e}", count - 1).ok()?;
        let (more, digits) = read(text.as_str())?;
        if digits == count && is_same(text.as_str()) {
            decimal = more;
        }
        // A binary64 number has at most 17 digits.
        (count < 18).then_some(())?;
    }
    Some(decimal)
}

/// Reads `1.25e-7`; answers how many digits it has, too.
fn read(text: &str) -> Option<(Decimal, usize)> {
    let (mantissa, exponent) = text.split_once('e')?;
    let (mut digits, mut count) = (0_u64, 0_usize);
    for digit in mantissa.bytes().filter(|byte| *byte != b'.') {
        digits = digits.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0')?))?;
        count += 1;
    }
    let exponent: i32 = exponent.parse().ok()?;
    let exponent = exponent - i32::try_from(count).ok()? + 1;
    Some((Decimal { digits, exponent }, count))
}

/// The number in `to_chars`'s form.
fn layout(negative: bool, decimal: Decimal, digits_max: i32, out: &mut Vec<u8>) -> Option<()> {
    let mut text = Short::default();
    write!(text, "{}", decimal.digits).ok()?;
    let digits = text.as_str().as_bytes();
    let count = i32::try_from(digits.len()).ok()?;
    let exponent = decimal.exponent + count - 1;
    if negative {
        out.push(b'-');
    }
    let zeros = |count: i32, out: &mut Vec<u8>| (0..count).for_each(|_| out.push(b'0'));
    if exponent < -4 || exponent >= digits_max {
        let (first, rest) = digits.split_first()?;
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "e{sign}{:02}", exponent.unsigned_abs()).ok();
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        zeros(-exponent - 1, out);
        out.extend_from_slice(digits);
    } else if decimal.exponent >= 0 {
        out.extend_from_slice(digits);
        zeros(decimal.exponent, out);
    } else {
        let (whole, fraction) = digits.split_at_checked(usize::try_from(exponent).ok()? + 1)?;
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    Some(())
}

/// A short text on the stack.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    length: usize,
}

impl Short {
    fn as_str(&self) -> &str {
        // Only whole texts are put in.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_float8(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        write_float4(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_exponent_stands_where_postgresql_writes_one() {
        assert_eq!(double(1e15), "1e+15");
        assert_eq!(double(123_456_789_012_345.0), "123456789012345");
        assert_eq!(double(0.0001), "0.0001");
        assert_eq!(double(0.000_012_5), "1.25e-05");
        assert_eq!(double(-1.5), "-1.5");
        assert_eq!(double(-0.0), "-0");
        assert_eq!(double(1e300), "1e+300");
        assert_eq!(double(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(double(f64::MIN_POSITIVE / 4_503_599_627_370_496.0), "5e-324");
        assert_eq!(double(f64::MAX), "1.7976931348623157e+308");
        assert_eq!(float(1e6), "1e+06");
        assert_eq!(float(123_456.0), "123456");
        assert_eq!(float(f32::MAX), "3.4028235e+38");
    }

    /// As PostgreSQL 15.18 writes them. Rust writes `3.355445e7`, `1e23` and `9007199254740992`.
    #[test]
    fn a_decimal_between_two_floats_is_not_taken() {
        assert_eq!(float(33_554_448.0), "3.3554448e+07");
        assert_eq!(float(8_589_973_504.0), "8.589974e+09");
        assert_eq!(double(1e23), "9.999999999999999e+22");
        assert_eq!(double(9e22), "9e+22");
        assert_eq!(double(2_f64.powi(53)), "9.007199254740992e+15");
        assert_eq!(double(2_f64.powi(89)), "6.189700196426902e+26");
        assert_eq!(double(9.5e-323_f64), "9.4e-323");
    }

    #[test]
    fn of_two_decimals_equally_near_the_even_one_is_taken() {
        // 212510.125, -3533322.25, 32488517477274.8125 and -863018321518638.25.
        assert_eq!(float(1_700_081.0 / 8.0), "212510.12");
        assert_eq!(float(-14_133_289.0 / 4.0), "-3.5333222e+06");
        assert_eq!(double(519_816_279_636_397.0 / 16.0), "32488517477274.812");
        assert_eq!(double(-3_452_073_286_074_553.0 / 4.0), "-863018321518638.2");
    }

    proptest! {
        #[test]
        fn every_number_is_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(double(value).parse::<f64>().unwrap().to_bits(), bits);
            let value = f32::from_bits((bits & 0xffff_ffff) as u32);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(float(value).parse::<f32>().unwrap().to_bits(), value.to_bits());
        }
    }
}
