//! Days and times as a database writes them in JSON: ISO 8601, with ` BC` behind what was before our era,
//! and years of as many digits as they take.

const DAY_SECONDS: i64 = 86_400;

/// Days since 1970-01-01 of `YYYY-MM-DD[ BC]`; none for another text.
pub(super) fn days(text: &str) -> Option<i64> {
    let (text, is_before) = era(text);
    date(text, is_before)
}

/// Microseconds since 1970-01-01 00:00:00 UTC of `YYYY-MM-DDTHH:MM:SS[.ffffff][+HH[:MM]][ BC]`.
pub(super) fn micros(text: &str) -> Option<i64> {
    let (text, is_before) = era(text);
    let (day, time) = text.split_once(['T', ' '])?;
    let zone = time.find(['+', '-', 'Z']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone);
    let seconds = date(day, is_before)?.checked_mul(DAY_SECONDS)?.checked_sub(offset(zone)?)?;
    seconds.checked_mul(1_000_000)?.checked_add(micros_of_day(time)?)
}

/// Microseconds since midnight of `HH:MM:SS[.ffffff]`.
pub(super) fn micros_of_day(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(number);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let in_time = hours <= 24 && minutes < 60 && seconds <= 60 && parts.next().is_none();
    let micros = match fraction {
        "" => 0,
        digits if digits.len() <= 6 => number(&format!("{digits:0<6}"))?,
        _ => return None,
    };
    in_time.then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

fn date(text: &str, is_before: bool) -> Option<i64> {
    let mut parts = text.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && parts.next().is_none();
    let year = if is_before { 1 - year } else { year };
    is_date.then(|| days_of(year, month, day))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None | Some(b'Z') => return Some(0),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let mut parts = zone[1..].split(':').map(number);
    let (hours, minutes) = (parts.next()??, parts.next().unwrap_or(Some(0))?);
    Some(sign * (hours * 60 + minutes) * 60)
}

/// Digits alone, few enough that nothing here overflows.
fn number(text: &str) -> Option<i64> {
    let is_number = (1..=7).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_have_their_era() {
        assert_eq!(days("1970-01-01"), Some(0));
        assert_eq!(days("1969-12-31"), Some(-1));
        assert_eq!(days("2024-02-29"), Some(19_782));
        assert_eq!(days("0044-03-15 BC"), Some(-735_160));
        assert_eq!(days("10000-01-01"), Some(2_932_897));
        for text in ["infinity", "", "2024-13-01", "2024-01-01-01", "2024-01", "-1-01-01"] {
            assert_eq!(days(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(micros("1970-01-01T00:00:01.5"), Some(1_500_000));
        assert_eq!(micros("1970-01-01T01:00:00.000001+01:00"), Some(1));
        assert_eq!(micros("1969-12-31T19:00:00-05"), Some(0));
        assert_eq!(micros("0001-01-01T00:00:00 BC"), Some(-62_167_219_200_000_000));
        assert_eq!(micros("infinity"), None);
        assert_eq!(micros_of_day("24:00:00"), Some(86_400_000_000));
        assert_eq!(micros_of_day("00:00:00.25"), Some(250_000));
        assert_eq!(micros_of_day("1:2"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "[0-9TZ:.+ BC-]{0,40}|.{0,20}") {
            let _ = (days(&text), micros(&text), micros_of_day(&text));
        }
    }
}
