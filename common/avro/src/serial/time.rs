//! Dates, times of day and timestamps from text: RFC 3339, and how chrono and time print theirs.

use super::text::Wrong;
use tidemesh_model::{civil, days_of};

const DAY_SECONDS: i64 = 86_400;

const FORM: Wrong = Some("the text is no date or time of the type's form");
const DIGITS: Wrong =
    Some("the text has more digits of a second than the type, and none is dropped");
const LEAP: Wrong = Some("a leap second has no place in the type");
const NO_OFFSET: Wrong = Some("a timestamp is a moment: the text needs an offset from UTC, or Z");
const OFFSET: Wrong =
    Some("a local timestamp has no offset: the text must have none, or that of UTC");
pub(super) const OUT_OF_RANGE: Wrong = Some("the date or time is out of the type's range");

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Result<i64, Wrong> {
    let mut scanner = Scanner { rest: text.as_bytes() };
    let days = scanner.date().ok_or(FORM)?;
    scanner.end(days)
}

/// Units of `10^-digits` seconds since midnight of `HH:MM:SS[.fraction]`.
pub(super) fn of_day(text: &str, digits: u32) -> Result<i64, Wrong> {
    let mut scanner = Scanner { rest: text.as_bytes() };
    let seconds = scanner.time()?;
    let units = seconds * 10_i64.pow(digits) + scanner.fraction(digits)?;
    scanner.end(units)
}

/// Units of `10^-digits` seconds since 1970-01-01 in UTC of a moment.
pub(super) fn timestamp(text: &str, digits: u32) -> Result<i64, Wrong> {
    let (local, offset) = moment(text, digits)?;
    let offset = offset.ok_or(NO_OFFSET)?;
    units(local - i128::from(offset) * 10_i128.pow(digits))
}

/// Units of `10^-digits` seconds since 1970-01-01, wherever that is.
pub(super) fn local_timestamp(text: &str, digits: u32) -> Result<i64, Wrong> {
    match moment(text, digits)? {
        (local, None | Some(0)) => units(local),
        _ => Err(OFFSET),
    }
}

fn units(value: i128) -> Result<i64, Wrong> {
    i64::try_from(value).map_err(|_| OUT_OF_RANGE)
}

/// A date with its time of day, in units, and the offset from UTC in seconds, if there is one.
fn moment(text: &str, digits: u32) -> Result<(i128, Option<i64>), Wrong> {
    let mut scanner = Scanner { rest: text.as_bytes() };
    let days = scanner.date().ok_or(FORM)?;
    if !scanner.take(b"Tt ") {
        return Err(FORM);
    }
    let seconds = days * DAY_SECONDS + scanner.time()?;
    let fraction = scanner.fraction(digits)?;
    let offset = if scanner.rest.is_empty() { None } else { Some(scanner.offset().ok_or(FORM)?) };
    let local = i128::from(seconds) * 10_i128.pow(digits) + i128::from(fraction);
    scanner.end((local, offset))
}

struct Scanner<'t> {
    rest: &'t [u8],
}

impl Scanner<'_> {
    /// Takes one of `bytes`, if it comes next.
    fn take(&mut self, bytes: &[u8]) -> bool {
        match self.rest {
            [first, rest @ ..] if bytes.contains(first) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A number of so many digits.
    fn number(&mut self, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !digits.contains(&count) {
            return None;
        }
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    /// A year of four digits, or with its sign of up to nine, month and day: days since 1970-01-01.
    fn date(&mut self) -> Option<i64> {
        let negative = self.rest.first() == Some(&b'-');
        let signed = self.take(b"+-");
        let year = self.number(4..=if signed { 9 } else { 4 })?;
        let year = if negative { -year } else { year };
        let month = self.take(b"-").then(|| self.number(2..=2))??;
        let day = self.take(b"-").then(|| self.number(2..=2))??;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let days = days_of(year, month, day);
        // A 30th of February is another day.
        (civil(days) == (year, month, day)).then_some(days)
    }

    /// Hours, which the crate `time` does not pad, minutes and seconds: seconds since midnight.
    fn time(&mut self) -> Result<i64, Wrong> {
        let hour = self.number(1..=2).ok_or(FORM)?;
        let minute = self.take(b":").then(|| self.number(2..=2)).flatten().ok_or(FORM)?;
        let second = self.take(b":").then(|| self.number(2..=2)).flatten().ok_or(FORM)?;
        match (hour, minute, second) {
            (0..24, 0..60, 0..60) => Ok(hour * 3600 + minute * 60 + second),
            (0..24, 0..60, 60) => Err(LEAP),
            _ => Err(FORM),
        }
    }

    /// What stands behind a point, in units of `10^-digits`.
    fn fraction(&mut self, digits: u32) -> Result<i64, Wrong> {
        if !self.take(b".") {
            return Ok(0);
        }
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(FORM);
        }
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        let mut places = number.iter().map(|digit| i64::from(digit - b'0'));
        let value = (0..digits).fold(0, |value, _| value * 10 + places.next().unwrap_or(0));
        if places.any(|digit| digit != 0) { Err(DIGITS) } else { Ok(value) }
    }

    /// `Z`, or hours and minutes (and, as the crate `time` prints them, seconds): seconds.
    fn offset(&mut self) -> Option<i64> {
        if self.take(b"Zz") {
            return Some(0);
        }
        let _ = self.take(b" ");
        let negative = self.rest.first() == Some(&b'-');
        if !self.take(b"+-") {
            return None;
        }
        let hours = self.number(2..=2)?;
        let minutes = self.take(b":").then(|| self.number(2..=2))??;
        let seconds = if self.take(b":") { self.number(2..=2)? } else { 0 };
        if hours > 23 || minutes > 59 || seconds > 59 {
            return None;
        }
        let offset = hours * 3600 + minutes * 60 + seconds;
        Some(if negative { -offset } else { offset })
    }

    fn end<T>(&self, value: T) -> Result<T, Wrong> {
        if self.rest.is_empty() { Ok(value) } else { Err(FORM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_counted_from_1970() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2024-02-29"), Ok(19_782));
        assert_eq!(date("0000-03-01"), Ok(-719_468));
        assert_eq!(date("+12345-01-02"), Ok(days_of(12_345, 1, 2)));
        assert_eq!(date("-0001-12-31"), Ok(days_of(-1, 12, 31)));
        for text in ["2023-02-29", "2024-13-01", "2024-1-01", "24-01-01", "2024-01-01T", "", "-"] {
            assert_eq!(date(text), Err(FORM), "{text}");
        }
    }

    #[test]
    fn times_of_day_keep_all_digits() {
        assert_eq!(of_day("23:59:59.999999", 6), Ok(86_399_999_999));
        assert_eq!(of_day("1:02:03.5", 3), Ok(3_723_500));
        assert_eq!(of_day("00:00:00.001000", 3), Ok(1));
        assert_eq!(of_day("00:00:00.0001", 3), Err(DIGITS));
        assert_eq!(of_day("23:59:60", 3), Err(LEAP));
        for text in ["24:00:00", "12:00", "12:60:00", "12:00:00.", "12:00:00Z"] {
            assert_eq!(of_day(text, 6), Err(FORM), "{text}");
        }
    }

    #[test]
    fn moments_are_in_utc() {
        for text in [
            "2024-02-29T12:30:00.25Z",
            "2024-02-29T13:30:00.25+01:00",
            "2024-02-29 07:00:00.250 -05:30:00",
            "2024-02-29t12:30:00.25z",
        ] {
            assert_eq!(timestamp(text, 3), Ok(1_709_209_800_250), "{text}");
        }
        assert_eq!(timestamp("2024-02-29T12:30:00", 3), Err(NO_OFFSET));
        assert_eq!(timestamp("2024-02-29T12:30:00+1:00", 3), Err(FORM));
        assert_eq!(timestamp("2262-04-12T00:00:00Z", 9), Err(OUT_OF_RANGE));
        assert_eq!(timestamp("1677-09-21T00:12:43.145224192Z", 9), Ok(i64::MIN));
    }

    #[test]
    fn local_timestamps_have_no_offset() {
        assert_eq!(local_timestamp("1970-01-02T00:00:00.5", 3), Ok(86_400_500));
        assert_eq!(local_timestamp("1970-01-01T00:00:01Z", 6), Ok(1_000_000));
        assert_eq!(local_timestamp("1970-01-01T00:00:01+02:00", 6), Err(OFFSET));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9TZ:. ]{0,40}|.{0,20}") {
            let _ = (date(&text), of_day(&text, 3), timestamp(&text, 9), local_timestamp(&text, 6));
        }

        #[test]
        fn what_chrono_prints_is_read(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
            let moment = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(timestamp(&moment.to_rfc3339(), 6), Ok(micros));
            let local = serde_json::to_value(moment.naive_utc()).unwrap();
            prop_assert_eq!(local_timestamp(local.as_str().unwrap(), 6), Ok(micros));
        }
    }
}
