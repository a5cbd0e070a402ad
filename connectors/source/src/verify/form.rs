//! Values of an output's columns as texts that are equal when the values are, whether they come from a
//! database or from a topic.
//!
//! Within arrays and records numbers are compared as binary64: that is what JSON keeps of them.

use super::ColumnForm;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use serde_json::Value as Json;
use std::fmt::Write as _;
use tidemesh_avro::datum::Datum;
use tidemesh_avro::json::decimal_text;
use tidemesh_avro::schema::{Kind, Logical, NodeId, Schema};

/// How the values of one type are compared.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    schema: Schema,
    node: NodeId,
    pub(super) form: ColumnForm,
}

impl Compared {
    pub(super) fn new(schema: &Schema, node: NodeId) -> Self {
        let node = present(schema, node);
        Self { schema: schema.clone(), node, form: form_of(schema, node) }
    }

    /// A database's text in this form; as it is, if it is none of it.
    pub(super) fn of_text(&self, text: &str) -> String {
        let found = match self.form {
            ColumnForm::Exact => Some(exact(text)),
            ColumnForm::Float32 => text.parse::<f32>().ok().map(|value| value.to_string()),
            ColumnForm::Float64 => text.parse::<f64>().ok().map(|value| value.to_string()),
            ColumnForm::Json => serde_json::from_str(text).ok().map(|json: Json| {
                let mut out = String::new();
                self.of_json(self.node, &json, &mut out);
                out
            }),
            ColumnForm::Boolean
            | ColumnForm::Days
            | ColumnForm::Micros
            | ColumnForm::Bytes
            | ColumnForm::Text => None,
        };
        found.unwrap_or_else(|| text.to_owned())
    }

    /// A topic's value; none for null.
    pub(super) fn of_datum(&self, datum: &Datum) -> Option<String> {
        let mut out = String::new();
        match (self.form, datum) {
            (_, Datum::Null) => return None,
            (ColumnForm::Json, _) => self.nested(self.node, datum, &mut out),
            _ => out = leaf(self.schema.node(self.node).logical, datum),
        }
        Some(out)
    }

    fn nested(&self, node: NodeId, datum: &Datum, out: &mut String) {
        let node = present(&self.schema, node);
        let of = self.schema.node(node);
        match (&of.kind, datum) {
            (_, Datum::Null) => out.push_str("null"),
            (Kind::Array(element), Datum::Array(items)) => {
                list(out, '[', ']', items, |item, out| self.nested(*element, item, out));
            }
            (Kind::Map(element), Datum::Map(entries)) => {
                let sorted: std::collections::BTreeMap<_, _> =
                    entries.iter().map(|(name, value)| (name, value)).collect();
                list(out, '{', '}', sorted, |(name, value), out| {
                    named(name, out);
                    self.nested(*element, value, out);
                });
            }
            (Kind::Record(fields), Datum::Record(values)) => {
                list(out, '{', '}', fields.iter().zip(values), |(field, (_, value)), out| {
                    named(&field.name, out);
                    self.nested(field.node, value, out);
                });
            }
            _ => quoted(&coarse(form_of(&self.schema, node), leaf(of.logical, datum)), out),
        }
    }

    fn of_json(&self, node: NodeId, json: &Json, out: &mut String) {
        let node = present(&self.schema, node);
        match (&self.schema.node(node).kind, json) {
            (_, Json::Null) => out.push_str("null"),
            (Kind::Array(element), Json::Array(items)) => {
                list(out, '[', ']', items, |item, out| self.of_json(*element, item, out));
            }
            (Kind::Map(element), Json::Object(entries)) => {
                let sorted: std::collections::BTreeMap<_, _> = entries.iter().collect();
                list(out, '{', '}', sorted, |(name, value), out| {
                    named(name, out);
                    self.of_json(*element, value, out);
                });
            }
            (Kind::Record(fields), Json::Object(entries)) => {
                list(out, '{', '}', fields, |field, out| {
                    named(&field.name, out);
                    let value = entries.get(&field.name).unwrap_or(&Json::Null);
                    self.of_json(field.node, value, out);
                });
            }
            _ => quoted(&json_leaf(form_of(&self.schema, node), json), out),
        }
    }
}

/// The type of what is there, of one that may be null.
fn present(schema: &Schema, node: NodeId) -> NodeId {
    let Kind::Union(branches) = &schema.node(node).kind else { return node };
    let mut some =
        branches.iter().filter(|branch| !matches!(schema.node(**branch).kind, Kind::Null));
    match (some.next(), some.next()) {
        (Some(one), None) => *one,
        _ => node,
    }
}

fn form_of(schema: &Schema, node: NodeId) -> ColumnForm {
    let node = schema.node(node);
    match (&node.kind, node.logical) {
        (_, Some(Logical::Decimal { .. })) => ColumnForm::Exact,
        (_, Some(Logical::Date)) => ColumnForm::Days,
        (Kind::Int | Kind::Long, Some(_)) => ColumnForm::Micros,
        (Kind::Int | Kind::Long, None) => ColumnForm::Exact,
        (Kind::Boolean, _) => ColumnForm::Boolean,
        (Kind::Float, _) => ColumnForm::Float32,
        (Kind::Double, _) => ColumnForm::Float64,
        (Kind::Bytes | Kind::Fixed(_), _) => ColumnForm::Bytes,
        (Kind::Array(_) | Kind::Map(_) | Kind::Record(_), _) => ColumnForm::Json,
        (Kind::String | Kind::Enum { .. } | Kind::Null | Kind::Union(_), _) => ColumnForm::Text,
    }
}

/// A value that holds no others.
fn leaf(logical: Option<Logical>, datum: &Datum) -> String {
    let whole = match datum {
        Datum::Int(value) => i64::from(*value),
        Datum::Long(value) => *value,
        _ => 0,
    };
    match (logical, datum) {
        (Some(Logical::Decimal { scale, .. }), Datum::Bytes(bytes) | Datum::Fixed(bytes)) => {
            exact(&decimal_text(bytes, scale))
        }
        (Some(logical), Datum::Int(_) | Datum::Long(_)) => in_micros(logical, whole).to_string(),
        (_, Datum::Int(_) | Datum::Long(_)) => whole.to_string(),
        (_, Datum::Boolean(value)) => value.to_string(),
        (_, Datum::Float(value)) => value.to_string(),
        (_, Datum::Double(value)) => value.to_string(),
        (_, Datum::Bytes(bytes) | Datum::Fixed(bytes)) => hex(bytes),
        (_, Datum::String(text) | Datum::Enum(text)) => text.clone(),
        (_, other) => format!("{other:?}"),
    }
}

/// A date stays in days.
fn in_micros(logical: Logical, value: i64) -> i128 {
    let value = i128::from(value);
    match logical {
        Logical::TimeMillis | Logical::TimestampMillis | Logical::LocalTimestampMillis => {
            value * 1000
        }
        Logical::TimestampNanos | Logical::LocalTimestampNanos => value.div_euclid(1000),
        _ => value,
    }
}

/// What JSON says of a value that holds no others.
fn json_leaf(form: ColumnForm, json: &Json) -> String {
    let text = match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let found = match form {
        ColumnForm::Days => days(&text),
        ColumnForm::Micros => micros(&text),
        ColumnForm::Bytes => text.strip_prefix("\\x").map(str::to_owned),
        _ => None,
    };
    coarse(form, found.unwrap_or(text))
}

/// A number within JSON: what binary64 keeps of it.
fn coarse(form: ColumnForm, text: String) -> String {
    match form {
        ColumnForm::Exact | ColumnForm::Float32 | ColumnForm::Float64 => {
            text.parse::<f64>().map_or(text, |value| value.to_string())
        }
        _ => text,
    }
}

fn days(text: &str) -> Option<String> {
    let date: NaiveDate = text.parse().ok()?;
    Some(date.signed_duration_since(NaiveDate::default()).num_days().to_string())
}

fn micros(text: &str) -> Option<String> {
    if let Ok(time) = text.parse::<NaiveTime>() {
        let seconds = i64::from(time.num_seconds_from_midnight());
        return Some((seconds * 1_000_000 + i64::from(time.nanosecond() / 1000)).to_string());
    }
    let at = DateTime::parse_from_rfc3339(text).map(|at| at.timestamp_micros());
    let at = at.or_else(|_| text.parse().map(|at: NaiveDateTime| at.and_utc().timestamp_micros()));
    at.ok().map(|at| at.to_string())
}

/// A decimal number without zeros that say nothing.
fn exact(text: &str) -> String {
    let text = match text.contains('.') && text.ends_with(|c: char| c.is_ascii_digit()) {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a text never fails.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn list<I>(
    out: &mut String,
    open: char,
    close: char,
    items: impl IntoIterator<Item = I>,
    mut write: impl FnMut(I, &mut String),
) {
    out.push(open);
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

fn named(name: &str, out: &mut String) {
    quoted(name, out);
    out.push(':');
}

fn quoted(text: &str, out: &mut String) {
    // Writing to a text never fails.
    let _ = write!(out, "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compared(schema: &str) -> Compared {
        let schema = Schema::parse(schema).unwrap();
        Compared::new(&schema, schema.root())
    }

    #[test]
    fn a_value_is_one_text_whoever_wrote_it() {
        let decimal =
            r#"["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}]"#;
        let bytes = |value: i32| Datum::Bytes(value.to_be_bytes().to_vec());
        for (schema, text, datum) in [
            (r#""int""#, "7", Datum::Int(7)),
            (r#""long""#, "7.000", Datum::Long(7)),
            (decimal, "1.50", bytes(1500)),
            (decimal, "0.000", bytes(0)),
            (r#""double""#, "1e+20", Datum::Double(1e20)),
            (r#""double""#, "-Infinity", Datum::Double(f64::NEG_INFINITY)),
            (r#""float""#, "0.1", Datum::Float(0.1)),
            (r#""bytes""#, "00ff", Datum::Bytes(vec![0, 255])),
            (r#"["null","string"]"#, "1.50", Datum::String("1.50".into())),
            (r#"{"type":"int","logicalType":"date"}"#, "19000", Datum::Int(19000)),
            (
                r#"{"type":"long","logicalType":"timestamp-millis"}"#,
                "1700000000000000",
                Datum::Long(1_700_000_000_000),
            ),
        ] {
            let compared = compared(schema);
            assert_eq!(compared.of_datum(&datum).unwrap(), compared.of_text(text), "{schema}");
        }
        assert_eq!(compared(decimal).of_datum(&Datum::Null), None);
    }

    #[test]
    fn what_is_nested_is_compared_within() {
        let schema = r#"{"type":"array","items":["null",{"type":"record","name":"R","fields":[
            {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
            {"name":"on","type":["null",{"type":"int","logicalType":"date"}]},
            {"name":"sum","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
            {"name":"raw","type":"bytes"},
            {"name":"of","type":{"type":"map","values":"int"}}]}]}"#;
        let record = Datum::Record(vec![
            ("at".into(), Datum::Long(1_500_000)),
            ("on".into(), Datum::Int(-1)),
            ("sum".into(), Datum::Bytes(vec![125])),
            ("raw".into(), Datum::Bytes(vec![171])),
            (
                "of".into(),
                Datum::Map(vec![("b".into(), Datum::Int(2)), ("a".into(), Datum::Int(1))]),
            ),
        ]);
        let text = r#"[{"at": "1970-01-01T00:00:01.5+00:00", "on": "1969-12-31", "sum": 1.250,
                        "raw": "\\xab", "of": {"a": 1, "b": 2}}, null]"#;
        let compared = compared(schema);
        let datum = Datum::Array(vec![record, Datum::Null]);
        assert_eq!(compared.of_datum(&datum).unwrap(), compared.of_text(text));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in ".{0,40}") {
            for schema in [r#""int""#, r#""double""#, r#"{"type":"array","items":"string"}"#] {
                let _ = compared(schema).of_text(&text);
            }
        }

        #[test]
        fn zeros_behind_the_point_say_nothing(whole in any::<i64>(), zeros in 1..9_usize) {
            let text = format!("{whole}.{}", "0".repeat(zeros));
            prop_assert_eq!(exact(&text), whole.to_string());
        }
    }
}
