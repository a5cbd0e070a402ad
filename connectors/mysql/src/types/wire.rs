//! How long a cell is in the log's rows: by its column's type alone.

use crate::bytes::Bytes;
use crate::decode::{ColumnShape, type_codes as codes};
use crate::numeric;
use serde::{Deserialize, Serialize};

/// How a cell's bytes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wire {
    /// So many bytes.
    Fixed(u16),
    /// Behind a length of so many bytes, 1 to 4.
    Behind(u8),
    /// A JSON document behind a length of four bytes; in a partial update it may be what changed.
    Json,
}

impl Wire {
    /// The wire of a column; none for a type that is not known. `digits` are those of a second where
    /// the type is of MariaDB's older forms, which the log does not tell.
    ///
    /// Lengths: MySQL 9.1, `calc_field_size` in `rows_event.cpp`; MariaDB 10.11, `hires_bytes` of
    /// `Field_time_hires` and its like in `sql/field.cc`.
    pub(crate) fn of(column: ColumnShape, digits: u8) -> Option<Self> {
        let metadata = column.metadata;
        let [low, high] = metadata.to_le_bytes();
        let length = |most: u16| Self::Behind(if most > 255 { 2 } else { 1 });
        let fraction = u16::from(low.div_ceil(2));
        Some(match column.code {
            codes::TINY | codes::YEAR => Self::Fixed(1),
            codes::SHORT => Self::Fixed(2),
            codes::INT24 | codes::DATE | codes::NEWDATE => Self::Fixed(3),
            codes::LONG | codes::FLOAT => Self::Fixed(4),
            codes::LONGLONG | codes::DOUBLE => Self::Fixed(8),
            codes::NULL => Self::Fixed(0),
            codes::TIMESTAMP => Self::Fixed(4 + fraction_bytes(digits)),
            codes::TIME => Self::Fixed(old_time_bytes(digits)),
            codes::DATETIME => Self::Fixed(old_datetime_bytes(digits)),
            codes::TIMESTAMP2 if low <= 6 => Self::Fixed(4 + fraction),
            codes::DATETIME2 if low <= 6 => Self::Fixed(5 + fraction),
            codes::TIME2 if low <= 6 => Self::Fixed(3 + fraction),
            codes::NEWDECIMAL => Self::Fixed(numeric::packed_bytes(low, high)?),
            codes::ENUM | codes::SET if (1..=8).contains(&metadata) => Self::Fixed(metadata),
            codes::BIT => Self::Fixed(u16::from(high) + u16::from(low > 0)),
            codes::VARCHAR | codes::VAR_STRING | codes::VARCHAR_COMPRESSED | codes::STRING => {
                length(metadata)
            }
            codes::JSON => Self::Json,
            codes::TINY_BLOB => Self::Behind(1),
            codes::MEDIUM_BLOB => Self::Behind(3),
            codes::LONG_BLOB => Self::Behind(4),
            codes::BLOB | codes::BLOB_COMPRESSED | codes::GEOMETRY | codes::VECTOR
                if (1..=4).contains(&low) =>
            {
                Self::Behind(low)
            }
            _ => return None,
        })
    }

    /// Takes a cell's bytes, without their length.
    #[inline]
    pub(crate) fn take<'a>(self, bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
        let length = match self {
            Self::Fixed(length) => usize::from(length),
            Self::Behind(1) => usize::from(bytes.u8()?),
            Self::Behind(2) => usize::from(bytes.u16()?),
            Self::Behind(length) => usize::try_from(bytes.uint(usize::from(length))?).ok()?,
            Self::Json => usize::try_from(bytes.u32()?).ok()?,
        };
        bytes.take(length)
    }
}

/// Bytes of so many digits of a second where they stand alone (MariaDB, `sec_part_bytes`).
fn fraction_bytes(digits: u8) -> u16 {
    u16::from(digits.min(6)).div_ceil(2)
}

/// MariaDB, `Field_time_hires::hires_bytes`; without digits the old form, of three bytes.
fn old_time_bytes(digits: u8) -> u16 {
    [3, 4, 4, 5, 5, 5, 6][usize::from(digits.min(6))]
}

/// MariaDB, `Field_datetime_hires::hires_bytes`; without digits the old form, of eight bytes.
fn old_datetime_bytes(digits: u8) -> u16 {
    [8, 6, 6, 7, 7, 7, 8][usize::from(digits.min(6))]
}
