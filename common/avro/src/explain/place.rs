//! From the checker's steps to places that people and JSON tools find.

use crate::compat::PairStep;
use crate::schema::{Definitions, Kind, NodeId, Schema};

/// Where named types are defined in both schemas' texts.
pub(super) struct Places<'s> {
    reader: Definitions<'s>,
    writer: Definitions<'s>,
}

/// One place in both schemas.
pub(super) struct Place {
    /// JSON pointer into the reader's text.
    pub(super) reader: String,
    /// JSON pointer into the writer's text.
    pub(super) writer: String,
    /// The reader's fields that lead there.
    pub(super) field: Option<String>,
}

impl<'s> Places<'s> {
    pub(super) fn new(reader: &'s Schema, writer: &'s Schema) -> Self {
        Self { reader: Definitions::new(reader), writer: Definitions::new(writer) }
    }

    pub(super) fn of(&self, trail: &[PairStep]) -> Place {
        let mut reader = Walk::new(&self.reader);
        let mut writer = Walk::new(&self.writer);
        for step in trail {
            if let Some(part) = reader_part(*step) {
                reader.step(part);
            }
            if let Some(part) = writer_part(*step) {
                writer.step(part);
            }
        }
        let field = (!reader.fields.is_empty()).then(|| reader.fields.join("."));
        Place { reader: reader.pointer, writer: writer.pointer, field }
    }
}

/// A step within one schema.
#[derive(Clone, Copy)]
enum Part {
    Items,
    Values,
    Field(usize),
    FieldType(usize),
    Branch(usize),
    Attribute(&'static str),
}

fn reader_part(step: PairStep) -> Option<Part> {
    Some(match step {
        PairStep::Field(place) => Part::Field(place),
        PairStep::FieldType { reader, .. } => Part::FieldType(reader),
        PairStep::ReaderBranch(place) => Part::Branch(place),
        PairStep::WriterBranch(_) => return None,
        other => return shared_part(other),
    })
}

fn writer_part(step: PairStep) -> Option<Part> {
    Some(match step {
        // What the writer lacks is lacking in its record.
        PairStep::Field(_) | PairStep::ReaderBranch(_) => return None,
        PairStep::FieldType { writer, .. } => Part::FieldType(writer?),
        PairStep::WriterBranch(place) => Part::Branch(place),
        other => return shared_part(other),
    })
}

fn shared_part(step: PairStep) -> Option<Part> {
    match step {
        PairStep::Items => Some(Part::Items),
        PairStep::Values => Some(Part::Values),
        PairStep::Name => Some(Part::Attribute("name")),
        PairStep::Size => Some(Part::Attribute("size")),
        PairStep::Symbols => Some(Part::Attribute("symbols")),
        _ => None,
    }
}

/// The way through one schema. A step that the type does not have is left out: none is made.
struct Walk<'d, 's> {
    definitions: &'d Definitions<'s>,
    node: NodeId,
    pointer: String,
    fields: Vec<&'s str>,
}

impl<'d, 's> Walk<'d, 's> {
    fn new(definitions: &'d Definitions<'s>) -> Self {
        let node = definitions.schema().root();
        Self { definitions, node, pointer: String::new(), fields: Vec::new() }
    }

    fn step(&mut self, part: Part) {
        let schema = self.definitions.schema();
        match (part, &schema.node(self.node).kind) {
            (Part::Items, Kind::Array(items)) => self.enter(*items, "items"),
            (Part::Values, Kind::Map(values)) => self.enter(*values, "values"),
            (Part::Branch(place), Kind::Union(branches)) => {
                if let Some(branch) = branches.get(place) {
                    self.enter(*branch, &place.to_string());
                }
            }
            (Part::Field(place) | Part::FieldType(place), Kind::Record(fields)) => {
                let Some(field) = fields.get(place) else { return };
                self.fields.push(&field.name);
                if matches!(part, Part::Field(_)) {
                    self.pointer.push_str(&format!("/fields/{place}"));
                } else {
                    self.enter(field.node, &format!("fields/{place}/type"));
                }
            }
            (Part::Attribute(name), _) => self.pointer.push_str(&format!("/{name}")),
            _ => {}
        }
    }

    fn enter(&mut self, node: NodeId, step: &str) {
        self.node = node;
        self.pointer = self.definitions.pointer(node, &self.pointer, step);
    }
}
