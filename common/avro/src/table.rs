//! A table's schema as Avro: the record of its rows, the key and the envelope, by the names and
//! unions that `DESIGN.md` fixes.
//!
//! Every non-key column is a union with null, so that a key-only `before` can be written and a
//! column can come and go. A key's schema holds names and bare types only: its id is part of the
//! key's bytes and must not change with a comment. With Debezium's types it is Debezium's, properties
//! included, so that a topic of its goes on under the same id.

use crate::name::{avro_name, namespace};
use crate::row::{Branch, RowPlan};
use crate::types::{self, Defined};
use serde_json::{Map, Value as Json, json};
use std::borrow::Cow;
use tidemesh_model::{
    BlockType, DataType, EnvelopeForm, Error, ErrorKind, EventFormat, Field, KeyOrigin,
    RecordField, RecordType, Result, RowTypes, SourceBlock, TableSchema, Value,
};

/// The Avro schemas of one table's topic, as text for the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSchemas {
    /// The key's schema: a record `<topic>.Key`.
    pub key: String,
    /// The value's schema: a record `<topic>.Envelope`, or `<topic>.Value` if it is flat.
    pub value: String,
}

/// The schemas of `table`'s events on `topic`, and the plan by which its rows are written.
///
/// # Errors
///
/// `Unsupported` if two columns have one name after escaping, a column has a name that the flat form
/// needs, or a type has no place in Avro.
pub fn topic_schemas(
    topic: &str,
    table: &TableSchema,
    block: &SourceBlock,
    format: EventFormat,
) -> Result<(TopicSchemas, RowPlan)> {
    let plan = RowPlan::new(table, format.types)?;
    let columns = table.fields.iter().map(|field| field.name.as_str());
    let names = field_names(columns).map_err(|error| error.with("table", &table.name))?;
    check_records(table)?;
    let namespace = namespace(topic);
    let key = key_record(table, &names, &namespace, format.types);
    let row = row_record(table, &names, &plan, &namespace, format.types);
    let value = match format.envelope {
        EnvelopeForm::Debezium => envelope(&namespace, row, block, format.types),
        EnvelopeForm::Flat => crate::flat::record(table, &names, &namespace, row)?,
    };
    Ok((TopicSchemas { key: key.to_string(), value: value.to_string() }, plan))
}

/// Columns' names in Avro, checked for collisions.
fn field_names<'a>(columns: impl Iterator<Item = &'a str>) -> Result<Vec<Cow<'a, str>>> {
    let columns: Vec<&str> = columns.collect();
    let names: Vec<_> = columns.iter().map(|name| avro_name(name)).collect();
    for (index, name) in names.iter().enumerate() {
        if let Some(other) = names[..index].iter().position(|other| other == name) {
            return Err(Error::new(ErrorKind::Unsupported, "name the fields of a topic")
                .because("two columns have one name once Avro's rule is applied")
                .with("first", columns[other])
                .with("second", columns[index])
                .with("field", name)
                .help("rename one of them"));
        }
    }
    Ok(names)
}

/// Checks the names within the columns' composite types.
fn check_records(table: &TableSchema) -> Result<()> {
    fn check(data_type: &DataType) -> Result<()> {
        match data_type {
            DataType::Array(element) => check(element),
            DataType::Record(record) => {
                field_names(record.fields.iter().map(|field| field.name.as_str()))
                    .map_err(|e| e.with("type", format!("{}.{}", record.schema, record.name)))?;
                record.fields.iter().try_for_each(|field| check(&field.data_type))
            }
            _ => Ok(()),
        }
    }
    let of = |field: &Field| check(&field.data_type).map_err(|e| e.with("table", &table.name));
    table.fields.iter().try_for_each(of)
}

fn key_record(
    table: &TableSchema,
    names: &[Cow<'_, str>],
    namespace: &str,
    types: RowTypes,
) -> Json {
    let mut key = json!({
        "type": "record",
        "name": "Key",
        "namespace": namespace,
        "fields": key_fields(table, names, namespace, types),
    });
    if types == RowTypes::Debezium {
        key["connect.name"] = format!("{namespace}.Key").into();
    }
    key
}

fn key_fields(
    table: &TableSchema,
    names: &[Cow<'_, str>],
    namespace: &str,
    types: RowTypes,
) -> Vec<Json> {
    let whole_row = table.key.origin == KeyOrigin::WholeRow;
    let mut defined = Defined::new(namespace, true);
    let field = |column: &usize| {
        let field = &table.fields[*column];
        let bare = match types {
            RowTypes::Avro => bare_type(&field.data_type, &mut defined),
            RowTypes::Debezium => types::avro_type(types, field, &mut defined),
        };
        let mut json = Map::from_iter([("name".to_owned(), json!(names[*column]))]);
        if whole_row {
            json.insert("type".into(), json!(["null", bare]));
        } else {
            required(&mut json, field, bare, types);
        }
        Json::Object(json)
    };
    table.key.columns.iter().map(field).collect()
}

/// The type of a column that is no union, with the default that Debezium gives it.
fn required(json: &mut Map<String, Json>, field: &Field, avro_type: Json, types: RowTypes) {
    let default = match (types, &field.key_default) {
        (RowTypes::Debezium, Some(default)) => types::default_json(types, field, default),
        _ => None,
    };
    match default {
        Some(default) => {
            json.insert("type".into(), types::with_default(types, avro_type, &default));
            json.insert("default".into(), default);
        }
        None => {
            json.insert("type".into(), avro_type);
        }
    }
}

fn row_record(
    table: &TableSchema,
    names: &[Cow<'_, str>],
    plan: &RowPlan,
    namespace: &str,
    types: RowTypes,
) -> Json {
    let mut defined = Defined::new(namespace, false);
    let fields: Vec<_> = table
        .fields
        .iter()
        .zip(names)
        .zip(plan.cells())
        .map(|((field, name), cell)| {
            row_field(field, name, cell.null_branch(), types, &mut defined)
        })
        .collect();
    let mut row = json!({"type": "record", "name": "Value", "fields": fields});
    if types == RowTypes::Debezium {
        row["connect.name"] = types::row_name(namespace);
    }
    row
}

fn row_field(
    field: &Field,
    name: &str,
    null_branch: Option<Branch>,
    types: RowTypes,
    defined: &mut Defined<'_>,
) -> Json {
    let avro_type = types::avro_type(types, field, defined);
    let mut json = Map::from_iter([("name".to_owned(), name.into())]);
    match null_branch {
        None => required(&mut json, field, avro_type, types),
        Some(Branch::First) => {
            json.insert("type".into(), json!(["null", avro_type]));
            json.insert("default".into(), Json::Null);
        }
        Some(Branch::Second) => {
            let default =
                field.default.as_ref().and_then(|value| types::default_json(types, field, value));
            let default = default.unwrap_or(Json::Null);
            let avro_type = types::with_default(types, avro_type, &default);
            json.insert("type".into(), json!([avro_type, "null"]));
            json.insert("default".into(), default);
        }
    }
    properties(field, name, &mut json);
    Json::Object(json)
}

/// What the database says of a column beside its type.
fn properties(field: &Field, name: &str, json: &mut Map<String, Json>) {
    if !field.aliases.is_empty() {
        // Older data has the column under these names (specification 1.12, "Aliases").
        let aliases: Vec<_> = field.aliases.iter().map(|alias| avro_name(alias)).collect();
        json.insert("aliases".into(), json!(aliases));
    }
    json.insert("source.type".into(), field.source_type.clone().into());
    if name != field.name {
        json.insert("source.name".into(), field.name.clone().into());
    }
    if !field.nullable {
        json.insert("source.not_null".into(), true.into());
    }
    if let DataType::Enum { labels } = &field.data_type {
        json.insert("enum".into(), labels.clone().into());
    }
}

/// The type without properties, for keys.
fn bare_type(data_type: &DataType, defined: &mut Defined<'_>) -> Json {
    match logical_type(data_type, defined) {
        // A decimal's precision and scale are part of what its bytes mean, so they stay.
        Json::Object(mut object) => {
            object.retain(|name, _| name != "connect.name");
            Json::Object(object)
        }
        other => other,
    }
}

/// The Avro type of a value: one line a type.
pub(crate) fn logical_type(data_type: &DataType, defined: &mut Defined<'_>) -> Json {
    match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal { precision, scale } => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        DataType::Text | DataType::Json | DataType::Enum { .. } => json!("string"),
        DataType::Bytes => json!("bytes"),
        DataType::Uuid => json!({"type": "string", "logicalType": "uuid"}),
        DataType::Date => json!({"type": "int", "logicalType": "date"}),
        DataType::Time => json!({"type": "long", "logicalType": "time-micros"}),
        DataType::Timestamp => json!({"type": "long", "logicalType": "local-timestamp-micros"}),
        DataType::TimestampTz => json!({"type": "long", "logicalType": "timestamp-micros"}),
        DataType::Array(element) => {
            json!({"type": "array", "items": ["null", logical_type(element, defined)]})
        }
        DataType::Record(record) => record_type(record, defined),
    }
}

/// A composite type. Its full name is the topic's namespace, the type's schema and its name: no
/// column's or type's name can make it another record's.
fn record_type(record: &RecordType, defined: &mut Defined<'_>) -> Json {
    let namespace = format!("{}.{}", defined.namespace, avro_name(&record.schema));
    let name = avro_name(&record.name);
    defined.once(&format!("{namespace}.{name}"), |defined| {
        let field = |field: &RecordField| record_field(field, defined);
        let fields: Vec<_> = record.fields.iter().map(field).collect();
        json!({"type": "record", "name": name, "namespace": namespace, "fields": fields})
    })
}

fn record_field(field: &RecordField, defined: &mut Defined<'_>) -> Json {
    let avro_type = logical_type(&field.data_type, defined);
    let name = avro_name(&field.name);
    let mut json = Map::new();
    json.insert("name".into(), name.clone().into());
    json.insert("type".into(), json!(["null", avro_type]));
    if defined.bare {
        return Json::Object(json);
    }
    json.insert("default".into(), Json::Null);
    json.insert("source.type".into(), field.source_type.clone().into());
    if name != field.name {
        json.insert("source.name".into(), field.name.clone().into());
    }
    if let DataType::Enum { labels } = &field.data_type {
        json.insert("enum".into(), labels.clone().into());
    }
    Json::Object(json)
}

/// A column's constant default as Avro writes defaults in JSON (specification 1.12, "Complex
/// Types", table of field defaults), if it has such a form: not null, no NaN or infinity.
pub(crate) fn default_json(value: &Value) -> Option<Json> {
    match value {
        Value::Null | Value::Absent => None,
        Value::Boolean(value) => Some(json!(value)),
        Value::Int32(value) | Value::Date(value) => Some(json!(value)),
        Value::Int64(value)
        | Value::Time(value)
        | Value::Timestamp(value)
        | Value::TimestampTz(value) => Some(json!(value)),
        Value::Float32(value) => value.is_finite().then(|| json!(value)),
        Value::Float64(value) => value.is_finite().then(|| json!(value)),
        Value::Text(value) => Some(json!(value)),
        Value::Bytes(bytes) => Some(json!(latin1(bytes))),
        Value::Decimal { unscaled, .. } => Some(json!(latin1(unscaled))),
        Value::Uuid(uuid) => {
            Some(json!(crate::row::uuid_text(uuid).map(char::from).iter().collect::<String>()))
        }
        Value::Array(elements) => {
            // A union's default is of its first branch, and an element's first branch is null.
            elements.is_empty().then(|| json!([]))
        }
        // The same goes for each of a record's fields.
        Value::Record(_) => None,
    }
}

/// Avro's JSON form of bytes: each byte as the code point of its number.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn nullable(name: &str, avro_type: &str) -> Json {
    json!({"name": name, "type": ["null", avro_type], "default": null})
}

/// Debezium's envelope around rows of the record type `row`, which is called `Value` in `namespace`;
/// `source` is the type of the block that tells where a change comes from.
#[must_use]
pub fn envelope_record(namespace: &str, row: Json, source: Json) -> Json {
    json!({
        "type": "record",
        "name": "Envelope",
        "namespace": namespace,
        "connect.name": format!("{namespace}.Envelope"),
        "fields": [
            {"name": "before", "type": ["null", row], "default": null},
            {"name": "after", "type": ["null", "Value"], "default": null},
            {"name": "source", "type": source},
            {"name": "transaction", "type": ["null", transaction_record()], "default": null},
            {"name": "op", "type": "string"},
            nullable("ts_ms", "long"),
            nullable("ts_us", "long"),
            nullable("ts_ns", "long"),
        ],
    })
}

fn envelope(namespace: &str, row: Json, block: &SourceBlock, types: RowTypes) -> Json {
    let mut envelope = envelope_record(namespace, row, source_record(block));
    if types == RowTypes::Debezium {
        let source = format!("io.debezium.connector.{}.Source", block.connector);
        types::envelope_names(&mut envelope, &source);
    }
    envelope
}

/// Debezium's `source` block (documentation 3.7, "PostgreSQL connector", "Change event values"),
/// behind which a source's own fields stand, then the position's epoch and ordinal.
#[must_use]
pub fn source_record(block: &SourceBlock) -> Json {
    let mut fields = vec![
        json!({"name": "version", "type": "string"}),
        json!({"name": "connector", "type": "string"}),
        json!({"name": "name", "type": "string"}),
        json!({"name": "ts_ms", "type": "long"}),
        json!({"name": "snapshot", "type": ["string", "null"], "default": "false"}),
        json!({"name": "db", "type": "string"}),
        nullable("sequence", "string"),
        nullable("ts_us", "long"),
        nullable("ts_ns", "long"),
        json!({"name": "schema", "type": "string"}),
        json!({"name": "table", "type": "string"}),
    ];
    fields.extend(block.fields.iter().map(|field| {
        nullable(
            field.name,
            match field.block_type {
                BlockType::Long => "long",
                BlockType::Text => "string",
            },
        )
    }));
    fields.push(nullable("epoch", "long"));
    fields.push(nullable("commit_position", "long"));
    fields.push(nullable("ordinal", "long"));
    json!({
        "type": "record",
        "name": "Source",
        "namespace": format!("io.debezium.connector.{}", block.connector),
        "fields": fields,
    })
}

fn transaction_record() -> Json {
    json!({
        "type": "record",
        "name": "block",
        "namespace": "event",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "total_order", "type": "long"},
            {"name": "data_collection_order", "type": "long"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::{RowKey, SourceKind, TableName};

    const BLOCK: &[tidemesh_model::BlockField] =
        &[tidemesh_model::BlockField { name: "txId", block_type: BlockType::Long }];

    fn block() -> SourceBlock {
        SourceBlock {
            connector: "postgresql",
            name: "shop".into(),
            database: "shop".into(),
            fields: BLOCK,
        }
    }

    fn field(name: &str, data_type: DataType, default: Option<Value>) -> Field {
        Field {
            name: name.into(),
            data_type,
            source_type: "t".into(),
            nullable: default.is_none(),
            default,
            aliases: Vec::new(),
            kind: SourceKind::Plain,
            key_default: None,
        }
    }

    fn table(fields: Vec<Field>, key: Vec<usize>) -> Result<TableSchema> {
        let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: key };
        TableSchema::new(TableName::new("public", "orders"), fields, key)
    }

    #[test]
    fn a_key_holds_names_and_bare_types_only() {
        let table = table(
            vec![
                field("id", DataType::Uuid, None),
                field("kind", DataType::Enum { labels: vec!["a".into()] }, None),
            ],
            vec![1, 0],
        )
        .unwrap();
        let (schemas, _) =
            topic_schemas("shop.public.orders", &table, &block(), EventFormat::default()).unwrap();
        assert_eq!(
            schemas.key,
            "{\"type\":\"record\",\"name\":\"Key\",\"namespace\":\"shop.public.orders\",\"fields\":[\
             {\"name\":\"kind\",\"type\":\"string\"},\
             {\"name\":\"id\",\"type\":{\"type\":\"string\",\"logicalType\":\"uuid\"}}]}"
        );
    }

    #[test]
    fn a_column_is_nullable_first_unless_it_has_a_constant_default() {
        let table = table(
            vec![
                field("id", DataType::Int64, None),
                field("note", DataType::Text, None),
                field("state", DataType::Text, Some(Value::Text("new".into()))),
            ],
            vec![0],
        )
        .unwrap();
        let (schemas, _) =
            topic_schemas("shop.public.orders", &table, &block(), EventFormat::default()).unwrap();
        let json: Json = serde_json::from_str(&schemas.value).unwrap();
        let fields = &json["fields"][0]["type"][1]["fields"];
        assert_eq!(fields[0]["type"], "long");
        assert_eq!(fields[1]["type"], json!(["null", "string"]));
        assert_eq!(fields[1]["default"], Json::Null);
        assert_eq!(fields[2]["type"], json!(["string", "null"]));
        assert_eq!(fields[2]["default"], "new");
        assert_eq!(fields[2]["source.not_null"], true);
    }

    fn record(name: &str, fields: &[(&str, DataType)]) -> DataType {
        let field = |(name, data_type): &(&str, DataType)| RecordField {
            name: (*name).into(),
            data_type: data_type.clone(),
            source_type: "t".into(),
        };
        let fields = fields.iter().map(field).collect();
        DataType::Record(RecordType { schema: "public".into(), name: name.into(), fields })
    }

    #[test]
    fn a_composite_type_is_defined_once_and_named_where_it_comes_again() {
        let point = record("a point", &[("x", DataType::Int32)]);
        let line = record("line", &[("from", point.clone()), ("to", point.clone())]);
        let fields = vec![
            field("id", point.clone(), None),
            field("a", DataType::Array(Box::new(line)), None),
            field("b", point, None),
        ];
        let (schemas, _) = topic_schemas(
            "shop.public.t",
            &table(fields, vec![0]).unwrap(),
            &block(),
            EventFormat::default(),
        )
        .unwrap();
        let key: Json = serde_json::from_str(&schemas.key).unwrap();
        assert_eq!(
            key["fields"][0]["type"],
            json!({"type": "record", "name": "a_u0020point", "namespace": "shop.public.t.public",
                   "fields": [{"name": "x", "type": ["null", "int"]}]})
        );
        let value: Json = serde_json::from_str(&schemas.value).unwrap();
        let fields = &value["fields"][0]["type"][1]["fields"];
        assert_eq!(fields[0]["type"]["name"], "a_u0020point");
        let again = json!(["null", "shop.public.t.public.a_u0020point"]);
        assert_eq!(fields[2]["type"], again);
        let line = &fields[1]["type"][1]["items"][1];
        assert_eq!(line["fields"][1]["type"], again);
        assert_eq!(line["fields"][1]["source.type"], "t");
        crate::schema::Schema::parse(&schemas.value).unwrap();
        crate::schema::Schema::parse(&schemas.key).unwrap();
    }

    #[test]
    fn two_fields_of_a_composite_type_that_would_share_a_name_are_refused() {
        let twins = record("t", &[("a-b", DataType::Int64), ("a_u002db", DataType::Int64)]);
        let fields = vec![field("id", DataType::Int64, None), field("c", twins, None)];
        let error =
            topic_schemas("t", &table(fields, vec![0]).unwrap(), &block(), EventFormat::default())
                .unwrap_err();
        assert!(error.to_string().contains("type=public.t"), "{error}");
    }

    #[test]
    fn two_columns_that_would_share_a_field_are_refused() {
        let table = table(
            vec![field("a-b", DataType::Int64, None), field("a_u002db", DataType::Int64, None)],
            vec![0],
        )
        .unwrap();
        let error = topic_schemas("t", &table, &block(), EventFormat::default()).unwrap_err();
        assert!(error.to_string().contains("first=a-b"), "{error}");
    }
}
