//! What a value is called in Avro and what in SQL: Avro's types as Arrow's, and back.
//!
//! A value that expressions cannot handle (a union of several types, a decimal of more than 76 digits,
//! a record that contains itself) is *opaque*: it can be selected and renamed, tested for null, and
//! nothing else. Facts: Avro specification 1.12, "Logical Types"; Debezium 3.7, "Data type mappings";
//! Arrow's formats of 58.

use datafusion_common::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, Fields, TimeUnit,
    UnionFields, UnionMode,
};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tidemesh_avro::name::avro_name;
use tidemesh_avro::schema::{Kind, Logical, Node, NodeId, Schema};

/// The deepest nesting of a type that expressions can look into.
const DEPTH_MAX: usize = 16;

/// A type as SQL knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqlType {
    /// Arrow's type.
    pub data_type: DataType,
    /// Whether it may be null.
    pub nullable: bool,
}

/// The type of a value that expressions cannot handle.
#[must_use]
pub fn opaque() -> DataType {
    let field = Field::new("opaque", DataType::Null, true);
    let fields: UnionFields = [(0, Arc::new(field))].into_iter().collect();
    DataType::Union(fields, UnionMode::Sparse)
}

/// Whether the type is, or holds, one that expressions cannot handle.
#[must_use]
pub fn is_opaque(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Union(..))
}

/// The zone that Arrow's timestamps with one carry here.
pub(crate) const UTC: &str = "+00:00";

/// The type at `id` of an Avro schema, as SQL knows it.
#[must_use]
pub fn sql_type(schema: &Schema, id: NodeId) -> SqlType {
    Reader { schema, within: Vec::new() }.read(id)
}

/// Where null stands among a union's branches; none for a type that is never null, or is null itself.
#[must_use]
pub fn null_branch(schema: &Schema, id: NodeId) -> Option<usize> {
    let Kind::Union(branches) = &schema.node(id).kind else { return None };
    branches.iter().position(|id| matches!(schema.node(*id).kind, Kind::Null))
}

/// Whether values of a type can be null.
#[must_use]
pub fn may_be_null(schema: &Schema, id: NodeId) -> bool {
    matches!(schema.node(id).kind, Kind::Null) || null_branch(schema, id).is_some()
}

/// A union's branch beside null, if there is just one and null.
#[must_use]
pub fn nullable_branch(schema: &Schema, id: NodeId) -> Option<NodeId> {
    let Kind::Union(branches) = &schema.node(id).kind else { return None };
    match (branches.as_slice(), null_branch(schema, id)?) {
        ([_, other], 0) | ([other, _], 1) => Some(*other),
        _ => None,
    }
}

struct Reader<'s> {
    schema: &'s Schema,
    /// The types around the one that is read: one that contains itself has no end.
    within: Vec<NodeId>,
}

impl Reader<'_> {
    fn read(&mut self, id: NodeId) -> SqlType {
        if let Some(branch) = nullable_branch(self.schema, id) {
            return SqlType { data_type: self.data_type(branch), nullable: true };
        }
        let nullable = may_be_null(self.schema, id);
        SqlType { data_type: self.data_type(id), nullable }
    }

    fn data_type(&mut self, id: NodeId) -> DataType {
        if self.within.contains(&id) || self.within.len() == DEPTH_MAX {
            return opaque();
        }
        self.within.push(id);
        let data_type = self.nested(self.schema.node(id));
        self.within.pop();
        data_type
    }

    fn nested(&mut self, node: &Node) -> DataType {
        match &node.kind {
            Kind::Array(items) => match self.field("item", *items) {
                Some(item) => DataType::List(Arc::new(item)),
                None => opaque(),
            },
            Kind::Map(values) => match self.field("value", *values) {
                Some(value) => map_of(value),
                None => opaque(),
            },
            Kind::Record(fields) => {
                let fields: Option<Fields> =
                    fields.iter().map(|field| self.field(&field.name, field.node)).collect();
                match fields {
                    Some(fields) if !fields.is_empty() => DataType::Struct(fields),
                    _ => opaque(),
                }
            }
            _ => leaf(node),
        }
    }

    /// What is within a value; none if expressions cannot handle it, and so not what is around it.
    fn field(&mut self, name: &str, id: NodeId) -> Option<Field> {
        let SqlType { data_type, nullable } = self.read(id);
        (!is_opaque(&data_type)).then(|| Field::new(name, data_type, nullable))
    }
}

fn map_of(value: Field) -> DataType {
    let key = Field::new("key", DataType::Utf8, false);
    let entries = DataType::Struct(Fields::from(vec![key, value]));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// The type of a value that holds no others.
fn leaf(node: &Node) -> DataType {
    if let Some(logical) = node.logical {
        return logical_type(logical);
    }
    if let Some(data_type) = debezium_type(node) {
        return data_type;
    }
    match &node.kind {
        Kind::Null => DataType::Null,
        Kind::Boolean => DataType::Boolean,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Bytes | Kind::Fixed(_) => DataType::Binary,
        Kind::String | Kind::Enum { .. } => DataType::Utf8,
        Kind::Array(_) | Kind::Map(_) | Kind::Union(_) | Kind::Record(_) => opaque(),
    }
}

fn logical_type(logical: Logical) -> DataType {
    let utc = || Some(Arc::from(UTC));
    match logical {
        Logical::Decimal { precision, scale } => decimal_type(precision, scale),
        Logical::Uuid => DataType::Utf8,
        Logical::Date => DataType::Date32,
        Logical::TimeMillis => DataType::Time32(TimeUnit::Millisecond),
        Logical::TimeMicros => DataType::Time64(TimeUnit::Microsecond),
        Logical::TimestampMillis => DataType::Timestamp(TimeUnit::Millisecond, utc()),
        Logical::TimestampMicros => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        Logical::TimestampNanos => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        Logical::LocalTimestampMillis => DataType::Timestamp(TimeUnit::Millisecond, None),
        Logical::LocalTimestampMicros => DataType::Timestamp(TimeUnit::Microsecond, None),
        Logical::LocalTimestampNanos => DataType::Timestamp(TimeUnit::Nanosecond, None),
        Logical::Duration => opaque(),
    }
}

fn decimal_type(precision: usize, scale: usize) -> DataType {
    let (Ok(precision), Ok(scale)) = (u8::try_from(precision), i8::try_from(scale)) else {
        return opaque();
    };
    match precision {
        1..=DECIMAL128_MAX_PRECISION => DataType::Decimal128(precision, scale),
        39..=DECIMAL256_MAX_PRECISION => DataType::Decimal256(precision, scale),
        _ => opaque(),
    }
}

/// What Debezium's names say of whole numbers that Avro knows no more of.
fn debezium_type(node: &Node) -> Option<DataType> {
    let name = node.properties.get("connect.name")?.as_str()?;
    Some(match (name, &node.kind) {
        ("io.debezium.time.Date", Kind::Int) => DataType::Date32,
        ("io.debezium.time.Time", Kind::Int) => DataType::Time32(TimeUnit::Millisecond),
        ("io.debezium.time.MicroTime", Kind::Long) => DataType::Time64(TimeUnit::Microsecond),
        ("io.debezium.time.NanoTime", Kind::Long) => DataType::Time64(TimeUnit::Nanosecond),
        ("io.debezium.time.Timestamp", Kind::Long) => {
            DataType::Timestamp(TimeUnit::Millisecond, None)
        }
        ("io.debezium.time.MicroTimestamp", Kind::Long) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        ("io.debezium.time.NanoTimestamp", Kind::Long) => {
            DataType::Timestamp(TimeUnit::Nanosecond, None)
        }
        _ => return None,
    })
}

/// The Avro type in which a computed value of `data_type` is written, without null; the record types
/// within it get names that begin with `name`.
///
/// # Errors
///
/// For a type that has no place in Avro, what would work instead.
pub fn avro_type(data_type: &DataType, name: &str) -> Result<Json, String> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            json!("int")
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => json!("long"),
        DataType::Float16 | DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        // What is never anything but null: text, as in PostgreSQL.
        DataType::Null => json!("string"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => json!("bytes"),
        DataType::Date32 | DataType::Date64 => logical("int", "date"),
        DataType::Time32(_) => logical("int", "time-millis"),
        DataType::Time64(_) => logical("long", "time-micros"),
        DataType::Timestamp(unit, zone) => logical("long", timestamp_name(*unit, zone.is_some())),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal_json(*precision, *scale)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            json!({"type": "array", "items": nullable_json(item, &format!("{name}_item"))?})
        }
        DataType::Struct(fields) => record_json(fields, name)?,
        DataType::Map(entries, _) => map_json(entries, name)?,
        DataType::Interval(_) | DataType::Duration(_) => {
            return Err(
                "an interval has no place in a record; cast it to text, or take a part of \
                        it, as in EXTRACT(EPOCH FROM …)"
                    .into(),
            );
        }
        other => return Err(format!("{other} has no place in a record; cast it")),
    })
}

fn timestamp_name(unit: TimeUnit, zoned: bool) -> &'static str {
    match (unit, zoned) {
        (TimeUnit::Second | TimeUnit::Millisecond, true) => "timestamp-millis",
        (TimeUnit::Microsecond, true) => "timestamp-micros",
        (TimeUnit::Nanosecond, true) => "timestamp-nanos",
        (TimeUnit::Second | TimeUnit::Millisecond, false) => "local-timestamp-millis",
        (TimeUnit::Microsecond, false) => "local-timestamp-micros",
        (TimeUnit::Nanosecond, false) => "local-timestamp-nanos",
    }
}

fn logical(avro_type: &str, logical_type: &str) -> Json {
    json!({"type": avro_type, "logicalType": logical_type})
}

fn decimal_json(precision: u8, scale: i8) -> Result<Json, String> {
    if scale < 0 {
        return Err(format!("a decimal of scale {scale} has no place in a record; cast it"));
    }
    Ok(json!({
        "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale,
    }))
}

/// What is within a computed value: nullable, so that a value that is missing has a place.
fn nullable_json(field: &Field, name: &str) -> Result<Json, String> {
    let inner = avro_type(field.data_type(), name)?;
    Ok(if field.is_nullable() { json!(["null", inner]) } else { inner })
}

fn record_json(fields: &Fields, name: &str) -> Result<Json, String> {
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    let mut members = Vec::with_capacity(fields.len());
    for field in fields {
        let escaped = avro_name(field.name()).into_owned();
        if names.contains(&escaped) {
            return Err(format!("two fields of a record are called {escaped}"));
        }
        let inner = nullable_json(field, &format!("{name}_{escaped}"))?;
        members.push(json!({"name": escaped, "type": inner}));
        names.push(escaped);
    }
    Ok(json!({"type": "record", "name": name, "fields": members}))
}

fn map_json(entries: &Field, name: &str) -> Result<Json, String> {
    let DataType::Struct(entry) = entries.data_type() else {
        return Err("a map without entries has no place in a record".into());
    };
    let [key, value] = entry.as_ref() else {
        return Err("a map's entries need a key and a value".into());
    };
    if !matches!(key.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) {
        return Err("a map's keys must be text; cast them".into());
    }
    Ok(json!({"type": "map", "values": nullable_json(value, &format!("{name}_value"))?}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> SqlType {
        let schema = Schema::parse(text).unwrap();
        sql_type(&schema, schema.root())
    }

    #[test]
    fn leaves_have_their_types() {
        for (avro, data_type) in [
            (r#""int""#, DataType::Int32),
            (r#""long""#, DataType::Int64),
            (r#""string""#, DataType::Utf8),
            (r#"{"type":"fixed","name":"F","size":3}"#, DataType::Binary),
            (r#"{"type":"enum","name":"E","symbols":["A"]}"#, DataType::Utf8),
            (r#"{"type":"string","logicalType":"uuid"}"#, DataType::Utf8),
            (r#"{"type":"int","logicalType":"date"}"#, DataType::Date32),
            (
                r#"{"type":"long","logicalType":"timestamp-micros"}"#,
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            ),
            (
                r#"{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}"#,
                DataType::Timestamp(TimeUnit::Microsecond, None),
            ),
            (
                r#"{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}"#,
                DataType::Decimal128(12, 2),
            ),
            (
                r#"{"type":"bytes","logicalType":"decimal","precision":60,"scale":2}"#,
                DataType::Decimal256(60, 2),
            ),
        ] {
            assert_eq!(of(avro), SqlType { data_type, nullable: false }, "{avro}");
        }
    }

    #[test]
    fn a_union_with_null_is_nullable_and_another_one_opaque() {
        let nullable = SqlType { data_type: DataType::Int32, nullable: true };
        assert_eq!(of(r#"["null","int"]"#), nullable);
        assert_eq!(of(r#"["int","null"]"#), nullable);
        assert_eq!(of(r#"["int","string"]"#), SqlType { data_type: opaque(), nullable: false });
        assert!(of(r#"["null","int","string"]"#).nullable);
        assert_eq!(
            of(r#"{"type":"bytes","logicalType":"decimal","precision":90,"scale":2}"#).data_type,
            opaque()
        );
    }

    #[test]
    fn what_holds_something_opaque_is_opaque() {
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        assert_eq!(of(list).data_type, opaque());
        assert_eq!(of(r#"{"type":"array","items":["int","string"]}"#).data_type, opaque());
    }

    #[test]
    fn every_type_that_expressions_handle_has_its_way_back() {
        for avro in [
            r#""boolean""#,
            r#""int""#,
            r#""long""#,
            r#""float""#,
            r#""double""#,
            r#""string""#,
            r#""bytes""#,
            r#"{"type":"int","logicalType":"date"}"#,
            r#"{"type":"int","logicalType":"time-millis"}"#,
            r#"{"type":"long","logicalType":"time-micros"}"#,
            r#"{"type":"long","logicalType":"timestamp-millis"}"#,
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
            r#"{"type":"long","logicalType":"timestamp-nanos"}"#,
            r#"{"type":"long","logicalType":"local-timestamp-millis"}"#,
            r#"{"type":"long","logicalType":"local-timestamp-micros"}"#,
            r#"{"type":"long","logicalType":"local-timestamp-nanos"}"#,
            r#"{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}"#,
            r#"{"type":"array","items":["null","string"]}"#,
            r#"{"type":"map","values":"long"}"#,
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","int"]}]}"#,
        ] {
            let json = avro_type(&of(avro).data_type, "R").unwrap();
            assert_eq!(json, serde_json::from_str::<Json>(avro).unwrap());
        }
        let interval =
            DataType::Interval(datafusion_common::arrow::datatypes::IntervalUnit::MonthDayNano);
        assert!(avro_type(&interval, "R").unwrap_err().contains("EXTRACT"));
    }
}
