//! What a column's type is in its database, beyond the [`DataType`](crate::DataType) that its values
//! have here.

use serde::{Deserialize, Serialize};

/// What the database's type says that [`DataType`](crate::DataType) does not: two types may have one
/// form of value here and two in the conventions of a peer (Debezium's).
///
/// An array has the kind of its elements. A kind that a checkpoint of an older version does not know
/// of is [`SourceKind::Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// All is said by the data type.
    #[default]
    Plain,
    /// An integer of 16 bits.
    Int16,
    /// An exact number without a fixed scale, as text: digits, a point, digits.
    Numeric,
    /// An amount of money.
    Money,
    /// A time of day with so many digits of a second, 0 to 6.
    Time {
        /// Digits behind the point.
        digits: u8,
    },
    /// A time of day with its offset from UTC, as text: `HH:MM:SS[.ffffff]±HH[:MM[:SS]]`.
    TimeTz,
    /// A date and time without a zone, with so many digits of a second, 0 to 6.
    Timestamp {
        /// Digits behind the point.
        digits: u8,
    },
    /// A moment with so many digits of a second, 0 to 6.
    TimestampTz {
        /// Digits behind the point.
        digits: u8,
    },
    /// A span of months, days and a time, as ISO 8601 text, each part with its own sign.
    Interval,
    /// An XML document, as text.
    Xml,
    /// A path of labels, as text: PostgreSQL's `ltree`.
    Ltree,
    /// Words for a text search, as text: PostgreSQL's `tsvector`.
    TsVector,
    /// A string of bits, as text of `0` and `1`.
    Bits {
        /// The most bits; none if there is no limit.
        length: Option<u32>,
    },
    /// A point, as text: `(x,y)`.
    Point,
    /// A circle, as text: `<(x,y),r>`.
    Circle,
    /// A line, as text: `{a,b,c}`.
    Line,
    /// A line segment, as text: `[(x,y),(x,y)]`.
    Segment,
    /// A box, as text: `(x,y),(x,y)`.
    Box,
    /// A path, as text: `[(x,y),…]` if it is open, `((x,y),…)` if it is closed.
    Path,
    /// A polygon, as text: `((x,y),…)`.
    Polygon,
}

impl SourceKind {
    /// Whether it is [`SourceKind::Plain`], which is not stored.
    #[must_use]
    pub fn plain(&self) -> bool {
        *self == Self::Plain
    }
}
