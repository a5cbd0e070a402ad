//! The serializer: what serde gives, dispatched on the node that comes next.

use super::elements::Elements;
use super::error::Fault;
use super::fields::Fields;
use super::plan::{Id, Node};
use super::probe;
use super::union::Given;
use super::{Scratch, scalar};
use crate::datum::DATA_DEPTH_MAX;
use crate::varint::{write_length, write_long};
use serde::{Serialize, Serializer};
use std::fmt;

/// The most newtypes and `Some`s around a value and all that it is in: they are no level of Avro's,
/// but each is one of the stack.
const WRAPS_MAX: usize = 1024;

/// The most bytes of a displayed value for which no memory is needed: more than any date has.
const DISPLAYED_BYTES: usize = 64;

/// Where values go. One a value, on the stack.
pub(super) struct Writer<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) out: &'a mut Vec<u8>,
    /// Where the key's fields stand: as many as the key has, or none if nobody asks.
    pub(super) ranges: &'a mut [(usize, usize)],
    pub(super) scratch: &'a mut Scratch,
    /// Arrays, maps and records that are open.
    depth: usize,
    wraps: usize,
}

/// Writes one value of the type `node`.
pub(super) struct Ser<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) node: &'a Node,
}

/// Writes `value` as `node`. Each value passes here, since of a union of several records it must be
/// seen from outside which is meant.
#[inline]
pub(super) fn put<'a, T: Serialize + ?Sized>(
    writer: &mut Writer<'a>,
    node: &'a Node,
    value: &T,
) -> Result<(), Fault> {
    match node {
        Node::Union(union) if union.several_records => {
            let node = match probe::record(union, writer.nodes, value) {
                Some(branch) => writer.enter_branch(union.branches[branch].node, branch),
                None => node,
            };
            value.serialize(Ser { writer, node })
        }
        _ => value.serialize(Ser { writer, node }),
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        nodes: &'a [Node],
        out: &'a mut Vec<u8>,
        ranges: &'a mut [(usize, usize)],
        scratch: &'a mut Scratch,
    ) -> Self {
        Self { nodes, out, ranges, scratch, depth: 0, wraps: 0 }
    }

    /// Begins an array, map or record.
    #[inline]
    pub(super) fn open(&mut self) -> Result<(), Fault> {
        // What is within it is one level deeper, and must be readable.
        if self.depth + 1 >= DATA_DEPTH_MAX {
            return Err(Fault::too_deep());
        }
        self.depth += 1;
        Ok(())
    }

    #[inline]
    pub(super) fn close(&mut self) {
        self.depth -= 1;
    }

    #[inline]
    pub(super) fn run(&mut self, bytes: &[u8]) {
        write_length(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Writes a union's branch number; its node comes next.
    pub(super) fn enter_branch(&mut self, node: Id, branch: usize) -> &'a Node {
        write_length(self.out, branch);
        &self.nodes[node]
    }

    /// An error for what was given where `node` is.
    #[cold]
    pub(super) fn misfit(&self, node: &Node, found: &'static str) -> Fault {
        Fault::new("the value is not of the schema's type")
            .found(found)
            .expected(node.describe(self.nodes))
    }
}

impl<'w, 'a> Ser<'w, 'a> {
    /// One that only wraps another.
    #[inline]
    fn wrapped<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        if self.writer.wraps >= WRAPS_MAX {
            return Err(Fault::too_deep());
        }
        self.writer.wraps += 1;
        put(self.writer, self.node, value)?;
        self.writer.wraps -= 1;
        Ok(())
    }

    /// The branch that a variant which holds a value names.
    fn variant(self, variant: &'static str) -> Result<Self, Fault> {
        let node = self.writer.named_branch(self.node, variant)?;
        Ok(Self { writer: self.writer, node })
    }
}

/// Integers: the fast path by the node, all else in one place.
macro_rules! integer {
    ($method:ident, $type:ty, $given:ident, $found:literal $(, $node:pat => $write:expr)*) => {
        #[inline]
        fn $method(self, value: $type) -> Result<(), Fault> {
            match self.node {
                $($node => $write(self, value),)*
                _ => match i128::try_from(value) {
                    Ok(value) => scalar::integer(self, value, Given::$given(value), $found),
                    Err(_) => Err(scalar::out_of_range(self, $found)),
                },
            }
        }
    };
}

fn long(ser: Ser<'_, '_>, value: impl Into<i64>) -> Result<(), Fault> {
    write_long(ser.writer.out, value.into());
    Ok(())
}

fn byte(ser: Ser<'_, '_>, value: u8) -> Result<(), Fault> {
    ser.writer.out.push(value);
    Ok(())
}

impl<'w, 'a> Serializer for Ser<'w, 'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Elements<'w, 'a>;
    type SerializeTuple = Elements<'w, 'a>;
    type SerializeTupleStruct = Elements<'w, 'a>;
    type SerializeTupleVariant = Elements<'w, 'a>;
    type SerializeMap = Fields<'w, 'a>;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = Fields<'w, 'a>;

    /// True: dates, uuids and decimals come as text then, by which their units and scales are known.
    fn is_human_readable(&self) -> bool {
        true
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        if !matches!(self.node, Node::Boolean) {
            return scalar::boolean(self, value);
        }
        self.writer.out.push(u8::from(value));
        Ok(())
    }

    integer!(serialize_i8, i8, Narrow, "i8", Node::Int(_) | Node::Long(_) => long);
    integer!(serialize_i16, i16, Narrow, "i16", Node::Int(_) | Node::Long(_) => long);
    integer!(serialize_i32, i32, Narrow, "i32", Node::Int(_) | Node::Long(_) => long);
    integer!(serialize_i64, i64, Wide, "i64", Node::Long(_) => long);
    integer!(serialize_i128, i128, Wide, "i128");
    integer!(serialize_u8, u8, Narrow, "u8", Node::Byte => byte, Node::Int(_) | Node::Long(_) => long);
    integer!(serialize_u16, u16, Narrow, "u16", Node::Int(_) | Node::Long(_) => long);
    integer!(serialize_u32, u32, Wide, "u32", Node::Long(_) => long);
    integer!(serialize_u64, u64, Wide, "u64");
    integer!(serialize_u128, u128, Wide, "u128");

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        match self.node {
            Node::Float => self.writer.out.extend_from_slice(&value.to_le_bytes()),
            _ => return scalar::single(self, value),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        match self.node {
            Node::Double => self.writer.out.extend_from_slice(&value.to_le_bytes()),
            _ => return scalar::double(self, value),
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        if !matches!(self.node, Node::String { uuid: false }) {
            return scalar::text(self, value);
        }
        self.writer.run(value.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        if !matches!(self.node, Node::Bytes(_)) {
            return scalar::bytes(self, value);
        }
        self.writer.run(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        match self.node {
            Node::Nullable { null, .. } => self.writer.out.push(*null),
            _ => return scalar::null(self, "none"),
        }
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        match self.node {
            Node::Nullable { value: byte, branch, .. } => {
                self.writer.out.push(*byte);
                let node = &self.writer.nodes[*branch];
                Ser { writer: self.writer, node }.wrapped(value)
            }
            _ => self.wrapped(value),
        }
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        scalar::null(self, "unit")
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Fault> {
        scalar::unit_struct(self, name)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        // Most enums have the schema's order.
        if let Node::Enum(plan) = self.node
            && plan.symbols.get(index as usize).is_some_and(|symbol| **symbol == *variant)
        {
            write_long(self.writer.out, i64::from(index));
            return Ok(());
        }
        scalar::unit_variant(self, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.wrapped(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(variant)?.wrapped(value)
    }

    #[inline]
    fn serialize_seq(self, count: Option<usize>) -> Result<Elements<'w, 'a>, Fault> {
        Elements::open(self, count, "sequence")
    }

    fn serialize_tuple(self, count: usize) -> Result<Elements<'w, 'a>, Fault> {
        Elements::open(self, Some(count), "tuple")
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        count: usize,
    ) -> Result<Elements<'w, 'a>, Fault> {
        Elements::open(self, Some(count), "tuple struct")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Elements<'w, 'a>, Fault> {
        Elements::open(self.variant(variant)?, Some(count), "tuple variant")
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Fields<'w, 'a>, Fault> {
        Fields::open(self, Given::Map, count, "map")
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, count: usize) -> Result<Fields<'w, 'a>, Fault> {
        Fields::open(self, Given::Struct(name), Some(count), "struct")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Fields<'w, 'a>, Fault> {
        let ser = self.variant(variant)?;
        Fields::open(ser, Given::Struct(variant), Some(count), "struct variant")
    }

    /// Without memory of its own for what is as short as a date.
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        let mut short = Displayed { bytes: [0; DISPLAYED_BYTES], length: 0 };
        if fmt::write(&mut short, format_args!("{value}")).is_ok()
            && let Ok(text) = std::str::from_utf8(&short.bytes[..short.length])
        {
            return self.serialize_str(text);
        }
        let mut text = std::mem::take(&mut self.writer.scratch.text);
        text.clear();
        if fmt::write(&mut text, format_args!("{value}")).is_err() {
            return Err(Fault::new("the type's own Display refused the value"));
        }
        Ser { writer: &mut *self.writer, node: self.node }.serialize_str(&text)?;
        self.writer.scratch.text = text;
        Ok(())
    }
}

/// Text of few bytes.
pub(super) struct Displayed<const N: usize> {
    pub(super) bytes: [u8; N],
    pub(super) length: usize,
}

impl<const N: usize> fmt::Write for Displayed<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
