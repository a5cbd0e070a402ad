//! Dates and times as PostgreSQL writes them in the style ISO, zone UTC, and intervals in the style
//! `iso_8601` (PostgreSQL 18, `datetime.c`).

use crate::types::bytes::Bytes;
use std::io::Write;
use tidemesh_model::civil;

const DAY_US: i64 = 86_400_000_000;
/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// How a zone's minutes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZoneStyle {
    /// Always: `+01:00`.
    Iso8601,
    /// Unless they are zero: `+01`.
    Postgres,
}

/// Year, month, day, and the era where it is not ours.
pub(super) fn date(since_2000: i32, out: &mut Vec<u8>) -> Option<()> {
    match since_2000 {
        i32::MAX => out.write_all(b"infinity").ok(),
        i32::MIN => out.write_all(b"-infinity").ok(),
        days => {
            let before = day(days.into(), out)?;
            era(before, out)
        }
    }
}

pub(super) fn timestamp(since_2000: i64, zone: &str, out: &mut Vec<u8>) -> Option<()> {
    match since_2000 {
        i64::MAX => return out.write_all(b"infinity").ok(),
        i64::MIN => return out.write_all(b"-infinity").ok(),
        _ => {}
    }
    let before = day(since_2000.div_euclid(DAY_US), out)?;
    out.push(b' ');
    clock(since_2000.rem_euclid(DAY_US).unsigned_abs(), out)?;
    out.extend_from_slice(zone.as_bytes());
    era(before, out)
}

/// Writes a day since 2000; answers whether it is before our era.
fn day(since_2000: i64, out: &mut Vec<u8>) -> Option<bool> {
    let (year, month, day) = civil(since_2000 + EPOCH_DAYS);
    let shown = if year > 0 { year } else { 1 - year };
    write!(out, "{shown:04}-{month:02}-{day:02}").ok()?;
    Some(year <= 0)
}

fn era(before: bool, out: &mut Vec<u8>) -> Option<()> {
    if before {
        out.extend_from_slice(b" BC");
    }
    Some(())
}

/// `HH:MM:SS[.ffffff]`.
pub(crate) fn clock(micros: u64, out: &mut Vec<u8>) -> Option<()> {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(out, "{hours:02}:{minutes:02}:{:02}", seconds % 60).ok()?;
    fractional(fraction, out)
}

fn fractional(fraction: u64, out: &mut Vec<u8>) -> Option<()> {
    if fraction == 0 {
        return Some(());
    }
    write!(out, ".{fraction:06}").ok()?;
    while out.last() == Some(&b'0') {
        out.pop();
    }
    Some(())
}

/// A time with its zone, which is stored in seconds west of Greenwich.
pub(crate) fn time_tz(bytes: &[u8], style: ZoneStyle, out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let (micros, west) = (bytes.i64()?, bytes.i32()?);
    bytes.end()?;
    clock(u64::try_from(micros).ok()?, out)?;
    let east = west.checked_neg()?;
    out.push(if east < 0 { b'-' } else { b'+' });
    let seconds = east.unsigned_abs();
    write!(out, "{:02}", seconds / 3600).ok()?;
    if seconds % 3600 != 0 || style == ZoneStyle::Iso8601 {
        write!(out, ":{:02}", seconds / 60 % 60).ok()?;
    }
    if seconds % 60 != 0 {
        write!(out, ":{:02}", seconds % 60).ok()?;
    }
    Some(())
}

/// ISO 8601: `P1Y2M3DT4H5M6.5S`; months and days are kept apart from the time. Each part has its
/// own sign.
pub(crate) fn interval(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let (micros, days, months) = (bytes.i64()?, bytes.i32()?, bytes.i32()?);
    bytes.end()?;
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return out.write_all(b"infinity").ok(),
        (i64::MIN, i32::MIN, i32::MIN) => return out.write_all(b"-infinity").ok(),
        (0, 0, 0) => return out.write_all(b"PT0S").ok(),
        _ => {}
    }
    out.push(b'P');
    for (value, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if value != 0 {
            write!(out, "{value}{unit}").ok()?;
        }
    }
    if micros == 0 {
        return Some(());
    }
    out.push(b'T');
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) =
        (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    for (value, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
        if value != 0 {
            write!(out, "{sign}{value}{unit}").ok()?;
        }
    }
    if seconds % 60 != 0 || fraction != 0 {
        write!(out, "{sign}{}", seconds % 60).ok()?;
        fractional(fraction, out)?;
        out.push(b'S');
    }
    Some(())
}
