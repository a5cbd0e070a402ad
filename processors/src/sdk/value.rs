//! Values made to fit a schema, and as JSON.

use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use tidemesh_avro::datum::{DATA_DEPTH_MAX, Datum};
use tidemesh_avro::schema::Node;
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Result};

#[cold]
fn misfit(why: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "fit a value to its schema").because(why)
}

/// A value as one of the type at `id`: numbers are widened, a record has all of its fields in the
/// schema's order, and what it lacks is null.
///
/// # Errors
///
/// `Unsupported` for a value of another type, and for a field that the schema does not have.
pub(crate) fn fitted(schema: &Schema, id: NodeId, value: Datum) -> Result<Datum> {
    fitted_at(schema, id, value, 0)
}

fn fitted_at(schema: &Schema, id: NodeId, value: Datum, depth: usize) -> Result<Datum> {
    if depth == DATA_DEPTH_MAX {
        return Err(misfit("it is nested too deep"));
    }
    let within = |id: NodeId, value: Datum| fitted_at(schema, id, value, depth + 1);
    Ok(match (&schema.node(id).kind, value) {
        (Kind::Union(branches), value) => {
            let takes = |branch: &&NodeId| takes(schema.node(**branch), &value);
            let exact = branches.iter().find(|branch| is_of(schema.node(**branch), &value));
            let branch = exact.or_else(|| branches.iter().find(takes));
            within(*branch.ok_or_else(|| misfit("no branch of the union takes it"))?, value)?
        }
        (Kind::Long, Datum::Int(value)) => Datum::Long(value.into()),
        (Kind::Double, Datum::Int(value)) => Datum::Double(value.into()),
        (Kind::Double, Datum::Float(value)) => Datum::Double(value.into()),
        (Kind::Enum { .. }, Datum::String(text)) => Datum::Enum(text),
        (Kind::Fixed(_), Datum::Bytes(bytes)) => Datum::Fixed(bytes),
        (Kind::Array(items), Datum::Array(values)) => Datum::Array(
            values.into_iter().map(|value| within(*items, value)).collect::<Result<_>>()?,
        ),
        (Kind::Map(values), Datum::Map(entries)) => {
            let entry = |(key, value): (String, Datum)| Ok((key, within(*values, value)?));
            Datum::Map(entries.into_iter().map(entry).collect::<Result<_>>()?)
        }
        (Kind::Record(fields), Datum::Record(values)) => record(fields, values, within)?,
        (_, value) if is_of(schema.node(id), &value) => value,
        _ => return Err(misfit("it has another type")),
    })
}

fn record(
    fields: &[Field],
    mut values: Vec<(Arc<str>, Datum)>,
    within: impl Fn(NodeId, Datum) -> Result<Datum>,
) -> Result<Datum> {
    let mut record = Vec::with_capacity(fields.len());
    for field in fields {
        let place = values.iter().position(|(name, _)| **name == *field.name);
        let value = place.map_or(Datum::Null, |place| values.swap_remove(place).1);
        let value = within(field.node, value).map_err(|error| error.with("field", &field.name))?;
        record.push((Arc::from(field.name.as_str()), value));
    }
    match values.first() {
        None => Ok(Datum::Record(record)),
        Some((name, _)) => Err(misfit("the schema has no such field").with("field", name)),
    }
}

/// Whether a value is of a type as it is.
fn is_of(node: &Node, value: &Datum) -> bool {
    matches!(
        (&node.kind, value),
        (Kind::Null, Datum::Null)
            | (Kind::Boolean, Datum::Boolean(_))
            | (Kind::Int, Datum::Int(_))
            | (Kind::Long, Datum::Long(_))
            | (Kind::Float, Datum::Float(_))
            | (Kind::Double, Datum::Double(_))
            | (Kind::Bytes, Datum::Bytes(_))
            | (Kind::String, Datum::String(_))
            | (Kind::Fixed(_), Datum::Fixed(_))
            | (Kind::Enum { .. }, Datum::Enum(_))
            | (Kind::Array(_), Datum::Array(_))
            | (Kind::Map(_), Datum::Map(_))
            | (Kind::Record(_), Datum::Record(_))
    )
}

/// Whether a value can be made one of a type.
fn takes(node: &Node, value: &Datum) -> bool {
    matches!(
        (&node.kind, value),
        (Kind::Long | Kind::Double, Datum::Int(_))
            | (Kind::Double, Datum::Float(_))
            | (Kind::Enum { .. }, Datum::String(_))
            | (Kind::Fixed(_), Datum::Bytes(_))
    )
}

/// JSON as a value of the type at `id`. What an object lacks is null; bytes are text whose characters are
/// theirs, as in Avro's own JSON.
///
/// # Errors
///
/// `Malformed` for JSON of another type.
pub(crate) fn from_json(schema: &Schema, id: NodeId, json: &Json) -> Result<Datum> {
    from_json_at(schema, id, json, 0)
}

fn from_json_at(schema: &Schema, id: NodeId, json: &Json, depth: usize) -> Result<Datum> {
    let wrong = || {
        Error::new(ErrorKind::Malformed, "read a value of JSON")
            .because("it is not of its type")
            .with("type", schema.short_type(id))
    };
    if depth == DATA_DEPTH_MAX {
        return Err(wrong());
    }
    let within = |id: NodeId, json: &Json| from_json_at(schema, id, json, depth + 1);
    Ok(match (&schema.node(id).kind, json) {
        (Kind::Null, Json::Null) => Datum::Null,
        (Kind::Boolean, Json::Bool(value)) => Datum::Boolean(*value),
        (Kind::Int, json) => {
            Datum::Int(json.as_i64().and_then(|value| value.try_into().ok()).ok_or_else(wrong)?)
        }
        (Kind::Long, json) => Datum::Long(json.as_i64().ok_or_else(wrong)?),
        (Kind::Float, Json::Number(value)) => {
            let value = value.to_string().parse().ok().filter(|value: &f32| value.is_finite());
            Datum::Float(value.ok_or_else(wrong)?)
        }
        (Kind::Double, json) => Datum::Double(json.as_f64().ok_or_else(wrong)?),
        (Kind::Bytes, Json::String(text)) => Datum::Bytes(latin_1(text).ok_or_else(wrong)?),
        (Kind::Fixed(size), Json::String(text)) => {
            let bytes = latin_1(text).filter(|bytes| bytes.len() == *size);
            Datum::Fixed(bytes.ok_or_else(wrong)?)
        }
        (Kind::String, Json::String(text)) => Datum::String(text.clone()),
        (Kind::Enum { symbols, .. }, Json::String(text)) if symbols.contains(text) => {
            Datum::Enum(text.clone())
        }
        (Kind::Array(items), Json::Array(values)) => {
            Datum::Array(values.iter().map(|value| within(*items, value)).collect::<Result<_>>()?)
        }
        (Kind::Map(values), Json::Object(entries)) => {
            let entry = |(key, json): (&String, &Json)| Ok((key.clone(), within(*values, json)?));
            Datum::Map(entries.iter().map(entry).collect::<Result<_>>()?)
        }
        (Kind::Record(fields), Json::Object(values)) => {
            let of_schema = |name: &&String| fields.iter().any(|field| field.name == **name);
            if let Some(name) = values.keys().find(|name| !of_schema(name)) {
                return Err(wrong().because("the schema has no such field").with("field", name));
            }
            let field = |field: &Field| {
                let value = within(field.node, values.get(&field.name).unwrap_or(&Json::Null));
                let value = value.map_err(|error| error.with("field", &field.name))?;
                Ok((Arc::from(field.name.as_str()), value))
            };
            Datum::Record(fields.iter().map(field).collect::<Result<_>>()?)
        }
        (Kind::Union(branches), json) => {
            let mut fitting = branches.iter().filter_map(|branch| within(*branch, json).ok());
            fitting.next().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    })
}

fn latin_1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

/// A value as JSON, as [`from_json`] takes it.
pub(crate) fn to_json(value: &Datum) -> Json {
    match value {
        Datum::Null => Json::Null,
        Datum::Boolean(value) => json!(value),
        Datum::Int(value) => json!(value),
        Datum::Long(value) => json!(value),
        Datum::Float(value) => json!(value),
        Datum::Double(value) => json!(value),
        Datum::Bytes(bytes) | Datum::Fixed(bytes) => {
            Json::String(bytes.iter().map(|byte| char::from(*byte)).collect())
        }
        Datum::String(text) | Datum::Enum(text) => json!(text),
        Datum::Array(items) => items.iter().map(to_json).collect(),
        Datum::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
        Datum::Record(fields) => {
            let field = |(name, value): &(Arc<str>, Datum)| (name.to_string(), to_json(value));
            Json::Object(fields.iter().map(field).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[
        {"name":"a","type":["null","long","string"]},
        {"name":"b","type":["null",{"type":"array","items":["null","double"]}]},
        {"name":"c","type":["null",{"type":"map","values":["null","boolean","R"]}]},
        {"name":"d","type":["null",{"type":"enum","name":"E","symbols":["x","y"]}]},
        {"name":"e","type":["null",{"type":"fixed","name":"F","size":2},"float"]},
        {"name":"f","type":["null","bytes","int"]}]}"#;

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-5i64..5).prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            "[xyz\u{e9}\u{100}]{0,3}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::btree_map("[a-g]", inner, 0..4)
                    .prop_map(|entries| Json::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_and_shown_again_or_refused(
            rows in proptest::collection::btree_map("[a-f]", json(), 0..4),
        ) {
            let schema = Schema::parse(SCHEMA).unwrap();
            let json = Json::Object(rows.into_iter().collect());
            if let Ok(value) = from_json(&schema, schema.root(), &json) {
                let shown = to_json(&value);
                prop_assert_eq!(&from_json(&schema, schema.root(), &shown).unwrap(), &value);
                prop_assert_eq!(fitted(&schema, schema.root(), value.clone()).unwrap(), value);
            }
        }
    }

    #[test]
    fn a_value_is_widened_and_what_a_record_lacks_is_null() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let row = |name: &str, value| Datum::Record(vec![(name.into(), value)]);
        let fitted = |value| fitted(&schema, schema.root(), value);
        let made = fitted(row("a", Datum::Int(5))).unwrap();
        assert_eq!(made.field("a"), Some(&Datum::Long(5)));
        assert_eq!(made.field("f"), Some(&Datum::Null));
        let made = fitted(row("d", Datum::String("y".into()))).unwrap();
        assert_eq!(made.field("d"), Some(&Datum::Enum("y".into())));
        let text = fitted(row("b", Datum::Boolean(true))).unwrap_err().report();
        assert!(text.contains("field=b"), "{text}");
        let text = fitted(row("z", Datum::Null)).unwrap_err().report();
        assert!(text.contains("no such field"), "{text}");
    }
}
