//! Rows of random tables, encoded as change events, come back from apache-avro.

use super::random::Tape;
use super::{ours, read_theirs, shown, tapes};
use proptest::prelude::*;
use std::ops::Range;
use tidemesh_avro::datum::{Datum, decode};
use tidemesh_avro::envelope::{EncodeBuffers, EnvelopeEncoder, RecordSink, SchemaIds};
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::frame;
use tidemesh_avro::name::avro_name;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::table::{TopicSchemas, topic_schemas};
use tidemesh_model::{
    BlockCell, BlockField, BlockType, Change, DataType, EnvelopeForm, EventFormat, Field,
    KeyOrigin, Origin, Position, RecordField, RecordType, Result, RowKey, RowTypes, SourceBlock,
    SourceKind, TableName, TableSchema, Value,
};

pub(crate) const IDS: SchemaIds = SchemaIds { key: 7, value: 0x0102_0304 };

const BLOCK: &[BlockField] = &[
    BlockField { name: "txId", block_type: BlockType::Long },
    BlockField { name: "gtid", block_type: BlockType::Text },
    BlockField { name: "lsn", block_type: BlockType::Long },
];

const CELLS: &[BlockCell<'_>] = &[BlockCell::Long(-5), BlockCell::Text("g"), BlockCell::Null];

pub(crate) const COMMITTED_AT_US: i64 = -1_500;
const NOW_US: i64 = 1_700_000_000_123_456;

pub(crate) fn source_block() -> SourceBlock {
    SourceBlock {
        connector: "postgresql",
        name: "shop-1".into(),
        database: "db".into(),
        fields: BLOCK,
    }
}

pub(crate) fn origin() -> Origin<'static> {
    Origin {
        position: Position { epoch: 1, commit: u64::MAX, ordinal: 3 },
        transaction: 9,
        committed_at_us: COMMITTED_AT_US,
        block: CELLS,
    }
}

/// A type by its number; a composite one has a name that begins with `name`.
fn data_type(tape: &mut Tape<'_>, types: Range<usize>, name: &str) -> DataType {
    match types.start + tape.below(types.len()) {
        0 => DataType::Boolean,
        1 => DataType::Int32,
        2 => DataType::Int64,
        3 => DataType::Float32,
        4 => DataType::Float64,
        5 => {
            let scale = u32::from(tape.byte() % 20);
            DataType::Decimal { precision: scale + 1 + u32::from(tape.byte() % 20), scale }
        }
        6 => DataType::Text,
        7 => DataType::Json,
        8 => DataType::Enum { labels: vec!["a".into(), "\"ß".into()] },
        9 => DataType::Bytes,
        10 => DataType::Uuid,
        11 => DataType::Date,
        12 => DataType::Time,
        13 => DataType::Timestamp,
        14 => DataType::TimestampTz,
        15 if tape.yes() => DataType::Array(Box::new(record_type(tape, name))),
        15 => DataType::Array(Box::new(data_type(tape, 0..15, name))),
        _ => record_type(tape, name),
    }
}

/// A composite type of up to three fields, one of which may be a composite type again.
fn record_type(tape: &mut Tape<'_>, name: &str) -> DataType {
    let field = |index: usize, tape: &mut Tape<'_>| {
        let types = if name.len() < 6 { 0..17 } else { 0..15 };
        RecordField {
            name: format!("f-{index}"),
            data_type: data_type(tape, types, &format!("{name}_{index}")),
            source_type: "t".into(),
        }
    };
    let fields = (0..tape.below(4)).map(|index| field(index, tape)).collect();
    DataType::Record(RecordType { schema: "s".into(), name: name.into(), fields })
}

fn value(tape: &mut Tape<'_>, data_type: &DataType) -> Value {
    match data_type {
        DataType::Boolean => Value::Boolean(tape.yes()),
        DataType::Int32 => Value::Int32(tape.int()),
        DataType::Int64 => Value::Int64(tape.long()),
        DataType::Float32 => Value::Float32(f32::from_le_bytes(tape.bytes())),
        DataType::Float64 => Value::Float64(f64::from_le_bytes(tape.bytes())),
        DataType::Decimal { scale, .. } => {
            let mut unscaled = tape.run();
            unscaled.push(tape.byte());
            Value::Decimal { unscaled, scale: *scale }
        }
        DataType::Text | DataType::Json | DataType::Enum { .. } => Value::Text(tape.text()),
        DataType::Bytes => Value::Bytes(tape.run()),
        DataType::Uuid => Value::Uuid(tape.bytes()),
        DataType::Date => Value::Date(tape.int()),
        DataType::Time => Value::Time(tape.long()),
        DataType::Timestamp => Value::Timestamp(tape.long()),
        DataType::TimestampTz => Value::TimestampTz(tape.long()),
        DataType::Array(element) => {
            Value::Array((0..tape.below(4)).map(|_| cell(tape, element)).collect())
        }
        DataType::Record(record) => {
            Value::Record(record.fields.iter().map(|f| cell(tape, &f.data_type)).collect())
        }
    }
}

/// A value or null.
fn cell(tape: &mut Tape<'_>, data_type: &DataType) -> Value {
    if tape.below(5) == 4 { Value::Null } else { value(tape, data_type) }
}

fn table(tape: &mut Tape<'_>) -> TableSchema {
    let fields: Vec<Field> = (0..=tape.below(6))
        .map(|index| {
            let data_type = data_type(tape, 0..17, &format!("r{index}"));
            let default = tape.yes().then(|| value(tape, &data_type));
            let name = [format!("c{index}"), format!("größe-{index}")][tape.below(2)].clone();
            Field {
                name,
                data_type,
                source_type: "t(1)".into(),
                nullable: tape.yes(),
                default,
                aliases: Vec::new(),
                kind: SourceKind::Plain,
                key_default: None,
            }
        })
        .collect();
    let origin = [KeyOrigin::PrimaryKey, KeyOrigin::WholeRow][tape.below(2)];
    let mut columns: Vec<usize> = (0..fields.len()).collect();
    columns.rotate_left(tape.below(fields.len()));
    if origin == KeyOrigin::PrimaryKey {
        columns.truncate(1 + tape.below(fields.len()));
    }
    TableSchema::new(TableName::new("public", "t"), fields, RowKey { origin, columns }).unwrap()
}

/// A row; a primary key's columns are never null.
fn row(tape: &mut Tape<'_>, table: &TableSchema) -> Vec<Value> {
    let bare = |index: usize| table.key.origin == KeyOrigin::PrimaryKey && table.in_key(index);
    let cells = table.fields.iter().enumerate();
    cells
        .map(
            |(index, field)| {
                if bare(index) {
                    value(tape, &field.data_type)
                } else {
                    cell(tape, &field.data_type)
                }
            },
        )
        .collect()
}

fn expected(value: &Value, data_type: &DataType) -> Datum {
    match value {
        Value::Null | Value::Absent => Datum::Null,
        Value::Boolean(value) => Datum::Boolean(*value),
        Value::Int32(value) | Value::Date(value) => Datum::Int(*value),
        Value::Int64(value)
        | Value::Time(value)
        | Value::Timestamp(value)
        | Value::TimestampTz(value) => Datum::Long(*value),
        Value::Float32(value) => Datum::Float(*value),
        Value::Float64(value) => Datum::Double(*value),
        Value::Decimal { unscaled, .. } => Datum::Bytes(shortest(unscaled)),
        Value::Text(text) => Datum::String(text.clone()),
        Value::Bytes(bytes) => Datum::Bytes(bytes.clone()),
        Value::Uuid(bytes) => {
            Datum::String(apache_avro::Uuid::from_slice(bytes).unwrap().to_string())
        }
        Value::Array(elements) => {
            let DataType::Array(of) = data_type else { panic!("{data_type}") };
            Datum::Array(elements.iter().map(|element| expected(element, of)).collect())
        }
        Value::Record(values) => {
            let DataType::Record(of) = data_type else { panic!("{data_type}") };
            let field = |(field, value): (&RecordField, &Value)| {
                (avro_name(&field.name).as_ref().into(), expected(value, &field.data_type))
            };
            Datum::Record(of.fields.iter().zip(values).map(field).collect())
        }
    }
}

/// The two's complement number in the fewest bytes, by way of 128 bits.
fn shortest(unscaled: &[u8]) -> Vec<u8> {
    let sign = if unscaled[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    wide[16 - unscaled.len()..].copy_from_slice(unscaled);
    let number = i128::from_be_bytes(wide);
    let fits = |bytes: usize| number >> (8 * bytes - 1) == 0 || number >> (8 * bytes - 1) == -1;
    let bytes = (1..16).find(|bytes| fits(*bytes)).unwrap_or(16);
    number.to_be_bytes()[16 - bytes..].to_vec()
}

fn expected_record(
    table: &TableSchema,
    columns: impl Iterator<Item = usize>,
    row: &[Value],
) -> Datum {
    let field = |index: usize| {
        let Field { name, data_type, .. } = &table.fields[index];
        (avro_name(name).as_ref().into(), expected(&row[index], data_type))
    };
    Datum::Record(columns.map(field).collect())
}

#[derive(Default)]
pub(crate) struct Records(pub(crate) Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl RecordSink for Records {
    fn record(&mut self, _: &Origin<'_>, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.0.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        Ok(())
    }
}

/// The datum in a frame, as they and we read it, which must be the same.
pub(crate) fn both_read(schema: &str, id: u32, frame: &[u8]) -> Datum {
    let (schema_id, data) = frame::split(frame).unwrap();
    assert_eq!(schema_id, id);
    let theirs = ours(read_theirs(schema, None, data).unwrap());
    let mine = decode(&Schema::parse(schema).unwrap(), data).unwrap();
    assert_eq!(shown(theirs.clone()), shown(mine));
    theirs
}

fn same(left: &Datum, right: &Datum) {
    assert_eq!(shown(left.clone()), shown(right.clone()));
}

/// Checks one event's record: its key is of `row`, its images are `before` and `after`.
fn check(
    table: &TableSchema,
    schemas: &TopicSchemas,
    (key, value): &(Vec<u8>, Option<Vec<u8>>),
    (operation, before, after): (&str, Option<&[Value]>, Option<&[Value]>),
) {
    let columns = table.key.columns.iter().copied();
    let row = after.or(before).unwrap();
    same(&both_read(&schemas.key, IDS.key, key), &expected_record(table, columns, row));
    let event = both_read(&schemas.value, IDS.value, value.as_deref().unwrap());
    let image = |row: Option<&[Value]>| {
        row.map_or(Datum::Null, |row| expected_record(table, 0..table.fields.len(), row))
    };
    same(event.field("before").unwrap(), &image(before));
    same(event.field("after").unwrap(), &image(after));
    assert_eq!(event.field("op"), Some(&Datum::String(operation.into())));
    assert_eq!(event.field("ts_us"), Some(&Datum::Long(NOW_US)));
    assert_eq!(event.field("ts_ms"), Some(&Datum::Long(1_700_000_000_123)));
    check_source(event.field("source").unwrap());
}

fn check_source(source: &Datum) {
    for (name, value) in [
        ("connector", Datum::String("postgresql".into())),
        ("name", Datum::String("shop-1".into())),
        ("db", Datum::String("db".into())),
        ("schema", Datum::String("public".into())),
        ("table", Datum::String("t".into())),
        ("ts_ms", Datum::Long(-2)),
        ("ts_us", Datum::Long(COMMITTED_AT_US)),
        ("ts_ns", Datum::Long(COMMITTED_AT_US * 1000)),
        ("txId", Datum::Long(-5)),
        ("gtid", Datum::String("g".into())),
        ("lsn", Datum::Null),
        ("epoch", Datum::Long(1)),
        ("commit_position", Datum::Long(-1)),
        ("ordinal", Datum::Long(3)),
    ] {
        assert_eq!(source.field(name), Some(&value), "{name}");
    }
}

proptest! {
    #[test]
    fn events_come_back_from_apache_avro(bytes in tapes()) {
        let mut tape = Tape(&bytes);
        let table = table(&mut tape);
        let (old, new) = (row(&mut tape, &table), row(&mut tape, &table));
        let (schemas, plan) = topic_schemas("shop-1.public.t", &table, &source_block(), EventFormat::default()).unwrap();
        let encoder = EnvelopeEncoder::new(plan, &table, &source_block(), IDS);
        let encode = |change: &Change<Vec<Value>>| {
            let mut records = Records::default();
            let mut buffers = EncodeBuffers::default();
            encoder.encode(&origin(), change, NOW_US, &mut buffers, &mut records).unwrap();
            records.0
        };
        let created = encode(&Change::Create { after: old.clone() });
        prop_assert_eq!(created.len(), 1);
        check(&table, &schemas, &created[0], ("c", None, Some(&old)));

        let deleted = encode(&Change::Delete { before: old.clone() });
        prop_assert_eq!(deleted.len(), 2);
        check(&table, &schemas, &deleted[0], ("d", Some(&old), None));
        prop_assert_eq!(&deleted[1], &(deleted[0].0.clone(), None));

        let updated = encode(&Change::Update { before: Some(old.clone()), after: new.clone() });
        if let [update] = &updated[..] {
            check(&table, &schemas, update, ("u", Some(&old), Some(&new)));
        } else {
            check(&table, &schemas, &updated[0], ("d", Some(&old), None));
            check(&table, &schemas, &updated[2], ("c", None, Some(&new)));
        }
    }
    #[test]
    fn flat_events_come_back_from_apache_avro(bytes in tapes()) {
        let mut tape = Tape(&bytes);
        let table = table(&mut tape);
        let (old, new) = (row(&mut tape, &table), row(&mut tape, &table));
        let format = EventFormat { types: RowTypes::Avro, envelope: EnvelopeForm::Flat };
        let (schemas, plan) =
            topic_schemas("shop-1.public.t", &table, &source_block(), format).unwrap();
        let encoder = EventEncoder::new(format.envelope, plan, &table, &source_block(), IDS);
        let encode = |change: &Change<Vec<Value>>| {
            let (mut records, mut buffers) = (Records::default(), EncodeBuffers::default());
            encoder.encode(&origin(), change, NOW_US, &mut buffers, &mut records).unwrap();
            records.0
        };
        let check = |record: &(Vec<u8>, Option<Vec<u8>>), operation: &str, row: &[Value]| {
            let found = both_read(&schemas.value, IDS.value, record.1.as_deref().unwrap());
            let columns = 0..table.fields.len();
            let Datum::Record(mut fields) = expected_record(&table, columns, row) else { panic!() };
            let text = |text: &str| Datum::String(text.into());
            fields.push(("__deleted".into(), text("false")));
            fields.push(("__op".into(), text(operation)));
            fields.push(("__source_ts_us".into(), Datum::Long(COMMITTED_AT_US)));
            fields.push(("__position".into(), text(&origin().position.to_string())));
            same(&found, &Datum::Record(fields));
            let key = both_read(&schemas.key, IDS.key, &record.0);
            same(&key, &expected_record(&table, table.key.columns.iter().copied(), row));
        };
        let created = encode(&Change::Create { after: old.clone() });
        check(&created[0], "c", &old);
        let deleted = encode(&Change::Delete { before: old.clone() });
        prop_assert_eq!(&deleted[..], &[(created[0].0.clone(), None)]);
        let updated = encode(&Change::Update { before: Some(old.clone()), after: new.clone() });
        match &updated[..] {
            [update] => check(update, "u", &new),
            [gone, come] => {
                prop_assert_eq!(gone, &deleted[0]);
                check(come, "c", &new);
            }
            other => panic!("{other:?}"),
        }
    }
}
