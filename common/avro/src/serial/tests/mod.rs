//! By topic: scalars and logical types, records, unions, any schema, memory.

mod allocations;
mod random;
mod records;
mod scalars;
mod unions;

use super::*;
use crate::datum::{Datum, decode};

pub(super) fn plan(schema: &str) -> Plan {
    Plan::compile(&Schema::parse(schema).unwrap()).unwrap()
}

/// What is written, into a buffer that is not empty.
pub(super) fn encode<T: Serialize + ?Sized>(schema: &str, value: &T) -> Result<Vec<u8>> {
    let mut out = vec![0xaa];
    let answer = plan(schema).encode(value, &mut out);
    assert_eq!(out[0], 0xaa);
    if answer.is_err() {
        assert_eq!(out, [0xaa], "what is refused leaves nothing behind");
    }
    answer.map(|()| out.split_off(1))
}

/// What the decoder reads of what is written.
pub(super) fn written<T: Serialize + ?Sized>(schema: &str, value: &T) -> Datum {
    let bytes = encode(schema, value).unwrap();
    decode(&Schema::parse(schema).unwrap(), &bytes).unwrap()
}

/// The error's line with its help.
pub(super) fn refused<T: Serialize + ?Sized>(schema: &str, value: &T) -> String {
    let error = encode(schema, value).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Malformed | ErrorKind::TooLarge));
    error.report()
}

/// A schema of a record `R`.
pub(super) fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","namespace":"shop","fields":[{fields}]}}"#)
}

pub(super) fn fields(fields: Vec<(&str, Datum)>) -> Datum {
    Datum::Record(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

pub(super) fn string(text: &str) -> Datum {
    Datum::String(text.to_owned())
}
