//! What changed from one topic's rows to another's, field by field.

use serde::{Deserialize, Serialize};
use tidemesh_avro::diff::{Change, diff};
use tidemesh_avro::schema::{Kind, NodeId, Schema};

/// The most changes that are told of one topic.
const CHANGES_MAX: usize = 200;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field by its names in Avro from the row on; none for the whole row.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The kind of change, as [`Change::name`] has it.
    pub change: String,
    /// The change in words.
    pub says: String,
}

/// What changed from `old` to `new` in the rows, and, if nothing did there, in the whole values.
/// Documentation and attributes alone are no change.
pub(super) fn changes(old: &Schema, new: &Schema) -> Vec<FieldChange> {
    let of = |old: &Schema, new: &Schema| -> Vec<FieldChange> {
        let all = diff(old, new).differences.into_iter();
        let told = all.filter(|each| each.change.concerns_data() && !names_a_type(&each.change));
        let told = told.map(|each| FieldChange {
            field: each.field,
            change: each.change.name().to_owned(),
            says: each.change.to_string(),
        });
        told.take(CHANGES_MAX).collect()
    };
    let rows = of(&old.at(row_of(old)), &new.at(row_of(new)));
    if rows.is_empty() { of(old, new) } else { rows }
}

/// A table's next topic has another namespace.
fn names_a_type(change: &Change) -> bool {
    matches!(change, Change::Renamed { .. })
}

/// The type of the rows in a topic's values: of an envelope that behind `after`.
pub(super) fn row_of(value: &Schema) -> NodeId {
    let root = value.root();
    let Kind::Record(fields) = &value.node(root).kind else { return root };
    let field = |name: &str| fields.iter().find(|field| field.name == name);
    match (field("before"), field("after"), field("op")) {
        (Some(_), Some(after), Some(_)) => record_of(value, after.node).unwrap_or(root),
        _ => root,
    }
}

fn record_of(value: &Schema, id: NodeId) -> Option<NodeId> {
    let is_record = |id: &NodeId| matches!(value.node(*id).kind, Kind::Record(_));
    match &value.node(id).kind {
        Kind::Union(branches) => branches.iter().copied().find(is_record),
        _ => Some(id).filter(is_record),
    }
}
