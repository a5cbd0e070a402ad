//! Decoded Avro data as values of the table's types.

use tidemesh_avro::datum::Datum;
use tidemesh_model::{DataType, Error, ErrorKind, Field, RecordField, Result, Value};

/// The value that `datum` is of a column of this type.
///
/// # Errors
///
/// `Malformed` if it can be none.
pub(super) fn value_of(data_type: &DataType, datum: &Datum) -> Result<Value> {
    let wrong = || wrong(data_type, datum);
    Ok(match (data_type, datum) {
        (_, Datum::Null) => Value::Null,
        (DataType::Boolean, Datum::Boolean(value)) => Value::Boolean(*value),
        (DataType::Int32, Datum::Int(value)) => Value::Int32(*value),
        (DataType::Int64, Datum::Long(value)) => Value::Int64(*value),
        (DataType::Float32, Datum::Float(value)) => Value::Float32(*value),
        (DataType::Float64, Datum::Double(value)) => Value::Float64(*value),
        (DataType::Decimal { scale, .. }, Datum::Bytes(unscaled)) => {
            Value::Decimal { unscaled: unscaled.clone(), scale: *scale }
        }
        (DataType::Text | DataType::Json | DataType::Enum { .. }, Datum::String(text)) => {
            Value::Text(text.clone())
        }
        (DataType::Bytes, Datum::Bytes(bytes)) => Value::Bytes(bytes.clone()),
        (DataType::Uuid, Datum::String(text)) => Value::Uuid(uuid(text).ok_or_else(wrong)?),
        (DataType::Date, Datum::Int(days)) => Value::Date(*days),
        (DataType::Time, Datum::Long(micros)) => Value::Time(*micros),
        (DataType::Timestamp, Datum::Long(micros)) => Value::Timestamp(*micros),
        (DataType::TimestampTz, Datum::Long(micros)) => Value::TimestampTz(*micros),
        (DataType::Array(element), Datum::Array(items)) => {
            Value::Array(items.iter().map(|item| value_of(element, item)).collect::<Result<_>>()?)
        }
        (DataType::Record(record), Datum::Record(fields)) => {
            if record.fields.len() != fields.len() {
                return Err(wrong());
            }
            let field =
                |(of, (_, datum)): (&RecordField, &(_, Datum))| value_of(&of.data_type, datum);
            Value::Record(record.fields.iter().zip(fields).map(field).collect::<Result<_>>()?)
        }
        _ => return Err(wrong()),
    })
}

/// The error of a value in a form that its column does not have.
pub(super) fn not_of_type(field: &Field, datum: &Datum) -> Error {
    wrong(&field.data_type, datum)
}

fn wrong(data_type: &DataType, datum: &Datum) -> Error {
    Error::new(ErrorKind::Malformed, "read a topic's record")
        .because("a value is not of its column's type")
        .with("avro", datum.type_name())
        .with("type", data_type)
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.chars().filter(|c| *c != '-');
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuids_text_is_its_bytes() {
        let text = Datum::String("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into());
        let value = value_of(&DataType::Uuid, &text).unwrap();
        let Value::Uuid(bytes) = value else { panic!("{value:?}") };
        assert_eq!(bytes[..3], [0xa0, 0xee, 0xbc]);
        assert!(value_of(&DataType::Uuid, &Datum::String("a0".into())).is_err());
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(value_of(&DataType::Int64, &Datum::Int(1)).is_err());
        assert_eq!(value_of(&DataType::Int64, &Datum::Null).unwrap(), Value::Null);
    }
}
