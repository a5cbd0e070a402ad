//! Field defaults: from the JSON of a schema to data (specification 1.12, "Complex Types").

use super::FieldNames;
use crate::datum::read::payload_weight;
use crate::datum::{DATA_DEPTH_MAX, Datum};
use crate::schema::{Kind, NodeId, Schema};
use serde_json::Value as Json;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most values that one field's default may become; text counts as in data.
pub const DEFAULT_VALUES_MAX: usize = 10_000;

/// The datum that `default` stands for, of the type at `id`, and how many values it weighs.
///
/// # Errors
///
/// `Malformed` for a default that is not of the type; `TooLarge` for one past a limit.
pub(super) fn datum(
    schema: &Schema,
    names: &mut FieldNames,
    id: NodeId,
    default: &Json,
) -> Result<(Datum, usize)> {
    let mut expander = Expander { schema, names, values: 0, depth: 0 };
    let datum = expander.value(id, default)?;
    Ok((datum, expander.values))
}

struct Expander<'s> {
    schema: &'s Schema,
    names: &'s mut FieldNames,
    values: usize,
    depth: usize,
}

impl Expander<'_> {
    fn wrong(&self, id: NodeId, message: &str) -> Error {
        Error::new(ErrorKind::Malformed, "read a field's default")
            .because(message)
            .with("type", self.schema.node(id).type_name().to_lowercase())
    }

    fn charge(&mut self, values: usize) -> Result<()> {
        self.values += values;
        if self.depth < DATA_DEPTH_MAX && self.values <= DEFAULT_VALUES_MAX {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooLarge, "read a field's default")
            .because("it becomes too many or too deeply nested values")
            .with("default_values_max", DEFAULT_VALUES_MAX)
            .with("data_depth_max", DATA_DEPTH_MAX))
    }

    /// A record's fields may have defaults of their own, so that a short text becomes much data.
    fn value(&mut self, id: NodeId, default: &Json) -> Result<Datum> {
        self.charge(1 + default.as_str().map_or(0, |text| payload_weight(text.len())))?;
        self.depth += 1;
        let datum = match (&self.schema.node(id).kind, default) {
            (Kind::Array(items), Json::Array(list)) => self.array(*items, list)?,
            (Kind::Map(_) | Kind::Record(_), Json::Object(_)) => self.object(id, default)?,
            (Kind::Union(branches), _) => self.branch(id, branches, default)?,
            (kind, _) => leaf(kind, default)
                .ok_or_else(|| self.wrong(id, "the default is not of the field's type"))?,
        };
        self.depth -= 1;
        Ok(datum)
    }

    fn array(&mut self, items: NodeId, list: &[Json]) -> Result<Datum> {
        let elements: Result<_> = list.iter().map(|item| self.value(items, item)).collect();
        Ok(Datum::Array(elements?))
    }

    /// A map, or a record whose missing fields have defaults of their own.
    fn object(&mut self, id: NodeId, default: &Json) -> Result<Datum> {
        let schema = self.schema;
        match (&schema.node(id).kind, default) {
            (Kind::Map(values), Json::Object(object)) => {
                let mut entries = Vec::with_capacity(object.len());
                for (key, json) in object {
                    self.charge(payload_weight(key.len()))?;
                    entries.push((key.clone(), self.value(*values, json)?));
                }
                Ok(Datum::Map(entries))
            }
            (Kind::Record(fields), Json::Object(object)) => {
                let mut values = Vec::with_capacity(fields.len());
                for (field, name) in fields.iter().zip(&*self.names.of(schema, id)) {
                    let Some(json) = object.get(&field.name).or(field.default.as_ref()) else {
                        return Err(self.wrong(id, "the default lacks a field"));
                    };
                    values.push((name.clone(), self.value(field.node, json)?));
                }
                Ok(Datum::Record(values))
            }
            _ => Err(self.wrong(id, "the default is not of the field's type")),
        }
    }

    /// The first branch that the default fits (specification 1.12; before, only the first one).
    fn branch(&mut self, id: NodeId, branches: &[NodeId], default: &Json) -> Result<Datum> {
        let depth = self.depth;
        for branch in branches {
            match self.value(*branch, default) {
                Err(error) if error.kind() == ErrorKind::Malformed => self.depth = depth,
                answer => return answer,
            }
        }
        Err(self.wrong(id, "the default fits no branch"))
    }
}

/// A default that holds no others.
fn leaf(kind: &Kind, default: &Json) -> Option<Datum> {
    match kind {
        Kind::Null => default.is_null().then_some(Datum::Null),
        Kind::Boolean => default.as_bool().map(Datum::Boolean),
        Kind::Int => default.as_i64().and_then(|value| i32::try_from(value).ok()).map(Datum::Int),
        Kind::Long => default.as_i64().map(Datum::Long),
        Kind::Float => default.as_f64().map(|value| Datum::Float(nearest_f32(value))),
        Kind::Double => default.as_f64().map(Datum::Double),
        Kind::Bytes => default.as_str().and_then(latin1).map(Datum::Bytes),
        Kind::String => default.as_str().map(|text| Datum::String(text.to_owned())),
        Kind::Fixed(size) => {
            let bytes = default.as_str().and_then(latin1);
            bytes.filter(|bytes| bytes.len() == *size).map(Datum::Fixed)
        }
        Kind::Enum { symbols, .. } => {
            let symbol = symbols.iter().find(|symbol| default.as_str() == Some(symbol));
            symbol.cloned().map(Datum::Enum)
        }
        Kind::Array(_) | Kind::Map(_) | Kind::Union(_) | Kind::Record(_) => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float's default is the float that is nearest to the number in the text"
)]
fn nearest_f32(value: f64) -> f32 {
    value as f32
}

/// Avro's JSON form of bytes: each code point is a byte.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str, default: &Json) -> Result<Datum> {
        let schema = Schema::parse(text).unwrap();
        datum(&schema, &mut FieldNames::default(), schema.root(), default).map(|(datum, _)| datum)
    }

    #[test]
    fn bytes_are_code_points() {
        let bytes = of("\"bytes\"", &json!("\u{0}\u{ff}A")).unwrap();
        assert_eq!(bytes, Datum::Bytes(vec![0, 255, 65]));
        assert!(of("\"bytes\"", &json!("\u{100}")).is_err());
    }

    #[test]
    fn a_union_takes_the_first_branch_that_fits() {
        let value = of(r#"["null","int","long"]"#, &json!(5_000_000_000_i64)).unwrap();
        assert_eq!(value, Datum::Long(5_000_000_000));
    }

    #[test]
    fn a_default_that_doubles_with_each_record_is_refused() {
        let mut inner = r#"{"type":"record","name":"R0","fields":[]}"#.to_owned();
        for index in 1..=14 {
            let before = index - 1;
            inner = format!(
                r#"{{"type":"record","name":"R{index}","fields":[
                    {{"name":"a","type":{inner},"default":{{}}}},
                    {{"name":"b","type":"R{before}","default":{{}}}}]}}"#
            );
        }
        let error = of(&inner, &json!({})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
