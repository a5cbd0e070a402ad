//! Values of an output's columns as texts that are equal when the values are, whether they come from a
//! database or from a topic. Of a database's arrays and records JSON is read, its numbers as they are
//! written there.

use super::ColumnForm;
use super::moment::{days, micros, micros_of_day};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
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
        if self.form != ColumnForm::Json {
            return plain(self.form, text);
        }
        let Ok(json) = serde_json::from_str::<&RawValue>(text) else { return text.to_owned() };
        let mut out = String::new();
        self.of_json(self.node, json, &mut out);
        out
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
                let sorted: BTreeMap<_, _> =
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
            _ => quoted(&leaf(of.logical, datum), out),
        }
    }

    fn of_json(&self, node: NodeId, json: &RawValue, out: &mut String) {
        if json.get() == "null" {
            return out.push_str("null");
        }
        let node = present(&self.schema, node);
        match &self.schema.node(node).kind {
            Kind::Array(element) => {
                if let Some(items) = read::<Vec<Box<RawValue>>>(json) {
                    let item = |item: Box<RawValue>, out: &mut String| {
                        self.of_json(*element, &item, out);
                    };
                    return list(out, '[', ']', items, item);
                }
            }
            Kind::Map(element) => {
                if let Some(entries) = read::<Entries>(json) {
                    return list(out, '{', '}', entries, |(name, value), out| {
                        named(&name, out);
                        self.of_json(*element, &value, out);
                    });
                }
            }
            Kind::Record(fields) => {
                if let Some(entries) = read::<Entries>(json) {
                    return list(out, '{', '}', fields, |field, out| {
                        named(&field.name, out);
                        match entries.get(&field.name) {
                            Some(value) => self.of_json(field.node, value, out),
                            None => out.push_str("null"),
                        }
                    });
                }
            }
            _ => {}
        }
        quoted(&json_leaf(form_of(&self.schema, node), json), out);
    }
}

/// An object of JSON.
type Entries = BTreeMap<String, Box<RawValue>>;

fn read<V: DeserializeOwned>(json: &RawValue) -> Option<V> {
    serde_json::from_str(json.get()).ok()
}

/// A text of a value that holds no others; as it is, if it is none of the form.
fn plain(form: ColumnForm, text: &str) -> String {
    let found = match form {
        ColumnForm::Exact => Some(exact(text)),
        ColumnForm::Float32 => text.parse::<f32>().ok().map(|value| value.to_string()),
        ColumnForm::Float64 => text.parse::<f64>().ok().map(|value| value.to_string()),
        ColumnForm::Boolean
        | ColumnForm::Days
        | ColumnForm::TimeOfDay
        | ColumnForm::Micros
        | ColumnForm::Bytes
        | ColumnForm::Text
        | ColumnForm::Json => None,
    };
    found.unwrap_or_else(|| text.to_owned())
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
        (_, Some(Logical::TimeMillis | Logical::TimeMicros)) => ColumnForm::TimeOfDay,
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
        (Some(logical), Datum::Int(_) | Datum::Long(_)) => match infinite(logical, whole) {
            Some(text) => text.to_owned(),
            None => in_micros(logical, whole).to_string(),
        },
        (_, Datum::Int(_) | Datum::Long(_)) => whole.to_string(),
        (_, Datum::Boolean(value)) => value.to_string(),
        (_, Datum::Float(value)) => value.to_string(),
        (_, Datum::Double(value)) => value.to_string(),
        (_, Datum::Bytes(bytes) | Datum::Fixed(bytes)) => hex(bytes),
        (_, Datum::String(text) | Datum::Enum(text)) => text.clone(),
        (_, other) => format!("{other:?}"),
    }
}

/// The smallest and the largest date or timestamp stand for what has no end.
fn infinite(logical: Logical, value: i64) -> Option<&'static str> {
    let (smallest, largest) = match logical {
        Logical::Date => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Logical::TimestampMicros | Logical::LocalTimestampMicros => (i64::MIN, i64::MAX),
        _ => return None,
    };
    match value {
        value if value == largest => Some("infinity"),
        value if value == smallest => Some("-infinity"),
        _ => None,
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

/// What JSON says of a value that holds no others: a text's own, else as it is written.
fn json_leaf(form: ColumnForm, json: &RawValue) -> String {
    let text = read::<String>(json).unwrap_or_else(|| json.get().to_owned());
    let found = match form {
        ColumnForm::Days => days(&text).map(|days| days.to_string()),
        ColumnForm::TimeOfDay => micros_of_day(&text).map(|micros| micros.to_string()),
        ColumnForm::Micros => micros(&text).map(|micros| micros.to_string()),
        ColumnForm::Bytes => text.strip_prefix("\\x").map(str::to_owned),
        _ => None,
    };
    found.unwrap_or_else(|| plain(form, &text))
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

    fn array(of: &str) -> String {
        format!(r#"{{"type":"array","items":["null",{of}]}}"#)
    }

    #[test]
    fn what_has_no_end_is_told_so_alone_and_within() {
        let date = r#"{"type":"int","logicalType":"date"}"#;
        let at = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
        let local = r#"{"type":"long","logicalType":"local-timestamp-micros"}"#;
        for (schema, smallest, largest) in [
            (date, Datum::Int(i32::MIN), Datum::Int(i32::MAX)),
            (at, Datum::Long(i64::MIN), Datum::Long(i64::MAX)),
            (local, Datum::Long(i64::MIN), Datum::Long(i64::MAX)),
        ] {
            for (datum, text) in [(smallest, "-infinity"), (largest, "infinity")] {
                assert_eq!(compared(schema).of_datum(&datum).as_deref(), Some(text));
                assert_eq!(compared(schema).of_text(text), text);
                let within = compared(&array(schema));
                let datum = Datum::Array(vec![datum]);
                assert_eq!(
                    within.of_datum(&datum).unwrap(),
                    within.of_text(&format!("[{text:?}]"))
                );
            }
        }
    }

    #[test]
    fn numbers_within_are_compared_as_they_are_written() {
        let same = |schema: &str, datum: Datum, json: &str| {
            let (compared, datum) = (compared(&array(schema)), Datum::Array(vec![datum]));
            compared.of_datum(&datum).unwrap() == compared.of_text(json)
        };
        assert!(same(r#""long""#, Datum::Long(i64::MAX), "[9223372036854775807]"));
        assert!(!same(r#""long""#, Datum::Long(i64::MAX), "[9223372036854775806]"));
        assert!(same(r#""string""#, Datum::String("1.50".into()), "[1.50]"));
        assert!(same(r#""float""#, Datum::Float(0.1), "[0.1]"));
        assert!(same(r#""double""#, Datum::Double(f64::NAN), r#"["NaN"]"#));
        assert!(same(r#""double""#, Datum::Double(1e20), "[1e+20]"));
        assert!(same(r#""string""#, Datum::String(r#"{"b":  2}"#.into()), r#"[{"b":  2}]"#));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in ".{0,40}") {
            let time = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
            for schema in [r#""int""#, r#""double""#, &array(r#""string""#), &array(time)] {
                let _ = compared(schema).of_text(&text);
                let _ = compared(schema).of_text(&format!("[{text:?}]"));
            }
        }

        #[test]
        fn zeros_behind_the_point_say_nothing(whole in any::<i64>(), zeros in 1..9_usize) {
            let text = format!("{whole}.{}", "0".repeat(zeros));
            prop_assert_eq!(exact(&text), whole.to_string());
        }
    }
}
