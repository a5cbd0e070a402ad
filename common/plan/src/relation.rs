//! A topic as SQL sees it: a table of the rows that its records carry.
//!
//! Three forms of records are known. Debezium's *envelope* carries rows before and after a change; a
//! *flat* record is the row with what Tidemesh adds, and a record without a value is a delete; any
//! other record is a row as it is: of a keyed topic the newest state, of one without a key an event.
//! What an envelope or the flat form adds to the row is no column.

use crate::sql::types::{SqlType, nullable_branch, sql_type};
use serde_json::{Value as Json, json};
use tidemesh_avro::compose::Definitions;
use tidemesh_avro::emitted::{RECORDS_ARE_EVENTS, RECORDS_ATTRIBUTE};
use tidemesh_avro::flat::ADDED_FIELDS;
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};

/// The most columns of one topic's rows.
pub const COLUMNS_MAX: usize = 10_000;

/// What a topic's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Debezium's envelope: the row before and after, and the operation.
    Envelope,
    /// The row and what Tidemesh adds; without a value, its delete.
    Flat,
    /// The row as it is, with a key: its newest state; without a value, its delete.
    State,
    /// The row as it is, without a key, or with one that only keeps events in order: an event that nothing
    /// takes back.
    Event,
}

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name in SQL: that in the source's database, where it is known.
    pub name: String,
    /// Its place among the row's fields.
    pub place: usize,
    /// Its type.
    pub sql: SqlType,
}

/// A topic's rows.
#[derive(Debug, Clone)]
pub struct Relation {
    /// The value's schema.
    pub value: Schema,
    /// The key's schema, if the topic has one.
    pub key: Option<Schema>,
    /// What the records are.
    pub form: Form,
    /// The record type of the rows, in the value's schema.
    pub row: NodeId,
    /// The rows' columns.
    pub columns: Vec<Column>,
    /// The columns that are the key, by their places among the columns, in the key's order; empty for
    /// events.
    pub key_columns: Vec<usize>,
}

impl Relation {
    /// The rows of a topic of these schemas.
    ///
    /// # Errors
    ///
    /// What is wrong, in words: records that are no rows, or more columns than [`COLUMNS_MAX`].
    pub fn of_topic(key: Option<Schema>, value: Schema) -> Result<Self, String> {
        let (form, row) = form_of(&value)?;
        let added: &[&str] = if form == Form::Flat { &ADDED_FIELDS } else { &[] };
        let columns = columns_of(&value, row, added)?;
        let key_columns = key_columns(key.as_ref(), fields_of(&value, row), &columns);
        let form = match (form, key_columns.is_empty()) {
            (Form::State, true) => Form::Event,
            (form, _) => form,
        };
        Ok(Self { form, row, columns, key_columns, key, value })
    }

    /// Rows as they are, whatever their fields are called, with the fields of their key. What a
    /// registered processor makes are such rows.
    ///
    /// # Errors
    ///
    /// What is wrong, in words: rows that are no records, more columns than [`COLUMNS_MAX`], or a key
    /// of a field that they lack.
    pub fn of_rows(key: &[String], value: Schema) -> Result<Self, String> {
        let row = value.root();
        let columns = columns_of(&value, row, &[])?;
        let fields = fields_of(&value, row);
        let place = |name: &String| {
            let found = columns.iter().position(|column| fields[column.place].name == *name);
            found.ok_or_else(|| format!("its key has the field {name}, which its rows lack"))
        };
        let key_columns = key.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let of_key = key_columns.iter().map(|column| &fields[columns[*column].place]);
        let key = if key.is_empty() { None } else { Some(key_schema(&value, of_key)?) };
        let form = if key.is_none() { Form::Event } else { Form::State };
        Ok(Self { form, row, columns, key_columns, key, value })
    }

    /// The rows' fields, in the value's schema.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        fields_of(&self.value, self.row)
    }

    /// The field that names in Avro lead to, from the row on, through records that may be null.
    #[must_use]
    pub fn field_at(&self, path: &[String]) -> Option<&Field> {
        let (first, rest) = path.split_first()?;
        let first = self.fields().iter().find(|field| field.name == *first)?;
        self.within(first, rest)
    }

    /// The field that names in Avro lead to, from a column on; without names the column's own.
    #[must_use]
    pub fn field_in(&self, column: usize, names: &[String]) -> Option<&Field> {
        self.within(self.field(column), names)
    }

    fn within<'f>(&'f self, field: &'f Field, names: &[String]) -> Option<&'f Field> {
        names.iter().try_fold(field, |field, name| field_within(&self.value, field.node, name))
    }

    /// The field of a column.
    #[must_use]
    pub fn field(&self, column: usize) -> &Field {
        &self.fields()[self.columns[column].place]
    }
}

fn fields_of(value: &Schema, row: NodeId) -> &[Field] {
    match &value.node(row).kind {
        Kind::Record(fields) => fields,
        _ => &[],
    }
}

/// The field called `name` of the record that a type is or is beside null.
fn field_within<'k>(schema: &'k Schema, id: NodeId, name: &str) -> Option<&'k Field> {
    let record = record_branch(schema, id)?;
    fields_of(schema, record).iter().find(|field| field.name == name)
}

/// The columns of rows, without those fields that are not the row's.
fn columns_of(value: &Schema, row: NodeId, added: &[&str]) -> Result<Vec<Column>, String> {
    let Kind::Record(fields) = &value.node(row).kind else {
        return Err("its rows are no records".into());
    };
    let columns: Vec<Column> = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| !added.contains(&field.name.as_str()))
        .map(|(place, field)| Column {
            name: sql_name(field),
            place,
            sql: sql_type(value, field.node),
        })
        .collect();
    if columns.len() > COLUMNS_MAX {
        return Err(format!("it has more than {COLUMNS_MAX} columns"));
    }
    Ok(columns)
}

/// The schema of a key of these fields: their bare types.
fn key_schema<'k>(
    value: &Schema,
    fields: impl Iterator<Item = &'k Field>,
) -> Result<Schema, String> {
    let name = value.node(value.root()).name.as_ref();
    let namespace = name.and_then(|name| name.namespace.clone()).unwrap_or_default();
    let mut definitions = Definitions::new(&namespace);
    let field = |field: &Field| {
        let bare = nullable_branch(value, field.node).unwrap_or(field.node);
        json!({"name": field.name, "type": definitions.type_json(value, bare)})
    };
    let fields: Vec<Json> = fields.map(field).collect();
    let mut key = json!({"type": "record", "name": "Key", "fields": fields});
    if !namespace.is_empty() {
        key["namespace"] = namespace.into();
    }
    Schema::parse(&key.to_string()).map_err(|error| error.to_string())
}

/// A field's name in its database, where Avro's rule has changed it.
fn sql_name(field: &Field) -> String {
    let original = field.properties.get("source.name").and_then(|name| name.as_str());
    original.unwrap_or(&field.name).to_owned()
}

/// What a topic's records are, as far as their values tell, and the type of their rows.
fn form_of(value: &Schema) -> Result<(Form, NodeId), String> {
    let Kind::Record(fields) = &value.node(value.root()).kind else {
        return Err("its values are no records, and have no columns".into());
    };
    let field = |name: &str| fields.iter().find(|field| field.name == name);
    if let (Some(before), Some(after), Some(_)) = (field("before"), field("after"), field("op")) {
        let rows = [before, after].map(|field| record_branch(value, field.node));
        if let [Some(before), Some(after)] = rows
            && before == after
        {
            return Ok((Form::Envelope, after));
        }
    }
    let flat = ADDED_FIELDS.iter().all(|name| field(name).is_some());
    Ok((if flat { Form::Flat } else { Form::State }, value.root()))
}

/// The record that a type is, or is beside null.
fn record_branch(schema: &Schema, id: NodeId) -> Option<NodeId> {
    let id = nullable_branch(schema, id).unwrap_or(id);
    matches!(schema.node(id).kind, Kind::Record(_)).then_some(id)
}

/// The columns that the key's fields name; none if it is no record, one of them is no column, or the key
/// says that it is of events, for which it only keeps the order.
fn key_columns(key: Option<&Schema>, fields: &[Field], columns: &[Column]) -> Vec<usize> {
    let Some(key) = key.filter(|key| !is_of_events(key)) else { return Vec::new() };
    let Kind::Record(key_fields) = &key.node(key.root()).kind else { return Vec::new() };
    let of = |key_field: &Field| {
        columns.iter().position(|column| fields[column.place].name == key_field.name)
    };
    key_fields.iter().map(of).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Whether a key is that of an emitter's events.
fn is_of_events(key: &Schema) -> bool {
    let records = key.node(key.root()).properties.get(RECORDS_ATTRIBUTE);
    records.and_then(Json::as_str) == Some(RECORDS_ARE_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse(text).unwrap()
    }

    fn key(fields: &[&str]) -> Option<Schema> {
        let fields: Vec<_> =
            fields.iter().map(|name| serde_json::json!({"name": name, "type": "long"})).collect();
        let key = serde_json::json!({"type": "record", "name": "Key", "fields": fields});
        Some(schema(&key.to_string()))
    }

    const ROW: &str = r#"{"type":"record","name":"Value","fields":[
        {"name":"id","type":"long"},
        {"name":"full_u0020name","type":["null","string"],"source.name":"full name"}]}"#;

    #[test]
    fn an_envelopes_columns_are_its_rows() {
        let value = format!(
            r#"{{"type":"record","name":"Envelope","fields":[{{"name":"before","type":["null",{ROW}]}},
                {{"name":"after","type":["null","Value"]}},{{"name":"op","type":"string"}}]}}"#
        );
        let relation = Relation::of_topic(key(&["id"]), schema(&value)).unwrap();
        assert_eq!(relation.form, Form::Envelope);
        let names: Vec<_> = relation.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "full name"]);
        assert_eq!(relation.key_columns, [0]);
        assert_eq!(relation.field(1).name, "full_u0020name");
    }

    #[test]
    fn what_a_flat_record_adds_is_no_column() {
        let value = r#"{"type":"record","name":"Value","fields":[{"name":"id","type":"long"},
            {"name":"__deleted","type":"string"},{"name":"__op","type":"string"},
            {"name":"__source_ts_us","type":"long"},{"name":"__position","type":"string"}]}"#;
        let relation = Relation::of_topic(key(&["id"]), schema(value)).unwrap();
        assert_eq!((relation.form, relation.columns.len()), (Form::Flat, 1));
    }

    #[test]
    fn without_a_key_among_its_columns_a_row_is_an_event() {
        let form = |key| Relation::of_topic(key, schema(ROW)).unwrap().form;
        assert_eq!(form(key(&["id"])), Form::State);
        assert_eq!(form(None), Form::Event);
        assert_eq!(form(key(&["other"])), Form::Event);
        assert_eq!(form(Some(schema(r#""string""#))), Form::Event);
    }

    #[test]
    fn a_key_that_says_so_is_that_of_events() {
        let key = |said: &str| {
            schema(&format!(
                r#"{{"type":"record","name":"Key","tidemesh.records":{said},
                    "fields":[{{"name":"id","type":"long"}}]}}"#
            ))
        };
        let of = |said| Relation::of_topic(Some(key(said)), schema(ROW)).unwrap();
        let events = of(r#""events""#);
        assert_eq!((events.form, events.key_columns.len()), (Form::Event, 0));
        assert!(events.key.unwrap().registry_text().contains("tidemesh.records"));
        for other in ["1", r#""states""#] {
            assert_eq!(of(other).form, Form::State, "{other}");
        }
    }

    #[test]
    fn rows_that_are_made_are_no_envelope_whatever_their_fields_are_called() {
        let value = format!(
            r#"{{"type":"record","name":"Out","fields":[{{"name":"id","type":["null","long"]}},
                {{"name":"before","type":["null",{ROW}]}},{{"name":"after","type":["null","Value"]}},
                {{"name":"op","type":"string"}}]}}"#
        );
        let of = |key: &[&str]| {
            let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
            Relation::of_rows(&key, schema(&value))
        };
        let keyed = of(&["id"]).unwrap();
        assert_eq!((keyed.form, keyed.columns.len()), (Form::State, 4));
        let key = keyed.key.unwrap().registry_text();
        assert!(key.contains(r#""name":"id","type":"long""#), "{key}");
        assert_eq!(of(&[]).unwrap().form, Form::Event);
        assert!(of(&["no"]).unwrap_err().contains("no"));
    }

    #[test]
    fn values_that_are_no_records_are_refused() {
        assert!(Relation::of_topic(None, schema(r#""string""#)).unwrap_err().contains("columns"));
    }
}
