//! The fields of a topic's rows, as people read them.

use super::said::Said;
use serde::{Deserialize, Serialize};
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};
use tidemesh_plan::relation::Relation;

/// The most fields that are told of a topic.
const FIELDS_MAX: usize = 10_000;

/// The deepest that fields within fields are told.
const DEPTH_MAX: usize = 16;

/// A field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldReport {
    /// Its path, joined by points.
    pub path: String,
    /// The column's own name in its database, where Avro has no such names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Its type, in words: `long`, `decimal(10,2)`, `array of string`.
    pub data_type: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words under which it is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether samples hide it; in a list of topics only as far as their own documents say so.
    pub masked: bool,
}

/// The fields of the rows that values of this schema carry; none if they are no rows.
pub(crate) fn fields(value: &Schema, said: &Said<'_>) -> Vec<FieldReport> {
    let Ok(relation) = Relation::of_topic(None, value.clone()) else { return Vec::new() };
    let mut told = Told { schema: value, said, reports: Vec::new() };
    for column in &relation.columns {
        told.field(&relation.fields()[column.place], "", 0);
    }
    told.reports
}

/// The names of a record's fields; none of what is no record.
pub(crate) fn names(schema: &Schema) -> Vec<String> {
    match &schema.node(schema.root()).kind {
        Kind::Record(fields) => fields.iter().map(|field| field.name.clone()).collect(),
        _ => Vec::new(),
    }
}

struct Told<'t> {
    schema: &'t Schema,
    said: &'t Said<'t>,
    reports: Vec<FieldReport>,
}

impl Told<'_> {
    fn field(&mut self, field: &Field, before: &str, depth: usize) {
        if self.reports.len() >= FIELDS_MAX || depth > DEPTH_MAX {
            return;
        }
        let path = format!("{before}{}", field.name);
        let said = self.said.field(&path);
        let (node, nullable) = bare(self.schema, field.node);
        self.reports.push(FieldReport {
            data_type: words(self.schema, node, 0),
            nullable,
            description: said
                .and_then(|said| said.description.clone())
                .or_else(|| field.doc.clone()),
            tags: said.map(|said| said.tags.clone()).unwrap_or_default(),
            masked: said.is_some_and(|said| said.masked),
            column: field
                .properties
                .get("source.name")
                .and_then(|name| Some(name.as_str()?.to_owned())),
            path: path.clone(),
        });
        let (mut within, schema) = (node, self.schema);
        while let Kind::Array(items) | Kind::Map(items) = &schema.node(within).kind {
            within = bare(schema, *items).0;
        }
        if let Kind::Record(fields) = &schema.node(within).kind {
            let before = format!("{path}.");
            fields.iter().for_each(|field| self.field(field, &before, depth + 1));
        }
    }
}

/// A type without the null beside it, and whether there was one.
fn bare(schema: &Schema, node: NodeId) -> (NodeId, bool) {
    let Kind::Union(branches) = &schema.node(node).kind else { return (node, false) };
    let is_null = |node: &&NodeId| matches!(schema.node(**node).kind, Kind::Null);
    let mut others = branches.iter().filter(|node| !is_null(node));
    match (others.next(), others.next()) {
        (Some(only), None) => (*only, branches.len() > 1),
        _ => (node, branches.iter().any(|node| is_null(&node))),
    }
}

fn words(schema: &Schema, node: NodeId, depth: usize) -> String {
    let (id, _) = bare(schema, node);
    let node = schema.node(id);
    if depth > DEPTH_MAX {
        return "…".to_owned();
    }
    match &node.kind {
        Kind::Array(items) => format!("array of {}", words(schema, *items, depth + 1)),
        Kind::Map(values) => format!("map of {}", words(schema, *values, depth + 1)),
        Kind::Union(branches) => {
            let words = branches.iter().map(|branch| words(schema, *branch, depth + 1));
            words.collect::<Vec<_>>().join(" or ")
        }
        _ => logical(schema, id).unwrap_or_else(|| node.type_name().to_ascii_lowercase()),
    }
}

fn logical(schema: &Schema, node: NodeId) -> Option<String> {
    let properties = &schema.node(node).properties;
    let name = properties.get("logicalType")?.as_str()?;
    let number = |name: &str| properties.get(name).and_then(serde_json::Value::as_u64);
    Some(match (name, number("precision")) {
        ("decimal", Some(precision)) => {
            format!("decimal({precision},{})", number("scale").unwrap_or(0))
        }
        _ => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_within_fields_and_their_types_are_told() {
        let schema = r#"{"type": "record", "name": "V", "fields": [
            {"name": "id", "type": "long"},
            {"name": "total", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}]},
            {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
            {"name": "lines", "type": ["null", {"type": "array", "items": {"type": "record", "name": "L", "fields": [
                {"name": "sku", "type": "string"}]}}]}]}"#;
        let told = fields(&Schema::parse(schema).unwrap(), &Said::default());
        let told: Vec<_> =
            told.iter().map(|one| (&*one.path, &*one.data_type, one.nullable)).collect();
        let expected = [
            ("id", "long", false),
            ("total", "decimal(10,2)", true),
            ("tags", "array of string", false),
            ("lines", "array of record", true),
            ("lines.sku", "string", false),
        ];
        assert_eq!(told, expected);
        let text = Schema::parse(r#""string""#).unwrap();
        assert!(fields(&text, &Said::default()).is_empty());
    }
}
