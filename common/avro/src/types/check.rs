//! What a reader of a topic needs of a form to compare its values with the database's.

use super::text::write_text;
use super::{Form, element_avro_type, time};
use crate::datum::Datum;
use crate::json::decimal_text;
use crate::resolve::Resolver;
use crate::schema::Schema;
use std::fmt::Write;
use tidemesh_model::{DataType, Field, Result, RowTypes, Value};

/// How one column's values in a topic and in the database are compared where they are written in
/// another form than their data type's own.
#[derive(Debug)]
pub struct ColumnCheck {
    data_type: DataType,
    form: Form,
    /// For a form that does not keep the database's text: how one value is read.
    reader: Option<Resolver>,
}

impl ColumnCheck {
    /// The check of a column; none where its values are written as its data type says.
    ///
    /// # Errors
    ///
    /// `Internal` if the column's type is no schema, which does not happen.
    pub fn new(types: RowTypes, field: &Field) -> Result<Option<Self>> {
        let form = Form::of(types, field);
        if form == Form::Plain {
            return Ok(None);
        }
        let reader = if form.loses_text() {
            let schema = Schema::parse(&element_avro_type(field).to_string())?;
            Some(Resolver::new(&schema, &schema)?)
        } else {
            None
        };
        Ok(Some(Self { data_type: field.data_type.clone(), form, reader }))
    }

    /// Whether the database's text has to be brought into [`ColumnCheck::of_text`]'s form.
    #[must_use]
    pub fn loses_text(&self) -> bool {
        self.reader.is_some()
    }

    /// The value that `datum` is; none if it can be none.
    #[must_use]
    pub fn of_datum(&self, datum: &Datum) -> Option<Value> {
        match (&self.data_type, datum) {
            (DataType::Array(element), Datum::Array(items)) => {
                let items = items.iter().map(|item| self.element(element, item));
                items.collect::<Option<Vec<_>>>().map(Value::Array)
            }
            (data_type, datum) => self.element(data_type, datum),
        }
    }

    fn element(&self, data_type: &DataType, datum: &Datum) -> Option<Value> {
        Some(match (self.form, data_type, datum) {
            (_, _, Datum::Null) => Value::Null,
            (Form::Millis, DataType::Time, Datum::Int(millis)) => {
                Value::Time(i64::from(*millis) * 1000)
            }
            (Form::Millis, DataType::Timestamp, Datum::Long(millis)) => {
                Value::Timestamp(time::timestamp_micros(*millis)?)
            }
            (Form::ZonedTimestamp(_), DataType::TimestampTz, Datum::String(text)) => {
                Value::TimestampTz(time::zoned_timestamp(text)?)
            }
            (Form::Millis | Form::ZonedTimestamp(_) | Form::Plain, ..) => return None,
            (_, _, datum) => Value::Text(shown(datum)),
        })
    }

    /// What is left of the database's text in the topic's form, as [`ColumnCheck::of_datum`] gives
    /// it; the text itself where it has none.
    #[must_use]
    pub fn of_text(&self, text: &str) -> Value {
        let elements = match &self.data_type {
            DataType::Array(_) => array_elements(text),
            _ => None,
        };
        match elements {
            Some(elements) => Value::Array(
                elements
                    .into_iter()
                    .map(|element| element.map_or(Value::Null, |text| self.one_text(text)))
                    .collect(),
            ),
            None => self.one_text(text.to_owned()),
        }
    }

    fn one_text(&self, text: String) -> Value {
        let Some(reader) = &self.reader else { return Value::Text(text) };
        let mut out = Vec::new();
        let read = write_text(self.form, &text, &mut out).and_then(|()| reader.read(&out));
        Value::Text(read.map_or(text, |datum| shown(&datum)))
    }
}

/// A datum as text for comparing and for people.
fn shown(datum: &Datum) -> String {
    let mut out = String::new();
    show(datum, &mut out);
    out
}

fn show(datum: &Datum, out: &mut String) {
    // Writing to a string does not fail.
    let _ = match datum {
        Datum::Null => write!(out, "null"),
        Datum::Boolean(value) => write!(out, "{}", u8::from(*value)),
        Datum::Int(value) => write!(out, "{value}"),
        Datum::Long(value) => write!(out, "{value}"),
        Datum::Float(value) => write!(out, "{value}"),
        Datum::Double(value) => write!(out, "{value}"),
        Datum::String(text) | Datum::Enum(text) => write!(out, "{text}"),
        Datum::Bytes(bytes) | Datum::Fixed(bytes) => {
            out.push_str("0x");
            bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        Datum::Array(items) => {
            items.iter().for_each(|item| entry("", item, out));
            Ok(())
        }
        Datum::Map(entries) => {
            entries.iter().for_each(|(name, value)| entry(name, value, out));
            Ok(())
        }
        Datum::Record(fields) => {
            match &fields[..] {
                [(_, Datum::Int(scale)), (_, Datum::Bytes(unscaled))] => {
                    out.push_str(&decimal_text(unscaled, usize::try_from(*scale).unwrap_or(0)));
                }
                fields => fields.iter().for_each(|(name, value)| entry(name, value, out)),
            }
            Ok(())
        }
    };
}

fn entry(name: &str, value: &Datum, out: &mut String) {
    let _ = write!(out, "{name}=");
    show(value, out);
    out.push(' ');
}

/// The elements of an array's text (`array_out`), none for null; none for a text that is none.
fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?.chars();
    let mut elements = Vec::new();
    if rest.as_str().is_empty() {
        return Some(elements);
    }
    loop {
        let (mut element, mut quoted, mut was_quoted) = (String::new(), false, false);
        let ended = loop {
            match rest.next() {
                None => break true,
                Some(',') if !quoted => break false,
                Some('"') => {
                    quoted = !quoted;
                    was_quoted = true;
                }
                Some('\\') => element.push(rest.next()?),
                Some(c) => element.push(c),
            }
        };
        let null = !was_quoted && element == "NULL";
        elements.push((!null).then_some(element));
        if ended {
            return (!quoted).then_some(elements);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::SourceKind;

    fn check(data_type: DataType, kind: SourceKind) -> ColumnCheck {
        let field = Field {
            name: "c".into(),
            data_type,
            source_type: String::new(),
            nullable: true,
            default: None,
            aliases: Vec::new(),
            kind,
            key_default: None,
        };
        ColumnCheck::new(RowTypes::Debezium, &field).unwrap().unwrap()
    }

    #[test]
    fn texts_come_to_what_the_topic_keeps_of_them() {
        let of = |kind, text: &str| check(DataType::Text, kind).of_text(text);
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(of(SourceKind::Numeric, "1.500"), text("1.5"));
        assert_eq!(of(SourceKind::Numeric, "NaN"), text("NaN"));
        assert_eq!(of(SourceKind::Interval, "P1M"), text("2629800000000"));
        assert_eq!(of(SourceKind::TimeTz, "04:05:06+05:30"), text("22:35:06Z"));
        assert_eq!(of(SourceKind::Bits { length: None }, "0011"), text("0x03"));
        assert_eq!(of(SourceKind::Bits { length: Some(1) }, "1"), text("1"));
        let Value::Text(point) = of(SourceKind::Point, "(1.5,-2)") else { panic!() };
        assert!(point.starts_with("x=1.5 y=-2 wkb=0x0101"), "{point}");
    }

    #[test]
    fn elements_are_told_one_by_one() {
        let check = check(DataType::Array(Box::new(DataType::Text)), SourceKind::Numeric);
        let expected =
            Value::Array(vec![Value::Text("1.5".into()), Value::Null, Value::Text("20".into())]);
        assert_eq!(check.of_text("{1.50,NULL,20}"), expected);
        let decimal = |scale, byte| {
            let field = |name: &str, value| (name.into(), value);
            Datum::Record(vec![
                field("scale", Datum::Int(scale)),
                field("value", Datum::Bytes(vec![byte])),
            ])
        };
        let datum = Datum::Array(vec![decimal(1, 15), Datum::Null, decimal(0, 20)]);
        assert_eq!(check.of_datum(&datum), Some(expected));
    }

    #[test]
    fn quoted_elements_are_read() {
        let elements = array_elements(r#"{a,"b,\"c",NULL,"NULL",""}"#).unwrap();
        let expected = [Some("a"), Some("b,\"c"), None, Some("NULL"), Some("")];
        assert_eq!(elements.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        assert_eq!(array_elements("{}"), Some(Vec::new()));
        assert_eq!(array_elements("x"), None);
    }
}
