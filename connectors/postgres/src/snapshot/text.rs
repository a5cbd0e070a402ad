//! Values as PostgreSQL writes them as text, under the settings of a reader's session (`sql::SESSION`).
//! Source: the `*_out` functions of PostgreSQL 18, `src/backend/utils/adt/`.

use crate::types::{
    Printer, QUOTED_IN_ARRAY, QUOTED_IN_COMPOSITE, Quoted, days_since_2000, micros_since_2000,
    quote_from,
};
use tidemesh_model::{DataType, Field, Value, decimal_text};

/// The text of a column's value; none for null.
pub(crate) fn text(field: &Field, value: &Value) -> Option<String> {
    typed(&field.source_type, &field.data_type, value, Within::Nothing)
}

/// In what a value stands, the outermost record counting before an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Array,
    Record,
}

/// The text of a value of the type that the server calls `of`.
fn typed(of: &str, data_type: &DataType, value: &Value, within: Within) -> Option<String> {
    Some(match (data_type, value) {
        (DataType::Array(element), Value::Array(values)) => {
            let within = if within == Within::Record { within } else { Within::Array };
            let of = of.strip_suffix("[]").unwrap_or(of);
            let texts = values.iter().map(|value| typed(of, element, value, within));
            let delimiter = if of == "box" { b';' } else { b',' };
            let quoted = QUOTED_IN_ARRAY.between(char::from(delimiter));
            parts(texts, *b"{}", delimiter, b"NULL", &quoted)
        }
        (DataType::Record(record), Value::Record(values)) => {
            let texts = record.fields.iter().zip(values).map(|(field, value)| {
                typed(&field.source_type, &field.data_type, value, Within::Record)
            });
            parts(texts, *b"()", b',', b"", &QUOTED_IN_COMPOSITE)
        }
        (_, Value::Boolean(value)) if within != Within::Nothing => {
            if *value { "t" } else { "f" }.to_owned()
        }
        // There the server writes the hstore's own text; elsewhere it is asked for JSON.
        (DataType::Json, Value::Text(json)) if within == Within::Record && is_hstore(of) => {
            hstore(json)?
        }
        // The topic's form always has the zone's minutes.
        (_, Value::Text(text)) if of.starts_with("time") && of.ends_with("with time zone") => {
            text.strip_suffix(":00").unwrap_or(text).to_owned()
        }
        _ => plain(value)?,
    })
}

fn is_hstore(of: &str) -> bool {
    of == "hstore" || of.ends_with(".hstore")
}

/// An hstore's own text of its JSON: `"key"=>"value", "other"=>NULL`.
fn hstore(json: &str) -> Option<String> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let pairs: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    let pair = |(key, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| "NULL".to_owned(), quoted);
        format!("{}=>{value}", quoted(key))
    };
    Some(pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
}

fn plain(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Absent => return None,
        Value::Boolean(value) => value.to_string(),
        Value::Int32(value) => value.to_string(),
        Value::Int64(value) => value.to_string(),
        Value::Float32(value) => printed(Printer::Float4, &value.to_be_bytes())?,
        Value::Float64(value) => printed(Printer::Float8, &value.to_be_bytes())?,
        Value::Decimal { unscaled, scale } => decimal_text(unscaled, *scale as usize),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => printed(Printer::Bytea, bytes)?,
        Value::Uuid(uuid) => printed(Printer::Uuid, uuid)?,
        Value::Date(days) => printed(Printer::Date, &days_since_2000(*days)?.to_be_bytes())?,
        Value::Time(micros) => printed(Printer::Time, &micros.to_be_bytes())?,
        Value::Timestamp(micros) => {
            printed(Printer::Timestamp, &micros_since_2000(*micros)?.to_be_bytes())?
        }
        Value::TimestampTz(micros) => {
            printed(Printer::TimestampTz, &micros_since_2000(*micros)?.to_be_bytes())?
        }
        // They come with their types: see `typed`.
        Value::Array(_) | Value::Record(_) => return None,
    })
}

/// The text of a value by its binary form.
fn printed(printer: Printer, bytes: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    printer.print(bytes, &mut out).ok()?;
    String::from_utf8(out).ok()
}

/// `array_out` and `record_out`: parts that could be mistaken are quoted.
fn parts(
    texts: impl Iterator<Item = Option<String>>,
    brackets: [u8; 2],
    delimiter: u8,
    null: &[u8],
    quoted: &Quoted,
) -> String {
    let mut out = vec![brackets[0]];
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        match text {
            None => out.extend_from_slice(null),
            Some(text) => {
                let start = out.len();
                out.extend_from_slice(text.as_bytes());
                quote_from(&mut out, start, quoted);
            }
        }
    }
    out.push(brackets[1]);
    // Texts in brackets are text.
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::{RecordField, RecordType, SourceKind};

    fn of(source_type: &str, value: &Value) -> String {
        of_type(source_type, DataType::Text, value)
    }

    fn of_type(source_type: &str, data_type: DataType, value: &Value) -> String {
        let field = Field {
            name: "c".into(),
            data_type,
            source_type: source_type.into(),
            nullable: true,
            default: None,
            aliases: Vec::new(),
            kind: SourceKind::Plain,
            key_default: None,
        };
        text(&field, value).unwrap()
    }

    fn plainly(value: &Value) -> String {
        of("t", value)
    }

    #[test]
    fn decimals_have_their_scale() {
        let text = |unscaled: &[u8], scale| {
            plainly(&Value::Decimal { unscaled: unscaled.to_vec(), scale })
        };
        assert_eq!(text(&[0x01, 0x2c], 2), "3.00");
        assert_eq!(text(&[0xff], 2), "-0.01");
        assert_eq!(text(&[0x80], 0), "-128");
        assert_eq!(text(&[0], 3), "0.000");
    }

    #[test]
    fn dates_have_their_era() {
        assert_eq!(plainly(&Value::Date(0)), "1970-01-01");
        assert_eq!(plainly(&Value::Date(-735_160)), "0044-03-15 BC");
        assert_eq!(plainly(&Value::Date(2_932_897)), "10000-01-01");
        assert_eq!(plainly(&Value::TimestampTz(-1)), "1969-12-31 23:59:59.999999+00");
        assert_eq!(plainly(&Value::Time(86_400_000_000)), "24:00:00");
    }

    #[test]
    fn elements_are_quoted_where_they_could_be_mistaken() {
        let texts = ["a", "", "null", "a b", "a\"b", "a\\", "é"].map(|t| Value::Text(t.into()));
        let mut elements = texts.to_vec();
        elements.push(Value::Null);
        elements.push(Value::Boolean(true));
        assert_eq!(
            of_type("text[]", array(DataType::Text), &Value::Array(elements)),
            r#"{a,"","null","a b","a\"b","a\\",é,NULL,t}"#
        );
        let boxes = ["(1,2),(3,4)", "(5,6),(7,8)"].map(|text| Value::Text(text.into())).to_vec();
        assert_eq!(
            of_type("box[]", array(DataType::Text), &Value::Array(boxes)),
            "{(1,2),(3,4);(5,6),(7,8)}"
        );
    }

    fn array(of: DataType) -> DataType {
        DataType::Array(Box::new(of))
    }

    #[test]
    fn a_record_leaves_null_out_and_has_its_types_own_texts() {
        let field = |of: &str, data_type| RecordField {
            name: of.into(),
            data_type,
            source_type: of.into(),
        };
        let fields = vec![
            field("text", DataType::Text),
            field("text", DataType::Text),
            field("boolean", DataType::Boolean),
            field("more.hstore", DataType::Json),
        ];
        let record = DataType::Record(RecordType { schema: "s".into(), name: "r".into(), fields });
        let value = Value::Record(vec![
            Value::Text("null".into()),
            Value::Null,
            Value::Boolean(true),
            Value::Text(r#"{"k": "v", "n": null}"#.into()),
        ]);
        let text = of_type("r", record.clone(), &value);
        assert_eq!(text, r#"(null,,t,"""k""=>""v"", ""n""=>NULL")"#);
        let value = Value::Array(vec![Value::Null, Value::Record(vec![Value::Null; 4])]);
        assert_eq!(of_type("r[]", array(record), &value), r#"{NULL,"(,,,)"}"#);
    }

    #[test]
    fn whole_hours_of_a_zone_are_dropped_and_padding_is_kept() {
        assert_eq!(of("character(5)", &Value::Text("ab   ".into())), "ab   ");
        let zone = |text: &str| of("time(3) with time zone", &Value::Text(text.into()));
        assert_eq!(zone("04:05:06+01:00"), "04:05:06+01");
        assert_eq!(zone("04:05:06+05:30"), "04:05:06+05:30");
    }
}
