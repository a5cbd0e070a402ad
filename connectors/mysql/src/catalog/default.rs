//! The constants among columns' defaults, as `information_schema` writes them. Pure.

use crate::frame::Flavor;
use crate::types::Reader;
use tidemesh_model::{CellVisitor, DataType, Result, RowImage, Value, Values};

/// The value that `text` says; none where it is an expression, or a constant whose text does not say it
/// exactly. MariaDB quotes texts; MySQL writes them as they are, and says of an expression elsewhere that
/// it is one.
pub(super) fn constant(reader: &Reader, text: &str, flavor: Flavor) -> Option<Value> {
    let quoted = || Some(text.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"));
    let (is_text, text) = match flavor {
        Flavor::MariaDb => match quoted() {
            Some(text) => (true, text),
            None => (false, text.to_owned()),
        },
        Flavor::MySql => (true, text.to_owned()),
    };
    match reader {
        // What a server writes behind a backslash is not told apart from one that stands for itself.
        _ if text.contains('\\') => None,
        Reader::Text(_) | Reader::CompressedText(_) | Reader::JsonText if is_text => {
            Some(Value::Text(text))
        }
        Reader::Enum(labels) if is_text => labels.contains(&text).then_some(Value::Text(text)),
        Reader::Set(labels) if is_text => {
            let is_known = |part: &str| labels.iter().any(|label| label == part);
            (text.is_empty() || text.split(',').all(is_known)).then_some(Value::Text(text))
        }
        Reader::Decimal { .. }
        | Reader::Float
        | Reader::Double
        | Reader::Year
        | Reader::Date(_)
        | Reader::Datetime(..)
        | Reader::Timestamp(..)
        | Reader::Time(..)
        | Reader::Uuid => answered(reader, &text),
        reader if reader.is_whole_number() => answered(reader, &text),
        _ => None,
    }
}

/// What an answer's cell of this text is.
fn answered(reader: &Reader, text: &str) -> Option<Value> {
    let value = Values::of(&Answered(reader, text)).ok()?.pop()?;
    (value != Value::Null).then_some(value)
}

/// The default of a key's column that has one which is no constant: the smallest value of its type.
pub(super) fn key_default(reader: &Reader) -> Option<Value> {
    Some(match reader.data_type() {
        DataType::Int32 => Value::Int32(0),
        DataType::Int64 => Value::Int64(0),
        DataType::Text => Value::Text(String::new()),
        DataType::Uuid => Value::Uuid([0; 16]),
        DataType::Date => Value::Date(0),
        DataType::Timestamp => Value::Timestamp(0),
        DataType::TimestampTz => Value::TimestampTz(0),
        _ => return None,
    })
}

/// A default's text as a row of one cell.
struct Answered<'a>(&'a Reader, &'a str);

impl RowImage for Answered<'_> {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.0.visit_answer(self.1.as_bytes(), visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::ZeroDates;

    fn mariadb(reader: &Reader, text: &str) -> Option<Value> {
        constant(reader, text, Flavor::MariaDb)
    }

    // As MariaDB 10.11.19 writes them.
    #[test]
    fn constants_are_told_from_expressions() {
        let text = Reader::JsonText;
        assert_eq!(mariadb(&text, "'it''s'"), Some(Value::Text("it's".to_owned())));
        assert_eq!(mariadb(&text, "uuid()"), None);
        assert_eq!(mariadb(&text, "NULL"), None);
        assert_eq!(mariadb(&Reader::Int32, "1"), Some(Value::Int32(1)));
        assert_eq!(mariadb(&Reader::Int32, "(1 + 1)"), None);
        let date = |zero| mariadb(&Reader::Date(zero), "'0000-00-00'");
        assert_eq!(date(ZeroDates::Stop), None);
        assert_eq!(date(ZeroDates::Text), Some(Value::Text("0000-00-00".to_owned())));
        let decimal = Reader::Decimal { precision: 10, scale: 2 };
        let hundred = Value::Decimal { unscaled: vec![100], scale: 2 };
        assert_eq!(mariadb(&decimal, "1.00"), Some(hundred));
        assert_eq!(mariadb(&Reader::Bits(3), "b'101'"), None);
        let choice = Reader::Enum(vec!["x".to_owned()]);
        assert_eq!(mariadb(&choice, "'x'"), Some(Value::Text("x".to_owned())));
        assert_eq!(mariadb(&choice, "'z'"), None);
    }

    /// By MySQL 8.4's reference, "The INFORMATION_SCHEMA COLUMNS Table"; no real MySQL was at hand.
    #[test]
    fn mysql_writes_texts_as_they_are() {
        let found = constant(&Reader::JsonText, "it's", Flavor::MySql);
        assert_eq!(found, Some(Value::Text("it's".to_owned())));
    }
}
