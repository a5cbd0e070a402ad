//! Where a schema's types stand in its text, as JSON pointers (RFC 6901).

use super::{Kind, NodeId, Schema};
use std::collections::HashMap;

/// The places in a schema's [`Schema::registry_text`] where its named types are defined. Later
/// mentions there are names only, so a pointer into such a type begins at its definition.
pub(crate) struct Definitions<'s> {
    schema: &'s Schema,
    pointers: HashMap<NodeId, String>,
}

impl<'s> Definitions<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Self {
        let mut definitions = Self { schema, pointers: HashMap::new() };
        definitions.visit(schema.root(), String::new());
        definitions
    }

    pub(crate) fn schema(&self) -> &'s Schema {
        self.schema
    }

    /// The pointer to a type that is one step within what is at `around`.
    pub(crate) fn pointer(&self, id: NodeId, around: &str, step: &str) -> String {
        match self.pointers.get(&id) {
            Some(defined) => defined.clone(),
            None => format!("{around}/{step}"),
        }
    }

    /// In the order of the text, so that the first mention is the definition.
    fn visit(&mut self, id: NodeId, pointer: String) {
        let schema = self.schema;
        let node = schema.node(id);
        if node.name.is_some() {
            if self.pointers.contains_key(&id) {
                return;
            }
            self.pointers.insert(id, pointer.clone());
        }
        match &node.kind {
            Kind::Array(items) => self.visit(*items, format!("{pointer}/items")),
            Kind::Map(values) => self.visit(*values, format!("{pointer}/values")),
            Kind::Union(branches) => {
                for (place, branch) in branches.iter().enumerate() {
                    self.visit(*branch, format!("{pointer}/{place}"));
                }
            }
            Kind::Record(fields) => {
                for (place, field) in fields.iter().enumerate() {
                    self.visit(field.node, format!("{pointer}/fields/{place}/type"));
                }
            }
            _ => {}
        }
    }
}
