//! Events that come as Avro data: read by the topic's schema before they are taken, and then handed on
//! byte for byte.

use crate::register::check;
use tidemesh_avro::datum::{self, Datum};
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// Reads data of one topic's schema, and makes its key.
#[derive(Debug)]
pub(crate) struct Reader {
    resolver: Resolver,
    /// The key's schema and its fields, if the topic has a key.
    key: Option<(Schema, Vec<String>)>,
}

impl Reader {
    /// A reader of this schema.
    ///
    /// # Errors
    ///
    /// As [`check`]; `TooLarge` for a schema past a limit.
    pub(crate) fn of(topic: &str, schema: &str, key: &[String]) -> Result<Self> {
        let key_schema = check(topic, schema, key)?.key;
        let schema = Schema::parse(schema)?;
        let key_schema = key_schema.map(|key| Schema::parse(&key.to_string())).transpose()?;
        let resolver = Resolver::new(&schema, &schema)?;
        Ok(Self { resolver, key: key_schema.map(|schema| (schema, key.to_vec())) })
    }

    /// Reads `data`, all of it, and appends its key, if there is one.
    ///
    /// # Errors
    ///
    /// `Malformed`, with the field's path, for data that is not of the schema; `TooLarge` for what is
    /// nested too deep.
    pub(crate) fn read(&self, data: &[u8], key: &mut Vec<u8>) -> Result<()> {
        let value = self.resolver.read(data)?;
        let Some((schema, names)) = &self.key else { return Ok(()) };
        let Datum::Record(fields) = value else { return Err(no_field()) };
        let column = |name: &String| {
            let found = fields.iter().find(|(field, _)| **field == **name);
            found.cloned().ok_or_else(no_field)
        };
        let columns = names.iter().map(column).collect::<Result<Vec<_>>>()?;
        datum::encode(schema, &Datum::Record(columns), key)
    }
}

fn no_field() -> Error {
    Error::new(ErrorKind::Internal, "make an event's key").because("its record lacks the key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_avro::serial::{Plan, Spans};

    const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
        {"name":"note","type":["string","null"]},
        {"name":"id","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

    #[test]
    fn the_key_is_that_of_the_same_value_written_by_a_plan() {
        let names = ["id".to_owned(), "note".to_owned()];
        let plan = Plan::compile_with_key(&Schema::parse(ORDER).unwrap(), &["id", "note"]).unwrap();
        let reader = Reader::of("t", ORDER, &names).unwrap();
        for note in [serde_json::Value::Null, "hi".into()] {
            let value = serde_json::json!({ "id": 1_780_000_000_000_000_i64, "note": note });
            let (mut row, mut spans) = (Vec::new(), Spans::default());
            plan.encode_with_key(&value, &mut row, &mut spans).unwrap();
            let (mut cut, mut read) = (Vec::new(), Vec::new());
            plan.write_key(&row, &spans, &mut cut).unwrap();
            reader.read(&row, &mut read).unwrap();
            assert_eq!(cut, read);
        }
    }

    #[test]
    fn data_that_is_not_of_the_schema_or_left_over_is_refused() {
        let reader = Reader::of("t", ORDER, &[]).unwrap();
        let mut key = Vec::new();
        reader.read(&[2, 0], &mut key).unwrap();
        for data in [&[][..], &[4, 0], &[0, 9], &[2], &[2, 0, 0]] {
            assert_eq!(reader.read(data, &mut key).unwrap_err().kind(), ErrorKind::Malformed);
        }
        assert!(key.is_empty());
    }
}
