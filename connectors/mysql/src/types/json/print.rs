//! Documents as text: `wrapper_to_string` in MySQL 9.1's `sql-common/json_dom.cc`.

use super::binary::{Budget, Container, DEPTH_MAX, Scalar, Value, document};
use super::number::double;
use crate::decode::{TypeCode, type_codes as codes};
use crate::numeric;
use crate::types::time::{civil_of_packed, span_of_packed};
use std::io::Write;

/// Characters of base 64 before the server breaks the line (`base64_encode` in `mysys`).
const BASE64_LINE: usize = 76;

/// Appends a document as text; none for bytes that are no document.
pub(crate) fn print(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut budget = Budget::of(bytes);
    value(document(bytes)?, 0, &mut budget, out)
}

fn value(of: Value<'_>, depth: usize, budget: &mut Budget, out: &mut Vec<u8>) -> Option<()> {
    budget.element()?;
    match of {
        Value::Scalar(of) => {
            let begin = out.len();
            scalar(&of, out)?;
            budget.text(out.len() - begin)
        }
        Value::Object(container) => all(container, true, depth, budget, out),
        Value::Array(container) => all(container, false, depth, budget, out),
    }
}

fn all(
    container: Container<'_>,
    is_object: bool,
    depth: usize,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Option<()> {
    (depth < DEPTH_MAX).then_some(())?;
    out.push(if is_object { b'{' } else { b'[' });
    for index in 0..container.count {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        if is_object {
            let begin = out.len();
            quoted(container.key(index)?, out);
            out.extend_from_slice(b": ");
            budget.text(out.len() - begin)?;
        }
        value(container.value(index)?, depth + 1, budget, out)?;
    }
    out.push(if is_object { b'}' } else { b']' });
    Some(())
}

/// Appends a scalar.
pub(super) fn scalar(of: &Scalar<'_>, out: &mut Vec<u8>) -> Option<()> {
    match of {
        Scalar::Null => out.extend_from_slice(b"null"),
        Scalar::True => out.extend_from_slice(b"true"),
        Scalar::False => out.extend_from_slice(b"false"),
        Scalar::Int(value) => write!(out, "{value}").ok()?,
        Scalar::Uint(value) => write!(out, "{value}").ok()?,
        Scalar::Double(value) => double(*value, out)?,
        Scalar::String(bytes) => quoted(bytes, out),
        Scalar::Opaque(of, bytes) => opaque(TypeCode(*of), bytes, out)?,
    }
    Some(())
}

fn opaque(of: TypeCode, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let packed = || bytes.try_into().ok().map(i64::from_le_bytes);
    match of {
        codes::NEWDECIMAL => {
            let ([precision, scale], packed) = bytes.split_first_chunk::<2>()?;
            numeric::write_text(packed, *precision, *scale, out)
        }
        codes::DATE | codes::DATETIME | codes::TIMESTAMP => {
            let civil = civil_of_packed(packed()?);
            out.push(b'"');
            match of {
                codes::DATE => civil.write_date(out),
                _ => civil.write(6, out),
            }
            out.push(b'"');
            Some(())
        }
        codes::TIME => {
            out.push(b'"');
            span_of_packed(packed()?).write(6, out);
            out.push(b'"');
            Some(())
        }
        // Text that was not made a string of the document's.
        codes::VAR_STRING => {
            quoted(bytes, out);
            Some(())
        }
        TypeCode(number) => {
            write!(out, "\"base64:type{number}:").ok()?;
            base64(bytes, out);
            out.push(b'"');
            Some(())
        }
    }
}

/// Appends a string between quotes (`double_quote` in MySQL 9.1's `sql-common/json_dom.cc`).
pub(super) fn quoted(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[byte >> 4, byte & 15].map(|half| HEX[usize::from(half)]));
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

/// Base 64 in lines, whose ends are escaped as those of any string.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut of_line = 0;
    for group in bytes.chunks(3) {
        if of_line == BASE64_LINE {
            of_line = 0;
            out.extend_from_slice(b"\\n");
        }
        let mut bits = 0;
        for place in 0..3 {
            bits = bits << 8 | usize::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * place) & 63];
            out.push(if place <= group.len() { letter } else { b'=' });
        }
        of_line += 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        print(bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// By the comment at the head of MySQL 9.1's `json_binary.h`; no real MySQL 8 was at hand.
    #[test]
    fn a_document_prints_as_the_server_prints_it() {
        // {"a": 1, "bc": [true, "x\n"]}
        let mut bytes = vec![0, 2, 0, 40, 0, 18, 0, 1, 0, 19, 0, 2, 0, 5, 1, 0, 2, 21, 0];
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&[2, 0, 13, 0, 4, 1, 0, 12, 10, 0, 2, b'x', b'\n']);
        bytes.resize(41, 0);
        assert_eq!(text(&bytes), "{\"a\": 1, \"bc\": [true, \"x\\n\"]}");
        assert_eq!(text(&[]), "null");
        assert_eq!(text(&[2, 0, 0, 4, 0]), "[]");
        assert_eq!(text(&[10, 255, 255, 255, 255, 255, 255, 255, 255]), u64::MAX.to_string());
    }

    /// By `Json_decimal`, `Json_datetime` and `Json_opaque` in MySQL 9.1's `json_dom.cc`; no real MySQL
    /// 8 was at hand.
    #[test]
    fn values_of_the_servers_types_print_as_it_prints_them() {
        let opaque = |of: u8, bytes: &[u8]| {
            let mut all = vec![15, of, u8::try_from(bytes.len()).unwrap()];
            all.extend_from_slice(bytes);
            text(&all)
        };
        assert_eq!(opaque(246, &[3, 2, 0x81, 50]), "1.50");
        let day = ((2024 * 13 + 2) << 5 | 29) << 17;
        let moment = (day | 23 << 12 | 59 << 6 | 58) << 24 | 5;
        assert_eq!(opaque(12, &i64::to_le_bytes(moment)), "\"2024-02-29 23:59:58.000005\"");
        assert_eq!(opaque(10, &i64::to_le_bytes(day << 24)), "\"2024-02-29\"");
        let span = -((838 << 12 | 59 << 6 | 59) << 24);
        assert_eq!(opaque(11, &i64::to_le_bytes(span)), "\"-838:59:59.000000\"");
        assert_eq!(opaque(15, b"\x01"), "\"base64:type15:AQ==\"");
        assert_eq!(opaque(16, &[0xfb, 0xff, 0xbf]), "\"base64:type16:+/+/\"");
        let long = opaque(252, &[0; 60]);
        assert_eq!(long, format!("\"base64:type252:{}\\n{}\"", "A".repeat(76), "A".repeat(4)));
    }

    #[test]
    fn a_document_that_names_itself_is_refused() {
        // An array whose elements are all the array itself cannot be: places are behind its head; but
        // many elements may name one, and that one many others.
        let mut bytes = vec![2, 20, 0, 200, 0];
        for _ in 0..20 {
            bytes.extend_from_slice(&[2, 64, 0]);
        }
        bytes.extend_from_slice(&[20, 0, 100, 0]);
        for _ in 0..20 {
            bytes.extend_from_slice(&[12, 64, 0]);
        }
        bytes.resize(201, b'x');
        bytes[128] = 0;
        let mut out = Vec::new();
        let _ = print(&bytes, &mut out);
        assert!(out.len() < 20_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0_u8..4) {
            let _ = print(&bytes, &mut Vec::new());
            let mut small = vec![kind];
            small.extend(bytes.iter().map(|byte| byte % 24));
            let _ = print(&small, &mut Vec::new());
        }
    }
}
