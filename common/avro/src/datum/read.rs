//! Avro's binary encoding, read piece by piece: the one place that trusts no length.

use super::{DATA_DEPTH_MAX, VALUES_PER_BYTE_MAX, VALUES_SPARE};
use crate::schema::{Kind, NodeId, Schema};
use crate::varint::read_long;
use tidemesh_model::{Error, ErrorKind, Result};

/// How many bytes of text or bytes weigh as much as a value.
const PAYLOAD_BYTES_A_VALUE: usize = 32;

/// What a run of bytes weighs beside the value that it is.
pub(crate) fn payload_weight(bytes: usize) -> usize {
    bytes / PAYLOAD_BYTES_A_VALUE
}

/// Reads data of one writer's schema. Once it has answered an error it is of no more use.
pub(crate) struct Reader<'s, 'i> {
    schema: &'s Schema,
    rest: &'i [u8],
    /// The fields that lead to the value being read, for errors.
    path: Vec<&'s str>,
    depth: usize,
    values_left: usize,
}

impl<'s, 'i> Reader<'s, 'i> {
    pub(crate) fn new(schema: &'s Schema, bytes: &'i [u8]) -> Self {
        let values_left = bytes.len().saturating_mul(VALUES_PER_BYTE_MAX) + VALUES_SPARE;
        Self { schema, rest: bytes, path: Vec::new(), depth: 0, values_left }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'i [u8] {
        self.rest
    }

    /// Goes back to what [`Reader::rest`] was, to read it once more.
    pub(crate) fn rewind(&mut self, rest: &'i [u8]) {
        self.rest = rest;
    }

    pub(crate) fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.wrong("bytes are left over"))
    }

    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, "decode Avro data")
            .because(message)
            .with("path", self.path.join("."))
            .with("bytes_left", self.rest.len())
    }

    #[cold]
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        self.error(ErrorKind::Malformed, message)
    }

    /// Counts values, or what weighs as much, against the limit.
    pub(crate) fn charge(&mut self, values: usize) -> Result<()> {
        match self.values_left.checked_sub(values) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(self
                .error(ErrorKind::TooLarge, "it has too many values for its length")
                .with("values_per_byte_max", VALUES_PER_BYTE_MAX)),
        }
    }

    /// Reads one value by `inner`, one level deeper.
    pub(crate) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.enter()?;
        let value = inner(self)?;
        self.leave();
        Ok(value)
    }

    /// Begins a value, which is one level deeper.
    pub(crate) fn enter(&mut self) -> Result<()> {
        if self.depth >= DATA_DEPTH_MAX {
            let error = self.error(ErrorKind::TooLarge, "it is nested too deep");
            return Err(error.with("data_depth_max", DATA_DEPTH_MAX));
        }
        self.charge(1)?;
        self.depth += 1;
        Ok(())
    }

    /// Ends the value that was begun last.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Reads what belongs to the field `name` by `inner`.
    pub(crate) fn field<T>(
        &mut self,
        name: &'s str,
        inner: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.path.push(name);
        let value = inner(self)?;
        self.path.pop();
        Ok(value)
    }

    /// Goes past one value of the writer's type at `id`.
    pub(crate) fn skip(&mut self, id: NodeId) -> Result<()> {
        self.nested(|reader| reader.skip_inside(id))
    }

    fn skip_inside(&mut self, id: NodeId) -> Result<()> {
        match &self.schema.node(id).kind {
            Kind::Null => Ok(()),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Int => self.int().map(drop),
            Kind::Long => self.long().map(drop),
            Kind::Float => self.float().map(drop),
            Kind::Double => self.double().map(drop),
            Kind::Bytes | Kind::String => self.run().map(drop),
            Kind::Fixed(size) => self.take(*size).map(drop),
            Kind::Enum { symbols, .. } => self.place(symbols.len(), "symbol").map(drop),
            Kind::Union(branches) => {
                let branch = self.place(branches.len(), "branch")?;
                self.skip_inside(branches[branch])
            }
            Kind::Array(items) => self.blocks(|reader| reader.skip(*items)),
            Kind::Map(values) => self.blocks(|reader| {
                reader.run()?;
                reader.skip(*values)
            }),
            Kind::Record(fields) => fields
                .iter()
                .try_for_each(|field| self.field(&field.name, |reader| reader.skip(field.node))),
        }
    }

    /// As many bytes as a fixed type has.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'i [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.wrong("the data ends early"));
        };
        self.charge(payload_weight(count))?;
        self.rest = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.wrong("the data ends early"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool> {
        match self.chunk()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(self.wrong("a boolean is neither 0 nor 1")),
        }
    }

    pub(crate) fn long(&mut self) -> Result<i64> {
        match read_long(&mut self.rest) {
            Some(value) => Ok(value),
            None => Err(self.wrong("a number is cut short or too long")),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i32> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.wrong("an int has more than 32 bits"))
    }

    pub(crate) fn float(&mut self) -> Result<f32> {
        Ok(f32::from_le_bytes(self.chunk()?))
    }

    pub(crate) fn double(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.chunk()?))
    }

    /// Bytes behind their length.
    pub(crate) fn run(&mut self) -> Result<&'i [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.wrong("a length is negative or too large")),
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'i str> {
        let bytes = self.run()?;
        std::str::from_utf8(bytes).map_err(|error| self.wrong("text is not UTF-8").caused_by(error))
    }

    /// A place in a list of `count`.
    pub(crate) fn place(&mut self, count: usize, what: &str) -> Result<usize> {
        let place = self.long()?;
        match usize::try_from(place) {
            Ok(place) if place < count => Ok(place),
            _ => Err(self.wrong(format!("there is no {what} {place} of {count}"))),
        }
    }

    /// The blocks of an array or map, each element read by `element`. A block's negative count is
    /// followed by the block's bytes, which must be as many as it says.
    pub(crate) fn blocks(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            let left_after = if count < 0 { Some(self.block_end()?) } else { None };
            for _ in 0..count.unsigned_abs() {
                element(self)?;
            }
            if left_after.is_some_and(|left| left != self.rest.len()) {
                return Err(self.wrong("a block is not as long as it says"));
            }
        }
    }

    /// The next block's count; none at the end. Who reads blocks with this does not check that a
    /// block is as long as it says.
    pub(crate) fn block(&mut self) -> Result<Option<u64>> {
        let count = self.long()?;
        if count < 0 {
            self.block_end()?;
        }
        Ok((count != 0).then_some(count.unsigned_abs()))
    }

    /// How many bytes are left where the block ends.
    fn block_end(&mut self) -> Result<usize> {
        let bytes = self.long()?;
        usize::try_from(bytes)
            .ok()
            .and_then(|bytes| self.rest.len().checked_sub(bytes))
            .ok_or_else(|| self.wrong("a block is longer than the data"))
    }
}
