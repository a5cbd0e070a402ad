//! What a lookup's table keeps of a row: the columns that something reads.

use super::super::cells::Cells;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::compose::Definitions;
use tidemesh_avro::schema::Schema;
use tidemesh_model::Result;
use tidemesh_plan::query::{Origin, Part, Query, Step};
use tidemesh_plan::relation::Relation;

/// The name of the records that a table holds, which nobody else sees.
const NAME: &str = "tidemesh.Kept";

/// For each input that rows are looked up in the columns that are read, by their places.
pub(super) fn kept_columns<'q>(
    queries: impl Iterator<Item = &'q Query>,
) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut kept: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for branch in queries.flat_map(|query| &query.branches) {
        for step in &branch.steps {
            if let Step::Lookup(lookup) = step {
                kept.entry(lookup.input).or_default();
            }
        }
        for slot in branch.needed() {
            if let Origin::Lookup { input, column } = branch.slots[slot].origin {
                kept.entry(input).or_default().insert(column);
            }
        }
    }
    kept
}

/// What is kept of each row.
#[derive(Debug)]
pub(super) struct Kept {
    /// The columns, by their places in the relation.
    pub(super) columns: Vec<usize>,
    /// The record of them.
    pub(super) schema: Schema,
}

impl Kept {
    /// # Errors
    ///
    /// `Malformed` if the columns' types make no schema.
    pub(super) fn new(relation: &Relation, columns: BTreeSet<usize>) -> Result<Self> {
        let mut definitions = Definitions::new("tidemesh");
        definitions.reserve(NAME);
        let field = |column: &usize| {
            let field = relation.field(*column);
            let of = definitions.type_json(&relation.value, field.node);
            json!({"name": field.name, "type": of})
        };
        let fields: Vec<Json> = columns.iter().map(field).collect();
        let record = json!({"type": "record", "name": NAME, "fields": fields});
        let schema = Schema::parse(&record.to_string())?;
        Ok(Self { columns: columns.into_iter().collect(), schema })
    }

    /// Those that expressions can read. Of the others only the bytes are passed on.
    pub(super) fn readable(&self, relation: &Relation) -> Vec<Part> {
        let can_be_read =
            |(column, _): &Part| Cells::new(&relation.value, relation.field(*column).node).is_ok();
        self.parts().into_iter().filter(can_be_read).collect()
    }

    /// The columns as parts of the relation's rows.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.columns.iter().map(|column| (*column, Vec::new())).collect()
    }
}
