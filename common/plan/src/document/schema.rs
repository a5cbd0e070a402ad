//! An Avro schema in a document: written out, or as a text.

use super::read::At;
use super::report::Report;
use super::tree::Content;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tidemesh_avro::schema::{Kind, Schema};
use tidemesh_model::Error;

/// A record's schema. Two are equal if they are written alike.
#[derive(Debug, Clone)]
pub struct AvroSchema {
    json: Value,
    schema: Schema,
}

impl AvroSchema {
    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The schema as it was written, as JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The names of its fields, in their order.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        match &self.schema.node(self.schema.root()).kind {
            Kind::Record(fields) => fields.iter().map(|field| field.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn read(at: &At<'_>, report: &mut Report) -> Option<Self> {
        let (text, json) = written(at, report)?;
        let schema = match Schema::parse(&text) {
            Ok(schema) => schema,
            Err(error) => {
                wrong(&error, at, report);
                return None;
            }
        };
        if !matches!(schema.node(schema.root()).kind, Kind::Record(_)) {
            let help = "write {type: record, name: …, fields: […]}";
            report.wrong(at, "the schema is no record's, and a row is one", help);
        }
        Some(Self { json, schema })
    }
}

/// The schema's text, and the JSON that it is.
fn written(at: &At<'_>, report: &mut Report) -> Option<(String, Value)> {
    match &at.node.content {
        Content::Table(_) => {
            let json = at.node.to_json();
            Some((json.to_string(), json))
        }
        Content::Text(text, _) => {
            // A type's bare name needs no second quotes.
            let json = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            let text = if json.is_string() { json.to_string() } else { text.clone() };
            Some((text, json))
        }
        _ => {
            let help = "write an Avro schema, as a table or as a text of JSON";
            report.wrong(at, format!("this is {}", at.node.what()), help);
            None
        }
    }
}

/// What Avro refuses stands where its path leads to, if the schema is written out.
fn wrong(error: &Error, at: &At<'_>, report: &mut Report) {
    let path = error.context().iter().find(|(name, _)| *name == "path");
    let mut place = at.clone();
    for step in path.map_or("", |(_, path)| path).split('/').filter(|step| !step.is_empty()) {
        let Some(next) = place.step(step) else { break };
        place = next;
    }
    let message = error.message().unwrap_or("it cannot be read");
    let help = "write it as the specification of Avro 1.12 has schemas";
    report.wrong(&place, format!("this is no Avro schema: {message}"), help);
}

impl PartialEq for AvroSchema {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Serialize for AvroSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}
