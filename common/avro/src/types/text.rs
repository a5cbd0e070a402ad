//! A source's text as a value of another form.

use super::{Form, geometry, number, time};
use crate::varint::write_length;
use tidemesh_model::{Error, ErrorKind, Result};

/// Appends the value that `text` is in this form.
///
/// # Errors
///
/// `Unsupported` for a number that no decimal can be; `Malformed` for a text that is none of its
/// kind. `out` may hold part of the value then.
pub(crate) fn write_text(form: Form, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let written = match form {
        Form::ZonedTime => time::write_zoned_time(text, out),
        Form::MicroDuration => time::write_micro_duration(text, out),
        Form::VariableScale => number::write_variable_scale(text, out),
        Form::Bit => write_bit(text, out),
        Form::Bits => write_bits(text, out),
        Form::Shape(shape) => geometry::write_shape(shape, text, out),
        Form::Plain | Form::Millis | Form::ZonedTimestamp(_) => None,
    };
    written.ok_or_else(|| refused(form, text))
}

#[cold]
fn refused(form: Form, text: &str) -> Error {
    let error = |kind| Error::new(kind, "encode a value");
    match (form, text) {
        (Form::VariableScale, "NaN" | "Infinity" | "-Infinity") => error(ErrorKind::Unsupported)
            .because(format!("{text} is no number that Debezium's type can be"))
            .help("change the row, or use types = \"avro\""),
        _ => error(ErrorKind::Malformed).because("its text is not of its column's type"),
    }
}

fn write_bit(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let bit = match text {
        "0" => 0,
        "1" => 1,
        _ => return None,
    };
    out.push(bit);
    Some(())
}

/// The last bit of the text is the lowest of the first byte; bytes above the highest bit that is set
/// are left out, as `java.util.BitSet` leaves them out.
fn write_bits(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if !text.bytes().all(|bit| matches!(bit, b'0' | b'1')) {
        return None;
    }
    let significant = text.trim_start_matches('0').as_bytes();
    write_length(out, significant.len().div_ceil(8));
    for byte in significant.rchunks(8) {
        out.push(byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(form: Form, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_text(form, text, &mut out).unwrap();
        out
    }

    // What Debezium 3.7.0.Final wrote of these values.
    #[test]
    fn bits_are_bytes_with_the_lowest_first() {
        assert_eq!(bytes(Form::Bits, "101"), [2, 5]);
        assert_eq!(bytes(Form::Bits, "100000001"), [4, 1, 1]);
        assert_eq!(bytes(Form::Bits, "111111111"), [4, 0xff, 1]);
        assert_eq!(bytes(Form::Bits, "000000001"), [2, 1]);
        assert_eq!(bytes(Form::Bits, "000"), [0]);
        assert_eq!(bytes(Form::Bits, ""), [0]);
        assert_eq!(bytes(Form::Bit, "1"), [1]);
    }

    #[test]
    fn a_number_that_is_none_is_refused_with_what_to_do() {
        let error = write_text(Form::VariableScale, "NaN", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = write_text(Form::Bits, "12", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
}
