//! The binary form: containers with the places of their elements, scalars behind their type.
//!
//! A place is anywhere in its container, so that crafted bytes could name one element many times over:
//! whoever walks has a budget (`Budget`).

use crate::bytes::{Bytes, uint};

/// How deep documents nest (`JSON_DOCUMENT_MAX_DEPTH`).
pub(super) const DEPTH_MAX: usize = 100;

/// How many times the bytes of a document are the most that its text may have: no scalar and no
/// element takes more than this for a byte.
const TEXT_TIMES_MAX: usize = 40;

/// What is left of a walk over a document.
pub(super) struct Budget {
    elements: usize,
    text_bytes: usize,
}

impl Budget {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { elements: bytes.len() + 1, text_bytes: bytes.len() * TEXT_TIMES_MAX + 64 }
    }

    /// One more element; none if there cannot be so many.
    pub(super) fn element(&mut self) -> Option<()> {
        self.elements = self.elements.checked_sub(1)?;
        Some(())
    }

    /// So many bytes of text; none if there cannot be so many.
    pub(super) fn text(&mut self, bytes: usize) -> Option<()> {
        self.text_bytes = self.text_bytes.checked_sub(bytes)?;
        Some(())
    }
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Object(Container<'a>),
    Array(Container<'a>),
    Scalar(Scalar<'a>),
}

/// A value that holds no others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    True,
    False,
    Int(i64),
    Uint(u64),
    Double(f64),
    String(&'a [u8]),
    /// A value of a type of the server's, as its number and bytes.
    Opaque(u8, &'a [u8]),
}

/// An object or array: all of its bytes, from which places are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    pub(super) count: usize,
    is_object: bool,
    is_large: bool,
}

const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

/// A whole document. No bytes are the null literal, as the server takes them (`parse_binary`).
pub(super) fn document(bytes: &[u8]) -> Option<Value<'_>> {
    match bytes.split_first() {
        None => Some(Value::Scalar(Scalar::Null)),
        Some((kind, content)) => value(*kind, content),
    }
}

fn value(kind: u8, content: &[u8]) -> Option<Value<'_>> {
    let container = |is_object, is_large| container(content, is_object, is_large);
    Some(match kind {
        SMALL_OBJECT => Value::Object(container(true, false)?),
        LARGE_OBJECT => Value::Object(container(true, true)?),
        SMALL_ARRAY => Value::Array(container(false, false)?),
        LARGE_ARRAY => Value::Array(container(false, true)?),
        _ => Value::Scalar(scalar(kind, Bytes(content))?),
    })
}

fn scalar(kind: u8, mut bytes: Bytes<'_>) -> Option<Scalar<'_>> {
    Some(match kind {
        LITERAL => match bytes.u8()? {
            0 => Scalar::Null,
            1 => Scalar::True,
            2 => Scalar::False,
            _ => return None,
        },
        INT16 => Scalar::Int(i16::from_le_bytes(bytes.fixed()?).into()),
        UINT16 => Scalar::Uint(bytes.u16()?.into()),
        INT32 => Scalar::Int(i32::from_le_bytes(bytes.fixed()?).into()),
        UINT32 => Scalar::Uint(bytes.u32()?.into()),
        INT64 => Scalar::Int(i64::from_le_bytes(bytes.fixed()?)),
        UINT64 => Scalar::Uint(bytes.u64()?),
        DOUBLE => Scalar::Double(f64::from_le_bytes(bytes.fixed()?)),
        STRING => {
            let length = length(&mut bytes)?;
            Scalar::String(bytes.take(length)?)
        }
        OPAQUE => {
            let of = bytes.u8()?;
            let length = length(&mut bytes)?;
            Scalar::Opaque(of, bytes.take(length)?)
        }
        _ => return None,
    })
}

/// Seven bits a byte, the lowest first; the highest bit says that another one follows.
fn length(bytes: &mut Bytes<'_>) -> Option<usize> {
    let mut length = 0_u64;
    for place in 0..5 {
        let byte = bytes.u8()?;
        length |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return usize::try_from(length).ok();
        }
    }
    None
}

fn container(content: &[u8], is_object: bool, is_large: bool) -> Option<Container<'_>> {
    let width = if is_large { 4 } else { 2 };
    let mut bytes = Bytes(content);
    let count = usize::try_from(bytes.uint(width)?).ok()?;
    let size = usize::try_from(bytes.uint(width)?).ok()?;
    let container = Container { bytes: content.get(..size)?, count, is_object, is_large };
    let entries = count.checked_mul(container.key_entry() + container.value_entry())?;
    (container.head().checked_add(entries)? <= size).then_some(container)
}

impl<'a> Container<'a> {
    fn width(&self) -> usize {
        if self.is_large { 4 } else { 2 }
    }

    fn head(&self) -> usize {
        2 * self.width()
    }

    /// Bytes of a key's place and length.
    fn key_entry(&self) -> usize {
        if self.is_object { self.width() + 2 } else { 0 }
    }

    /// Bytes of a value's type and place.
    fn value_entry(&self) -> usize {
        1 + self.width()
    }

    pub(super) fn key(&self, index: usize) -> Option<&'a [u8]> {
        let at = self.head() + index * self.key_entry();
        let (place, rest) = self.bytes.get(at..)?.split_at_checked(self.width())?;
        let place = usize::try_from(uint(place)).ok()?;
        let length = usize::try_from(uint(rest.get(..2)?)).ok()?;
        self.bytes.get(place..)?.get(..length)
    }

    pub(super) fn value(&self, index: usize) -> Option<Value<'a>> {
        let at = self.head() + self.count * self.key_entry() + index * self.value_entry();
        let (kind, rest) = self.bytes.get(at..)?.split_first()?;
        let inline = rest.get(..self.width())?;
        let is_inline = matches!(*kind, LITERAL | INT16 | UINT16)
            || (self.is_large && matches!(*kind, INT32 | UINT32));
        if is_inline {
            return value(*kind, inline);
        }
        value(*kind, self.bytes.get(usize::try_from(uint(inline)).ok()?..)?)
    }
}
