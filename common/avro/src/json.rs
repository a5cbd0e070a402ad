//! Avro data as JSON for people: decoded by its writer's schema, unions without their branch's
//! name, logical types as text. Pure; any bytes are decoded or refused.
//!
//! Decimals are exact decimal text, dates and times ISO 8601, bytes and fixed are hexadecimal behind
//! `0x`, NaN and infinities are text.

use crate::read_long;
use crate::schema::{Kind, Logical, Node, NodeId, Schema};
use serde_json::{Map, Number, Value as Json};
pub use tidemesh_model::decimal_text;
use tidemesh_model::{Error, ErrorKind, Result, civil};

/// The deepest nesting of data.
pub const DATA_DEPTH_MAX: usize = 128;

/// The most elements of one array or map without bytes of their own (nulls, empty records).
const EMPTY_ELEMENTS_MAX: u64 = 10_000;

/// Decodes `bytes`, all of them, written with `schema`.
///
/// # Errors
///
/// `Malformed`, with the field's path and how many bytes were left.
pub fn to_json(schema: &Schema, bytes: &[u8]) -> Result<Json> {
    let mut decoder = Decoder { schema, rest: bytes, path: Vec::new(), empty_elements: 0 };
    let json = decoder.node(schema.root(), 0)?;
    if decoder.rest.is_empty() {
        return Ok(json);
    }
    Err(decoder.wrong("bytes are left over"))
}

struct Decoder<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
    path: Vec<&'a str>,
    empty_elements: u64,
}

impl<'a> Decoder<'a> {
    #[cold]
    fn wrong(&self, message: &str) -> Error {
        Error::new(ErrorKind::Malformed, "decode Avro data")
            .because(message)
            .with("path", self.path.join("."))
            .with("bytes_left", self.rest.len())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.wrong("the data ends early"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn long(&mut self) -> Result<i64> {
        match read_long(&mut self.rest) {
            Some(value) => Ok(value),
            None => Err(self.wrong("a number is cut short or too long")),
        }
    }

    fn sized(&mut self) -> Result<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.wrong("a length is negative")),
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let bytes = self.sized()?;
        std::str::from_utf8(bytes).map_err(|error| self.wrong("text is not UTF-8").caused_by(error))
    }

    fn node(&mut self, id: NodeId, depth: usize) -> Result<Json> {
        if depth > DATA_DEPTH_MAX {
            return Err(self.wrong("the data is nested too deep"));
        }
        let node = self.schema.node(id);
        Ok(match &node.kind {
            Kind::Null => Json::Null,
            Kind::Boolean => match self.take(1)? {
                [0] => false.into(),
                [1] => true.into(),
                _ => return Err(self.wrong("a boolean is neither 0 nor 1")),
            },
            Kind::Int => {
                let value = self.long()?;
                match i32::try_from(value) {
                    Ok(_) => number(node, value),
                    Err(_) => return Err(self.wrong("an int has more than 32 bits")),
                }
            }
            Kind::Long => number(node, self.long()?),
            Kind::Float => {
                let bytes = self.take(4)?;
                float(f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
            }
            Kind::Double => match self.take(8)?.first_chunk() {
                Some(bytes) => float(f64::from_le_bytes(*bytes)),
                None => return Err(self.wrong("the data ends early")),
            },
            Kind::Bytes => bytes(node, self.sized()?),
            Kind::Fixed(size) => bytes(node, self.take(*size)?),
            Kind::String => self.text()?.into(),
            Kind::Enum { symbols, .. } => {
                let index = self.long()?;
                match usize::try_from(index).ok().and_then(|index| symbols.get(index)) {
                    Some(symbol) => symbol.clone().into(),
                    None => return Err(self.wrong("an enum has no such symbol")),
                }
            }
            Kind::Union(branches) => {
                let index = self.long()?;
                match usize::try_from(index).ok().and_then(|index| branches.get(index)) {
                    Some(branch) => self.node(*branch, depth + 1)?,
                    None => return Err(self.wrong("a union has no such branch")),
                }
            }
            Kind::Array(items) => self.array(*items, depth)?,
            Kind::Map(values) => self.map(*values, depth)?,
            Kind::Record(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for field in fields {
                    self.path.push(&field.name);
                    object.insert(field.name.clone(), self.node(field.node, depth + 1)?);
                    self.path.pop();
                }
                Json::Object(object)
            }
        })
    }

    /// A block's count; a negative one is followed by the block's bytes.
    fn block(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    /// Elements that take no bytes could be claimed without end.
    fn count_element(&mut self, before: usize) -> Result<()> {
        if self.rest.len() == before {
            self.empty_elements += 1;
            if self.empty_elements > EMPTY_ELEMENTS_MAX {
                return Err(self.wrong("too many elements without bytes"));
            }
        }
        Ok(())
    }

    fn array(&mut self, items: NodeId, depth: usize) -> Result<Json> {
        let mut list = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(list.into());
            }
            for _ in 0..count {
                let before = self.rest.len();
                list.push(self.node(items, depth + 1)?);
                self.count_element(before)?;
            }
        }
    }

    fn map(&mut self, values: NodeId, depth: usize) -> Result<Json> {
        let mut object = Map::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(Json::Object(object));
            }
            for _ in 0..count {
                let key = self.text()?.to_owned();
                object.insert(key, self.node(values, depth + 1)?);
            }
        }
    }
}

fn float(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
    }
}

fn number(node: &Node, value: i64) -> Json {
    match node.logical {
        Some(Logical::Date) => date(value).into(),
        Some(Logical::TimeMillis) => clock(value, 1_000).into(),
        Some(Logical::TimeMicros) => clock(value, 1_000_000).into(),
        Some(Logical::TimestampMillis) => timestamp(value, 1_000, "Z").into(),
        Some(Logical::TimestampMicros) => timestamp(value, 1_000_000, "Z").into(),
        Some(Logical::TimestampNanos) => timestamp(value, 1_000_000_000, "Z").into(),
        Some(Logical::LocalTimestampMillis) => timestamp(value, 1_000, "").into(),
        Some(Logical::LocalTimestampMicros) => timestamp(value, 1_000_000, "").into(),
        Some(Logical::LocalTimestampNanos) => timestamp(value, 1_000_000_000, "").into(),
        _ => value.into(),
    }
}

fn bytes(node: &Node, bytes: &[u8]) -> Json {
    match node.logical {
        Some(Logical::Decimal { scale, .. }) => decimal_text(bytes, scale).into(),
        _ => bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")).into(),
    }
}

/// `YYYY-MM-DD` of days since 1970; years before 1 have a minus sign and count a year 0, as ISO
/// 8601 does. The outermost values are the infinities.
fn date(days: i64) -> String {
    if days == i64::from(i32::MAX) || days == i64::from(i32::MIN) {
        return if days > 0 { "infinity" } else { "-infinity" }.to_owned();
    }
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `HH:MM:SS[.fff…]`, the fraction without trailing zeros.
fn clock(value: i64, per_second: i64) -> String {
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        let width = per_second.ilog10() as usize;
        text.push_str(format!(".{fraction:0width$}").trim_end_matches('0'));
    }
    text
}

fn timestamp(value: i64, per_second: i64, zone: &str) -> String {
    if value == i64::MAX || value == i64::MIN {
        return if value > 0 { "infinity" } else { "-infinity" }.to_owned();
    }
    let per_day = per_second.saturating_mul(86_400);
    let (days, rest) = (value.div_euclid(per_day), value.rem_euclid(per_day));
    format!("{}T{}{zone}", date(days), clock(rest, per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn logical_types_are_text_that_people_read() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(-719_528), "0000-01-01");
        assert_eq!(timestamp(-1, 1_000_000, "Z"), "1969-12-31T23:59:59.999999Z");
        assert_eq!(clock(86_400_000_000, 1_000_000), "24:00:00");
        assert_eq!(decimal_text(&[0xff], 2), "-0.01");
        assert_eq!(decimal_text(&[0x30, 0x39], 2), "123.45");
        assert_eq!(decimal_text(&[], 0), "0");
    }

    #[test]
    fn a_record_is_decoded_by_its_schema() {
        let schema = Schema::parse(
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","long"]},
                {"name":"b","type":{"type":"array","items":["null","string"]}}]}"#,
        )
        .unwrap();
        let json = to_json(&schema, &[2, 14, 4, 2, 2, b'x', 0, 0]).unwrap();
        assert_eq!(json, serde_json::json!({"a": 7, "b": ["x", null]}));
    }

    #[test]
    fn data_cut_short_is_refused_with_its_path() {
        let schema = Schema::parse(
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#,
        )
        .unwrap();
        let error = to_json(&schema, &[8, b'x']).unwrap_err();
        assert!(error.to_string().contains("path=a"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for text in [
                r#"{"type":"array","items":"null"}"#,
                r#"{"type":"map","values":"long"}"#,
                r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]},
                    {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
                    {"name":"t","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#,
            ] {
                let _ = to_json(&Schema::parse(text).unwrap(), &bytes);
            }
        }

        #[test]
        fn decimals_print_as_the_number(unscaled: i64) {
            let text = decimal_text(&unscaled.to_be_bytes(), 0);
            prop_assert_eq!(text, unscaled.to_string());
        }
    }
}
