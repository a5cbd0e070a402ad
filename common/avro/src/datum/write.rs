//! From data to bytes.

use super::{DATA_DEPTH_MAX, Datum};
use crate::schema::{Field, Kind, NodeId, Schema};
use crate::varint::{write_length, write_long};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// The empty block that ends an array or map.
const END_OF_BLOCKS: u8 = 0;

pub(super) fn encode(schema: &Schema, datum: &Datum, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    let mut writer = Writer { schema, out, path: Vec::new(), depth: 0 };
    let answer = writer.value(schema.root(), datum);
    if answer.is_err() {
        out.truncate(before);
    }
    answer
}

struct Writer<'s, 'o> {
    schema: &'s Schema,
    out: &'o mut Vec<u8>,
    path: Vec<&'s str>,
    depth: usize,
}

impl<'s> Writer<'s, '_> {
    #[cold]
    fn wrong(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, "encode Avro data").because(message).with("path", self.path.join("."))
    }

    #[cold]
    fn misfit(&self, expected: &str, datum: &Datum) -> Error {
        let message = "the datum is not of the schema's type, or has another size or other names";
        self.wrong(ErrorKind::Internal, message)
            .with("expected", expected.to_lowercase())
            .with("got", datum.type_name())
    }

    fn value(&mut self, id: NodeId, datum: &Datum) -> Result<()> {
        if self.depth >= DATA_DEPTH_MAX {
            let error = self.wrong(ErrorKind::TooLarge, "it is nested too deep");
            return Err(error.with("data_depth_max", DATA_DEPTH_MAX));
        }
        self.depth += 1;
        self.value_inside(id, datum)?;
        self.depth -= 1;
        Ok(())
    }

    fn value_inside(&mut self, id: NodeId, datum: &Datum) -> Result<()> {
        let schema = self.schema;
        let node = schema.node(id);
        match (&node.kind, datum) {
            (Kind::Union(branches), _) => {
                let fits = |id: &NodeId| fits(&schema.node(*id).kind, datum);
                let Some(branch) = branches.iter().position(fits) else {
                    return Err(self.misfit(node.type_name(), datum));
                };
                write_length(self.out, branch);
                self.value_inside(branches[branch], datum)?;
            }
            (kind, datum) if !fits(kind, datum) => {
                return Err(self.misfit(node.type_name(), datum));
            }
            (Kind::Array(items), Datum::Array(elements)) => self.array(*items, elements)?,
            (Kind::Map(values), Datum::Map(entries)) => self.map(*values, entries)?,
            (Kind::Record(fields), Datum::Record(values)) => self.record(fields, values)?,
            (kind, datum) => self.leaf(kind, datum),
        }
        Ok(())
    }

    /// A value that holds no others and fits its type.
    fn leaf(&mut self, kind: &Kind, datum: &Datum) {
        match datum {
            Datum::Boolean(value) => self.out.push(u8::from(*value)),
            Datum::Int(value) => write_long(self.out, i64::from(*value)),
            Datum::Long(value) => write_long(self.out, *value),
            Datum::Float(value) => self.out.extend_from_slice(&value.to_le_bytes()),
            Datum::Double(value) => self.out.extend_from_slice(&value.to_le_bytes()),
            Datum::Bytes(bytes) => self.run(bytes),
            Datum::String(text) => self.run(text.as_bytes()),
            Datum::Fixed(bytes) => self.out.extend_from_slice(bytes),
            Datum::Enum(symbol) => {
                if let Kind::Enum { symbols, .. } = kind {
                    let place = symbols.iter().position(|other| other == symbol);
                    write_length(self.out, place.unwrap_or_default());
                }
            }
            Datum::Null | Datum::Array(_) | Datum::Map(_) | Datum::Record(_) => {}
        }
    }

    fn array(&mut self, items: NodeId, elements: &[Datum]) -> Result<()> {
        self.count(elements.len());
        elements.iter().try_for_each(|element| self.value(items, element))?;
        self.out.push(END_OF_BLOCKS);
        Ok(())
    }

    fn map(&mut self, values: NodeId, entries: &[(String, Datum)]) -> Result<()> {
        self.count(entries.len());
        for (key, value) in entries {
            self.run(key.as_bytes());
            self.value(values, value)?;
        }
        self.out.push(END_OF_BLOCKS);
        Ok(())
    }

    fn record(&mut self, fields: &'s [Field], values: &[(Arc<str>, Datum)]) -> Result<()> {
        for (field, (_, value)) in fields.iter().zip(values) {
            self.path.push(&field.name);
            self.value(field.node, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn run(&mut self, bytes: &[u8]) {
        write_length(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// The head of the one block; none for no elements.
    fn count(&mut self, count: usize) {
        if count > 0 {
            write_length(self.out, count);
        }
    }
}

/// Whether the datum is of the type, as far as can be seen without what is within it.
fn fits(kind: &Kind, datum: &Datum) -> bool {
    match (kind, datum) {
        (Kind::Null, Datum::Null)
        | (Kind::Boolean, Datum::Boolean(_))
        | (Kind::Int, Datum::Int(_))
        | (Kind::Long, Datum::Long(_))
        | (Kind::Float, Datum::Float(_))
        | (Kind::Double, Datum::Double(_))
        | (Kind::Bytes, Datum::Bytes(_))
        | (Kind::String, Datum::String(_))
        | (Kind::Array(_), Datum::Array(_))
        | (Kind::Map(_), Datum::Map(_)) => true,
        (Kind::Fixed(size), Datum::Fixed(bytes)) => bytes.len() == *size,
        (Kind::Enum { symbols, .. }, Datum::Enum(symbol)) => symbols.contains(symbol),
        (Kind::Record(fields), Datum::Record(values)) => {
            fields.len() == values.len()
                && fields.iter().zip(values).all(|(field, (name, _))| field.name == **name)
        }
        _ => false,
    }
}
