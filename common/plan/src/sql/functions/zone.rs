//! `timezone(zone, time)`, which `time AT TIME ZONE zone` means: the local time of an instant, or the
//! instant of a local time (PostgreSQL 18, "AT TIME ZONE"). A local time that comes twice is taken as
//! the later, in standard time; one that never comes by the offset before it, as PostgreSQL does.

use super::text::{call, is_text, text_array, text_at, wrong};
use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Utc};
use datafusion_common::arrow::array::timezone::Tz;
use datafusion_common::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray,
};
use datafusion_common::arrow::compute::cast;
use datafusion_common::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion_common::{Result, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::any::Any;
use std::sync::Arc;

use crate::sql::types::UTC;

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::user_defined(Volatility::Immutable);
    vec![Arc::new(ScalarUDF::from(Zone { signature }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Zone {
    signature: Signature,
}

impl ScalarUDFImpl for Zone {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [zone, time @ DataType::Timestamp(..)] if is_text(zone) => {
                Ok(vec![DataType::Utf8, time.clone()])
            }
            [zone, DataType::Date32] if is_text(zone) => {
                Ok(vec![DataType::Utf8, DataType::Timestamp(TimeUnit::Microsecond, None)])
            }
            _ => plan_err!("AT TIME ZONE takes a timestamp and the name of a zone"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, DataType::Timestamp(unit, Some(_))] => Ok(DataType::Timestamp(*unit, None)),
            [_, DataType::Timestamp(unit, None)] => {
                Ok(DataType::Timestamp(*unit, Some(UTC.into())))
            }
            _ => plan_err!("AT TIME ZONE takes a timestamp and the name of a zone"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        call(&args, |arrays| {
            let zones = text_array(&arrays[0])?;
            let DataType::Timestamp(unit, zoned) = arrays[1].data_type() else {
                return Err(wrong("AT TIME ZONE takes a timestamp"));
            };
            let numbers = cast(&arrays[1], &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            let mut known: Option<(&str, Tz)> = None;
            let mut moved = Vec::with_capacity(numbers.len());
            for row in 0..numbers.len() {
                let (Some(name), true) = (text_at(&zones, row), numbers.is_valid(row)) else {
                    moved.push(None);
                    continue;
                };
                let zone = match &known {
                    Some((last, zone)) if *last == name => *zone,
                    _ => parse(name)?,
                };
                known = Some((name, zone));
                moved.push(Some(shift(numbers.value(row), *unit, zone, zoned.is_some())?));
            }
            Ok(timestamps(Int64Array::from(moved), *unit, zoned.is_none()))
        })
    }
}

fn parse(name: &str) -> Result<Tz> {
    let plain = if name.eq_ignore_ascii_case("utc") { UTC } else { name };
    plain.parse().map_err(|_| wrong("there is no time zone of this name"))
}

/// Units of a second.
fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The other reading of a timestamp. Infinity, the smallest and largest number, stays.
fn shift(number: i64, unit: TimeUnit, zone: Tz, is_instant: bool) -> Result<i64> {
    if number == i64::MAX || number == i64::MIN {
        return Ok(number);
    }
    let per_second = per_second(unit);
    let out_of_range = || wrong("a timestamp is out of the range of time zones");
    let at = DateTime::<Utc>::from_timestamp(number.div_euclid(per_second), 0)
        .ok_or_else(out_of_range)?
        .naive_utc();
    let seconds = if is_instant {
        seconds_of(zone, at)
    } else {
        -local_offset(zone, at).ok_or_else(out_of_range)?
    };
    number.checked_add(i64::from(seconds) * per_second).ok_or_else(out_of_range)
}

/// A zone's offset at an instant.
fn seconds_of(zone: Tz, utc: NaiveDateTime) -> i32 {
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

/// A zone's offset at a local time.
fn local_offset(zone: Tz, local: NaiveDateTime) -> Option<i32> {
    match zone.offset_from_local_datetime(&local) {
        chrono::LocalResult::Single(offset) => Some(offset.fix().local_minus_utc()),
        chrono::LocalResult::Ambiguous(_, later) => Some(later.fix().local_minus_utc()),
        chrono::LocalResult::None => {
            let before = local.checked_sub_signed(Duration::days(1))?;
            Some(seconds_of(zone, before))
        }
    }
}

fn timestamps(numbers: Int64Array, unit: TimeUnit, zoned: bool) -> ArrayRef {
    let (_, values, nulls) = numbers.into_parts();
    let zone = zoned.then(|| Arc::<str>::from(UTC));
    match unit {
        TimeUnit::Second => {
            Arc::new(TimestampSecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp_micros()
    }

    fn moved(text: &str, zone: &str, is_instant: bool) -> i64 {
        shift(us(text), TimeUnit::Microsecond, parse(zone).unwrap(), is_instant).unwrap()
    }

    // What PostgreSQL 18.4 answers to SELECT timestamp '…' AT TIME ZONE '…' and its twin.
    #[test]
    fn times_are_read_as_postgresql_reads_them() {
        assert_eq!(moved("2026-07-01 12:00", "Europe/Berlin", true), us("2026-07-01 14:00"));
        assert_eq!(moved("2026-01-01 12:00", "Europe/Berlin", false), us("2026-01-01 11:00"));
        // Twice there, and never there.
        assert_eq!(moved("2026-10-25 02:30", "Europe/Berlin", false), us("2026-10-25 01:30"));
        assert_eq!(moved("2026-03-29 02:30", "Europe/Berlin", false), us("2026-03-29 01:30"));
        assert_eq!(moved("2026-01-01 12:00", "utc", false), us("2026-01-01 12:00"));
    }

    #[test]
    fn infinity_stays_and_an_unknown_zone_is_an_error() {
        let berlin = parse("Europe/Berlin").unwrap();
        assert_eq!(shift(i64::MAX, TimeUnit::Microsecond, berlin, true).unwrap(), i64::MAX);
        assert!(parse("Mars/Olympus").is_err());
    }
}
