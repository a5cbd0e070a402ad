//! Avro bytes, gone through without being kept.

use tidemesh_avro::read_long;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Result};

/// The deepest nesting of data; deeper data is refused (`tidemesh_avro::datum`).
const DEPTH_MAX: usize = tidemesh_avro::datum::DATA_DEPTH_MAX;

/// A place in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

#[cold]
fn wrong(message: &'static str, at: usize) -> Error {
    Error::new(ErrorKind::Malformed, "read a record's Avro bytes").because(message).with("byte", at)
}

impl<'b> Cursor<'b> {
    pub(super) fn new(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from a place to here.
    pub(super) fn since(&self, start: usize) -> &'b [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[cold]
    pub(super) fn wrong(&self, message: &'static str) -> Error {
        wrong(message, self.at)
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64> {
        // Most numbers have one byte.
        if let Some(byte) = self.bytes.get(self.at)
            && *byte < 0x80
        {
            self.at += 1;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        let mut rest = &self.bytes[self.at..];
        match read_long(&mut rest) {
            Some(value) => {
                self.at = self.bytes.len() - rest.len();
                Ok(value)
            }
            None => Err(self.wrong("a number is cut short or too long")),
        }
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.wrong("an int has more than 32 bits"))
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err(self.wrong("the data ends early")) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn chunk<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| wrong("the data ends early", at))
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn run(&mut self) -> Result<&'b [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.wrong("a length is negative or too large")),
        }
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'b str> {
        let at = self.at;
        std::str::from_utf8(self.run()?).map_err(|_| wrong("text is not UTF-8", at))
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> Result<bool> {
        match self.chunk()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(self.wrong("a boolean is neither 0 nor 1")),
        }
    }

    /// A place in a list of `count`: of a union's branch, an enum's symbol.
    #[inline]
    pub(super) fn place(&mut self, count: usize) -> Result<usize> {
        match usize::try_from(self.long()?) {
            Ok(place) if place < count => Ok(place),
            _ => Err(self.wrong("there is no such branch or symbol")),
        }
    }

    /// The next block's count of an array or map; none at the end. A block's size in bytes is read and
    /// not relied on.
    pub(super) fn block(&mut self) -> Result<Option<u64>> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok((count != 0).then(|| count.unsigned_abs()))
    }

    /// Goes past one value.
    pub(super) fn skip(&mut self, shapes: &Shapes, id: ShapeId) -> Result<()> {
        self.skip_at(shapes, id, 0)
    }

    fn skip_at(&mut self, shapes: &Shapes, id: ShapeId, depth: usize) -> Result<()> {
        match &shapes.0[id.0] {
            Shape::Nothing => Ok(()),
            Shape::Number => self.long().map(drop),
            Shape::Bytes(count) => self.take(*count).map(drop),
            Shape::Run => self.run().map(drop),
            _ if depth == DEPTH_MAX => Err(self.wrong("it is nested too deep")),
            Shape::Union(branches) => {
                let branch = self.place(branches.len())?;
                self.skip_at(shapes, branches[branch], depth + 1)
            }
            Shape::Record(fields) => {
                fields.iter().try_for_each(|field| self.skip_at(shapes, *field, depth + 1))
            }
            Shape::Array(items) => {
                self.skip_blocks(|cursor| cursor.skip_at(shapes, *items, depth + 1))
            }
            Shape::Map(values) => self.skip_blocks(|cursor| {
                cursor.run()?;
                cursor.skip_at(shapes, *values, depth + 1)
            }),
        }
    }

    fn skip_blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let before = self.at;
                item(self)?;
                if self.at == before {
                    // Items without bytes, as many as a number can say.
                    return Err(self.wrong("a list's elements have no bytes"));
                }
            }
        }
        Ok(())
    }
}

/// One of [`Shapes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShapeId(usize);

/// How many bytes the values of a schema's types have, as far as their bytes tell.
#[derive(Debug, Default)]
pub(super) struct Shapes(Vec<Shape>);

#[derive(Debug)]
enum Shape {
    Nothing,
    /// A number of variable length: int, long, enum.
    Number,
    /// So many bytes.
    Bytes(usize),
    /// Bytes behind their length.
    Run,
    Union(Vec<ShapeId>),
    Record(Vec<ShapeId>),
    Array(ShapeId),
    Map(ShapeId),
}

impl Shapes {
    /// Adds the types of a schema that `ids` lead to; answers theirs.
    pub(super) fn add(&mut self, schema: &Schema, id: NodeId) -> ShapeId {
        Adder { shapes: self, schema, known: Vec::new() }.add(id)
    }
}

struct Adder<'a> {
    shapes: &'a mut Shapes,
    schema: &'a Schema,
    /// Types that were added or are being added: a record may contain itself.
    known: Vec<(NodeId, ShapeId)>,
}

impl Adder<'_> {
    fn add(&mut self, id: NodeId) -> ShapeId {
        if let Some((_, known)) = self.known.iter().find(|(known, _)| *known == id) {
            return *known;
        }
        let shape = ShapeId(self.shapes.0.len());
        self.shapes.0.push(Shape::Nothing);
        self.known.push((id, shape));
        let made = match &self.schema.node(id).kind {
            Kind::Null => Shape::Nothing,
            Kind::Boolean => Shape::Bytes(1),
            Kind::Int | Kind::Long | Kind::Enum { .. } => Shape::Number,
            Kind::Float => Shape::Bytes(4),
            Kind::Double => Shape::Bytes(8),
            Kind::Bytes | Kind::String => Shape::Run,
            Kind::Fixed(size) => Shape::Bytes(*size),
            Kind::Array(items) => Shape::Array(self.add(*items)),
            Kind::Map(values) => Shape::Map(self.add(*values)),
            Kind::Union(branches) => {
                Shape::Union(branches.iter().map(|id| self.add(*id)).collect())
            }
            Kind::Record(fields) => {
                Shape::Record(fields.iter().map(|field| self.add(field.node)).collect())
            }
        };
        self.shapes.0[shape.0] = made;
        shape
    }
}
