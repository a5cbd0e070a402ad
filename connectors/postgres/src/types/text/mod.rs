//! Values as PostgreSQL's text: what the `*_out` function of a type writes, from what its `*_send`
//! function sent (PostgreSQL 18, `src/backend/utils/adt/`), under the settings of a reader's session
//! (`snapshot::sql::SESSION`: zone UTC, styles ISO and `iso_8601`, `extra_float_digits = 1`).
//!
//! Text is put together in one buffer a thread, in which a part that turns out to need quotes is
//! moved apart in place: no cell allocates.

mod float;
mod geometric;
mod network;
mod range;
mod search;
mod system;
mod time;

pub(crate) use float::{write_float4, write_float8};
pub(super) use system::hstore_json;
pub(super) use time::{ZoneStyle, interval, time_tz};

use super::array;
use super::bytes::{Bytes, malformed, utf8, whole};
use super::composite::{self, Told, altered};
use crate::numeric::{self, NotFinite};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::io::Write;
use tidemesh_model::{CellVisitor, Result};

/// How a type's binary cells are written as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Printer {
    Bool,
    Int2,
    Int4,
    Int8,
    /// `oid`, `xid`, `cid`, and the `reg…` types, whose names the log does not have.
    Unsigned4,
    /// `xid8`.
    Unsigned8,
    Float4,
    Float8,
    Numeric,
    /// The bytes are the text.
    Text,
    /// The same behind a version, which is 1.
    VersionedText,
    Char,
    Bytea,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Address,
    MacAddress,
    MacAddress8,
    Bits,
    Point,
    Line,
    Segment,
    Rectangle,
    Path,
    Polygon,
    Circle,
    SearchVector,
    SearchQuery,
    Tid,
    Lsn,
    Snapshot,
    Int2Vector,
    OidVector,
    Hstore,
    Range(Box<Printer>),
    Multirange(Box<Printer>),
    /// Elements of any number of dimensions, and what stands between them.
    Array(Box<Printer>, char),
    Composite {
        schema: String,
        name: String,
        /// Each attribute's type.
        attributes: Vec<(u32, Printer)>,
    },
}

thread_local! {
    /// Text under construction: one buffer a thread, so that no cell allocates.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The most bytes of the buffer that are kept from one cell to the next.
const TEXT_KEPT_MAX: usize = 1024 * 1024;

/// Hands a text that `write` puts together to the visitor.
pub(super) fn with_text<V: CellVisitor>(
    visitor: &mut V,
    write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        text.shrink_to(TEXT_KEPT_MAX);
        write(text)?;
        visitor.text(utf8(text)?)
    })
}

impl Printer {
    /// One of each kind.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn samples() -> Vec<Self> {
        let boxed = |printer: Self| Box::new(printer);
        let composite = Self::Composite {
            schema: "public".to_owned(),
            name: "pair".to_owned(),
            attributes: vec![(23, Self::Int4), (25, Self::Text)],
        };
        vec![
            Self::Bool,
            Self::Int2,
            Self::Int4,
            Self::Int8,
            Self::Unsigned4,
            Self::Unsigned8,
            Self::Float4,
            Self::Float8,
            Self::Numeric,
            Self::Text,
            Self::VersionedText,
            Self::Char,
            Self::Bytea,
            Self::Uuid,
            Self::Date,
            Self::Time,
            Self::TimeTz,
            Self::Timestamp,
            Self::TimestampTz,
            Self::Interval,
            Self::Address,
            Self::MacAddress,
            Self::MacAddress8,
            Self::Bits,
            Self::Point,
            Self::Line,
            Self::Segment,
            Self::Rectangle,
            Self::Path,
            Self::Polygon,
            Self::Circle,
            Self::SearchVector,
            Self::SearchQuery,
            Self::Tid,
            Self::Lsn,
            Self::Snapshot,
            Self::Int2Vector,
            Self::OidVector,
            Self::Hstore,
            Self::Range(boxed(Self::Float8)),
            Self::Range(boxed(Self::Text)),
            Self::Multirange(boxed(Self::Date)),
            Self::Array(boxed(Self::Rectangle), ';'),
            Self::Array(boxed(composite.clone()), ','),
            composite,
        ]
    }

    /// Appends a cell's text.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not of the type; `Unsupported` for a composite type that was
    /// altered.
    pub(crate) fn print(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Bool => out.push(if whole::<1>(bytes)?[0] != 0 { b't' } else { b'f' }),
            Self::Int2 => number(i16::from_be_bytes(whole(bytes)?), out)?,
            Self::Int4 => number(i32::from_be_bytes(whole(bytes)?), out)?,
            Self::Int8 => number(i64::from_be_bytes(whole(bytes)?), out)?,
            Self::Unsigned4 => number(u32::from_be_bytes(whole(bytes)?), out)?,
            Self::Unsigned8 => number(u64::from_be_bytes(whole(bytes)?), out)?,
            Self::Text => out.extend_from_slice(bytes),
            Self::VersionedText => out.extend_from_slice(versioned(bytes)?),
            Self::Range(bound) => range::range(bound, bytes, out)?,
            Self::Multirange(bound) => range::multirange(bound, bytes, out)?,
            Self::Array(element, delimiter) => print_array(element, *delimiter, bytes, out)?,
            Self::Composite { schema, name, attributes } => {
                match print_composite(attributes, bytes, out)? {
                    Told::AsKnown => {}
                    Told::Otherwise => return Err(altered(schema, name)),
                }
            }
            leaf => leaf.print_leaf(bytes, out).ok_or_else(malformed)?,
        }
        Ok(())
    }

    /// The types that are not made of others.
    fn print_leaf(&self, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Float4 => write_float4(f32::from_be_bytes(bytes.try_into().ok()?), out),
            Self::Float8 => write_float8(f64::from_be_bytes(bytes.try_into().ok()?), out),
            Self::Numeric => print_numeric(bytes, out),
            Self::Char => system::char(bytes, out),
            Self::Bytea => print_bytea(bytes, out),
            Self::Uuid => print_uuid(bytes, out),
            Self::Date => time::date(i32::from_be_bytes(bytes.try_into().ok()?), out),
            Self::Time => time::clock(u64::from_be_bytes(bytes.try_into().ok()?), out),
            Self::TimeTz => time_tz(bytes, ZoneStyle::Postgres, out),
            Self::Timestamp => time::timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "", out),
            Self::TimestampTz => {
                time::timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "+00", out)
            }
            Self::Interval => interval(bytes, out),
            Self::Address => network::address(bytes, out),
            Self::MacAddress => network::hardware::<6>(bytes, out),
            Self::MacAddress8 => network::hardware::<8>(bytes, out),
            Self::Bits => system::bits(bytes, out),
            Self::Point => geometric::point(bytes, out),
            Self::Line => geometric::line(bytes, out),
            Self::Segment => geometric::segment(bytes, out),
            Self::Rectangle => geometric::rectangle(bytes, out),
            Self::Path => geometric::path(bytes, out),
            Self::Polygon => geometric::polygon(bytes, out),
            Self::Circle => geometric::circle(bytes, out),
            Self::SearchVector => search::vector(bytes, out),
            Self::SearchQuery => search::query(bytes, out),
            Self::Tid => system::tid(bytes, out),
            Self::Lsn => system::lsn(bytes, out),
            Self::Snapshot => system::snapshot(bytes, out),
            Self::Int2Vector => {
                let of = |b: &[u8]| b.try_into().ok().map(|b| i16::from_be_bytes(b).into());
                system::vector(bytes, of, out)
            }
            Self::OidVector => {
                let of = |b: &[u8]| b.try_into().ok().map(|b| u32::from_be_bytes(b).into());
                system::vector(bytes, of, out)
            }
            Self::Hstore => system::hstore(bytes, out),
            // `print` has them.
            Self::Bool
            | Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Unsigned4
            | Self::Unsigned8
            | Self::Text
            | Self::VersionedText
            | Self::Range(_)
            | Self::Multirange(_)
            | Self::Array(..)
            | Self::Composite { .. } => None,
        }
    }
}

fn number(number: impl std::fmt::Display, out: &mut Vec<u8>) -> Result<()> {
    write!(out, "{number}").map_err(|_| malformed())
}

/// The text behind its version (`jsonb_send`, `jsonpath_send`, `ltree_send`).
pub(super) fn versioned(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.split_first() {
        Some((1, text)) => Ok(text),
        _ => Err(malformed()),
    }
}

pub(super) fn print_numeric(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match numeric::read(bytes)? {
        Ok(number) => number.write_text(out),
        Err(NotFinite::Nan) => out.write_all(b"NaN").ok(),
        Err(NotFinite::Infinity) => out.write_all(b"Infinity").ok(),
        Err(NotFinite::MinusInfinity) => out.write_all(b"-Infinity").ok(),
    }
}

fn print_bytea(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    Some(())
}

fn print_uuid(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    for (index, byte) in bytes.iter().enumerate() {
        let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(out, "{dash}{byte:02x}").ok()?;
    }
    Some(())
}

/// `array_out`: nested braces, before which the bounds stand where one does not begin at 1.
fn print_array(element: &Printer, delimiter: char, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut bytes = Bytes(bytes);
    let shape = array::shape(&mut bytes).ok_or_else(malformed)?;
    let bounds = &shape.bounds[..shape.dimensions];
    let count = shape.elements().ok_or_else(malformed)?;
    if count == 0 {
        out.extend_from_slice(b"{}");
        return bytes.end().ok_or_else(malformed);
    }
    if bounds.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in bounds {
            let upper = i64::from(*lower) + i64::from(*length) - 1;
            number(format_args!("[{lower}:{upper}]"), out)?;
        }
        out.push(b'=');
    }
    let quoted = QUOTED_IN_ARRAY.between(delimiter);
    for index in 0..count {
        if index > 0 {
            // As many braces close and open as dimensions begin anew here.
            let anew = begun(bounds, index);
            out.extend((0..anew).map(|_| b'}'));
            number(delimiter, out)?;
            out.extend((0..anew).map(|_| b'{'));
        } else {
            out.extend(bounds.iter().map(|_| b'{'));
        }
        match bytes.value().ok_or_else(malformed)? {
            None => out.extend_from_slice(b"NULL"),
            Some(value) => {
                let start = out.len();
                element.print(value, out)?;
                quote_from(out, start, &quoted);
            }
        }
    }
    out.extend(bounds.iter().map(|_| b'}'));
    bytes.end().ok_or_else(malformed)
}

/// How many inner dimensions begin anew with this element.
fn begun(bounds: &[(u32, i32)], index: usize) -> usize {
    let mut size = 1_usize;
    bounds
        .iter()
        .rev()
        .take(bounds.len() - 1)
        .take_while(|(length, _)| {
            size = size.saturating_mul(*length as usize);
            index.is_multiple_of(size)
        })
        .count()
}

/// `record_out`.
fn print_composite(attributes: &[(u32, Printer)], bytes: &[u8], out: &mut Vec<u8>) -> Result<Told> {
    out.push(b'(');
    let mut is_first = true;
    let known = attributes.iter().map(|(oid, printer)| (*oid, printer));
    let told = composite::each(bytes, known, |printer, value| {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        if let Some(value) = value {
            let start = out.len();
            printer.print(value, out)?;
            quote_from(out, start, &QUOTED_IN_COMPOSITE);
        }
        Ok(())
    })?;
    out.push(b')');
    Ok(told)
}

/// Which texts need quotes within another text, and how they are quoted.
pub(crate) struct Quoted {
    /// Characters that need them, beside quotes, backslashes and blanks.
    brackets: &'static [u8],
    /// One more.
    needs: char,
    /// Whether the word NULL does.
    null: bool,
    /// Whether quotes and backslashes are doubled; else a backslash stands before them.
    doubled: bool,
}

/// `array_out`; the element's type says what stands between elements.
pub(crate) const QUOTED_IN_ARRAY: Quoted =
    Quoted { brackets: b"{}", needs: ',', null: true, doubled: false };

/// `record_out`.
pub(crate) const QUOTED_IN_COMPOSITE: Quoted =
    Quoted { brackets: b"()", needs: ',', null: false, doubled: true };

/// `range_bound_escape`.
pub(crate) const QUOTED_IN_RANGE: Quoted =
    Quoted { brackets: b"()[]", needs: ',', null: false, doubled: true };

impl Quoted {
    /// The same with another delimiter.
    pub(crate) const fn between(self, delimiter: char) -> Self {
        Self { needs: delimiter, ..self }
    }

    fn applies(&self, text: &[u8]) -> bool {
        let needs = |byte: &u8| {
            matches!(byte, b'"' | b'\\' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
                || self.brackets.contains(byte)
                || char::from(*byte) == self.needs
        };
        text.is_empty()
            || (self.null && text.eq_ignore_ascii_case(b"null"))
            || text.iter().any(needs)
    }
}

/// Quotes the text from `start` on, if it needs that.
pub(crate) fn quote_from(out: &mut Vec<u8>, start: usize, quoted: &Quoted) {
    if !quoted.applies(&out[start..]) {
        return;
    }
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
    let more = out[start..].iter().filter(|byte| is_escaped(byte)).count();
    let mut from = out.len();
    let mut to = from + more + 2;
    out.resize(to, b'"');
    // From the end on, so that nothing is overwritten that is still to be moved.
    to -= 1;
    while from > start {
        from -= 1;
        to -= 1;
        let byte = out[from];
        out[to] = byte;
        if is_escaped(&byte) {
            to -= 1;
            out[to] = if quoted.doubled { byte } else { b'\\' };
        }
    }
    out[start] = b'"';
}

#[cfg(test)]
mod tests;
