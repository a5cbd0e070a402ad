//! A schema as text, as Avro Java 1.12's `Schema.toString()` prints it.

use super::{Field, Kind, Name, Node, NodeId, Schema};
use crate::compose::field_attributes;
use serde_json::{Map, Value as Json};
use std::collections::HashSet;

pub(super) fn print(schema: &Schema) -> String {
    let mut printer = Printer { schema, known: HashSet::new() };
    printer.node(schema.root(), None).to_string()
}

struct Printer<'s> {
    schema: &'s Schema,
    /// Named types that were printed: later places give the name only.
    known: HashSet<NodeId>,
}

impl Printer<'_> {
    fn node(&mut self, id: NodeId, around: Option<&str>) -> Json {
        let node = self.schema.node(id).clone();
        match &node.kind {
            Kind::Union(branches) => {
                branches.iter().map(|branch| self.node(*branch, around)).collect()
            }
            Kind::Array(items) => {
                let items = self.node(*items, around);
                self.container("array", "items", items, &node)
            }
            Kind::Map(values) => {
                let values = self.node(*values, around);
                self.container("map", "values", values, &node)
            }
            Kind::Record(_) | Kind::Enum { .. } | Kind::Fixed(_) => self.named(id, &node, around),
            _ if node.properties.is_empty() => node.type_name().to_lowercase().into(),
            _ => {
                let mut object = Map::new();
                object.insert("type".into(), node.type_name().to_lowercase().into());
                object.extend(node.properties);
                Json::Object(object)
            }
        }
    }

    fn container(&self, name: &str, attribute: &str, inner: Json, node: &Node) -> Json {
        let mut object = Map::new();
        object.insert("type".into(), name.into());
        object.insert(attribute.into(), inner);
        object.extend(node.properties.clone());
        Json::Object(object)
    }

    fn named(&mut self, id: NodeId, node: &Node, around: Option<&str>) -> Json {
        let Some(name) = &node.name else {
            return Json::Null;
        };
        if !self.known.insert(id) {
            return name.relative_to(around).into();
        }
        let mut object = Map::new();
        object.insert("type".into(), node.type_name().to_lowercase().into());
        object.insert("name".into(), name.name.clone().into());
        match (&name.namespace, around) {
            (Some(namespace), around) if around != Some(namespace) => {
                object.insert("namespace".into(), namespace.clone().into());
            }
            (None, Some(_)) => {
                object.insert("namespace".into(), "".into());
            }
            _ => {}
        }
        if let Some(doc) = &node.doc {
            object.insert("doc".into(), doc.clone().into());
        }
        let within = name.namespace.as_deref();
        match &node.kind {
            Kind::Record(fields) => {
                let fields: Vec<Json> =
                    fields.iter().map(|field| self.field(field, within)).collect();
                object.insert("fields".into(), fields.into());
            }
            Kind::Enum { symbols, default } => {
                object.insert("symbols".into(), symbols.clone().into());
                if let Some(default) = default {
                    object.insert("default".into(), default.clone().into());
                }
            }
            Kind::Fixed(size) => {
                object.insert("size".into(), (*size).into());
            }
            _ => {}
        }
        object.extend(node.properties.clone());
        aliases(&mut object, &node.aliases, within);
        Json::Object(object)
    }

    fn field(&mut self, field: &Field, around: Option<&str>) -> Json {
        let mut object = Map::new();
        object.insert("name".into(), field.name.clone().into());
        object.insert("type".into(), self.node(field.node, around));
        field_attributes(field, &mut object);
        Json::Object(object)
    }
}

fn aliases(object: &mut Map<String, Json>, aliases: &[Name], around: Option<&str>) {
    if !aliases.is_empty() {
        let written: Vec<_> = aliases.iter().map(|alias| alias.relative_to(around)).collect();
        object.insert("aliases".into(), written.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reprinted(text: &str) -> String {
        Schema::parse(text).unwrap().registry_text()
    }

    #[test]
    fn attributes_stand_in_javas_order() {
        assert_eq!(
            reprinted(
                r#"{ "fields": [ {"default": 1, "type": {"type":"int"}, "name": "a", "x": 2} ],
                    "doc": "d", "name": "n.R", "type": "record", "aliases": ["Q"], "p": true }"#
            ),
            r#"{"type":"record","name":"R","namespace":"n","doc":"d","fields":[{"name":"a","type":"int","default":1,"x":2}],"p":true,"aliases":["Q"]}"#
        );
    }

    #[test]
    fn a_second_mention_is_a_name_relative_to_its_namespace() {
        assert_eq!(
            reprinted(
                r#"{"type":"record","name":"a.R","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":2}},
                    {"name":"y","type":"a.F"},{"name":"z","type":["null","R"]}]}"#
            ),
            r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":2}},{"name":"y","type":"F"},{"name":"z","type":["null","R"]}]}"#
        );
    }

    #[test]
    fn logical_types_are_kept() {
        let text = r#"{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}"#;
        assert_eq!(reprinted(text), text);
    }
}
