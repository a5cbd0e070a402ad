//! A test kit for processors: rows as JSON in, rows as JSON out, through the same code as in a pipeline.
//!
//! What is made is written with the declared schema and read back, so that a row that does not fit it is
//! told here.

use crate::sdk::value::{from_json, to_json};
use crate::sdk::{
    Batch, Change, Emitted, OUTPUT_BYTES_MAX, Operation, Output, Process, Processor, Record, Row,
    RowWriter, guarded,
};
use serde_json::{Value as Json, json};
use tidemesh_avro::datum::{Datum, decode};
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// A processor on a bench.
pub struct Bench {
    processor: Box<dyn Process>,
    inputs: Vec<(String, Schema)>,
    writer: RowWriter,
    /// The offset of the next record.
    next: u64,
}

impl Bench {
    /// A processor of a type, with a configuration.
    ///
    /// # Errors
    ///
    /// `Config` for a declaration that cannot be, and for a configuration that it refuses.
    pub fn new<P: Processor>(config: Json) -> Result<Self> {
        let mut processors = crate::sdk::Processors::new();
        processors.register::<P>()?;
        let declaration = P::declaration();
        let of = processors.find(&declaration.name, declaration.version)?;
        Ok(Self {
            processor: of.make(Some(&config))?,
            inputs: declaration.input_schemas()?,
            writer: RowWriter::new(declaration.output_schema()?, declaration.key())?,
            next: 0,
        })
    }

    /// Hands it events of an input, one batch; answers what it makes: `{"op": …, "key": …, "row": …}`, where
    /// `op` is `c`, `u` or `d`, or `e` for an event, which has no key; a delete has no row.
    ///
    /// # Errors
    ///
    /// `NotFound` for an input that is not declared; `Malformed` for JSON that is not of its schema; the
    /// first error of a record.
    pub fn events(&mut self, input: &str, rows: &[Json]) -> Result<Vec<Json>> {
        self.hand(input, rows, &|_| None, &Change::Event)
    }

    /// Hands it rows that are there now, with a key of these fields; as [`Bench::events`].
    ///
    /// # Errors
    ///
    /// As [`Bench::events`].
    pub fn upserts(&mut self, input: &str, key: &[&str], rows: &[Json]) -> Result<Vec<Json>> {
        let upsert = |after| Change::Upsert { operation: Operation::Update, before: None, after };
        self.hand(input, rows, &|row| Some(key_of(row, key)), &upsert)
    }

    /// Hands it rows that are gone, with a key of these fields; as [`Bench::events`].
    ///
    /// # Errors
    ///
    /// As [`Bench::events`].
    pub fn deletes(&mut self, input: &str, key: &[&str], rows: &[Json]) -> Result<Vec<Json>> {
        let delete = |before| Change::Delete { before: Some(before) };
        self.hand(input, rows, &|row| Some(key_of(row, key)), &delete)
    }

    fn hand(
        &mut self,
        input: &str,
        rows: &[Json],
        key: &dyn Fn(&Row) -> Option<Row>,
        change: &dyn Fn(Row) -> Change,
    ) -> Result<Vec<Json>> {
        let schema = self.schema(input)?;
        let mut records = Vec::with_capacity(rows.len());
        for (place, json) in rows.iter().enumerate() {
            let row = row(schema, json)?;
            let (key, change) = (key(&row), change(row));
            let (offset, timestamp_ms) = (self.next + place as u64, 0);
            records.push(Record { place, offset, timestamp_ms, position: None, key, change });
        }
        self.next += rows.len() as u64;
        if records.is_empty() { Ok(Vec::new()) } else { self.process(input, &records) }
    }

    fn schema(&self, input: &str) -> Result<&Schema> {
        let found = self.inputs.iter().find(|(name, _)| name == input);
        found.map(|(_, schema)| schema).ok_or_else(|| {
            let names: Vec<&str> = self.inputs.iter().map(|(name, _)| name.as_str()).collect();
            Error::new(ErrorKind::NotFound, "find a processor's input")
                .with("input", input)
                .help(format!("it declares {}", names.join(", ")))
        })
    }

    fn process(&mut self, input: &str, records: &[Record]) -> Result<Vec<Json>> {
        let mut output = Output::new(&self.writer, OUTPUT_BYTES_MAX);
        let processor = &mut self.processor;
        guarded(|| processor.process(&Batch { input, records }, &mut output))?;
        let Output { bytes, emitted, failed, .. } = output;
        if let Some((place, error)) = failed.into_iter().next() {
            return Err(error.with("record", place));
        }
        emitted.iter().map(|emitted| self.shown(&bytes, emitted)).collect()
    }

    fn shown(&self, bytes: &[u8], emitted: &Emitted) -> Result<Json> {
        let mut shown = json!({"op": emitted.operation.map_or("e", Operation::code)});
        if let (Some(schema), Some(range)) = (&self.writer.key, &emitted.key) {
            shown["key"] = read(schema, &bytes[range.clone()])?;
        }
        if let Some(range) = &emitted.value {
            shown["row"] = read(&self.writer.value, &bytes[range.clone()])?;
        }
        Ok(shown)
    }
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

fn row(schema: &Schema, json: &Json) -> Result<Row> {
    match from_json(schema, schema.root(), json)? {
        Datum::Record(fields) => Ok(Row(fields)),
        _ => Err(Error::new(ErrorKind::Malformed, "read a row of JSON").because("it is no object")),
    }
}

fn key_of(row: &Row, names: &[&str]) -> Row {
    let fields = row.0.iter().filter(|(name, _)| names.contains(&name.as_ref()));
    Row(fields.cloned().collect())
}

fn read(schema: &Schema, framed: &[u8]) -> Result<Json> {
    let (_, payload) = frame::split(framed)?;
    Ok(to_json(&decode(schema, payload)?))
}
