//! Structs and maps, into records and maps.
//!
//! A record's fields are written as they come for as long as they come in the schema's order. From
//! the first that does not, they are written one behind the other all the same, their places noted,
//! and put in order at the end.

use super::Part;
use super::elements::Blocks;
use super::error::{Fault, shown};
use super::key::Key;
use super::plan::{FieldPlan, NO_KEY, Node, RecordPlan};
use super::union::Given;
use super::writer::{Ser, Writer, put};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeStruct, SerializeStructVariant};

/// A record or map that is being written.
pub(super) struct Fields<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// The fields that may come as they are: those of the record, or none once they are out of order.
    ordered: &'a [FieldPlan],
    /// The field that comes next in the schema's order.
    next: usize,
    target: Target<'a>,
}

enum Target<'a> {
    Record {
        record: &'a RecordPlan,
        /// The field whose name a map has given, and whose value comes next.
        pending: usize,
        scattered: Option<Scattered>,
    },
    Map {
        values: &'a Node,
        blocks: Blocks,
    },
}

/// Fields out of order.
#[derive(Clone, Copy)]
struct Scattered {
    /// Where the first of them begins.
    start: usize,
    /// How many parts of records further out are noted before theirs.
    parts: usize,
}

/// No field is waited for.
const NONE: usize = usize::MAX;

impl<'w, 'a> Fields<'w, 'a> {
    #[inline]
    pub(super) fn open(
        ser: Ser<'w, 'a>,
        given: Given<'_>,
        count: Option<usize>,
        found: &'static str,
    ) -> Result<Self, Fault> {
        let Ser { writer, node } = ser;
        if let Node::Record(record) = node {
            writer.open()?;
            let target = Target::Record { record, pending: NONE, scattered: None };
            return Ok(Self { writer, ordered: &record.fields, next: 0, target });
        }
        Self::open_other(writer, node, given, count, found)
    }

    fn open_other(
        writer: &'w mut Writer<'a>,
        node: &'a Node,
        given: Given<'_>,
        count: Option<usize>,
        found: &'static str,
    ) -> Result<Self, Fault> {
        match writer.branch(node, &given, found)? {
            node @ Node::Record(_) => Self::open(Ser { writer, node }, given, count, found),
            Node::Map(values) => {
                writer.open()?;
                let values = &writer.nodes[*values];
                let blocks = Blocks::begin(writer.out, count);
                let target = Target::Map { values, blocks };
                Ok(Self { writer, ordered: &[], next: 0, target })
            }
            node => Err(match given {
                Given::Struct(name) => {
                    writer.misfit(node, found).found(format!("{found} {}", shown(name)))
                }
                _ => writer.misfit(node, found),
            }),
        }
    }

    /// Writes the field that comes next in the schema's order.
    #[inline]
    fn in_order<T: Serialize + ?Sized>(
        &mut self,
        field: &'a FieldPlan,
        value: &T,
    ) -> Result<(), Fault> {
        let start = self.writer.out.len();
        let node = &self.writer.nodes[field.node];
        if let Err(fault) = put(self.writer, node, value) {
            return Err(fault.under_field(&field.name));
        }
        self.next += 1;
        self.writer.note(field, start);
        Ok(())
    }

    /// A field out of order, or a map's entry.
    #[inline(never)]
    fn other<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Fault> {
        match &self.target {
            Target::Record { record, .. } => match record.place(name) {
                Some(place) => self.scatter(place, value),
                None => Err(unknown(record, name)),
            },
            Target::Map { .. } => {
                self.writer.run(name.as_bytes());
                self.entry(value)
            }
        }
    }

    /// Writes a field where none is due, and notes where it stands.
    fn scatter<T: Serialize + ?Sized>(&mut self, place: usize, value: &T) -> Result<(), Fault> {
        let Target::Record { record, scattered, .. } = &mut self.target else {
            return Err(Fault::new("a field was given outside of a record"));
        };
        let field = &record.fields[place];
        if place < self.next {
            return Err(twice(field));
        }
        let start = self.writer.out.len();
        if scattered.is_none() {
            *scattered = Some(Scattered { start, parts: self.writer.scratch.parts.len() });
            self.ordered = &[];
        }
        let node = &self.writer.nodes[field.node];
        if let Err(fault) = put(self.writer, node, value) {
            return Err(fault.under_field(&field.name));
        }
        let end = self.writer.out.len();
        self.writer.scratch.parts.push(Part { field: place, start, end });
        Ok(())
    }

    /// The value of a map's entry, whose key is written.
    fn entry<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let Target::Map { values, blocks } = &mut self.target else {
            return Err(Fault::new("a map's value was given without its key"));
        };
        if let Err(fault) = put(self.writer, values, value) {
            return Err(fault.under_entry(blocks.count));
        }
        blocks.count += 1;
        Ok(())
    }

    /// A field that the value leaves out, in its place.
    fn skip(&mut self, name: &str) -> Result<(), Fault> {
        match self.ordered.get(self.next) {
            Some(field) if *field.name == *name => {
                self.writer.default(field)?;
                self.next += 1;
                Ok(())
            }
            // At the end it is missing, and takes its default there.
            _ => Ok(()),
        }
    }

    #[inline]
    fn finish(self) -> Result<(), Fault> {
        let Self { writer, next, target, .. } = self;
        match target {
            Target::Record { record, pending: NONE, scattered: None } => {
                if let Some(missing) = record.fields.get(next..) {
                    missing.iter().try_for_each(|field| writer.default(field))?;
                }
            }
            Target::Record { record, pending: NONE, scattered: Some(scattered) } => {
                writer.gather(&record.fields[next..], next, scattered)?;
            }
            Target::Record { .. } => return Err(Fault::new("a map's key has no value")),
            Target::Map { blocks, .. } => blocks.end(writer.out),
        }
        writer.close();
        Ok(())
    }
}

impl<'a> Writer<'a> {
    /// Notes a field that is written, from `start` to here, if it is one of the key's.
    #[inline]
    fn note(&mut self, field: &FieldPlan, start: usize) {
        if field.key != NO_KEY
            && let Some(range) = self.ranges.get_mut(field.key)
        {
            *range = (start, self.out.len());
        }
    }

    /// Writes a field that the value lacks.
    fn default(&mut self, field: &FieldPlan) -> Result<(), Fault> {
        let Some(default) = &field.default else {
            return Err(Fault::new("the value lacks a field that has no default")
                .expected(self.nodes[field.node].describe(self.nodes))
                .under_field(&field.name));
        };
        let start = self.out.len();
        self.out.extend_from_slice(default);
        self.note(field, start);
        Ok(())
    }

    /// Puts fields in order, those of the schema from `first` on.
    fn gather(
        &mut self,
        fields: &'a [FieldPlan],
        first: usize,
        scattered: Scattered,
    ) -> Result<(), Fault> {
        let mut parts = std::mem::take(&mut self.scratch.parts);
        let mut moved = std::mem::take(&mut self.scratch.moved);
        moved.clear();
        moved.extend_from_slice(&self.out[scattered.start..]);
        self.out.truncate(scattered.start);
        let own = &mut parts[scattered.parts..];
        own.sort_unstable_by_key(|part| part.field);
        let mut own = own.iter().peekable();
        for (place, field) in (first..).zip(fields) {
            let Some(part) = own.next_if(|part| part.field == place) else {
                self.default(field)?;
                continue;
            };
            let start = self.out.len();
            let range = part.start - scattered.start..part.end - scattered.start;
            self.out.extend_from_slice(&moved[range]);
            self.note(field, start);
            if own.next_if(|part| part.field == place).is_some() {
                return Err(twice(field));
            }
        }
        parts.truncate(scattered.parts);
        self.scratch.parts = parts;
        self.scratch.moved = moved;
        Ok(())
    }
}

#[cold]
fn unknown(record: &RecordPlan, name: &str) -> Fault {
    Fault::new("the schema has no such field")
        .expected(format!("a field of record {}", record.name))
        .help("add the field to the schema, or leave it out with #[serde(skip)]")
        .under_field(name)
}

#[cold]
fn twice(field: &FieldPlan) -> Fault {
    Fault::new("the value has the field twice").under_field(&field.name)
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        match self.ordered.get(self.next) {
            Some(field) if *field.name == *name => self.in_order(field, value),
            _ => self.other(name, value),
        }
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Fault> {
        self.skip(name)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

impl SerializeStructVariant for Fields<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        SerializeStruct::serialize_field(self, name, value)
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Fault> {
        self.skip(name)
    }

    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

impl SerializeMap for Fields<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        let (ordered, next) = (self.ordered, self.next);
        match &mut self.target {
            Target::Record { record, pending, .. } => {
                let place = |name: &str| match ordered.get(next) {
                    Some(field) if *field.name == *name => Ok(next),
                    _ => record.place(name).ok_or_else(|| unknown(record, name)),
                };
                *pending = key.serialize(Key(place))?;
            }
            Target::Map { blocks, .. } => {
                let writer = &mut *self.writer;
                key.serialize(Key(|text: &str| {
                    writer.run(text.as_bytes());
                    Ok(())
                }))
                .map_err(|fault| fault.under_entry(blocks.count))?;
            }
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let Target::Record { pending, .. } = &mut self.target else {
            return self.entry(value);
        };
        match std::mem::replace(pending, NONE) {
            NONE => Err(Fault::new("a map's value was given without its key")),
            place if place == self.next && !self.ordered.is_empty() => {
                self.in_order(&self.ordered[place], value)
            }
            place => self.scatter(place, value),
        }
    }

    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}
