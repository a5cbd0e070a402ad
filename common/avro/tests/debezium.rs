//! Schemas and rows beside those that Debezium 3.7.0.Final wrote of the same table
//! (`testdata/debezium`): every column's type and every row's bytes are the same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value as Json, json};
use tidemesh_avro::envelope::{EncodeBuffers, RecordSink, SchemaIds};
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::table::topic_schemas;
use tidemesh_model::{
    BlockField, BlockType, Change, DataType, EnvelopeForm, EventFormat, Field, KeyOrigin, Origin,
    Position, Result, RowKey, RowTypes, SourceBlock, SourceKind as Kind, TableName, TableSchema,
    Value,
};

const FORMAT: EventFormat =
    EventFormat { types: RowTypes::Debezium, envelope: EnvelopeForm::Debezium };

const BLOCK: &[BlockField] = &[
    BlockField { name: "txId", block_type: BlockType::Long },
    BlockField { name: "lsn", block_type: BlockType::Long },
    BlockField { name: "xmin", block_type: BlockType::Long },
];

const DAY_US: i64 = 86_400_000_000;

fn golden() -> Json {
    serde_json::from_str(include_str!("../testdata/debezium/golden.json")).unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn list(elements: Vec<Value>) -> Value {
    Value::Array(elements)
}

fn array(element: DataType) -> DataType {
    DataType::Array(Box::new(element))
}

fn decimal(unscaled: i128, scale: u32) -> Value {
    Value::Decimal { unscaled: unscaled.to_be_bytes().to_vec(), scale }
}

/// The number of the column `n5010`, which no machine's integer holds.
fn long_decimal() -> Value {
    // -12345678901234567890123456789012345678900123456789, as two's complement of 22 bytes.
    let digits = "12345678901234567890123456789012345678900123456789";
    let mut bytes = [0_u8; 22];
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = u8::try_from(carry & 0xff).unwrap();
            carry >>= 8;
        }
    }
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
    Value::Decimal { unscaled: bytes.to_vec(), scale: 10 }
}

const UUID: [u8; 16] = [
    0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11,
];

/// A column, and its value in the first row.
type Column = (&'static str, DataType, Kind, Value);

fn numbers() -> Vec<Column> {
    let number = |precision, scale| DataType::Decimal { precision, scale };
    vec![
        ("b", DataType::Boolean, Kind::Plain, Value::Boolean(true)),
        ("i2", DataType::Int32, Kind::Int16, Value::Int32(-32_768)),
        ("i4", DataType::Int32, Kind::Plain, Value::Int32(i32::MAX)),
        ("i8", DataType::Int64, Kind::Plain, Value::Int64(i64::MIN)),
        ("o", DataType::Int64, Kind::Plain, Value::Int64(4_294_967_295)),
        ("f4", DataType::Float32, Kind::Plain, Value::Float32(1.5)),
        ("f8", DataType::Float64, Kind::Plain, Value::Float64(1e300)),
        ("n122", number(12, 2), Kind::Plain, decimal(123_456_789_012, 2)),
        ("n5010", number(50, 10), Kind::Plain, long_decimal()),
        ("nn", DataType::Text, Kind::Numeric, text("0.000000001000")),
        ("m", number(19, 2), Kind::Money, decimal(-1234, 2)),
    ]
}

fn texts() -> Vec<Column> {
    vec![
        ("t", DataType::Text, Kind::Plain, text("ünï ☃")),
        ("vc", DataType::Text, Kind::Plain, text("abc")),
        ("c5", DataType::Text, Kind::Plain, text("abc  ")),
        ("by", DataType::Bytes, Kind::Plain, Value::Bytes(vec![0, 0xff, 0x10])),
        ("u", DataType::Uuid, Kind::Plain, Value::Uuid(UUID)),
        ("j", DataType::Json, Kind::Plain, text("{\"a\": [1, null]}")),
        ("jb", DataType::Json, Kind::Plain, text("{\"a\": 1}")),
    ]
}

fn times() -> Vec<Column> {
    let time = |digits| Kind::Time { digits };
    let stamp = |digits| Kind::Timestamp { digits };
    let zoned = |digits| Kind::TimestampTz { digits };
    // 2024-02-29 01:02:03 and 2023-12-31 22:00:00.
    let (leap_day, new_year) = (1_709_168_523_000_000, 1_704_060_000_000_000);
    vec![
        ("d", DataType::Date, Kind::Plain, Value::Date(19_782)),
        ("ti", DataType::Time, time(6), Value::Time(14_706_789_000)),
        ("ti0", DataType::Time, time(0), Value::Time(14_706_000_000)),
        ("ti3", DataType::Time, time(3), Value::Time(14_706_789_000)),
        ("ti4", DataType::Time, time(4), Value::Time(14_706_789_100)),
        ("tz", DataType::Text, Kind::TimeTz, text("04:05:06+05:30")),
        ("tz3", DataType::Text, Kind::TimeTz, text("04:05:06.789-03:00")),
        ("ts", DataType::Timestamp, stamp(6), Value::Timestamp(-1)),
        ("ts0", DataType::Timestamp, stamp(0), Value::Timestamp(-1_000_000)),
        ("ts3", DataType::Timestamp, stamp(3), Value::Timestamp(-1000)),
        ("ts4", DataType::Timestamp, stamp(4), Value::Timestamp(leap_day + 123_400)),
        ("ts6", DataType::Timestamp, stamp(6), Value::Timestamp(leap_day + 123_456)),
        ("tt", DataType::TimestampTz, zoned(6), Value::TimestampTz(new_year)),
        ("tt0", DataType::TimestampTz, zoned(0), Value::TimestampTz(new_year)),
        ("tt3", DataType::TimestampTz, zoned(3), Value::TimestampTz(new_year + 500_000)),
        ("tt6", DataType::TimestampTz, zoned(6), Value::TimestampTz(new_year + 123_456)),
        ("iv", DataType::Text, Kind::Interval, text("P1Y2M3DT4H5M6.5S")),
    ]
}

fn named() -> Vec<Column> {
    let labels = ["sad", "ok, \"fine\"", "happy"].map(str::to_owned).to_vec();
    let price = DataType::Decimal { precision: 8, scale: 3 };
    vec![
        ("md", DataType::Enum { labels }, Kind::Plain, text("happy")),
        ("dp", DataType::Int32, Kind::Plain, Value::Int32(7)),
        ("dpr", price, Kind::Plain, decimal(12_345, 3)),
    ]
}

fn arrays() -> Vec<Column> {
    let int = Value::Int32;
    let null = || Value::Null;
    // 2024-01-01 00:00:00.
    let year = 1_704_067_200_000_000;
    let sixth = DataType::Decimal { precision: 6, scale: 2 };
    let (stamp, stamp3) = (Kind::Timestamp { digits: 6 }, Kind::Timestamp { digits: 3 });
    let zoned = Kind::TimestampTz { digits: 6 };
    let moment = Value::TimestampTz(year + 500_000);
    let bytes = Value::Bytes(vec![0, 0xff]);
    vec![
        ("ai", array(DataType::Int32), Kind::Plain, list(vec![int(1), null(), int(3)])),
        ("ai2", array(DataType::Int32), Kind::Int16, list(vec![int(1), null()])),
        ("at", array(DataType::Text), Kind::Plain, list(vec![])),
        ("an", array(sixth), Kind::Plain, list(vec![decimal(150, 2), decimal(-200, 2)])),
        ("ann", array(DataType::Text), Kind::Numeric, list(vec![text("1.50"), null(), text("20")])),
        ("ats", array(DataType::Timestamp), stamp, list(vec![Value::Timestamp(year)])),
        ("ats3", array(DataType::Timestamp), stamp3, list(vec![Value::Timestamp(year + 123_000)])),
        ("att", array(DataType::TimestampTz), zoned, list(vec![moment])),
        ("ad", array(DataType::Date), Kind::Plain, list(vec![Value::Date(19_782), null()])),
        (
            "ati",
            array(DataType::Time),
            Kind::Time { digits: 6 },
            list(vec![Value::Time(14_706_789_000)]),
        ),
        ("atz", array(DataType::Text), Kind::TimeTz, list(vec![text("04:05:06+05:30")])),
        (
            "ab",
            array(DataType::Boolean),
            Kind::Plain,
            list(vec![Value::Boolean(true), Value::Boolean(false), null()]),
        ),
        ("au", array(DataType::Uuid), Kind::Plain, list(vec![Value::Uuid(UUID)])),
        ("aj", array(DataType::Json), Kind::Plain, list(vec![text("{\"a\": 1}")])),
        ("aby", array(DataType::Bytes), Kind::Plain, list(vec![bytes])),
        ("af", array(DataType::Float64), Kind::Plain, list(vec![Value::Float64(1.5), null()])),
    ]
}

fn others() -> Vec<Column> {
    let bits = |length| Kind::Bits { length };
    let of = |name, kind, value: &str| (name, DataType::Text, kind, text(value));
    vec![
        of("x", Kind::Xml, "<a/>"),
        of("p", Kind::Point, "(1.5,-2)"),
        of("bi", bits(Some(1)), "1"),
        of("bi3", bits(Some(3)), "101"),
        of("vb", bits(None), "1011"),
        of("vb7", bits(Some(7)), "1011"),
        of("ci", Kind::Plain, "CI"),
        of("lt", Kind::Ltree, "a.b"),
        ("hs", DataType::Json, Kind::Plain, text("{\"a\":\"1\",\"b\":null}")),
        of("ine", Kind::Plain, "10.0.0.1"),
        of("tsv", Kind::TsVector, "'a' 'b'"),
        of("bx", Kind::Box, "(1,1),(0,0)"),
        of("ci2", Kind::Circle, "<(1,2),3>"),
        of("ln", Kind::Line, "{1,2,3}"),
        of("ls", Kind::Segment, "[(0,0),(1,1)]"),
        of("pa", Kind::Path, "((0,0),(1,1))"),
        of("po", Kind::Polygon, "((0,0),(1,1),(1,0))"),
    ]
}

fn columns() -> Vec<Column> {
    let mut columns = vec![("id", DataType::Int32, Kind::Plain, Value::Int32(101))];
    for part in [numbers(), texts(), times(), named(), arrays(), others()] {
        columns.extend(part);
    }
    columns
}

fn field(name: &str, data_type: DataType, kind: Kind) -> Field {
    Field {
        name: name.into(),
        data_type,
        source_type: "t".into(),
        nullable: true,
        default: None,
        aliases: Vec::new(),
        kind,
        key_default: None,
    }
}

fn table_of(fields: Vec<Field>, key: Vec<usize>) -> TableSchema {
    let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: key };
    TableSchema::new(TableName::new("public", "golden"), fields, key).unwrap()
}

fn table() -> TableSchema {
    let fields = columns().into_iter().map(|(name, of, kind, _)| field(name, of, kind)).collect();
    table_of(fields, vec![0])
}

fn block() -> SourceBlock {
    SourceBlock {
        connector: "postgresql",
        name: "shop".into(),
        database: "postgres".into(),
        fields: BLOCK,
    }
}

/// A row of these columns' values, all others null.
fn row(values: &[(&str, Value)]) -> Vec<Value> {
    let value = |(name, ..): Column| {
        values.iter().find(|(of, _)| *of == name).map_or(Value::Null, |(_, value)| value.clone())
    };
    columns().into_iter().map(value).collect()
}

fn rows() -> Vec<Vec<Value>> {
    let id = |id| ("id", Value::Int32(id));
    let stamps = |micros| {
        [
            ("ts", Value::Timestamp(micros)),
            ("ts3", Value::Timestamp(micros)),
            ("tt", Value::TimestampTz(micros)),
        ]
    };
    let times =
        |micros: i64| [("ti", Value::Time(micros)), ("ti3", Value::Time(micros - micros % 1000))];
    let edge = |number, (ti, at): (i64, i64), of: [&str; 8]| {
        let mut values = vec![id(number)];
        values.extend(times(ti));
        values.extend(stamps(at));
        let names = ["nn", "tz", "iv", "bi", "bi3", "vb", "pa", "po"];
        let given = names.into_iter().zip(of).filter(|(_, of)| *of != "null");
        values.extend(given.map(|(name, of)| (name, text(of))));
        values
    };
    let mut last = edge(
        106,
        (DAY_US / 2, -62_135_596_800_000_000),
        ["100", "01:00:00+03:00", "PT0.000001S", "1", "010", "000000001", "null", "null"],
    );
    last.iter_mut().for_each(|(name, value)| {
        if *name == "tt" {
            *value = Value::TimestampTz(253_402_300_800_000_000);
        }
    });
    vec![
        columns().into_iter().map(|(.., value)| value).collect(),
        row(&[id(102)]),
        row(&edge(
            103,
            (DAY_US, i64::MAX),
            [
                "-123.4500",
                "24:00:00+00:00",
                "P-1D",
                "0",
                "000",
                "",
                "[(0,0),(1,1)]",
                "((0,0),(1,1),(0,0))",
            ],
        )),
        row(&edge(
            104,
            (0, i64::MIN),
            [
                "100000000000000000000",
                "24:00:00-03:00",
                "P-1Y-2M3DT-4H-5M-6.5S",
                "1",
                "001",
                "0001",
                "((0,0))",
                "((0,0))",
            ],
        )),
        row(&edge(
            105,
            (DAY_US - 1, -63_517_788_000_000_000),
            ["0.00", "23:00:00-03:00", "P178000000Y", "1", "100", "111111111", "null", "null"],
        )),
        row(&last),
    ]
}

#[derive(Default)]
struct Taken(Vec<u8>);

impl RecordSink for Taken {
    fn record(&mut self, _: &Origin<'_>, _: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.0 = value.unwrap().to_vec();
        Ok(())
    }
}

/// The bytes of `after`.
fn encoded(row: Vec<Value>) -> String {
    let (_, plan) = topic_schemas("shop.public.golden", &table(), &block(), FORMAT).unwrap();
    let ids = SchemaIds { key: 1, value: 2 };
    // Flat, the row stands alone, and before the four fields that are added.
    let flat = EnvelopeForm::Flat;
    let encoder = EventEncoder::new(flat, plan, &table(), &block(), ids);
    let origin =
        Origin { position: Position::before(1, 1), transaction: 1, committed_at_us: 0, block: &[] };
    let (mut taken, mut buffers) = (Taken::default(), EncodeBuffers::default());
    let change = Change::Create { after: row };
    encoder.encode(&origin, &change, 0, &mut buffers, &mut taken).unwrap();
    // `false`, `c`, a zero and a position: 7, 3, 2 and 44 bytes.
    let row = &taken.0[5..taken.0.len() - 56];
    row.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A schema as the registry keeps and compares it.
fn canonical(schema: &str) -> Json {
    serde_json::from_str(&Schema::parse(schema).unwrap().registry_text()).unwrap()
}

/// A schema without what is ours: properties of the database's, and the position in `source`.
fn stripped(schema: &str) -> Json {
    let mut schema = canonical(schema);
    let own = ["epoch", "commit_position", "ordinal"];
    let fields = schema["fields"].as_array_mut().unwrap();
    for field in fields.iter_mut() {
        let record =
            if field["name"] == "before" { &mut field["type"][1] } else { &mut field["type"] };
        if let Some(fields) = record.get_mut("fields").and_then(Json::as_array_mut) {
            fields.retain(|field| !own.iter().any(|own| field["name"] == *own));
            for field in fields {
                let field = field.as_object_mut().unwrap();
                field.retain(|name, _| !name.starts_with("source.") && name != "enum");
            }
        }
    }
    schema
}

/// Debezium's schema without the fields of the log's origin, which are not told here.
fn without_origin(mut schema: Json) -> Json {
    for field in schema["fields"].as_array_mut().unwrap() {
        if let Some(fields) = field["type"].get_mut("fields").and_then(Json::as_array_mut) {
            fields.retain(|field| field["name"] != "origin" && field["name"] != "origin_lsn");
        }
    }
    schema
}

#[test]
fn every_columns_type_is_debeziums() {
    let (schemas, _) = topic_schemas("shop.public.golden", &table(), &block(), FORMAT).unwrap();
    let (ours, theirs) = (
        stripped(&schemas.value),
        without_origin(canonical(&golden()["value_schema"].to_string())),
    );
    let fields =
        |schema: &Json| schema["fields"][0]["type"][1]["fields"].as_array().unwrap().clone();
    for (ours, theirs) in fields(&ours).iter().zip(&fields(&theirs)) {
        assert_eq!(ours.to_string(), theirs.to_string());
    }
    assert_eq!(ours.to_string(), theirs.to_string());
    assert_eq!(schemas.key, golden()["key_schema"].to_string());
}

#[test]
fn every_rows_bytes_are_debeziums() {
    let golden = golden();
    let theirs = golden["rows"].as_array().unwrap();
    assert_eq!(theirs.len(), rows().len());
    for (row, theirs) in rows().into_iter().zip(theirs) {
        assert_eq!(encoded(row), theirs.as_str().unwrap());
    }
}

fn key_schema(data_type: DataType, kind: Kind, default: Option<Value>) -> Json {
    let field = Field { key_default: default, ..field("id", data_type, kind) };
    let table = table_of(vec![field], vec![0]);
    let (schemas, _) = topic_schemas("shop.public.k", &table, &block(), FORMAT).unwrap();
    let schema: Json = serde_json::from_str(&schemas.key).unwrap();
    assert_eq!(schema["connect.name"], "shop.public.k.Key");
    schema["fields"][0].clone()
}

// As Debezium 3.7.0.Final wrote them.
#[test]
fn keys_have_the_defaults_of_their_columns() {
    assert_eq!(
        key_schema(DataType::Int32, Kind::Plain, Some(Value::Int32(0))).to_string(),
        json!({"name": "id", "type": {"type": "int", "connect.default": 0}, "default": 0})
            .to_string()
    );
    assert_eq!(
        key_schema(DataType::Int32, Kind::Int16, Some(Value::Int32(0)))["type"].to_string(),
        json!({"type": "int", "connect.default": 0, "connect.type": "int16"}).to_string()
    );
    let zeros = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        key_schema(DataType::Uuid, Kind::Plain, Some(Value::Uuid([0; 16]))).to_string(),
        json!({
            "name": "id",
            "type": {
                "type": "string",
                "connect.version": 1,
                "connect.default": zeros,
                "connect.name": "io.debezium.data.Uuid",
            },
            "default": zeros,
        })
        .to_string()
    );
    assert_eq!(
        key_schema(DataType::Int32, Kind::Plain, None),
        json!({"name": "id", "type": "int"})
    );
}

#[test]
fn a_default_is_in_its_columns_form() {
    let with = |data_type, kind, value| {
        let added = Field { default: Some(value), ..field("c", data_type, kind) };
        let table = table_of(vec![field("id", DataType::Int32, Kind::Plain), added], vec![0]);
        let (schemas, _) = topic_schemas("t", &table, &block(), FORMAT).unwrap();
        let schema: Json = serde_json::from_str(&schemas.value).unwrap();
        Schema::parse(&schemas.value).unwrap();
        let field = schema["fields"][0]["type"][1]["fields"][1].clone();
        assert_eq!(field["type"][1], "null");
        assert_eq!(field["type"][0]["connect.default"], field["default"]);
        field["default"].clone()
    };
    let stamp = Kind::Timestamp { digits: 3 };
    assert_eq!(with(DataType::Timestamp, stamp, Value::Timestamp(5000)), 5);
    let zoned = with(DataType::TimestampTz, Kind::TimestampTz { digits: 0 }, Value::TimestampTz(0));
    assert_eq!(zoned, "1970-01-01T00:00:00Z");
    assert_eq!(with(DataType::Text, Kind::Interval, text("P1D")), 86_400_000_000_i64);
    assert_eq!(
        with(DataType::Text, Kind::Numeric, text("1.50")),
        json!({"scale": 1, "value": "\u{f}"})
    );
    assert_eq!(with(DataType::Text, Kind::Bits { length: Some(3) }, text("101")), "\u{5}");
    assert_eq!(with(DataType::Text, Kind::Plain, text("y")), "y");
}

#[test]
fn a_key_whose_values_are_not_told_apart_is_refused() {
    for kind in [Kind::Interval, Kind::TimeTz, Kind::Bits { length: None }, Kind::Point] {
        let table = table_of(vec![field("id", DataType::Text, kind)], vec![0]);
        let error = topic_schemas("t", &table, &block(), FORMAT).unwrap_err();
        assert!(error.to_string().contains("column=id"), "{error}");
    }
    let numeric = table_of(vec![field("id", DataType::Text, Kind::Numeric)], vec![0]);
    topic_schemas("t", &numeric, &block(), FORMAT).unwrap();
}
