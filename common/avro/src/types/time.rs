//! Times in Debezium's forms (Debezium 3.7, `io.debezium.time`), and back.

use crate::varint::write_long;
use tidemesh_model::{civil, days_of};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The milliseconds by which the JDBC driver, and so Debezium, writes infinite timestamps
/// (pgjdbc, `PGStatement.DATE_POSITIVE_INFINITY` and `DATE_NEGATIVE_INFINITY`).
const INFINITY_MS: i64 = 9_223_372_036_825_200_000;
const MINUS_INFINITY_MS: i64 = -9_223_372_036_832_400_000;

/// Days of a month on average, in microseconds: a twelfth of 365.25 days, exactly.
const MONTH_US: i128 = 2_629_800 * SECOND_US as i128;

/// Milliseconds of a timestamp in microseconds.
#[inline]
pub(crate) fn timestamp_millis(micros: i64) -> i64 {
    match micros {
        i64::MAX => INFINITY_MS,
        i64::MIN => MINUS_INFINITY_MS,
        micros => micros.div_euclid(1000),
    }
}

/// The inverse.
pub(super) fn timestamp_micros(millis: i64) -> Option<i64> {
    match millis {
        INFINITY_MS => Some(i64::MAX),
        MINUS_INFINITY_MS => Some(i64::MIN),
        millis => millis.checked_mul(1000),
    }
}

/// Appends a short text made by `write`, with its length before it.
#[inline]
fn short_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    // Below 64 bytes a length takes one byte, doubled by zig-zag.
    let length = out.len() - at - 1;
    debug_assert!(length < 64);
    out[at] = u8::try_from(length * 2).unwrap_or(0);
}

fn digit(value: i64) -> u8 {
    b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or(0)
}

/// `value` in `width` digits at least.
fn padded(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut begin) = (value, digits.len());
    while rest > 0 || digits.len() - begin < width {
        begin -= 1;
        digits[begin] = digit(rest);
        rest /= 10;
    }
    out.extend_from_slice(&digits[begin..]);
}

/// A moment as Java's `ISO_OFFSET_DATE_TIME` prints it in UTC, with `digits` of a second if there is
/// one at least.
#[inline]
pub(crate) fn write_zoned_timestamp(micros: i64, digits: u8, out: &mut Vec<u8>) {
    short_text(out, |out| match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        micros => {
            date(micros.div_euclid(DAY_US), out);
            out.push(b'T');
            let of_day = micros.rem_euclid(DAY_US);
            clock(of_day / SECOND_US, out);
            if digits == 0 {
                fraction(of_day % SECOND_US, out);
            } else {
                let begin = out.len();
                out.push(b'.');
                padded(out, of_day % SECOND_US, 6);
                out.truncate(begin + 1 + usize::from(digits.min(6)));
            }
            out.push(b'Z');
        }
    });
}

/// `uuuu-MM-dd`, with a sign before years below 0 or above 9999.
fn date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    padded(out, year.abs(), 4);
    for part in [month, day] {
        out.push(b'-');
        padded(out, part, 2);
    }
}

fn clock(seconds: i64, out: &mut Vec<u8>) {
    padded(out, seconds / 3600, 2);
    for part in [seconds / 60 % 60, seconds % 60] {
        out.push(b':');
        padded(out, part, 2);
    }
}

/// As many digits of a second as are needed.
fn fraction(micros: i64, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    padded(out, micros, 6);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// A moment from the text of [`write_zoned_timestamp`].
pub(super) fn zoned_timestamp(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (sign, date) = match date.strip_prefix('-') {
        Some(date) => (-1, date),
        None => (1, date.strip_prefix('+').unwrap_or(date)),
    };
    let mut parts = date.splitn(3, '-').map(whole);
    let (year, month, day) = (sign * parts.next()??, parts.next()??, parts.next()??);
    // The first day that has a moment began before the smallest number.
    let day_us = i128::from(days_of(year, month, day)) * i128::from(DAY_US);
    i64::try_from(day_us + i128::from(time_of_day(time)?)).ok()
}

/// Digits, at most twelve: more than any part of a time has.
fn whole(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Microseconds of `HH:MM:SS[.f…]`.
fn time_of_day(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':').map(whole);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?;
    seconds.checked_mul(SECOND_US)?.checked_add(micros_of(fraction)?)
}

/// Digits behind a point, at most six.
fn micros_of(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let missing = 6_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    Some(whole(fraction)? * 10_i64.pow(missing))
}

/// Seconds east of Greenwich of `±HH[:MM[:SS]]`.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'-' => -1,
        b'+' => 1,
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in text[1..].splitn(3, ':') {
        seconds += whole(part)?.checked_mul(unit)?;
        unit /= 60;
    }
    Some(sign * seconds)
}

/// A time with its offset as Java's `ISO_OFFSET_TIME` prints it once it is moved to UTC. The end of
/// the day stays in UTC alone, as in Debezium.
pub(super) fn write_zoned_time(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let sign = text.rfind(['+', '-'])?;
    let (micros, east) = (time_of_day(&text[..sign])?, offset(&text[sign..])?);
    let in_utc = if micros == DAY_US && east == 0 {
        micros
    } else {
        micros.checked_sub(east.checked_mul(SECOND_US)?)?.rem_euclid(DAY_US)
    };
    short_text(out, |out| {
        clock(in_utc / SECOND_US, out);
        fraction(in_utc % SECOND_US, out);
        out.push(b'Z');
    });
    Some(())
}

/// An interval in microseconds, a month being a twelfth of 365.25 days; what does not fit, the
/// infinities included, is the smallest or largest number.
pub(super) fn write_micro_duration(text: &str, out: &mut Vec<u8>) -> Option<()> {
    write_long(out, micro_duration(text)?);
    Some(())
}

fn micro_duration(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let mut rest = text.strip_prefix('P')?;
    let (mut total, mut in_time) = (0_i128, false);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            (rest, in_time) = (time, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = (&rest[..end], rest.as_bytes()[end]);
        rest = &rest[end + 1..];
        total = total.checked_add(part(number, unit, in_time)?)?;
    }
    Some(i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX }))
}

/// One part of an interval, in microseconds.
fn part(number: &str, unit: u8, in_time: bool) -> Option<i128> {
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, number),
    };
    let (number, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = match (unit, in_time) {
        (b'Y', false) => 12 * MONTH_US,
        (b'M', false) => MONTH_US,
        (b'D', false) => i128::from(DAY_US),
        (b'H', true) => i128::from(3600 * SECOND_US),
        (b'M', true) => i128::from(60 * SECOND_US),
        (b'S', true) => i128::from(SECOND_US),
        _ => return None,
    };
    if !fraction.is_empty() && unit != i128::from(SECOND_US) {
        return None;
    }
    let whole = i128::from(whole(number)?).checked_mul(unit)?;
    Some(sign * (whole + i128::from(micros_of(fraction)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(usize::from(out[0]), (out.len() - 1) * 2);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    fn zoned(micros: i64, digits: u8) -> String {
        text(|out| write_zoned_timestamp(micros, digits, out))
    }

    fn zoned_time(from: &str) -> String {
        text(|out| write_zoned_time(from, out).unwrap())
    }

    // What Debezium 3.7.0.Final wrote of these values, see `testdata/debezium`.
    #[test]
    fn moments_are_debeziums_text() {
        assert_eq!(zoned(1_704_060_000_000_000, 6), "2023-12-31T22:00:00.000000Z");
        assert_eq!(zoned(1_704_060_000_000_000, 0), "2023-12-31T22:00:00Z");
        assert_eq!(zoned(1_704_060_000_500_000, 3), "2023-12-31T22:00:00.500Z");
        assert_eq!(zoned(-63_517_788_000_000_000, 6), "-0043-03-15T10:00:00.000000Z");
        assert_eq!(zoned(-210_863_520_000_000_000, 6), "-4712-01-01T00:00:00.000000Z");
        assert_eq!(zoned(-62_135_596_800_000_000, 6), "0001-01-01T00:00:00.000000Z");
        assert_eq!(zoned(253_402_300_800_000_000, 6), "+10000-01-01T00:00:00.000000Z");
        assert_eq!(zoned(-1, 6), "1969-12-31T23:59:59.999999Z");
        assert_eq!(zoned(i64::MAX, 6), "infinity");
        assert_eq!(zoned(i64::MIN, 0), "-infinity");
    }

    #[test]
    fn times_move_to_utc() {
        assert_eq!(zoned_time("04:05:06+05:30"), "22:35:06Z");
        assert_eq!(zoned_time("04:05:06.789-03:00"), "07:05:06.789Z");
        assert_eq!(zoned_time("24:00:00+00:00"), "24:00:00Z");
        assert_eq!(zoned_time("24:00:00-03:00"), "03:00:00Z");
        assert_eq!(zoned_time("23:00:00-03"), "02:00:00Z");
        assert_eq!(zoned_time("01:00:00+03"), "22:00:00Z");
        assert_eq!(zoned_time("04:05:06.500000-03:30:15"), "07:35:21.5Z");
    }

    #[test]
    fn intervals_are_averaged() {
        let micros = |text| micro_duration(text).unwrap();
        assert_eq!(micros("P1Y2M3DT4H5M6.5S"), 37_091_106_500_000);
        assert_eq!(micros("P-1Y-2M3DT-4H-5M-6.5S"), -36_572_706_500_000);
        assert_eq!(micros("P-1D"), -86_400_000_000);
        assert_eq!(micros("P1M"), 2_629_800_000_000);
        assert_eq!(micros("PT0.000001S"), 1);
        assert_eq!(micros("P999D"), 86_313_600_000_000);
        assert_eq!(micros("P178000000Y"), i64::MAX);
        assert_eq!(micros("PT0S"), 0);
        assert_eq!(micros("-infinity"), i64::MIN);
    }

    #[test]
    fn infinite_timestamps_are_the_jdbc_drivers() {
        assert_eq!(timestamp_millis(i64::MAX), 9_223_372_036_825_200_000);
        assert_eq!(timestamp_millis(i64::MIN), -9_223_372_036_832_400_000);
        assert_eq!(timestamp_millis(-1000), -1);
    }

    proptest! {
        #[test]
        fn moments_come_back(micros: i64) {
            prop_assert_eq!(zoned_timestamp(&zoned(micros, 6)), Some(micros));
            let trimmed = micros - micros.rem_euclid(SECOND_US);
            if trimmed > i64::MIN {
                prop_assert_eq!(zoned_timestamp(&zoned(trimmed, 0)), Some(trimmed));
            }
        }

        #[test]
        fn timestamps_come_back(millis in i64::MIN / 1000..i64::MAX / 1000) {
            prop_assert_eq!(timestamp_micros(timestamp_millis(millis * 1000)), Some(millis * 1000));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,20}|[-+P0-9YMDTHS:.Z]{0,24}") {
            let mut out = Vec::new();
            let _ = write_zoned_time(&text, &mut out);
            let _ = write_micro_duration(&text, &mut out);
            let _ = zoned_timestamp(&text);
        }
    }
}
