//! What a column's type in MySQL says beyond the values that its cells have here: for those who write by
//! Debezium's conventions. Pure.

use crate::types::Reader;
use tidemesh_model::SourceKind;

/// One line a type that says more (Debezium 3.7, `MySqlValueConverters`: numbers of 8 bits are of 16
/// there, and so are those of 16 with a sign).
pub(crate) fn kind_of(reader: &Reader) -> SourceKind {
    match reader {
        Reader::Int8 | Reader::Uint8 | Reader::Int16 => SourceKind::Int16,
        Reader::Datetime(form, _) => SourceKind::Timestamp { digits: form.digits() },
        Reader::Timestamp(form, _) => SourceKind::TimestampTz { digits: form.digits() },
        Reader::Time(form, _) => SourceKind::Time { digits: form.digits() },
        Reader::Bits(count) => SourceKind::Bits { length: Some(u32::from(*count)) },
        _ => SourceKind::Plain,
    }
}
