//! Avro's own JSON (specification 1.12, "JSON Encoding"), from binary data: unions name their
//! branch, bytes are a code point each. Java's `JsonDecoder` and `avro-tools` read it back.
//! [`crate::json`] is the form for people.

use super::read::Reader;
use crate::schema::{Kind, NodeId, Schema};
use serde_json::{Map, Number, Value as Json};
use tidemesh_model::Result;

pub(super) fn of(schema: &Schema, bytes: &[u8]) -> Result<Json> {
    let mut printer = Printer { schema, reader: Reader::new(schema, bytes) };
    let json = printer.value(schema.root())?;
    printer.reader.end()?;
    Ok(json)
}

struct Printer<'s, 'i> {
    schema: &'s Schema,
    reader: Reader<'s, 'i>,
}

impl Printer<'_, '_> {
    fn value(&mut self, id: NodeId) -> Result<Json> {
        self.reader.enter()?;
        let json = self.inside(id)?;
        self.reader.leave();
        Ok(json)
    }

    fn inside(&mut self, id: NodeId) -> Result<Json> {
        let schema = self.schema;
        Ok(match &schema.node(id).kind {
            Kind::Union(branches) => {
                let place = self.reader.place(branches.len(), "branch")?;
                self.branch(branches[place])?
            }
            Kind::Array(items) => self.array(*items)?,
            Kind::Map(values) => self.map(*values)?,
            Kind::Record(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for field in fields {
                    object.insert(field.name.clone(), self.value(field.node)?);
                }
                Json::Object(object)
            }
            kind => self.leaf(kind)?,
        })
    }

    fn branch(&mut self, branch: NodeId) -> Result<Json> {
        let node = self.schema.node(branch);
        if matches!(node.kind, Kind::Null) {
            return Ok(Json::Null);
        }
        let label = match &node.name {
            Some(name) => name.to_string(),
            None => node.type_name().to_lowercase(),
        };
        let value = self.inside(branch)?;
        Ok(Json::Object(Map::from_iter([(label, value)])))
    }

    fn array(&mut self, items: NodeId) -> Result<Json> {
        let mut list = Vec::new();
        while let Some(count) = self.reader.block()? {
            for _ in 0..count {
                list.push(self.value(items)?);
            }
        }
        Ok(list.into())
    }

    fn map(&mut self, values: NodeId) -> Result<Json> {
        let mut object = Map::new();
        while let Some(count) = self.reader.block()? {
            for _ in 0..count {
                let key = self.reader.text()?.to_owned();
                let value = self.value(values)?;
                object.insert(key, value);
            }
        }
        Ok(Json::Object(object))
    }

    fn leaf(&mut self, kind: &Kind) -> Result<Json> {
        let reader = &mut self.reader;
        Ok(match kind {
            Kind::Boolean => reader.boolean()?.into(),
            Kind::Int => reader.int()?.into(),
            Kind::Long => reader.long()?.into(),
            Kind::Float => float(f64::from(reader.float()?)),
            Kind::Double => float(reader.double()?),
            Kind::Bytes => code_points(reader.run()?),
            Kind::Fixed(size) => code_points(reader.take(*size)?),
            Kind::String => reader.text()?.into(),
            Kind::Enum { symbols, .. } => {
                let place = reader.place(symbols.len(), "symbol")?;
                symbols[place].clone().into()
            }
            // The others hold values and are not asked for here.
            Kind::Null | Kind::Array(_) | Kind::Map(_) | Kind::Union(_) | Kind::Record(_) => {
                Json::Null
            }
        })
    }
}

/// As Java writes it: what JSON has no number for is text.
fn float(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
    }
}

fn code_points(bytes: &[u8]) -> Json {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unions_name_their_branch_and_bytes_are_code_points() {
        let schema = Schema::parse(
            r#"{"type":"record","name":"n.R","fields":[{"name":"a","type":["null","bytes"]},
                {"name":"b","type":["null",{"type":"enum","name":"E","symbols":["X"]}]},
                {"name":"c","type":{"type":"array","items":{"type":"map","values":"int"}}},
                {"name":"d","type":["null","int"]}]}"#,
        )
        .unwrap();
        let bytes = [2, 4, 0xff, 0x41, 2, 0, 2, 2, 2, b'k', 4, 0, 0, 0];
        assert_eq!(
            of(&schema, &bytes).unwrap(),
            json!({"a": {"bytes": "\u{ff}A"}, "b": {"n.E": "X"}, "c": [{"k": 2}], "d": null})
        );
        assert!(of(&schema, &bytes[..5]).is_err());
    }
}
