//! Names of types that stand in the same place of two schemas. To whoever goes through bytes by the
//! writer's schema, and takes fields by their names, the names of types are nothing.

use crate::schema::{Field, Kind, Name, NodeId, Schema};
use std::collections::{BTreeSet, HashMap};

/// A schema whose records, enums and fixed types are called as those of another schema are that stand in
/// the same places: behind fields of the same names, in lists, and beside null alone in unions.
///
/// What it says is for comparing: two of its types may have one name.
#[must_use]
pub fn named_as(schema: &Schema, like: &Schema) -> Schema {
    let mut walk = Walk { schema, like, seen: BTreeSet::new(), names: HashMap::new() };
    walk.value(schema.root(), like.root());
    schema.renamed(&walk.names)
}

struct Walk<'w> {
    schema: &'w Schema,
    like: &'w Schema,
    seen: BTreeSet<(NodeId, NodeId)>,
    names: HashMap<NodeId, Name>,
}

impl Walk<'_> {
    fn value(&mut self, own: NodeId, other: NodeId) {
        if !self.seen.insert((own, other)) {
            return;
        }
        let (schema, like) = (self.schema, self.like);
        match (&schema.node(own).kind, &like.node(other).kind) {
            (Kind::Union(_), _) | (_, Kind::Union(_)) => {
                if let Some((own, other)) = only(schema, own).zip(only(like, other)) {
                    self.value(own, other);
                }
            }
            (Kind::Array(own), Kind::Array(other)) | (Kind::Map(own), Kind::Map(other)) => {
                self.value(*own, *other);
            }
            (Kind::Record(one), Kind::Record(two)) => {
                self.name(own, other);
                self.fields(one, two);
            }
            (Kind::Enum { .. }, Kind::Enum { .. }) | (Kind::Fixed(_), Kind::Fixed(_)) => {
                self.name(own, other);
            }
            _ => {}
        }
    }

    fn name(&mut self, own: NodeId, other: NodeId) {
        if let Some(name) = &self.like.node(other).name {
            self.names.entry(own).or_insert_with(|| name.clone());
        }
    }

    fn fields(&mut self, own: &[Field], others: &[Field]) {
        for field in own {
            if let Some(other) = others.iter().find(|other| other.name == field.name) {
                self.value(field.node, other.node);
            }
        }
    }
}

/// The type itself, or that which is beside null alone.
fn only(schema: &Schema, id: NodeId) -> Option<NodeId> {
    let Kind::Union(branches) = &schema.node(id).kind else { return Some(id) };
    let is_null = |id: &&NodeId| matches!(schema.node(**id).kind, Kind::Null);
    let mut others = branches.iter().filter(|id| !is_null(id));
    others.next().copied().filter(|_| others.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::incompatibilities;

    fn record(name: &str, of: &str) -> Schema {
        let text = format!(
            r#"{{"type": "record", "name": "{name}", "fields": [{{"name": "f", "type": {of}}}]}}"#
        );
        Schema::parse(&text).unwrap()
    }

    fn inner(name: &str, of: &str) -> String {
        format!(
            r#"["null", {{"type": "record", "name": "{name}", "fields": [{{"name": "a", "type": "{of}"}}]}}]"#
        )
    }

    #[test]
    fn a_record_beside_null_is_called_as_that_in_its_place() {
        let (one, other) = (record("R", &inner("x", "int")), record("S", &inner("y", "int")));
        assert!(!incompatibilities(&one, &other).is_empty());
        assert!(incompatibilities(&one, &named_as(&other, &one)).is_empty());
    }

    #[test]
    fn what_is_another_type_stays_so() {
        let (one, other) = (record("R", &inner("x", "int")), record("R", &inner("y", "string")));
        assert!(!incompatibilities(&one, &named_as(&other, &one)).is_empty());
    }

    #[test]
    fn what_refers_to_itself_is_gone_through_once() {
        let chain = |name: &str| record(name, &format!(r#"["null", "{name}"]"#));
        assert!(incompatibilities(&chain("x"), &named_as(&chain("y"), &chain("x"))).is_empty());
    }
}
