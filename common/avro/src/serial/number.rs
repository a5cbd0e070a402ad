//! serde_json's numbers where some crate has switched its feature `arbitrary_precision` on: a struct
//! of one field, the number's text (serde_json 1.0, `number.rs`). rust_decimal gives its own so too.

use super::error::Fault;
use super::plan::{FixedPlan, Node};
use super::scalar;
use super::union::Given;
use super::writer::Ser;
use crate::schema::Logical;

/// The struct's name, and its field's.
pub(super) const TOKEN: &str = "$serde_json::private::Number";

/// Writes a number by its text: into a decimal as it stands, else as an integer if it is one.
pub(super) fn text(ser: Ser<'_, '_>, text: &str) -> Result<(), Fault> {
    let Ser { writer, node } = ser;
    let is_decimal = |node: &Node| {
        let fixed =
            matches!(node, Node::Fixed(FixedPlan { logical: Some(Logical::Decimal { .. }), .. }));
        fixed || matches!(node, Node::Bytes(Some(_)))
    };
    let node = match node {
        Node::Nullable { value, branch, .. } => {
            writer.out.push(*value);
            &writer.nodes[*branch]
        }
        Node::Union(union) => {
            let nodes = writer.nodes;
            let decimal = union.branches.iter().position(|branch| is_decimal(&nodes[branch.node]));
            match decimal {
                Some(place) => writer.enter_branch(union.branches[place].node, place),
                None => node,
            }
        }
        _ => node,
    };
    let ser = Ser { writer, node };
    if is_decimal(node) {
        return scalar::text(ser, text);
    }
    if let Ok(value) = text.parse() {
        return scalar::integer(ser, value, Given::Wide(value), "number");
    }
    match text.parse() {
        Ok(value) => scalar::double(ser, value),
        Err(_) => Err(Fault::new("the text of a number is none")),
    }
}
