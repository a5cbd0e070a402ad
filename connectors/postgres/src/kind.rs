//! What a column's PostgreSQL type says beyond the values that its cells have here, and the defaults
//! of key columns: for those who write by Debezium's conventions. Pure.

use crate::types::{Reader, TypeInfo};
use tidemesh_model::{DataType, SourceKind, Value};

/// The digits of a second that a type without a modifier has.
const DIGITS_UNSTATED: u8 = 6;

/// Type modifiers of `numeric` carry this beside precision and scale (`numeric.c`).
const NUMERIC_MODIFIER_BASE: i32 = 4;

/// The kind of a column of type `oid` with `modifier`; of its elements, if it is an array.
pub(crate) fn kind_of<'t>(
    oid: u32,
    modifier: i32,
    find: &impl Fn(u32) -> Option<&'t TypeInfo>,
) -> SourceKind {
    let Some(info) = find(oid) else { return SourceKind::Plain };
    match (info.base, info.element) {
        (Some((base, base_modifier, _)), _) => kind_of(base, base_modifier, find),
        (None, Some(element)) => kind_of(element, modifier, find),
        (None, None) if info.kind == 'b' => base(&info.name, modifier),
        (None, None) => SourceKind::Plain,
    }
}

/// One line a type that says more.
fn base(name: &str, modifier: i32) -> SourceKind {
    match name {
        "int2" => SourceKind::Int16,
        "numeric" if modifier < NUMERIC_MODIFIER_BASE => SourceKind::Numeric,
        "money" => SourceKind::Money,
        "time" => SourceKind::Time { digits: digits(modifier) },
        "timetz" => SourceKind::TimeTz,
        "timestamp" => SourceKind::Timestamp { digits: digits(modifier) },
        "timestamptz" => SourceKind::TimestampTz { digits: digits(modifier) },
        "interval" => SourceKind::Interval,
        "xml" => SourceKind::Xml,
        "ltree" => SourceKind::Ltree,
        "tsvector" => SourceKind::TsVector,
        "bit" | "varbit" => SourceKind::Bits { length: u32::try_from(modifier).ok() },
        "point" => SourceKind::Point,
        "circle" => SourceKind::Circle,
        "line" => SourceKind::Line,
        "lseg" => SourceKind::Segment,
        "box" => SourceKind::Box,
        "path" => SourceKind::Path,
        "polygon" => SourceKind::Polygon,
        _ => SourceKind::Plain,
    }
}

/// A modifier of a time is its digits; none is the most there are.
fn digits(modifier: i32) -> u8 {
    u8::try_from(modifier).map_or(DIGITS_UNSTATED, |digits| digits.min(DIGITS_UNSTATED))
}

/// The kind of a column whose stored schema is of a version that did not keep it. A domain's own
/// modifier is not known there.
pub(crate) fn kind_of_stored(reader: &Reader, modifier: i32) -> SourceKind {
    match reader {
        Reader::Int2 => SourceKind::Int16,
        Reader::NumericText => SourceKind::Numeric,
        Reader::Money => SourceKind::Money,
        Reader::Time => SourceKind::Time { digits: digits(modifier) },
        Reader::TimeTz => SourceKind::TimeTz,
        Reader::Timestamp => SourceKind::Timestamp { digits: digits(modifier) },
        Reader::TimestampTz => SourceKind::TimestampTz { digits: digits(modifier) },
        Reader::Interval => SourceKind::Interval,
        Reader::Array(element) => kind_of_stored(element, modifier),
        _ => SourceKind::Plain,
    }
}

/// The default of a key's column from the catalog's expression (`pg_get_expr`): its constant, or the
/// smallest value of the type where it is computed, as `nextval(…)` of a serial is.
pub(crate) fn key_default(data_type: &DataType, expression: &str) -> Option<Value> {
    let literal = literal(expression);
    let number = || literal.and_then(|text| text.parse::<i64>().ok());
    match data_type {
        DataType::Boolean => Some(Value::Boolean(literal == Some("true"))),
        DataType::Int32 => {
            Some(Value::Int32(number().and_then(|n| i32::try_from(n).ok()).unwrap_or(0)))
        }
        DataType::Int64 => Some(Value::Int64(number().unwrap_or(0))),
        DataType::Text => {
            let text = literal.filter(|_| expression.starts_with('\'')).unwrap_or_default();
            Some(Value::Text(text.replace("''", "'")))
        }
        DataType::Uuid => Some(Value::Uuid([0; 16])),
        DataType::Date => Some(Value::Date(0)),
        DataType::Timestamp => Some(Value::Timestamp(0)),
        DataType::TimestampTz => Some(Value::TimestampTz(0)),
        _ => None,
    }
}

/// What stands between the quotes of `'…'::type`, or before a cast; none for a call.
fn literal(expression: &str) -> Option<&str> {
    match expression.strip_prefix('\'') {
        Some(quoted) => quoted.rfind('\'').map(|end| &quoted[..end]),
        None if expression.contains('(') => None,
        None => Some(expression.split("::").next().unwrap_or(expression)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(oid: u32, name: &str) -> TypeInfo {
        TypeInfo {
            oid,
            schema: "pg_catalog".into(),
            name: name.into(),
            kind: 'b',
            base: None,
            element: None,
            delimiter: ',',
            labels: Vec::new(),
            range_of: None,
            send: None,
            attributes: Vec::new(),
        }
    }

    fn infos() -> [TypeInfo; 5] {
        [
            info(1, "timestamp"),
            TypeInfo { element: Some(1), ..info(2, "_timestamp") },
            TypeInfo { kind: 'd', base: Some((1, 3, 0)), ..info(3, "moment") },
            info(4, "numeric"),
            info(5, "varbit"),
        ]
    }

    #[test]
    fn modifiers_reach_through_domains_and_arrays() {
        let infos = infos();
        let find = |oid| infos.iter().find(|info| info.oid == oid);
        let timestamp = |digits| SourceKind::Timestamp { digits };
        assert_eq!(kind_of(1, -1, &find), timestamp(6));
        assert_eq!(kind_of(2, 2, &find), timestamp(2));
        assert_eq!(kind_of(3, -1, &find), timestamp(3));
        assert_eq!(kind_of(4, -1, &find), SourceKind::Numeric);
        assert_eq!(kind_of(4, 4 + (12 << 16), &find), SourceKind::Plain);
        assert_eq!(kind_of(5, -1, &find), SourceKind::Bits { length: None });
        assert_eq!(kind_of(5, 7, &find), SourceKind::Bits { length: Some(7) });
        assert_eq!(kind_of(99, -1, &find), SourceKind::Plain);
    }

    #[test]
    fn a_stored_schema_without_kinds_has_those_of_its_readers() {
        let array = Reader::Array(Box::new(Reader::Time));
        assert_eq!(kind_of_stored(&array, 3), SourceKind::Time { digits: 3 });
        assert_eq!(kind_of_stored(&Reader::Int2, -1), SourceKind::Int16);
        assert_eq!(kind_of_stored(&Reader::Text, -1), SourceKind::Plain);
    }

    // As Debezium 3.7.0.Final has them in the schemas of keys.
    #[test]
    fn a_computed_default_is_the_smallest_value() {
        let of = |data_type, expression| key_default(&data_type, expression).unwrap();
        assert_eq!(of(DataType::Int32, "nextval('t_id_seq'::regclass)"), Value::Int32(0));
        assert_eq!(of(DataType::Int64, "'7'::bigint"), Value::Int64(7));
        assert_eq!(of(DataType::Int32, "5"), Value::Int32(5));
        assert_eq!(of(DataType::Text, "'it''s'::text"), Value::Text("it's".into()));
        assert_eq!(of(DataType::Text, "current_user"), Value::Text(String::new()));
        assert_eq!(of(DataType::Boolean, "true"), Value::Boolean(true));
        assert_eq!(of(DataType::Uuid, "gen_random_uuid()"), Value::Uuid([0; 16]));
    }
}
