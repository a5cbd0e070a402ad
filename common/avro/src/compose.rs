//! Types of parsed schemas as JSON, for a schema that is made of parts of others. Pure.
//!
//! Every name is written in full, so that a part means the same wherever it is put. A named type is
//! defined where it comes first and named where it comes again. Where two different types of one full
//! name meet, as they can from two schemas, the later one gets a number behind its name.

use crate::schema::{Field, Kind, Name, Node, NodeId, Schema};
use serde_json::{Map, Value as Json};
use std::collections::HashMap;

/// The named types that a schema under construction has so far.
#[derive(Debug, Default)]
pub struct Definitions {
    /// Where a type without a namespace goes: what is around it would give it another.
    namespace: String,
    /// Each definition by the full name it was given, as text.
    by_name: HashMap<String, String>,
}

impl Definitions {
    /// Nothing yet. Types without a namespace get this one.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), by_name: HashMap::new() }
    }

    /// Says that a full name is taken by the schema itself.
    pub fn reserve(&mut self, full_name: &str) {
        self.by_name.insert(full_name.to_owned(), String::new());
    }

    /// The type at `id` of `schema`, as JSON.
    pub fn type_json(&mut self, schema: &Schema, id: NodeId) -> Json {
        Writer { schema, definitions: self, within: HashMap::new() }.node(id)
    }
}

struct Writer<'w> {
    schema: &'w Schema,
    definitions: &'w mut Definitions,
    /// Named types of this schema that were written or are being written, with their full names.
    within: HashMap<NodeId, String>,
}

impl Writer<'_> {
    fn node(&mut self, id: NodeId) -> Json {
        let node = self.schema.node(id);
        match &node.kind {
            Kind::Union(branches) => branches.iter().map(|branch| self.node(*branch)).collect(),
            Kind::Array(items) => self.container("array", "items", *items, node),
            Kind::Map(values) => self.container("map", "values", *values, node),
            Kind::Record(_) | Kind::Enum { .. } | Kind::Fixed(_) => self.named(id, node),
            _ if node.properties.is_empty() => primitive(node),
            _ => object([("type", primitive(node))], &node.properties),
        }
    }

    fn container(&mut self, name: &str, attribute: &str, inner: NodeId, node: &Node) -> Json {
        let inner = self.node(inner);
        object([("type", name.into()), (attribute, inner)], &node.properties)
    }

    fn named(&mut self, id: NodeId, node: &Node) -> Json {
        if let Some(known) = self.within.get(&id) {
            return known.as_str().into();
        }
        let name = self.full_name(node.name.as_ref());
        let alone = single(self.schema, id);
        let (name, is_new) = self.free_name(name, &alone);
        self.within.insert(id, name.clone());
        if !is_new {
            return name.into();
        }
        self.definitions.by_name.insert(name.clone(), alone);
        self.definition(&name, node)
    }

    fn full_name(&self, name: Option<&Name>) -> String {
        match name {
            None => format!("{}.unnamed", self.definitions.namespace),
            Some(Name { name, namespace: Some(namespace) }) => format!("{namespace}.{name}"),
            Some(Name { name, .. }) if self.definitions.namespace.is_empty() => name.clone(),
            Some(Name { name, .. }) => format!("{}.{name}", self.definitions.namespace),
        }
    }

    /// The name under which this definition stands, and whether it has yet to be written.
    fn free_name(&self, name: String, alone: &str) -> (String, bool) {
        let mut candidate = name.clone();
        let mut number = 2;
        loop {
            match self.definitions.by_name.get(&candidate) {
                None => return (candidate, true),
                Some(definition) if definition == alone => return (candidate, false),
                Some(_) => candidate = format!("{name}_{number}"),
            }
            number += 1;
        }
    }

    fn definition(&mut self, full_name: &str, node: &Node) -> Json {
        let (namespace, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
        let mut json = Map::new();
        json.insert("type".into(), node.type_name().to_lowercase().into());
        json.insert("name".into(), name.into());
        json.insert("namespace".into(), namespace.into());
        if let Some(doc) = &node.doc {
            json.insert("doc".into(), doc.as_str().into());
        }
        match &node.kind {
            Kind::Record(fields) => {
                let fields: Vec<Json> = fields.iter().map(|field| self.field(field)).collect();
                json.insert("fields".into(), fields.into());
            }
            Kind::Enum { symbols, default } => {
                json.insert("symbols".into(), symbols.clone().into());
                if let Some(default) = default {
                    json.insert("default".into(), default.as_str().into());
                }
            }
            Kind::Fixed(size) => {
                json.insert("size".into(), (*size).into());
            }
            _ => {}
        }
        json.extend(node.properties.clone());
        if !node.aliases.is_empty() {
            let aliases: Vec<String> = node.aliases.iter().map(Name::to_string).collect();
            json.insert("aliases".into(), aliases.into());
        }
        Json::Object(json)
    }

    fn field(&mut self, field: &Field) -> Json {
        let mut json = Map::new();
        json.insert("name".into(), field.name.as_str().into());
        json.insert("type".into(), self.node(field.node));
        field_attributes(field, &mut json);
        Json::Object(json)
    }
}

/// What a field has beside its name and type: documentation, default, order, aliases, properties.
pub fn field_attributes(field: &Field, json: &mut Map<String, Json>) {
    if let Some(doc) = &field.doc {
        json.insert("doc".into(), doc.as_str().into());
    }
    if let Some(default) = &field.default {
        json.insert("default".into(), default.clone());
    }
    if let Some(order) = &field.order {
        json.insert("order".into(), order.as_str().into());
    }
    if !field.aliases.is_empty() {
        json.insert("aliases".into(), field.aliases.clone().into());
    }
    json.extend(field.properties.clone());
}

/// A named type alone, as text: what tells whether two are the same.
fn single(schema: &Schema, id: NodeId) -> String {
    schema.at(id).registry_text()
}

fn primitive(node: &Node) -> Json {
    node.type_name().to_lowercase().into()
}

fn object<const N: usize>(first: [(&str, Json); N], properties: &Map<String, Json>) -> Json {
    let first = first.into_iter().map(|(name, value)| (name.to_owned(), value));
    Json::Object(first.chain(properties.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Json {
        let mut definitions = Definitions::new("out");
        let schemas = texts.iter().map(|text| Schema::parse(text).unwrap());
        let types = schemas.map(|schema| definitions.type_json(&schema, schema.root()));
        let fields: Vec<Json> = types
            .enumerate()
            .map(|(place, of)| serde_json::json!({"name": format!("f{place}"), "type": of}))
            .collect();
        serde_json::json!({"type": "record", "name": "R", "namespace": "out", "fields": fields})
    }

    fn parsed(json: &Json) -> Schema {
        Schema::parse(&json.to_string()).unwrap()
    }

    #[test]
    fn a_type_is_defined_once_and_named_where_it_comes_again() {
        let city = r#"{"type":"record","name":"a.City","fields":[{"name":"x","type":"int"}]}"#;
        let json = of(&[city, &format!(r#"["null",{city}]"#)]);
        assert_eq!(json["fields"][0]["type"]["name"], "City");
        assert_eq!(json["fields"][1]["type"], serde_json::json!(["null", "a.City"]));
        parsed(&json);
    }

    #[test]
    fn two_types_of_one_name_are_told_apart() {
        let one = r#"{"type":"record","name":"City","fields":[{"name":"x","type":"int"}]}"#;
        let two = r#"{"type":"record","name":"City","fields":[{"name":"y","type":"int"}]}"#;
        let json = of(&[one, two, one, two]);
        let name = |place: usize| json["fields"][place]["type"].clone();
        assert_eq!(name(0)["name"], "City");
        assert_eq!(name(0)["namespace"], "out");
        assert_eq!(name(1)["name"], "City_2");
        assert_eq!((name(2), name(3)), ("out.City".into(), "out.City_2".into()));
        parsed(&json);
    }

    #[test]
    fn a_recursive_type_ends() {
        let list = r#"{"type":"record","name":"n.List","fields":[{"name":"next","type":["null","List"]}]}"#;
        let json = of(&[list, list]);
        assert_eq!(json["fields"][0]["type"]["fields"][0]["type"][1], "n.List");
        assert_eq!(json["fields"][1]["type"], "n.List");
        parsed(&json);
    }

    #[test]
    fn what_stands_beside_the_types_is_kept() {
        let text = r#"{"type":"array","items":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2},"p":1}"#;
        assert_eq!(of(&[text])["fields"][0]["type"].to_string(), text);
    }
}
