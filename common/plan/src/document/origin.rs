//! Where in a document's text a place of the SQL stands that the document holds.

use crate::Place;
use serde::{Serialize, Serializer};

/// SQL out of a document. Two are equal if their texts are, wherever they stand.
#[derive(Debug, Clone)]
pub struct SqlText {
    /// The SQL.
    pub text: String,
    origin: Origin,
}

/// How places of a text are found in the document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Only where the text begins is known: it is folded, or has escapes.
    Begin(Place),
    /// All of it stands on one line, as it is.
    Line(Place),
    /// A literal block: its first line is this one, and each is indented by so many columns.
    Block {
        /// The first line.
        line: u32,
        /// Spaces before what belongs to the text.
        indent: u32,
    },
}

impl SqlText {
    /// SQL that stands in no document: its places are its own.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), origin: Origin::Block { line: 1, indent: 0 } }
    }

    pub(super) fn at(text: &str, origin: Origin) -> Self {
        Self { text: text.to_owned(), origin }
    }

    /// The place in the document of a place in the SQL, both from 1 and in characters. Where the
    /// document holds the SQL folded or with escapes, it is where it begins.
    #[must_use]
    pub fn place(&self, in_sql: Place) -> Place {
        self.origin.place(in_sql)
    }
}

impl Origin {
    fn place(self, within: Place) -> Place {
        let Place { line, column } = within;
        match self {
            Self::Begin(place) => place,
            Self::Line(place) if line <= 1 => {
                Place { line: place.line, column: beyond(place.column, column) }
            }
            Self::Line(place) => place,
            Self::Block { line: first, indent } => {
                Place { line: beyond(first, line), column: column.saturating_add(indent) }
            }
        }
    }

    /// How places are found of a text that is quoted or plain, whose source this is.
    pub(super) fn flow(text: &str, source: &str, begin: Place) -> Self {
        let unquoted = ['\'', '"'].iter().find_map(|quote| {
            source.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote))
        });
        if source == text && !text.contains('\n') {
            return Self::Line(begin);
        }
        if unquoted == Some(text) && !text.contains('\n') {
            return Self::Line(Place { column: begin.column.saturating_add(1), ..begin });
        }
        Self::Begin(begin)
    }

    /// How places are found of a literal block's text. `lines` is the document from the line on in
    /// which the block's first line with something in it stands, which is `begin`.
    pub(super) fn block(text: &str, lines: &str, begin: Place) -> Self {
        let empty = text.bytes().take_while(|byte| *byte == b'\n').count();
        let first = text.trim_start_matches('\n').lines().next().unwrap_or_default();
        let line = lines.lines().next().unwrap_or_default();
        let indent = line.strip_suffix(first).filter(|indent| indent.bytes().all(|b| b == b' '));
        let above = u32::try_from(empty).ok().and_then(|empty| begin.line.checked_sub(empty));
        let indent = indent.and_then(|indent| u32::try_from(indent.len()).ok());
        match (above, indent) {
            (Some(line), Some(indent)) if !first.is_empty() => Self::Block { line, indent },
            _ => Self::Begin(begin),
        }
    }
}

/// `place`, but so many on that what was 1 is `place`.
fn beyond(place: u32, within: u32) -> u32 {
    place.saturating_add(within.saturating_sub(1))
}

impl Default for SqlText {
    fn default() -> Self {
        Self::new("")
    }
}

impl PartialEq for SqlText {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SqlText {}

impl Serialize for SqlText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
