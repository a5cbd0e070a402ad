//! Dates, times and moments, in the form of MySQL 5.6 and later and in the older ones.
//!
//! Forms: MySQL 9.1, `mysys/my_time.cc` (`my_datetime_packed_from_binary` and its like), and
//! `Field_newdate`, `Field_time`, `Field_datetime` in `sql/field.cc`; MariaDB 10.11,
//! `Field_time_hires` and its like in `sql/field.cc`, where `mysql56_temporal_format` is off.

use crate::bytes::{uint, uint_be};
use serde::{Deserialize, Serialize};
use std::io::Write;
use tidemesh_model::{civil, days_of};

pub(super) const DAY_US: i64 = 86_400 * SECOND_US;
const SECOND_US: i64 = 1_000_000;

/// How a type's values stand in the log, with the digits of a second that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TemporalForm {
    /// As MySQL 5.6 has it.
    Packed(u8),
    /// As it was before, with digits only in MariaDB.
    Old(u8),
}

impl TemporalForm {
    pub(crate) fn digits(self) -> u8 {
        match self {
            Self::Packed(digits) | Self::Old(digits) => digits.min(6),
        }
    }

    /// Microseconds of a fraction that has this form's digits.
    fn micros(self, fraction: u64) -> Option<u32> {
        // Packed forms store an even number of digits.
        let stored = match self {
            Self::Packed(digits) => digits.saturating_add(digits % 2),
            Self::Old(digits) => digits,
        };
        let scale = 10_u64.pow(6_u32.checked_sub(stored.into())?);
        let micros = u32::try_from(fraction.checked_mul(scale)?).ok()?;
        (micros < 1_000_000).then_some(micros)
    }
}

/// A date with a time of day, which may be none that a calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Civil {
    pub(super) year: u32,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) micros: u32,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) negative: bool,
    pub(super) hours: u32,
    pub(super) minutes: u32,
    pub(super) seconds: u32,
    pub(super) micros: u32,
}

/// Some bits of a number, at most 32 of them.
fn part(value: u64, shift: u32, bits: u32) -> u32 {
    u32::try_from((value >> shift) & ((1 << bits) - 1)).unwrap_or_default()
}

/// `DATE`: three bytes, the lowest first.
pub(super) fn date(bytes: &[u8]) -> Option<Civil> {
    let value = uint(bytes.first_chunk::<3>()?);
    (bytes.len() == 3).then_some(())?;
    let (year, month, day) = (part(value, 9, 15), part(value, 5, 4), part(value, 0, 5));
    Some(Civil { year, month, day, ..Civil::default() })
}

pub(super) fn datetime(form: TemporalForm, bytes: &[u8]) -> Option<Civil> {
    match form {
        TemporalForm::Packed(_) => {
            const SIGN: u64 = 1 << 39;
            let (head, fraction) = bytes.split_first_chunk::<5>()?;
            let packed = uint_be(head).checked_sub(SIGN)?;
            let micros = form.micros(uint_be(fraction.get(..fraction.len().min(3))?))?;
            Some(Civil { micros, ..from_bits(packed) })
        }
        // A number whose digits are the date's and the time's.
        TemporalForm::Old(0) => {
            let number = uint(bytes.first_chunk::<8>()?);
            let digits = |power: u32, of: u64| u32::try_from(number / 10_u64.pow(power) % of).ok();
            Some(Civil {
                year: u32::try_from(number / 10_u64.pow(10)).ok()?,
                month: digits(8, 100)?,
                day: digits(6, 100)?,
                hour: digits(4, 100)?,
                minute: digits(2, 100)?,
                second: digits(0, 100)?,
                micros: 0,
            })
        }
        // All parts multiplied together, of which a month has 32 days and a year 13 months.
        TemporalForm::Old(digits) => {
            let number = uint_be(bytes);
            let unit = 10_u64.pow(digits.min(6).into());
            let mut rest = number / unit;
            let mut next = |of: u64| {
                let value = u32::try_from(rest % of).ok();
                rest /= of;
                value
            };
            let (second, minute, hour) = (next(60)?, next(60)?, next(24)?);
            let (day, month, year) = (next(32)?, next(13)?, next(u64::from(u32::MAX))?);
            let micros = form.micros(number % unit)?;
            Some(Civil { year, month, day, hour, minute, second, micros })
        }
    }
}

/// The parts of a packed date and time: 17 bits of years by 13 months, 5 of days, 5 of hours, 6 of
/// minutes and of seconds.
fn from_bits(packed: u64) -> Civil {
    let months = part(packed, 22, 24);
    Civil {
        year: months / 13,
        month: months % 13,
        day: part(packed, 17, 5),
        hour: part(packed, 12, 5),
        minute: part(packed, 6, 6),
        second: part(packed, 0, 6),
        micros: 0,
    }
}

/// `TIMESTAMP`: seconds since 1970 and microseconds; all zero is the date that is none.
pub(super) fn timestamp(form: TemporalForm, bytes: &[u8]) -> Option<(u32, u32)> {
    let (head, fraction) = bytes.split_first_chunk::<4>()?;
    let seconds = match form {
        TemporalForm::Old(0) => u32::from_le_bytes(*head),
        TemporalForm::Old(_) | TemporalForm::Packed(_) => u32::from_be_bytes(*head),
    };
    Some((seconds, form.micros(uint_be(fraction.get(..fraction.len().min(3))?))?))
}

pub(super) fn time(form: TemporalForm, bytes: &[u8]) -> Option<Span> {
    match form {
        TemporalForm::Packed(_) => {
            let fraction_bits = u32::try_from(bytes.len().checked_sub(3)?).ok()? * 8;
            (fraction_bits <= 24).then_some(())?;
            let packed = uint_be(bytes).cast_signed() - (0x80_0000 << fraction_bits);
            let (negative, packed) = (packed < 0, packed.unsigned_abs());
            let whole = packed >> fraction_bits;
            let micros = form.micros(packed & ((1 << fraction_bits) - 1))?;
            Some(Span { micros, ..span_of_bits(negative, whole) })
        }
        TemporalForm::Old(0) => {
            let number = uint(bytes.first_chunk::<3>()?);
            let is_negative = number & 0x80_0000 != 0;
            let number = if is_negative { 0x100_0000 - number } else { number };
            let digits = |power: u32, of: u64| u32::try_from(number / 10_u64.pow(power) % of).ok();
            Some(Span {
                negative: is_negative,
                hours: digits(4, 1000)?,
                minutes: digits(2, 100)?,
                seconds: digits(0, 100)?,
                micros: 0,
            })
        }
        TemporalForm::Old(digits) => old_span(form, digits.min(6), bytes),
    }
}

/// MariaDB's older form with digits: units of the last digit, above a zero that is the longest span
/// and a second more.
fn old_span(form: TemporalForm, digits: u8, bytes: &[u8]) -> Option<Span> {
    const ZERO_SECONDS: i64 = 838 * 3600 + 59 * 60 + 59 + 1;
    (bytes.len() <= 7).then_some(())?;
    let unit = 10_i64.pow(digits.into());
    let units = uint_be(bytes).cast_signed() - ZERO_SECONDS * unit;
    let (negative, units) = (units < 0, units.unsigned_abs());
    let (seconds, fraction) = (units / unit.unsigned_abs(), units % unit.unsigned_abs());
    Some(Span {
        negative,
        hours: u32::try_from(seconds / 3600).ok()?,
        minutes: u32::try_from(seconds / 60 % 60).ok()?,
        seconds: u32::try_from(seconds % 60).ok()?,
        micros: form.micros(fraction)?,
    })
}

fn span_of_bits(negative: bool, packed: u64) -> Span {
    let (hours, minutes) = (part(packed, 12, 10), part(packed, 6, 6));
    Span { negative, hours, minutes, seconds: part(packed, 0, 6), micros: 0 }
}

/// `2024-02-29`, or `2024-02-29 23:59:58.125`, as servers print them.
pub(super) fn civil_of_text(text: &[u8]) -> Option<Civil> {
    let (date, time) = text.split_at_checked(10)?;
    let (year, month) = (decimal(&date[..4])?, decimal(&date[5..7])?);
    let date = Civil { year, month, day: decimal(&date[8..])?, ..Civil::default() };
    if time.is_empty() {
        return Some(date);
    }
    let Span { hours: hour, minutes: minute, seconds: second, micros, negative: false } =
        span_of_text(time.strip_prefix(b" ")?)?
    else {
        return None;
    };
    Some(Civil { hour, minute, second, micros, ..date })
}

/// `-838:59:59.5`, as servers print spans.
pub(super) fn span_of_text(text: &[u8]) -> Option<Span> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (hours, rest) = text.split_at(colon);
    let (clock, fraction) = rest.split_at_checked(6)?;
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] => {
            let missing = 6_usize.checked_sub(digits.len())?;
            decimal(digits)? * 10_u32.pow(u32::try_from(missing).ok()?)
        }
        _ => return None,
    };
    let (minutes, seconds) = (decimal(&clock[1..3])?, decimal(&clock[4..])?);
    Some(Span { negative, hours: decimal(hours)?, minutes, seconds, micros })
}

/// A number of one to nine digits, and nothing else.
fn decimal(digits: &[u8]) -> Option<u32> {
    (1..=9).contains(&digits.len()).then_some(())?;
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0'))
    })
}

/// The packed numbers that JSON documents hold: what stands above the microseconds' 24 bits, and what
/// is negative as a whole (MySQL 9.1, `TIME_from_longlong_datetime_packed`).
pub(super) fn civil_of_packed(packed: i64) -> Civil {
    let packed = packed.unsigned_abs();
    Civil { micros: part(packed, 0, 24), ..from_bits(packed >> 24) }
}

/// The same of a span.
pub(super) fn span_of_packed(packed: i64) -> Span {
    let (negative, packed) = (packed < 0, packed.unsigned_abs());
    Span { micros: part(packed, 0, 24), ..span_of_bits(negative, packed >> 24) }
}

impl Civil {
    /// Days since 1970-01-01; none for a date that no calendar has.
    pub(super) fn days(&self) -> Option<i32> {
        let leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let last = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        if self.day == 0 || self.day > last || self.year > 9999 {
            return None;
        }
        let days = days_of(i64::from(self.year), i64::from(self.month), i64::from(self.day));
        i32::try_from(days).ok()
    }

    /// Microseconds since 1970-01-01 00:00:00; none for a date that no calendar has, or a time that no
    /// day has.
    pub(super) fn micros_since_1970(&self) -> Option<i64> {
        let is_time = self.hour < 24 && self.minute < 60 && self.second < 60;
        let days = i64::from(self.days().filter(|_| is_time)?);
        let seconds = i64::from(self.hour * 3600 + self.minute * 60 + self.second);
        Some(days * DAY_US + seconds * SECOND_US + i64::from(self.micros))
    }

    /// The moment so many seconds after 1970-01-01 00:00:00 UTC.
    pub(super) fn of_seconds(seconds: u32, micros: u32) -> Self {
        let (year, month, day) = civil(i64::from(seconds / 86_400));
        let of_day = seconds % 86_400;
        let small = |value: i64| u32::try_from(value).unwrap_or_default();
        Self {
            year: small(year),
            month: small(month),
            day: small(day),
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            micros,
        }
    }

    pub(super) fn write_date(&self, out: &mut Vec<u8>) {
        // Writing into a vector does not fail.
        let _ = write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day);
    }

    pub(super) fn write(&self, digits: u8, out: &mut Vec<u8>) {
        self.write_date(out);
        let _ = write!(out, " {:02}:{:02}:{:02}", self.hour, self.minute, self.second);
        write_fraction(self.micros, digits, out);
    }
}

impl Span {
    /// Microseconds since midnight; none for what is no time of day.
    pub(super) fn of_day(&self) -> Option<i64> {
        if self.hours > 24 {
            return None;
        }
        let seconds = self.hours * 3600 + self.minutes * 60 + self.seconds;
        let micros = i64::from(seconds) * SECOND_US + i64::from(self.micros);
        let is_of_day = micros <= DAY_US && (!self.negative || micros == 0);
        is_of_day.then_some(micros)
    }

    pub(super) fn write(&self, digits: u8, out: &mut Vec<u8>) {
        let sign = if self.negative { "-" } else { "" };
        let Self { hours, minutes, seconds, .. } = self;
        let _ = write!(out, "{sign}{hours:02}:{minutes:02}:{seconds:02}");
        write_fraction(self.micros, digits, out);
    }
}

fn write_fraction(micros: u32, digits: u8, out: &mut Vec<u8>) {
    if digits > 0 {
        let _ = write!(out, ".{micros:06}");
        out.truncate(out.len() - usize::from(6 - digits.min(6)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    // What a MariaDB 10.11.19 wrote into its log with `mysql56_temporal_format` off.
    #[test]
    fn mariadbs_older_forms_have_digits() {
        let found = datetime(TemporalForm::Old(3), &[0, 0x42, 0x2b, 0xb8, 0x11, 0xc0, 0xad]);
        assert_eq!(text(|out| found.unwrap().write(3, out)), "2024-02-29 23:59:58.125");
        let found = time(TemporalForm::Old(2), &[0x11, 0xbb, 0xa5, 0xb2]).unwrap();
        assert_eq!(text(|out| found.write(2, out)), "-12:34:56.78");
        let found = datetime(TemporalForm::Old(0), &[0xf6, 0x7c, 0xac, 0x8b, 0x68, 0x12, 0, 0]);
        assert_eq!(text(|out| found.unwrap().write(0, out)), "2024-02-29 23:59:58");
        let moment = timestamp(TemporalForm::Old(6), &[0x65, 0xe1, 0x1a, 0x7e, 1, 0xe2, 0x40]);
        assert_eq!(moment, Some((0x65e1_1a7e, 123_456)));
    }

    #[test]
    fn spans_may_be_negative_and_longer_than_a_day() {
        let read = |digits, bytes: &[u8]| {
            let form = TemporalForm::Packed(digits);
            text(|out| time(form, bytes).unwrap().write(digits, out))
        };
        assert_eq!(read(0, &[0x80, 0, 0]), "00:00:00");
        assert_eq!(read(0, &[0x4b, 0x91, 0x05]), "-838:59:59");
        // By the comment of `my_time_packed_to_binary`: -00:00:00.01 and -00:00:01.10.
        assert_eq!(read(2, &[0x7f, 0xff, 0xff, 0xff]), "-00:00:00.01");
        assert_eq!(read(2, &[0x7f, 0xff, 0xfe, 0xf6]), "-00:00:01.10");
        let old = time(TemporalForm::Old(0), &[0x59, 0x0a, 0x80]).unwrap();
        assert_eq!(text(|out| old.write(0, out)), "-838:59:59");
        assert_eq!(old.of_day(), None);
    }

    #[test]
    fn dates_that_no_calendar_has_are_known() {
        let days = |year, month, day| Civil { year, month, day, ..Civil::default() }.days();
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 3, 1), Some(11_017));
        assert_eq!(days(9999, 12, 31), Some(2_932_896));
        assert_eq!((days(0, 0, 0), days(2023, 2, 29), days(2024, 0, 1)), (None, None, None));
        assert_eq!(days(2024, 2, 29), Some(19_782));
    }

    proptest! {
        #[test]
        fn moments_are_dates_and_back(seconds: u32) {
            let civil = Civil::of_seconds(seconds, 5);
            prop_assert_eq!(civil.micros_since_1970(), Some(i64::from(seconds) * SECOND_US + 5));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..10), digits: u8) {
            for form in [TemporalForm::Packed(digits), TemporalForm::Old(digits)] {
                let _ = datetime(form, &bytes).map(|civil| civil.micros_since_1970());
                let _ = time(form, &bytes).map(|span| span.of_day());
                let _ = timestamp(form, &bytes);
            }
            let _ = date(&bytes);
        }
    }
}
