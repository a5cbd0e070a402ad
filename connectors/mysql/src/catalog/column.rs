//! One column as `information_schema.COLUMNS` has it, described as the log would. Pure.

use super::default::{constant, key_default};
use crate::decode::{BINARY_COLLATION, ColumnShape, TypeCode, type_codes as codes};
use crate::frame::Flavor;
use crate::types::{ColumnFacts, ColumnTold, NativeType, collation_of};
use tidemesh_model::MysqlTypes;

/// Values that are told in UTF-8, in whatever charset the column has them.
const UTF8_COLLATION: u64 = 45;

/// How MariaDB marks a column of the forms that dates had before MySQL 5.6.
const OLD_FORM: &str = "/* mariadb-5.3 */";

/// What is answered in the place of `EXTRA` of the column that says until when a row holds.
const ROW_END: &str = "ROW END";

/// A row of the question: name, type with modifiers, type, nullable, charset, collation, bytes,
/// precision, scale, digits of a second, extra, default.
pub(super) type Answer = (
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    String,
    Option<Vec<u8>>,
);

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) type_text: String,
    data_type: String,
    nullable: bool,
    pub(super) charset: Option<String>,
    pub(super) collation: Option<String>,
    octets: Option<u64>,
    precision: Option<u64>,
    scale: Option<u64>,
    digits: Option<u8>,
    extra: String,
    default: Option<String>,
    labels: Vec<String>,
    native: Option<NativeType>,
    flavor: Flavor,
}

impl Column {
    pub(super) fn of(answer: Answer, flavor: Flavor) -> Self {
        let (name, type_text, data_type, nullable, charset, collation, ..) = answer;
        let (.., octets, precision, scale, digits, extra, default) = answer;
        let data_type = data_type.to_lowercase();
        let is_choice = matches!(data_type.as_str(), "enum" | "set");
        let native = match (data_type.as_str(), flavor) {
            ("uuid", _) => Some(NativeType::Uuid),
            ("inet4", _) => Some(NativeType::Inet4),
            ("inet6", _) => Some(NativeType::Inet6),
            ("vector", Flavor::MariaDb) => Some(NativeType::Vector),
            _ => None,
        };
        Self {
            name,
            labels: if is_choice { labels(&type_text) } else { Vec::new() },
            type_text,
            data_type,
            nullable: nullable == "YES",
            charset,
            collation,
            octets,
            precision,
            scale,
            digits: digits.and_then(|digits| u8::try_from(digits).ok()),
            extra,
            // Bytes that are no text are none of the constants that are taken over.
            default: default.and_then(|bytes| String::from_utf8(bytes).ok()),
            native,
            flavor,
        }
    }

    /// Whether it can be MariaDB's JSON.
    pub(super) fn may_be_json(&self) -> bool {
        self.data_type == "longtext" && self.charset.as_deref() == Some("utf8mb4")
    }

    /// Takes over that it is, where one of the table's checks says so: a column's own check has its name.
    pub(super) fn set_json(&mut self, checks: &[(String, String)]) {
        let clause = format!("json_valid(`{}`)", self.name.replace('`', "``"));
        if self.may_be_json()
            && checks.iter().any(|(name, check)| *name == self.name && *check == clause)
        {
            self.native = Some(NativeType::Json);
        }
    }

    pub(super) fn labels(&self) -> Vec<&[u8]> {
        self.labels.iter().map(String::as_bytes).collect()
    }

    /// What the log does not tell of it.
    pub(super) fn facts(&self, types: &MysqlTypes, in_key: bool) -> ColumnFacts {
        let facts = ColumnFacts {
            name: self.name.clone(),
            native: self.native,
            digits: self.digits,
            is_row_end: self.is_row_end(),
            ..ColumnFacts::default()
        };
        let labels = self.labels();
        let resolved = self.told(&labels, Some(&facts)).map(|told| told.resolve(types));
        let Some(Ok(resolved)) = resolved else { return facts };
        let reader = resolved.reader;
        let is_computed = self.extra.contains("DEFAULT_GENERATED");
        let expression = self.default.as_deref();
        let default = expression
            .filter(|_| !is_computed)
            .and_then(|text| constant(&reader, text, self.flavor));
        // MariaDB says of a column that it has none by this word.
        let has_default = expression.is_some_and(|text| !text.eq_ignore_ascii_case("null"));
        let is_filled = (has_default && default.is_none()) || self.is_generated();
        let key_default = match expression {
            Some(_) if in_key => default.clone().or_else(|| key_default(&reader)),
            _ => None,
        };
        ColumnFacts { default, key_default, is_filled, ..facts }
    }

    /// Whether it is computed of others.
    fn is_generated(&self) -> bool {
        ["VIRTUAL GENERATED", "STORED GENERATED"].iter().any(|extra| self.extra.contains(extra))
    }

    /// The column as the log would describe it; none for a type that is not known.
    pub(super) fn told<'a>(
        &self,
        labels: &'a [&'a [u8]],
        facts: Option<&'a ColumnFacts>,
    ) -> Option<ColumnTold<'a>> {
        let (code, metadata) = self.shape()?;
        let collation = match (code, self.charset.as_deref()) {
            (codes::ENUM | codes::SET, _) => Some(UTF8_COLLATION),
            // One that is not known is refused by its number.
            (_, Some(charset)) => Some(collation_of(charset).unwrap_or(0)),
            (_, None) => Some(BINARY_COLLATION),
        };
        Some(ColumnTold {
            shape: ColumnShape { code, metadata, nullable: self.nullable },
            unsigned: Some(self.type_text.contains(" unsigned")),
            collation,
            values: labels,
            detail: self.detail(),
            facts,
            is_hidden: false,
        })
    }

    /// Its type by its number in the log, and what the log says beside it.
    fn shape(&self) -> Option<(TypeCode, u16)> {
        let digits = u16::from(self.digits.unwrap_or(0));
        let is_old = self.type_text.contains(OLD_FORM);
        let moment = |new, old| if is_old { (old, 0) } else { (new, digits) };
        let pair = |low: u64, high: u64| Some(u16::from_le_bytes([byte(low)?, byte(high)?]));
        Some(match self.data_type.as_str() {
            "tinyint" => (codes::TINY, 0),
            "smallint" => (codes::SHORT, 0),
            "mediumint" => (codes::INT24, 0),
            "int" | "integer" => (codes::LONG, 0),
            "bigint" => (codes::LONGLONG, 0),
            "float" => (codes::FLOAT, 4),
            "double" | "real" => (codes::DOUBLE, 8),
            "decimal" | "numeric" => (codes::NEWDECIMAL, pair(self.precision?, self.scale?)?),
            "bit" => (codes::BIT, pair(self.precision? % 8, self.precision? / 8)?),
            "year" => (codes::YEAR, 0),
            "date" => (codes::DATE, 0),
            "datetime" => moment(codes::DATETIME2, codes::DATETIME),
            "timestamp" => moment(codes::TIMESTAMP2, codes::TIMESTAMP),
            "time" => moment(codes::TIME2, codes::TIME),
            "char" | "binary" => (codes::STRING, self.bytes()?),
            "varchar" | "varbinary" => match self.is_compressed() {
                // What says how a value is packed is a byte before it.
                true => (codes::VARCHAR_COMPRESSED, self.bytes()?.checked_add(1)?),
                false => (codes::VARCHAR, self.bytes()?),
            },
            "tinytext" | "tinyblob" => self.blob(1),
            "text" | "blob" => self.blob(2),
            "mediumtext" | "mediumblob" => self.blob(3),
            "longtext" | "longblob" => self.blob(4),
            "enum" => (codes::ENUM, if self.labels.len() > 255 { 2 } else { 1 }),
            "set" => match u16::try_from(self.labels.len().div_ceil(8)).ok()? {
                length @ ..=4 => (codes::SET, length),
                _ => (codes::SET, 8),
            },
            "json" => (codes::JSON, 4),
            "uuid" | "inet6" => (codes::STRING, 16),
            "inet4" => (codes::STRING, 4),
            "vector" if self.native.is_none() => (codes::VECTOR, 4),
            "vector" => (codes::VARCHAR, self.bytes()?),
            _ => {
                geometry_kind(&self.data_type)?;
                (codes::GEOMETRY, 4)
            }
        })
    }

    /// Whether it says until when a row holds.
    pub(super) fn is_row_end(&self) -> bool {
        self.extra == ROW_END
    }

    fn blob(&self, length_bytes: u16) -> (TypeCode, u16) {
        match self.is_compressed() {
            true => (codes::BLOB_COMPRESSED, length_bytes),
            false => (codes::BLOB, length_bytes),
        }
    }

    fn bytes(&self) -> Option<u16> {
        self.octets.and_then(|octets| u16::try_from(octets).ok())
    }

    fn is_compressed(&self) -> bool {
        self.type_text.contains(" COMPRESSED")
    }

    /// Which kind of shape it holds, or how many numbers its vectors have.
    fn detail(&self) -> Option<u64> {
        if self.data_type == "vector" {
            let length = self.type_text.strip_prefix("vector(")?;
            return length.strip_suffix(')')?.parse().ok();
        }
        geometry_kind(&self.data_type)
    }
}

fn byte(value: u64) -> Option<u8> {
    u8::try_from(value).ok()
}

/// Kinds of shapes, by their numbers (OGC 06-103r4, 8.2.3).
fn geometry_kind(name: &str) -> Option<u64> {
    Some(match name {
        "geometry" => 0,
        "point" => 1,
        "linestring" => 2,
        "polygon" => 3,
        "multipoint" => 4,
        "multilinestring" => 5,
        "multipolygon" => 6,
        "geometrycollection" | "geomcollection" => 7,
        _ => return None,
    })
}

/// The labels of `enum('a','b''c')`, in which some characters are written behind a backslash (MySQL 9.1
/// and MariaDB 10.11, `append_unescaped`).
fn labels(type_text: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut label: Option<String> = None;
    let mut characters = type_text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(open) = &mut label else {
            if character == '\'' {
                label = Some(String::new());
            }
            continue;
        };
        match character {
            '\'' if characters.next_if_eq(&'\'').is_some() => open.push('\''),
            '\'' => labels.extend(label.take()),
            '\\' => open.push(match characters.next() {
                Some('0') => '\0',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            }),
            other => open.push(other),
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_read_as_the_server_writes_them() {
        // What a MariaDB 10.11.19 answers.
        let found = labels(r#"enum('a\\b','c\nd','x\0y','q"r','s''t','','z,)')"#);
        assert_eq!(found, ["a\\b", "c\nd", "x\0y", "q\"r", "s't", "", "z,)"]);
    }

    proptest! {
        #[test]
        fn any_text_has_labels_or_none(text in ".{0,40}") {
            let _ = labels(&text);
        }
    }
}
