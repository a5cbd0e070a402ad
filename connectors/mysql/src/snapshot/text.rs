//! Values as the server writes them as text, and so keys. Sources: the functions `val_str` of `Field`
//! and its like in MySQL 9.1's and MariaDB 10.11's `sql/field.cc`; bytes are hexadecimal, as `HEX` has
//! them.

use crate::types::double;
use std::fmt::Write;
use tidemesh_model::{Field, SourceKind, Value, civil, decimal_text};

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// The text of a column's value; none for null.
pub(crate) fn text(field: &Field, value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Absent => return None,
        Value::Boolean(value) => value.to_string(),
        Value::Int32(value) if field.source_type == "year" => format!("{value:04}"),
        Value::Int32(value) => value.to_string(),
        Value::Int64(value) => value.to_string(),
        Value::Float32(value) => float(f64::from(*value))?,
        Value::Float64(value) => float(*value)?,
        Value::Decimal { unscaled, scale } => decimal_text(unscaled, *scale as usize),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Uuid(bytes) => {
            let hex = hex(bytes).to_lowercase();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
        Value::Date(days) => date(i64::from(*days)),
        Value::Time(micros) => time(*micros, digits(field)),
        Value::Timestamp(micros) | Value::TimestampTz(micros) => {
            let (days, of_day) =
                (micros.div_euclid(DAY_S * SECOND_US), micros.rem_euclid(DAY_S * SECOND_US));
            format!("{} {}", date(days), time(of_day, digits(field)))
        }
        // A vector's numbers, and a shape behind its reference system, are bytes at the server.
        Value::Array(numbers) => hex(&numbers.iter().flat_map(float_bytes).collect::<Vec<u8>>()),
        Value::Record(parts) => match parts.as_slice() {
            [Value::Bytes(wkb), Value::Int64(srid)] => {
                let srid = u32::try_from(*srid).ok()?;
                format!("{}{}", hex(&srid.to_le_bytes()), hex(wkb))
            }
            _ => return None,
        },
    })
}

fn digits(field: &Field) -> usize {
    match &field.kind {
        SourceKind::Time { digits }
        | SourceKind::Timestamp { digits }
        | SourceKind::TimestampTz { digits } => usize::from(*digits),
        _ => 6,
    }
}

/// Documents have `.0` behind a whole number, which a column's text has not.
fn float(value: f64) -> Option<String> {
    let mut out = Vec::new();
    double(value, &mut out)?;
    let text = String::from_utf8(out).ok()?;
    Some(text.strip_suffix(".0").map_or(text.clone(), str::to_owned))
}

fn float_bytes(value: &Value) -> [u8; 4] {
    match value {
        Value::Float32(value) => value.to_le_bytes(),
        _ => [0; 4],
    }
}

fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn time(micros: i64, digits: usize) -> String {
    let (seconds, micros) = (micros / SECOND_US, micros % SECOND_US);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if digits > 0 {
        // Writing to a text never fails.
        let _ = write!(text, ".{micros:06}");
        text.truncate(text.len() - 6 + digits.min(6));
    }
    text
}

/// Bytes as `HEX` has them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a text never fails.
        let _ = write!(out, "{byte:02X}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::DataType;

    fn of(source_type: &str, kind: SourceKind, value: &Value) -> String {
        let field = Field {
            name: "c".into(),
            data_type: DataType::Text,
            source_type: source_type.into(),
            nullable: true,
            default: None,
            aliases: Vec::new(),
            kind,
            key_default: None,
        };
        text(&field, value).unwrap()
    }

    #[test]
    fn values_are_printed_as_the_server_prints_them() {
        let plain = |value: &Value| of("t", SourceKind::Plain, value);
        assert_eq!(of("year", SourceKind::Plain, &Value::Int32(0)), "0000");
        assert_eq!(plain(&Value::Float32(0.1)), "0.10000000149011612");
        assert_eq!(plain(&Value::Float64(-3.0)), "-3");
        assert_eq!(plain(&Value::Float64(1e20)), "1e20");
        assert_eq!(plain(&Value::Bytes(vec![0, 0xff])), "00FF");
        assert_eq!(plain(&Value::Date(19_782)), "2024-02-29");
        let kind = SourceKind::Timestamp { digits: 3 };
        assert_eq!(of("t", kind, &Value::Timestamp(-1)), "1969-12-31 23:59:59.999");
        assert_eq!(of("t", SourceKind::Time { digits: 0 }, &Value::Time(0)), "00:00:00");
    }
}
