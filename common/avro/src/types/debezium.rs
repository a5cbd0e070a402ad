//! Debezium's types: what its PostgreSQL connector 3.7 writes through Confluent's `AvroConverter`
//! under the default modes (time precision adaptive, decimals precise, binary as bytes, intervals
//! numeric, hstore as JSON, money with two digits). Schemas and bytes were compared with runs of
//! 3.7.0.Final; what differs on purpose is listed in `docs/debezium.md`.

use super::geometry::Shape;
use super::text::write_text;
use super::{Defined, Form, element_avro_type, time};
use crate::datum::{Datum, decode};
use crate::schema::Schema;
use crate::table::latin1;
use serde_json::{Map, Value as Json, json};
use tidemesh_model::{DataType, Field, SourceKind, Value};

/// The digits of a second up to which times are milliseconds.
const MILLIS_DIGITS_MAX: u8 = 3;

/// The precision that `AvroConverter` gives to a decimal of unstated precision.
const DECIMAL_PRECISION_UNSTATED: u32 = 64;

/// What a bit string of any length has as its length.
const BITS_LENGTH_UNLIMITED: u32 = i32::MAX as u32;

/// The form of a kind's values: one line a kind.
pub(super) fn form(kind: SourceKind) -> Form {
    match kind {
        SourceKind::Plain
        | SourceKind::Int16
        | SourceKind::Money
        | SourceKind::Xml
        | SourceKind::Ltree
        | SourceKind::TsVector => Form::Plain,
        SourceKind::Numeric => Form::VariableScale,
        SourceKind::Time { digits } | SourceKind::Timestamp { digits } => {
            if digits <= MILLIS_DIGITS_MAX { Form::Millis } else { Form::Plain }
        }
        SourceKind::TimeTz => Form::ZonedTime,
        SourceKind::TimestampTz { digits } => Form::ZonedTimestamp(digits),
        SourceKind::Interval => Form::MicroDuration,
        SourceKind::Bits { length: Some(1) } => Form::Bit,
        SourceKind::Bits { .. } => Form::Bits,
        SourceKind::Point => Form::Shape(Shape::Point),
        SourceKind::Circle => Form::Shape(Shape::Circle),
        SourceKind::Line => Form::Shape(Shape::Line),
        SourceKind::Segment => Form::Shape(Shape::Segment),
        SourceKind::Box => Form::Shape(Shape::Box),
        SourceKind::Path => Form::Shape(Shape::Path),
        SourceKind::Polygon => Form::Shape(Shape::Polygon),
    }
}

/// The Avro type of a column's values.
pub(super) fn avro_type(data_type: &DataType, kind: SourceKind, defined: &mut Defined<'_>) -> Json {
    match (data_type, kind) {
        (DataType::Array(element), _) => {
            json!({"type": "array", "items": ["null", avro_type(element, kind, defined)]})
        }
        (_, SourceKind::Plain) => plain(data_type, defined),
        (_, SourceKind::Int16) => json!({"type": "int", "connect.type": "int16"}),
        (_, SourceKind::Numeric) => variable_scale(defined),
        (DataType::Decimal { scale, .. }, SourceKind::Money) => decimal(None, *scale),
        (_, SourceKind::Money) => plain(data_type, defined),
        (_, SourceKind::Time { digits }) if digits <= MILLIS_DIGITS_MAX => {
            named("int", "io.debezium.time.Time")
        }
        (_, SourceKind::Time { .. }) => named("long", "io.debezium.time.MicroTime"),
        (_, SourceKind::TimeTz) => named("string", "io.debezium.time.ZonedTime"),
        (_, SourceKind::Timestamp { digits }) if digits <= MILLIS_DIGITS_MAX => {
            named("long", "io.debezium.time.Timestamp")
        }
        (_, SourceKind::Timestamp { .. }) => named("long", "io.debezium.time.MicroTimestamp"),
        (_, SourceKind::TimestampTz { .. }) => named("string", "io.debezium.time.ZonedTimestamp"),
        (_, SourceKind::Interval) => named("long", "io.debezium.time.MicroDuration"),
        (_, SourceKind::Xml) => named("string", "io.debezium.data.Xml"),
        (_, SourceKind::Ltree) => named("string", "io.debezium.data.Ltree"),
        (_, SourceKind::TsVector) => named("string", "io.debezium.data.Tsvector"),
        (_, SourceKind::Bits { length: Some(1) }) => json!("boolean"),
        (_, SourceKind::Bits { length }) => {
            let length = length.unwrap_or(BITS_LENGTH_UNLIMITED).to_string();
            parameterized("bytes", &json!({"length": length}), "io.debezium.data.Bits")
        }
        (_, SourceKind::Point) => point(defined),
        (_, SourceKind::Circle) => circle(defined),
        (_, SourceKind::Line) => line(defined),
        (_, SourceKind::Segment | SourceKind::Box | SourceKind::Path | SourceKind::Polygon) => {
            geometry(defined)
        }
    }
}

/// The type of a value of which the database says no more than its data type: one line a type.
fn plain(data_type: &DataType, defined: &mut Defined<'_>) -> Json {
    match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal { precision, scale } => decimal(Some(*precision), *scale),
        DataType::Text => json!("string"),
        DataType::Json => named("string", "io.debezium.data.Json"),
        DataType::Enum { labels } => {
            let allowed = labels.join(",");
            parameterized("string", &json!({"allowed": allowed}), "io.debezium.data.Enum")
        }
        DataType::Bytes => json!("bytes"),
        DataType::Uuid => named("string", "io.debezium.data.Uuid"),
        DataType::Date => named("int", "io.debezium.time.Date"),
        DataType::Time => named("long", "io.debezium.time.MicroTime"),
        DataType::Timestamp => named("long", "io.debezium.time.MicroTimestamp"),
        DataType::TimestampTz => named("string", "io.debezium.time.ZonedTimestamp"),
        DataType::Array(element) => avro_type(element, SourceKind::Plain, defined),
        // Debezium leaves such columns out.
        DataType::Record(_) => crate::table::logical_type(data_type, defined),
    }
}

/// A type with a name of Kafka Connect's, in its first version.
fn named(avro_type: &str, name: &str) -> Json {
    json!({"type": avro_type, "connect.version": 1, "connect.name": name})
}

fn parameterized(avro_type: &str, parameters: &Json, name: &str) -> Json {
    json!({
        "type": avro_type,
        "connect.version": 1,
        "connect.parameters": parameters,
        "connect.name": name,
    })
}

fn decimal(precision: Option<u32>, scale: u32) -> Json {
    let mut parameters = json!({"scale": scale.to_string()});
    if let Some(precision) = precision {
        parameters["connect.decimal.precision"] = precision.to_string().into();
    }
    json!({
        "type": "bytes",
        "scale": scale,
        "precision": precision.unwrap_or(DECIMAL_PRECISION_UNSTATED),
        "connect.version": 1,
        "connect.parameters": parameters,
        "connect.name": "org.apache.kafka.connect.data.Decimal",
        "logicalType": "decimal",
    })
}

fn record(name: &str, fields: &Json, doc: &str, version: u32) -> Json {
    let (namespace, short) = name.rsplit_once('.').unwrap_or(("", name));
    json!({
        "type": "record",
        "name": short,
        "namespace": namespace,
        "fields": fields,
        "connect.doc": doc,
        "connect.version": version,
        "connect.name": name,
    })
}

fn variable_scale(defined: &mut Defined<'_>) -> Json {
    let name = "io.debezium.data.VariableScaleDecimal";
    defined.once(name, |_| {
        let fields = json!([{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]);
        record(name, &fields, "Variable scaled decimal", 1)
    })
}

fn point(defined: &mut Defined<'_>) -> Json {
    let name = "io.debezium.data.geometry.Point";
    defined.once(name, |_| {
        let fields = json!([
            {"name": "x", "type": "double"},
            {"name": "y", "type": "double"},
            {"name": "wkb", "type": ["null", "bytes"], "default": null},
            {"name": "srid", "type": ["null", "int"], "default": null},
        ]);
        record(name, &fields, "Geometry (POINT)", 1)
    })
}

fn circle(defined: &mut Defined<'_>) -> Json {
    let name = "io.debezium.data.geometry.Circle";
    defined.once(name, |defined| {
        let fields = json!([
            {"name": "center", "type": point(defined)},
            {"name": "radius", "type": "double"},
        ]);
        record(name, &fields, "Geometry (CIRCLE)", 1)
    })
}

fn line(defined: &mut Defined<'_>) -> Json {
    let name = "io.debezium.data.geometry.Line";
    defined.once(name, |_| {
        let fields = json!([
            {"name": "a", "type": "double"},
            {"name": "b", "type": "double"},
            {"name": "c", "type": "double"},
        ]);
        record(name, &fields, "Geometry (LINE)", 1)
    })
}

fn geometry(defined: &mut Defined<'_>) -> Json {
    let name = "io.debezium.data.geometry.Geometry";
    defined.once(name, |_| {
        let strings = json!({"type": "map", "values": "string"});
        let fields = json!([
            {"name": "wkb", "type": "bytes"},
            {"name": "srid", "type": ["null", "int"], "default": null},
            {"name": "extensions", "type": ["null", strings], "default": null},
        ]);
        record(name, &fields, "Geometry", 2)
    })
}

/// The type with its default, where `AvroConverter` repeats it: before what names the type.
pub(super) fn with_default(avro_type: Json, default: &Json) -> Json {
    let Json::Object(object) = avro_type else {
        return json!({"type": avro_type, "connect.default": default});
    };
    let mut with = Map::new();
    for (name, value) in object {
        let names_it = matches!(name.as_str(), "connect.type" | "connect.name" | "logicalType");
        if names_it && !with.contains_key("connect.default") {
            with.insert("connect.default".into(), default.clone());
        }
        with.insert(name, value);
    }
    if !with.contains_key("connect.default") {
        with.insert("connect.default".into(), default.clone());
    }
    Json::Object(with)
}

/// A default in this form, if it has one in JSON: a shape has none, since a union's default is of
/// its first branch, which is null.
pub(super) fn default_json(form: Form, field: &Field, value: &Value) -> Option<Json> {
    match (form, value) {
        (Form::Millis, Value::Time(micros)) => Some(json!(micros / 1000)),
        (Form::Millis, Value::Timestamp(micros)) => Some(json!(time::timestamp_millis(*micros))),
        (Form::ZonedTimestamp(digits), Value::TimestampTz(micros)) => {
            let mut out = Vec::new();
            time::write_zoned_timestamp(*micros, digits, &mut out);
            Some(json!(latin1(out.get(1..)?)))
        }
        (Form::Shape(_), _) => None,
        (_, Value::Text(text)) => {
            let mut out = Vec::new();
            write_text(form, text, &mut out).ok()?;
            let schema = Schema::parse(&element_avro_type(field).to_string()).ok()?;
            datum_json(&decode(&schema, &out).ok()?)
        }
        (_, Value::Array(elements)) => elements.is_empty().then(|| json!([])),
        _ => None,
    }
}

/// The forms that text has, as JSON.
fn datum_json(datum: &Datum) -> Option<Json> {
    match datum {
        Datum::Boolean(value) => Some(json!(value)),
        Datum::Int(value) => Some(json!(value)),
        Datum::Long(value) => Some(json!(value)),
        Datum::String(text) => Some(json!(text)),
        Datum::Bytes(bytes) => Some(json!(latin1(bytes))),
        Datum::Record(fields) => {
            let field = |(name, value): &(std::sync::Arc<str>, Datum)| {
                Some((name.to_string(), datum_json(value)?))
            };
            fields.iter().map(field).collect::<Option<Map<_, _>>>().map(Json::Object)
        }
        _ => None,
    }
}

/// The properties by which Kafka Connect names the record of a topic's rows.
pub(crate) fn row_name(namespace: &str) -> Json {
    format!("{namespace}.Value").into()
}

/// The same of the envelope, its source block and its transaction.
pub(crate) fn envelope_names(envelope: &mut Json, source: &str) {
    envelope["connect.version"] = 2.into();
    let name = envelope["connect.name"].take();
    if let Json::Object(object) = envelope {
        // The version stands before the name.
        object.shift_remove("connect.name");
        object.insert("connect.name".into(), name);
    }
    let Some(fields) = envelope["fields"].as_array_mut() else { return };
    for field in fields {
        match field["name"].as_str() {
            Some("source") => {
                name_record(&mut field["type"], source);
                name_snapshot(&mut field["type"]);
            }
            Some("transaction") => name_record(&mut field["type"][1], "event.block"),
            _ => {}
        }
    }
}

fn name_record(record: &mut Json, name: &str) {
    record["connect.version"] = 1.into();
    record["connect.name"] = name.into();
}

/// `snapshot` is one of several texts, `false` if nothing else is said.
fn name_snapshot(source: &mut Json) {
    let allowed =
        "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental";
    let avro_type = parameterized("string", &json!({"allowed": allowed}), "io.debezium.data.Enum");
    let Some(fields) = source["fields"].as_array_mut() else { return };
    for field in fields.iter_mut().filter(|field| field["name"] == "snapshot") {
        field["type"][0] = with_default(avro_type.clone(), &"false".into());
    }
}
