//! Change events as flat records: the row's columns, then what Debezium's `ExtractNewRecordState`
//! adds under the same names and types (`__deleted`, `__op`, `__source_ts_us`), then `__position`. A
//! delete is a tombstone alone, which is that transform's default too: a reader that folds by key
//! sees no state that the table never had.

use crate::envelope::{
    EncodeBuffers, NOT_NULL, NULL, RecordSink, SchemaIds, begin_frame, write_some_long, write_text,
};
use crate::row::RowPlan;
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use tidemesh_model::{
    Change, Error, ErrorKind, Operation, Origin, Position, Result, RowImage, TableSchema,
};

/// `"true"` for a row that was deleted; the rows written here never are.
pub const DELETED: &str = "__deleted";
/// Debezium's letter of the operation.
pub const OPERATION: &str = "__op";
/// When the transaction was committed, in microseconds since 1970-01-01 00:00:00 UTC.
const SOURCE_TS_US: &str = "__source_ts_us";
/// The event's position, as text that sorts as it does.
const POSITION: &str = "__position";

/// The fields behind the row's.
const ADDED: [(&str, &str); 4] =
    [(DELETED, "string"), (OPERATION, "string"), (SOURCE_TS_US, "long"), (POSITION, "string")];

/// Their names: what a flat record has beside the row's columns.
pub const ADDED_FIELDS: [&str; 4] = [DELETED, OPERATION, SOURCE_TS_US, POSITION];

/// The record of a topic's values, from that of the table's rows.
pub(crate) fn record(
    table: &TableSchema,
    names: &[Cow<'_, str>],
    namespace: &str,
    row: Json,
) -> Result<Json> {
    for added in ADDED_FIELDS {
        if names.iter().any(|name| name == added) {
            return Err(Error::new(ErrorKind::Unsupported, "name the fields of a topic")
                .because("a column has a name that flat records need")
                .with("table", &table.name)
                .with("column", added)
                .help("rename it, or use envelope = \"debezium\""));
        }
    }
    let mut record = json!({"type": "record", "name": "Value", "namespace": namespace});
    if let (Json::Object(record), Json::Object(row)) = (&mut record, row) {
        record.extend(row);
    }
    if let Some(fields) = record["fields"].as_array_mut() {
        fields.extend(added_fields());
    }
    Ok(record)
}

/// The fields behind the row's, for a record that is made.
pub fn added_fields() -> impl Iterator<Item = Json> {
    ADDED.into_iter().map(|(name, of)| json!({"name": name, "type": ["null", of], "default": null}))
}

/// Encodes the events of one table for one topic.
#[derive(Debug, Clone)]
pub struct FlatEncoder {
    rows: RowPlan,
    ids: SchemaIds,
}

impl FlatEncoder {
    /// The encoder of events whose rows are written by `rows`.
    #[must_use]
    pub fn new(rows: RowPlan, ids: SchemaIds) -> Self {
        Self { rows, ids }
    }

    /// Encodes one event into the records it becomes: a row, or a tombstone for a delete; both for a
    /// change of the key.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a new row with an absent cell or a value that the types cannot hold;
    /// `Internal` for rows that do not fit the schema and for a truncate, which has no key: see
    /// [`FlatEncoder::delete_key`].
    #[inline]
    pub fn encode<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        change: &Change<R>,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        buffers.old_key.clear();
        match change {
            Change::Read { after } => self.upsert(origin, Operation::Read, after, buffers, sink),
            Change::Create { after } => {
                self.upsert(origin, Operation::Create, after, buffers, sink)
            }
            Change::Update { before: None, after } => {
                self.upsert(origin, Operation::Update, after, buffers, sink)
            }
            Change::Update { before: Some(before), after } => {
                self.update(origin, before, after, buffers, sink)
            }
            Change::Delete { before } => {
                let EncodeBuffers { value, key, cells, .. } = buffers;
                value.clear();
                self.rows.encode(before, true, value, cells)?;
                begin_frame(key, self.ids.key);
                self.rows.write_key(value, cells, key);
                sink.record(origin, key, None)
            }
            Change::Truncate => {
                Err(Error::new(ErrorKind::Internal, "encode an event")
                    .because("a truncate has no row"))
            }
        }
    }

    fn upsert<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        operation: Operation,
        after: &R,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        self.row(after, buffers)?;
        let EncodeBuffers { value, key, .. } = buffers;
        write_added(origin.committed_at_us, Some(origin.position), operation, value);
        sink.record(origin, key, Some(value))
    }

    fn update<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        before: &R,
        after: &R,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        let EncodeBuffers { value, old_key, cells, .. } = &mut *buffers;
        value.clear();
        self.rows.encode(before, true, value, cells)?;
        begin_frame(old_key, self.ids.key);
        self.rows.write_key(value, cells, old_key);
        self.row(after, buffers)?;
        let EncodeBuffers { value, key, old_key, .. } = buffers;
        let operation = if key == old_key {
            Operation::Update
        } else {
            sink.record(origin, old_key, None)?;
            Operation::Create
        };
        write_added(origin.committed_at_us, Some(origin.position), operation, value);
        sink.record(origin, key, Some(value))
    }

    /// A new row and its key, framed.
    #[inline]
    fn row<R: RowImage>(&self, after: &R, buffers: &mut EncodeBuffers) -> Result<()> {
        let EncodeBuffers { value, key, cells, .. } = buffers;
        begin_frame(value, self.ids.value);
        self.rows.encode(after, false, value, cells)?;
        begin_frame(key, self.ids.key);
        self.rows.write_key(value, cells, key);
        Ok(())
    }

    /// Encodes a delete of the row that has `key` (framed): what a reconciled truncate writes for
    /// each live key.
    ///
    /// # Errors
    ///
    /// What `sink` answers.
    pub fn delete_key<S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        key: &[u8],
        sink: &mut S,
    ) -> Result<()> {
        sink.record(origin, key, None)
    }
}

/// Appends the fields behind the row's, for a row that is there.
#[inline]
pub fn write_added(
    committed_at_us: i64,
    position: Option<Position>,
    operation: Operation,
    out: &mut Vec<u8>,
) {
    out.push(NOT_NULL);
    write_text(out, "false");
    out.push(NOT_NULL);
    write_text(out, operation.code());
    write_some_long(out, committed_at_us);
    match position {
        None => out.push(NULL),
        Some(position) => {
            out.push(NOT_NULL);
            write_position(out, position);
        }
    }
}

/// The position's text, which is always of one length.
#[inline]
fn write_position(out: &mut Vec<u8>, position: Position) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    /// Its bytes before which a dash stands.
    const PARTS: [usize; 2] = [4, 12];
    // 42 characters: two for each byte, and two dashes.
    out.push(42 * 2);
    for (place, byte) in position.to_bytes().into_iter().enumerate() {
        if PARTS.contains(&place) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::topic_schemas;
    use tidemesh_model::{
        DataType, EnvelopeForm, EventFormat, Field, KeyOrigin, RowKey, RowTypes, SourceBlock,
        SourceKind, TableName, Value,
    };

    const FLAT: EventFormat = EventFormat { types: RowTypes::Avro, envelope: EnvelopeForm::Flat };

    type Records = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    #[derive(Default)]
    struct Taken(Records);

    impl RecordSink for Taken {
        fn record(&mut self, _: &Origin<'_>, key: &[u8], value: Option<&[u8]>) -> Result<()> {
            self.0.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            Ok(())
        }
    }

    fn table(second: &str) -> TableSchema {
        let field = |name: &str| Field {
            name: name.into(),
            data_type: DataType::Int32,
            source_type: "integer".into(),
            nullable: true,
            default: None,
            aliases: Vec::new(),
            kind: SourceKind::Plain,
            key_default: None,
        };
        let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
        TableSchema::new(TableName::new("public", "t"), vec![field("id"), field(second)], key)
            .unwrap()
    }

    fn block() -> SourceBlock {
        SourceBlock {
            connector: "postgresql",
            name: "shop".into(),
            database: "shop".into(),
            fields: &[],
        }
    }

    fn origin() -> Origin<'static> {
        Origin {
            position: Position { epoch: 1, commit: 0x1f, ordinal: 2 },
            transaction: 9,
            committed_at_us: 7,
            block: &[],
        }
    }

    fn encode(change: &Change<Vec<Value>>) -> Records {
        let (_, rows) = topic_schemas("shop.public.t", &table("n"), &block(), FLAT).unwrap();
        let encoder = FlatEncoder::new(rows, SchemaIds { key: 1, value: 2 });
        let (mut taken, mut buffers) = (Taken::default(), EncodeBuffers::default());
        encoder.encode(&origin(), change, &mut buffers, &mut taken).unwrap();
        taken.0
    }

    fn row(id: i32, n: i32) -> Vec<Value> {
        vec![Value::Int32(id), Value::Int32(n)]
    }

    #[test]
    fn a_row_is_its_columns_and_what_is_added() {
        let (schemas, _) = topic_schemas("shop.public.t", &table("n"), &block(), FLAT).unwrap();
        assert_eq!(
            schemas.value,
            "{\"type\":\"record\",\"name\":\"Value\",\"namespace\":\"shop.public.t\",\"fields\":[\
             {\"name\":\"id\",\"type\":\"int\",\"source.type\":\"integer\"},\
             {\"name\":\"n\",\"type\":[\"null\",\"int\"],\"default\":null,\"source.type\":\"integer\"},\
             {\"name\":\"__deleted\",\"type\":[\"null\",\"string\"],\"default\":null},\
             {\"name\":\"__op\",\"type\":[\"null\",\"string\"],\"default\":null},\
             {\"name\":\"__source_ts_us\",\"type\":[\"null\",\"long\"],\"default\":null},\
             {\"name\":\"__position\",\"type\":[\"null\",\"string\"],\"default\":null}]}"
        );
        let records = encode(&Change::Create { after: row(1, 3) });
        let mut value = vec![0, 0, 0, 0, 2, 2, 2, 6, 2, 10];
        value.extend_from_slice(b"false\x02\x02c\x02\x0e\x02\x54");
        value.extend_from_slice(origin().position.to_string().as_bytes());
        assert_eq!(records, [(vec![0, 0, 0, 0, 1, 2], Some(value))]);
    }

    #[test]
    fn a_delete_is_a_tombstone_and_a_change_of_the_key_both() {
        let deleted = encode(&Change::Delete { before: vec![Value::Int32(1), Value::Absent] });
        assert_eq!(deleted, [(vec![0, 0, 0, 0, 1, 2], None)]);
        let moved = encode(&Change::Update { before: Some(row(1, 3)), after: row(2, 3) });
        assert_eq!(moved[0], (vec![0, 0, 0, 0, 1, 2], None));
        assert_eq!(moved[1].0, [0, 0, 0, 0, 1, 4]);
        assert_eq!(moved.len(), 2);
        let changed = encode(&Change::Update { before: Some(row(1, 3)), after: row(1, 4) });
        assert_eq!(changed.len(), 1);
    }

    #[test]
    fn a_column_of_a_name_that_is_needed_is_refused() {
        let error = topic_schemas("t", &table("__op"), &block(), FLAT).unwrap_err();
        assert!(error.to_string().contains("column=__op"), "{error}");
    }
}
