//! Sequences and tuples, into arrays, bytes and fixed; and the head of what has many elements.

use super::error::Fault;
use super::plan::{FixedPlan, Node};
use super::union::Given;
use super::writer::{Ser, Writer, put};
use crate::varint::write_length;
use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant};

/// The empty block that ends an array or map.
const END_OF_BLOCKS: u8 = 0;

static BYTE: Node = Node::Byte;

/// The one block of an array or map, or the bytes behind a length. Its head is written before its
/// elements by what serde says their number is, and again behind them should that be wrong.
pub(super) struct Blocks {
    /// Where the head begins.
    start: usize,
    /// Where the elements begin.
    body: usize,
    /// What the head says.
    declared: usize,
    /// Elements that are written.
    pub(super) count: usize,
}

impl Blocks {
    /// Begins an array or map. One without elements has no block, and so no head.
    #[inline]
    pub(super) fn begin(out: &mut Vec<u8>, count: Option<usize>) -> Self {
        let (start, declared) = (out.len(), count.unwrap_or(0));
        if declared > 0 {
            write_length(out, declared);
        }
        Self { start, body: out.len(), declared, count: 0 }
    }

    #[inline]
    pub(super) fn end(self, out: &mut Vec<u8>) {
        if self.count != self.declared {
            replace_head(out, self.start..self.body, (self.count > 0).then_some(self.count));
        }
        out.push(END_OF_BLOCKS);
    }
}

/// Writes a head in the place of another, which may be none, and moves what follows.
#[cold]
fn replace_head(out: &mut Vec<u8>, old: std::ops::Range<usize>, head: Option<usize>) {
    let before = out.len();
    if let Some(head) = head {
        write_length(out, head);
    }
    let bytes = out.len() - before;
    out[old.end..].rotate_right(bytes);
    out.drain(old);
}

/// An array that is being written, or bytes that come one by one.
pub(super) struct Elements<'w, 'a> {
    writer: &'w mut Writer<'a>,
    element: &'a Node,
    form: Form<'a>,
    blocks: Blocks,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Array,
    Bytes,
    Fixed(&'a FixedPlan),
}

impl<'w, 'a> Elements<'w, 'a> {
    #[inline]
    pub(super) fn open(
        ser: Ser<'w, 'a>,
        count: Option<usize>,
        found: &'static str,
    ) -> Result<Self, Fault> {
        let Ser { writer, node } = ser;
        if let Node::Array(items) = node {
            writer.open()?;
            let element = &writer.nodes[*items];
            let blocks = Blocks::begin(writer.out, count);
            return Ok(Self { writer, element, form: Form::Array, blocks });
        }
        Self::open_other(writer, node, count, found)
    }

    fn open_other(
        writer: &'w mut Writer<'a>,
        node: &'a Node,
        count: Option<usize>,
        found: &'static str,
    ) -> Result<Self, Fault> {
        let form = match writer.branch(node, &Given::Sequence(count), found)? {
            node @ Node::Array(_) => return Self::open(Ser { writer, node }, count, found),
            Node::Bytes(_) => Form::Bytes,
            Node::Fixed(fixed) => Form::Fixed(fixed),
            node @ Node::Record(_) => {
                return Err(writer.misfit(node, found).help(
                    "a record's fields are given by name: use a struct with named fields, or a map",
                ));
            }
            node => return Err(writer.misfit(node, found)),
        };
        writer.open()?;
        let start = writer.out.len();
        let declared = count.unwrap_or(0);
        if matches!(form, Form::Bytes) {
            write_length(writer.out, declared);
        }
        let blocks = Blocks { start, body: writer.out.len(), declared, count: 0 };
        Ok(Self { writer, element: &BYTE, form, blocks })
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        if let Err(fault) = put(self.writer, self.element, value) {
            return Err(fault.under_index(self.blocks.count));
        }
        self.blocks.count += 1;
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<(), Fault> {
        let Self { writer, form, blocks, .. } = self;
        match form {
            Form::Array => blocks.end(writer.out),
            Form::Bytes if blocks.count != blocks.declared => {
                replace_head(writer.out, blocks.start..blocks.body, Some(blocks.count));
            }
            Form::Bytes => {}
            Form::Fixed(fixed) if fixed.size == blocks.count => {}
            Form::Fixed(fixed) => {
                return Err(Fault::new("the value is not of the schema's type")
                    .found(format!("{} bytes", blocks.count))
                    .expected(format!("fixed {} of {} bytes", fixed.name, fixed.size)));
            }
        }
        writer.close();
        Ok(())
    }
}

/// Sequences and tuples differ by name alone.
macro_rules! elements {
    ($trait:ident, $method:ident) => {
        impl $trait for Elements<'_, '_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.element(value)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        }
    };
}

elements!(SerializeSeq, serialize_element);
elements!(SerializeTuple, serialize_element);
elements!(SerializeTupleStruct, serialize_field);
elements!(SerializeTupleVariant, serialize_field);
