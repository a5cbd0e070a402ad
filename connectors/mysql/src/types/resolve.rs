//! How a column's cells are read, by what the log tells of it and what the catalog adds: one line a
//! type.

use super::charset::Charset;
use super::reader::Reader;
use super::time::TemporalForm;
use super::wire::Wire;
use crate::decode::{BINARY_COLLATION, ColumnShape, TypeCode, type_codes as codes};
use serde::{Deserialize, Serialize};
use tidemesh_model::{MysqlTypes, Value};

/// What `information_schema` adds to a column, as of today: the log does not have it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ColumnFacts {
    pub(crate) name: String,
    /// A type that the log shows as another one.
    pub(crate) native: Option<NativeType>,
    /// Digits of a second, where `mysql56_temporal_format` was off when a MariaDB table was made: the
    /// log does not tell how long such a cell is.
    pub(crate) digits: Option<u8>,
    /// A constant that old rows have without having been written.
    pub(crate) default: Option<Value>,
    /// The default of a column of the primary key, see `Field::key_default`.
    pub(crate) key_default: Option<Value>,
    /// Whether it says until when a row holds (`ROW END` of MariaDB's system versioning).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_row_end: bool,
    /// Whether rows that were there before it have what no constant says: a moment, an expression, what
    /// others of their columns make.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_filled: bool,
}

/// A type that the log shows as text or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NativeType {
    /// MariaDB's alias of `LONGTEXT`.
    Json,
    Uuid,
    Inet4,
    Inet6,
    /// MariaDB's, from 11.7 on.
    Vector,
}

/// What the log tells of one column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnTold<'a> {
    pub(crate) shape: ColumnShape,
    pub(crate) unsigned: Option<bool>,
    pub(crate) collation: Option<u64>,
    /// The values of an enum or a set, in its charset.
    pub(crate) values: &'a [&'a [u8]],
    /// Which kind of shape it holds, or how many numbers its vectors have.
    pub(crate) detail: Option<u64>,
    pub(crate) facts: Option<&'a ColumnFacts>,
    /// Whether nobody sees it: it is passed over.
    pub(crate) is_hidden: bool,
}

/// A column that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) wire: Wire,
    pub(crate) reader: Reader,
    /// The database's name of the type, with modifiers.
    pub(crate) source_type: String,
}

/// Why a column cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) type_name: String,
    pub(crate) why: &'static str,
    pub(crate) remedy: &'static str,
}

/// The digits of a second that moments of versions have.
const VERSION_DIGITS: u16 = 6;

const LEAVE_OUT: &str = "leave the column or the table out";
const FULL_METADATA: &str =
    "run SET GLOBAL binlog_row_metadata = FULL, and let the log be written on";

impl ColumnTold<'_> {
    /// Whether its cells are moments, `TIMESTAMP` of either form.
    pub(crate) fn is_moment(&self) -> bool {
        matches!(self.shape.code, codes::TIMESTAMP | codes::TIMESTAMP2)
    }

    /// Whether its cells are moments as versions of rows have them, `TIMESTAMP(6)`.
    pub(crate) fn is_version_moment(&self) -> bool {
        self.shape.code == codes::TIMESTAMP2 && self.shape.metadata == VERSION_DIGITS
    }

    /// How the column is read.
    ///
    /// # Errors
    ///
    /// Why it cannot be.
    pub(crate) fn resolve(&self, types: &MysqlTypes) -> Result<Resolved, Refused> {
        let (digits, wire) = (self.digits(), self.wire()?);
        let (reader, source_type) = match self.native() {
            Some(native) => native,
            None => self.reader(types, digits)?,
        };
        Ok(Resolved { wire, reader, source_type })
    }

    /// How long its cells are, which has to be known of a column that is passed over, too.
    ///
    /// # Errors
    ///
    /// That it is not known.
    pub(crate) fn wire(&self) -> Result<Wire, Refused> {
        Wire::of(self.shape, self.digits()).ok_or_else(|| Refused {
            type_name: format!("type {}", self.shape.code.0),
            why: "is of a type, or has lengths, that are not known here",
            remedy: LEAVE_OUT,
        })
    }

    fn digits(&self) -> u8 {
        self.facts.and_then(|facts| facts.digits).unwrap_or(0)
    }

    fn reader(&self, types: &MysqlTypes, digits: u8) -> Result<(Reader, String), Refused> {
        let [low, high] = self.shape.metadata.to_le_bytes();
        let zero = types.zero_dates;
        let integer = |signed, unsigned, name| self.signed(signed, unsigned, name);
        let temporal = |form: TemporalForm, name| (form, with_digits(name, form.digits()));
        let packed = |name| temporal(TemporalForm::Packed(low), name);
        let old = |name| temporal(TemporalForm::Old(digits), name);
        Ok(match self.shape.code {
            codes::TINY => integer(Reader::Int8, Reader::Uint8, "tinyint")?,
            codes::SHORT => integer(Reader::Int16, Reader::Uint16, "smallint")?,
            codes::INT24 => integer(Reader::Int24, Reader::Uint24, "mediumint")?,
            codes::LONG => integer(Reader::Int32, Reader::Uint32, "int")?,
            codes::LONGLONG => {
                integer(Reader::Int64, Reader::Uint64(types.unsigned_bigint), "bigint")?
            }
            codes::FLOAT => integer(Reader::Float, Reader::Float, "float")?,
            codes::DOUBLE => integer(Reader::Double, Reader::Double, "double")?,
            codes::NEWDECIMAL => {
                let reader = Reader::Decimal { precision: low, scale: high };
                self.signed(reader.clone(), reader, &format!("decimal({low},{high})"))?
            }
            codes::YEAR => (Reader::Year, "year".to_owned()),
            codes::BIT => {
                let count = high.saturating_mul(8).saturating_add(low);
                (Reader::Bits(count), format!("bit({count})"))
            }
            codes::DATE | codes::NEWDATE => (Reader::Date(zero), "date".to_owned()),
            codes::DATETIME2 => {
                let (form, name) = packed("datetime");
                (Reader::Datetime(form, zero), name)
            }
            codes::DATETIME => {
                let (form, name) = old("datetime");
                (Reader::Datetime(form, zero), name)
            }
            codes::TIMESTAMP2 => {
                let (form, name) = packed("timestamp");
                (Reader::Timestamp(form, zero), name)
            }
            codes::TIMESTAMP => {
                let (form, name) = old("timestamp");
                (Reader::Timestamp(form, zero), name)
            }
            codes::TIME2 => {
                let (form, name) = packed("time");
                (Reader::Time(form, types.time), name)
            }
            codes::TIME => {
                let (form, name) = old("time");
                (Reader::Time(form, types.time), name)
            }
            codes::ENUM | codes::SET => self.choice()?,
            codes::JSON => (Reader::Json, "json".to_owned()),
            codes::GEOMETRY => (Reader::Geometry, geometry_name(self.detail).to_owned()),
            codes::VECTOR => {
                let length = self.detail.map_or(String::new(), |detail| format!("({detail})"));
                (Reader::Vector, format!("vector{length}"))
            }
            _ => self.string()?,
        })
    }

    /// A type that the log shows as another one, if its cells can be of it.
    fn native(&self) -> Option<(Reader, String)> {
        let ColumnShape { code, metadata, .. } = self.shape;
        let is_bytes = |length| code == codes::STRING && metadata == length;
        let (reader, name, fits) = match self.facts?.native? {
            NativeType::Json => (Reader::JsonText, "json", code == codes::BLOB && self.is_utf8()),
            NativeType::Uuid => (Reader::Uuid, "uuid", is_bytes(16)),
            NativeType::Inet4 => (Reader::Inet4, "inet4", is_bytes(4)),
            NativeType::Inet6 => (Reader::Inet6, "inet6", is_bytes(16)),
            NativeType::Vector => (Reader::Vector, "vector", code == codes::VARCHAR),
        };
        fits.then(|| (reader, name.to_owned()))
    }

    fn is_utf8(&self) -> bool {
        self.collation.and_then(Charset::of_collation).is_some_and(Charset::is_utf8)
    }

    /// Of two readers the one for the sign that the column has.
    fn signed(
        &self,
        signed: Reader,
        unsigned: Reader,
        name: &str,
    ) -> Result<(Reader, String), Refused> {
        match self.unsigned {
            Some(false) => Ok((signed, name.to_owned())),
            Some(true) => Ok((unsigned, format!("{name} unsigned"))),
            None => Err(Refused {
                type_name: name.to_owned(),
                why: "has no sign in the log",
                remedy: FULL_METADATA,
            }),
        }
    }

    fn charset(&self, type_name: &str) -> Result<Charset, Refused> {
        let refused = |why, remedy| Refused { type_name: type_name.to_owned(), why, remedy };
        let collation =
            self.collation.ok_or_else(|| refused("has no charset in the log", FULL_METADATA))?;
        Charset::of_collation(collation).ok_or_else(|| {
            let mut refused = refused(
                "has a charset that is not known here",
                "run ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4, or leave the column or the table \
                 out",
            );
            refused.type_name = format!("{type_name} with collation {collation}");
            refused
        })
    }

    /// Text or bytes: bytes are text of the collation that is none.
    fn string(&self) -> Result<(Reader, String), Refused> {
        let ColumnShape { code, metadata, .. } = self.shape;
        let (text_name, bytes_name) = string_names(code, metadata).ok_or_else(|| Refused {
            type_name: format!("type {}", code.0),
            why: "is of a type that is not known here",
            remedy: LEAVE_OUT,
        })?;
        let charset = self.charset(text_name)?;
        let is_bytes = self.collation == Some(BINARY_COLLATION);
        let is_compressed = matches!(code, codes::BLOB_COMPRESSED | codes::VARCHAR_COMPRESSED);
        let reader = match (is_bytes, is_compressed) {
            (true, true) => Reader::CompressedBytes,
            (true, false) if code == codes::STRING => Reader::Binary(metadata),
            (true, false) => Reader::Bytes,
            (false, true) => Reader::CompressedText(charset),
            (false, false) => Reader::Text(charset),
        };
        let name = if is_bytes { bytes_name } else { text_name };
        // What says how a value is packed is a byte before it.
        let longest = if is_compressed { metadata.saturating_sub(1) } else { metadata };
        let has_length = !matches!(code, codes::BLOB | codes::BLOB_COMPRESSED);
        let mut source_type = match has_length {
            true => format!("{name}({})", longest / charset.bytes_max()),
            false => name.to_owned(),
        };
        if is_compressed {
            source_type.push_str(" compressed");
        }
        Ok((reader, source_type))
    }

    fn choice(&self) -> Result<(Reader, String), Refused> {
        let is_enum = self.shape.code == codes::ENUM;
        let name = if is_enum { "enum" } else { "set" };
        let refused = |why, remedy| Refused { type_name: name.to_owned(), why, remedy };
        if self.values.is_empty() {
            return Err(refused("has no values in the log", FULL_METADATA));
        }
        let charset = self.charset(name)?;
        let mut labels = Vec::with_capacity(self.values.len());
        for value in self.values {
            let mut label = String::new();
            charset
                .decode(value, &mut label)
                .ok_or_else(|| refused("has values that are not of its charset", LEAVE_OUT))?;
            labels.push(label);
        }
        let quoted: Vec<String> =
            labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
        let source_type = format!("{name}({})", quoted.join(","));
        Ok((if is_enum { Reader::Enum(labels) } else { Reader::Set(labels) }, source_type))
    }
}

/// The names of a string type as text and as bytes.
fn string_names(code: TypeCode, metadata: u16) -> Option<(&'static str, &'static str)> {
    Some(match (code, metadata) {
        (codes::STRING, _) => ("char", "binary"),
        (codes::VARCHAR | codes::VAR_STRING | codes::VARCHAR_COMPRESSED, _) => {
            ("varchar", "varbinary")
        }
        (codes::BLOB | codes::BLOB_COMPRESSED, 1) | (codes::TINY_BLOB, _) => {
            ("tinytext", "tinyblob")
        }
        (codes::BLOB | codes::BLOB_COMPRESSED, 2) => ("text", "blob"),
        (codes::BLOB | codes::BLOB_COMPRESSED, 3) | (codes::MEDIUM_BLOB, _) => {
            ("mediumtext", "mediumblob")
        }
        (codes::BLOB | codes::BLOB_COMPRESSED, 4) | (codes::LONG_BLOB, _) => {
            ("longtext", "longblob")
        }
        _ => return None,
    })
}

/// The names of kinds of shapes, by their numbers (OGC 06-103r4, 8.2.3).
fn geometry_name(kind: Option<u64>) -> &'static str {
    match kind {
        Some(1) => "point",
        Some(2) => "linestring",
        Some(3) => "polygon",
        Some(4) => "multipoint",
        Some(5) => "multilinestring",
        Some(6) => "multipolygon",
        Some(7) => "geometrycollection",
        _ => "geometry",
    }
}

fn with_digits(name: &str, digits: u8) -> String {
    match digits {
        0 => name.to_owned(),
        digits => format!("{name}({digits})"),
    }
}
