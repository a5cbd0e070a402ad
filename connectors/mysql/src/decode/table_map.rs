//! Tables as the log describes them before their rows (MySQL 9.1, `Table_map_event` in
//! `rows_event.{h,cpp}`; MariaDB 10.11, `Table_map_log_event`).

use super::optional::{OptionalMetadata, optional_metadata};
use crate::bytes::{Bitmap, Bytes};
use crate::frame::{Flavor, Header};
use serde::{Deserialize, Serialize};
use tidemesh_model::{Error, ErrorKind, Result};

/// A column's type, by its number in the log (MySQL 9.1, `include/field_types.h`; MariaDB 10.11,
/// `include/mysql_com.h`, has 140 and 141).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TypeCode(pub(crate) u8);

/// The numbers of types.
pub(crate) mod type_codes {
    use super::TypeCode;

    pub(crate) const TINY: TypeCode = TypeCode(1);
    pub(crate) const SHORT: TypeCode = TypeCode(2);
    pub(crate) const LONG: TypeCode = TypeCode(3);
    pub(crate) const FLOAT: TypeCode = TypeCode(4);
    pub(crate) const DOUBLE: TypeCode = TypeCode(5);
    pub(crate) const NULL: TypeCode = TypeCode(6);
    pub(crate) const TIMESTAMP: TypeCode = TypeCode(7);
    pub(crate) const LONGLONG: TypeCode = TypeCode(8);
    pub(crate) const INT24: TypeCode = TypeCode(9);
    pub(crate) const DATE: TypeCode = TypeCode(10);
    pub(crate) const TIME: TypeCode = TypeCode(11);
    pub(crate) const DATETIME: TypeCode = TypeCode(12);
    pub(crate) const YEAR: TypeCode = TypeCode(13);
    pub(crate) const NEWDATE: TypeCode = TypeCode(14);
    pub(crate) const VARCHAR: TypeCode = TypeCode(15);
    pub(crate) const BIT: TypeCode = TypeCode(16);
    pub(crate) const TIMESTAMP2: TypeCode = TypeCode(17);
    pub(crate) const DATETIME2: TypeCode = TypeCode(18);
    pub(crate) const TIME2: TypeCode = TypeCode(19);
    pub(crate) const BLOB_COMPRESSED: TypeCode = TypeCode(140);
    pub(crate) const VARCHAR_COMPRESSED: TypeCode = TypeCode(141);
    pub(crate) const VECTOR: TypeCode = TypeCode(242);
    pub(crate) const TYPED_ARRAY: TypeCode = TypeCode(244);
    pub(crate) const JSON: TypeCode = TypeCode(245);
    pub(crate) const NEWDECIMAL: TypeCode = TypeCode(246);
    pub(crate) const ENUM: TypeCode = TypeCode(247);
    pub(crate) const SET: TypeCode = TypeCode(248);
    pub(crate) const TINY_BLOB: TypeCode = TypeCode(249);
    pub(crate) const MEDIUM_BLOB: TypeCode = TypeCode(250);
    pub(crate) const LONG_BLOB: TypeCode = TypeCode(251);
    pub(crate) const BLOB: TypeCode = TypeCode(252);
    pub(crate) const VAR_STRING: TypeCode = TypeCode(253);
    pub(crate) const STRING: TypeCode = TypeCode(254);
    pub(crate) const GEOMETRY: TypeCode = TypeCode(255);
}

use type_codes as codes;

impl TypeCode {
    /// Bytes of the metadata that stand behind the types.
    fn metadata_bytes(self) -> usize {
        match self {
            codes::VARCHAR
            | codes::VARCHAR_COMPRESSED
            | codes::VAR_STRING
            | codes::BIT
            | codes::NEWDECIMAL
            | codes::ENUM
            | codes::SET
            | codes::STRING => 2,
            codes::FLOAT
            | codes::DOUBLE
            | codes::TIMESTAMP2
            | codes::DATETIME2
            | codes::TIME2
            | codes::TINY_BLOB
            | codes::MEDIUM_BLOB
            | codes::LONG_BLOB
            | codes::BLOB
            | codes::BLOB_COMPRESSED
            | codes::VECTOR
            | codes::JSON
            | codes::GEOMETRY => 1,
            _ => 0,
        }
    }

    /// Whether the list of signs has it. MariaDB's has years, too, which MySQL's has not (`testdata`;
    /// MySQL 9.1, `is_numeric_type` in `field_common_properties.h`).
    pub(crate) fn has_sign(self, flavor: Flavor) -> bool {
        match self {
            codes::TINY
            | codes::SHORT
            | codes::INT24
            | codes::LONG
            | codes::LONGLONG
            | codes::FLOAT
            | codes::DOUBLE
            | codes::NEWDECIMAL => true,
            codes::YEAR => flavor == Flavor::MariaDb,
            _ => false,
        }
    }

    /// Whether the list of charsets has it. MariaDB's has all that have a collation, shapes among them
    /// (`testdata`; MySQL 9.1, `is_character_type` in `log_event.cc`).
    pub(crate) fn has_charset(self, flavor: Flavor) -> bool {
        match self {
            codes::STRING | codes::VAR_STRING | codes::VARCHAR | codes::BLOB => true,
            codes::GEOMETRY | codes::BLOB_COMPRESSED | codes::VARCHAR_COMPRESSED => {
                flavor == Flavor::MariaDb
            }
            _ => false,
        }
    }
}

/// What a table's description says of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ColumnShape {
    /// Its type; of a `STRING` that stands for an enum or a set, those.
    pub(crate) code: TypeCode,
    /// What the type needs beside: lengths, digits. Of strings it is the most bytes, of enums and
    /// sets the bytes of a value; else as it stands in the log, the lower byte first.
    pub(crate) metadata: u16,
    pub(crate) nullable: bool,
}

/// A table of which rows follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableMap<'a> {
    header: Header,
    /// Its number, by which rows name it, up to the end of their statement.
    pub(crate) id: u64,
    pub(crate) database: &'a [u8],
    pub(crate) table: &'a [u8],
    types: &'a [u8],
    metadata: &'a [u8],
    nullable: Bitmap<'a>,
    optional: &'a [u8],
    /// All but its number: two of the same definition are of the same table in the same shape.
    pub(crate) definition: &'a [u8],
}

pub(super) fn table_map<'a>(header: &Header, bytes: Bytes<'a>) -> Result<TableMap<'a>> {
    let map = parts(header, bytes)
        .ok_or_else(|| header.malformed("its bytes are not those of a table's description"))?;
    let metadata: usize = map.types.iter().map(|code| TypeCode(*code).metadata_bytes()).sum();
    if metadata > map.metadata.len() {
        return Err(map.locate(header.malformed("the columns' metadata is cut")));
    }
    Ok(map)
}

fn parts<'a>(header: &Header, mut bytes: Bytes<'a>) -> Option<TableMap<'a>> {
    let id = bytes.uint(6)?;
    let _flags = bytes.u16()?;
    let definition = bytes.0;
    let database = bytes.short_bytes()?;
    (bytes.u8()? == 0).then_some(())?;
    let table = bytes.short_bytes()?;
    (bytes.u8()? == 0).then_some(())?;
    let types = bytes.packed_bytes()?;
    let metadata = bytes.packed_bytes()?;
    let nullable = Bitmap::take(&mut bytes, types.len())?;
    let (header, optional) = (*header, bytes.0);
    Some(TableMap { header, id, database, table, types, metadata, nullable, optional, definition })
}

impl<'a> TableMap<'a> {
    /// Its columns, in the order of rows' cells.
    pub(crate) fn columns(&self) -> impl Iterator<Item = ColumnShape> + 'a {
        let mut metadata = Bytes(self.metadata);
        let nullable = self.nullable;
        self.types.iter().enumerate().map(move |(index, code)| {
            let code = TypeCode(*code);
            // All of it is there: `table_map` has looked.
            let bytes = metadata.take(code.metadata_bytes()).unwrap_or_default();
            shape(code, bytes, nullable.has(index))
        })
    }

    /// What stands behind the columns: signs, charsets, names, keys, as far as the server is set to
    /// write them.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are none of that; `Unsupported` for a column whose metadata have a
    /// length that is not known here, by which no column behind it can be told.
    pub(crate) fn optional(&self, flavor: Flavor) -> Result<OptionalMetadata<'a>> {
        if self.types.iter().any(|code| TypeCode(*code) == codes::TYPED_ARRAY) {
            let error = Error::new(ErrorKind::Unsupported, "decode the log")
                .because("a column has the type of a multi-valued index, which is not carried");
            return Err(self.locate(self.header.locate(error)));
        }
        let columns: Vec<ColumnShape> = self.columns().collect();
        optional_metadata(self.optional, &columns, flavor).map_err(|field| {
            let error = self.header.malformed("the columns' optional metadata is not of its form");
            self.locate(error.with("field", field))
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The error with the table's name.
    #[cold]
    pub(crate) fn locate(&self, error: Error) -> Error {
        let text = String::from_utf8_lossy;
        error.with("table", format!("{}.{}", text(self.database), text(self.table)))
    }
}

fn shape(code: TypeCode, bytes: &[u8], nullable: bool) -> ColumnShape {
    let [first, second] = match bytes {
        [first, second] => [*first, *second],
        [first] => [*first, 0],
        _ => [0, 0],
    };
    let (code, metadata) = match code {
        codes::STRING => string(first, second),
        codes::ENUM | codes::SET => (code, u16::from(second)),
        _ => (code, u16::from_le_bytes([first, second])),
    };
    ColumnShape { code, metadata, nullable }
}

/// Of a string the first byte is the real type, and two of its bits are of the length, turned around,
/// if that is above 255 (MySQL 9.1, `Field_string::do_save_field_metadata`).
fn string(first: u8, second: u8) -> (TypeCode, u16) {
    let code = TypeCode(first | 0x30);
    let high = u16::from((first & 0x30) ^ 0x30) << 4;
    let is_string = !matches!(code, codes::ENUM | codes::SET);
    (if is_string { codes::STRING } else { code }, high | u16::from(second))
}
