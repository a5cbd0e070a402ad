//! Values of any `serde::Serialize` type as Avro binary (specification 1.12, "Binary Encoding"), by
//! a writer's schema that is compiled once. It is the emitter's hot path: nothing stands between
//! serde and the buffer, and nothing is allocated for a value.
//!
//! What is given, and where it goes:
//!
//! | serde | Avro |
//! |---|---|
//! | unit, `None`, unit struct | null; a unit struct also a record without fields |
//! | bool | boolean |
//! | `i8` to `i128`, `u8` to `u128` | int and long if it is in range; float and double if they hold it exactly |
//! | `f32`, `f64` | double; float if no decimal digit is lost |
//! | str, char | string; an enum's symbol; the logical types below |
//! | bytes | bytes; fixed of that size |
//! | sequence, tuple, tuple struct | array; of `u8`s also bytes, and fixed of that size |
//! | map, struct | record, by names; map |
//! | unit variant | an enum's symbol; string; in a union null, by the name `Null` |
//! | newtype variant and others with a value | the union's branch of the variant's name |
//!
//! **Records.** Fields in the schema's order are the fast path; others are put in order. A field that
//! the value lacks takes the schema's default. One that has none is an error, and so is a field that
//! the schema lacks: nothing is dropped. A tuple is never taken for a record: the places of its
//! elements say nothing of the fields that are meant.
//!
//! **Unions.** `Option` is a union with null, of either order. Otherwise the branch is the one of the
//! lowest rank, and of those the first:
//!
//! | given | ranks |
//! |---|---|
//! | `i8`, `i16`, `i32`, `u8`, `u16` | int, long, double, float |
//! | wider integers | long, int if in range, double and float if exact |
//! | `f32` | float, double |
//! | `f64` | double, float if no digit is lost |
//! | str, char | string (a uuid only if it is one), enum with that symbol, logical type that the text is of |
//! | bytes | bytes, fixed of that size |
//! | sequence, tuple | array, bytes, fixed of that size |
//! | map | map, record |
//! | struct | record of its full name, record of its name, record, map |
//! | unit variant | enum with that symbol, null if it is named so, string |
//!
//! Where a union has several records and none has the struct's name, or a map is given, the first
//! record counts of which the value has no field too many and none too few (but for defaults). Of
//! the values only the names are looked at. Variants that hold a value go by the variant's name: the
//! branch's full name, its name without namespace, or, in any case of letters, that of its type.
//!
//! **Logical types** take what their type takes (an int of days, a long of microseconds, a
//! decimal's two's complement bytes), and text: `uuid` with hyphens (into a fixed also without), RFC
//! 3339 with an offset into timestamps and without one, or in UTC, into local timestamps,
//! `YYYY-MM-DD` into dates, `HH:MM:SS[.fraction]` into times of day, decimal numbers, also with an
//! exponent, into decimals. What the type cannot hold exactly is refused, never rounded. Serializers
//! are told that the format is human readable, since chrono, time, uuid, `rust_decimal` and
//! bigdecimal give text only then.
//!
//! Absent here: frames (see `frame`), and reading (see `datum` and `resolve`).

mod decimal;
mod elements;
mod error;
mod fields;
mod key;
mod plan;
mod probe;
mod scalar;
mod text;
mod time;
mod union;
mod writer;

use crate::schema::Schema;
use error::Fault;
use plan::{Id, Node};
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use writer::{Writer, put};

/// How values of one schema are written. Compiled once; cheap to clone, shared between threads.
#[derive(Debug, Clone)]
pub struct Plan {
    nodes: Arc<[Node]>,
    root: Id,
    /// How many fields the key has.
    key: usize,
}

/// Where the key's fields stand in the bytes of the value encoded last, and the memory in which
/// fields are put in order. Reused from value to value, so that it is allocated once a writer.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    ranges: Vec<(usize, usize)>,
    scratch: Scratch,
}

/// What is needed for a value out of the ordinary.
#[derive(Debug, Clone, Default)]
struct Scratch {
    /// Fields that came in another order than the schema's, of all records that are open.
    parts: Vec<Part>,
    /// Bytes on their way to another place.
    moved: Vec<u8>,
    /// Long text of values that are written as they are displayed.
    text: String,
}

/// The bytes of one field.
#[derive(Debug, Clone, Copy)]
struct Part {
    field: usize,
    start: usize,
    end: usize,
}

impl Plan {
    /// Compiles `schema`.
    ///
    /// # Errors
    ///
    /// `Malformed` for a default that is not of its field's type; `TooLarge` for one past a limit.
    pub fn compile(schema: &Schema) -> Result<Self> {
        Self::compile_with_key(schema, &[])
    }

    /// Compiles `schema`, a record, and notes where the values of the fields `key` stand, in `key`'s
    /// order. No fields are no key, and any schema will do.
    ///
    /// # Errors
    ///
    /// As [`Plan::compile`]; `Config` for a key of a type that is no record, of a field that the
    /// record does not have, or of one that is named twice.
    pub fn compile_with_key(schema: &Schema, key: &[&str]) -> Result<Self> {
        let (nodes, root) = plan::compile(schema, key)?;
        Ok(Self { nodes: nodes.into(), root, key: key.len() })
    }

    /// Appends `value` to `out`.
    ///
    /// Nothing is allocated but room in `out`, where fields come in the schema's order; where they do
    /// not, [`Plan::encode_with_key`] keeps the memory that puts them in order.
    ///
    /// # Errors
    ///
    /// `Malformed` for a value that is not of the schema, with the field's path
    /// (`order.lines[3].price`; a map's entries by their place, as `{3}`), what was found and what
    /// was expected, but never the value; `TooLarge` past [`crate::datum::DATA_DEPTH_MAX`]. `out` is
    /// as it was then.
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        self.write(value, out, &mut Vec::new(), &mut Scratch::default())
    }

    /// As [`Plan::encode`], and notes in `spans` where the key's fields stand.
    ///
    /// # Errors
    ///
    /// As [`Plan::encode`]; `spans` tells nothing then.
    #[inline]
    pub fn encode_with_key<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
        spans: &mut Spans,
    ) -> Result<()> {
        spans.ranges.clear();
        spans.ranges.resize(self.key, (0, 0));
        let answer = self.write(value, out, &mut spans.ranges, &mut spans.scratch);
        if answer.is_err() {
            spans.ranges.clear();
        }
        answer
    }

    /// Appends the key, a record of the key's fields with the types that they have in the row, to
    /// `key`. `row` is the whole buffer that the value was appended to.
    ///
    /// # Errors
    ///
    /// `Internal` if `spans` are not those of a value in `row`, written by this plan.
    pub fn write_key(&self, row: &[u8], spans: &Spans, key: &mut Vec<u8>) -> Result<()> {
        let before = key.len();
        let cut = |place| spans.range(place).and_then(|range| row.get(range));
        for place in 0..self.key {
            let Some(bytes) = cut(place) else {
                key.truncate(before);
                return Err(Error::new(ErrorKind::Internal, "cut a key out of its row")
                    .because("the places of the key's fields are not those of this row"));
            };
            key.extend_from_slice(bytes);
        }
        Ok(())
    }

    #[inline]
    fn write<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
        ranges: &mut Vec<(usize, usize)>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let before = out.len();
        scratch.parts.clear();
        let mut writer = Writer::new(&self.nodes, out, ranges, scratch);
        match put(&mut writer, &self.nodes[self.root], value) {
            Ok(()) => Ok(()),
            Err(fault) => {
                out.truncate(before);
                Err(Fault::into_error(fault))
            }
        }
    }
}

impl Spans {
    /// Where the key's field at `place` stands in the buffer that the value was appended to; none if
    /// the key has no such field, or the value could not be written.
    #[must_use]
    pub fn range(&self, place: usize) -> Option<Range<usize>> {
        self.ranges.get(place).map(|(start, end)| *start..*end)
    }
}

#[cfg(test)]
mod tests;
