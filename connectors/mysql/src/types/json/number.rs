//! Numbers as the server prints them in documents (MySQL 9.1, `my_gcvt` in `strings/dtoa.cc`).

use std::io::Write;

/// Digits of an integer, or zeros behind a point, up to which a number has no exponent (`DBL_DIG`).
const PLAIN_DIGITS_MAX: i32 = 15;

/// Appends the shortest digits that are read as the number again, and `.0` if they would be those of
/// an integer (`wrapper_to_string` in `json_dom.cc`). None for what is no number.
pub(crate) fn double(value: f64, out: &mut Vec<u8>) -> Option<()> {
    if !value.is_finite() {
        return None;
    }
    // `-d.ddde±x`, at most 24 bytes: what is wanted is the digits and the exponent.
    let mut text = [0_u8; 32];
    let mut rest = &mut text[..];
    write!(rest, "{value:e}").ok()?;
    let left = rest.len();
    let text = &text[..text.len() - left];
    let (mantissa, exponent) = text.split_at(text.iter().position(|byte| *byte == b'e')?);
    let exponent: i32 = std::str::from_utf8(&exponent[1..]).ok()?.parse().ok()?;
    let (mut digits, mut count) = ([0_u8; 32], 0);
    for digit in mantissa.iter().filter(|byte| byte.is_ascii_digit()) {
        digits[count] = *digit;
        count += 1;
    }
    let digits = &digits[..count];
    if mantissa.starts_with(b"-") {
        out.push(b'-');
    }
    let point = exponent + 1;
    let has_fraction = usize::try_from(point).is_ok_and(|point| point < digits.len());
    if point < 1 - PLAIN_DIGITS_MAX || (point > PLAIN_DIGITS_MAX && !has_fraction) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        return write!(out, "e{exponent}").ok();
    }
    plain(digits, point, out);
    Some(())
}

/// Digits with their point at a place, and one digit behind it at least.
fn plain(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    let Ok(point) = usize::try_from(point) else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
        return;
    };
    if point == 0 {
        out.extend_from_slice(b"0.");
        out.extend_from_slice(digits);
    } else if point >= digits.len() {
        out.extend_from_slice(digits);
        out.resize(out.len() + point - digits.len(), b'0');
        out.extend_from_slice(b".0");
    } else {
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a MariaDB 10.11.19 prints doubles, whose `my_gcvt` is the same; a document of MySQL's has
    /// `.0` behind what looks like an integer. See `testdata/README.md`.
    #[test]
    fn numbers_print_as_the_server_prints_them() {
        let list = include_str!("../../../testdata/doubles.txt");
        let mut seen = 0;
        for line in list.lines() {
            let (number, printed) = line.split_once('\t').unwrap();
            let mut out = Vec::new();
            double(number.parse().unwrap(), &mut out).unwrap();
            let found = String::from_utf8(out).unwrap();
            let expected = match printed.contains(['.', 'e']) {
                true => printed.to_owned(),
                false => format!("{printed}.0"),
            };
            assert_eq!(found, expected, "{number}");
            seen += 1;
        }
        assert!(seen > 20);
    }
}
