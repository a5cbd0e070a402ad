//! What a plain scalar is, by YAML 1.2.2's core schema (10.3.2): `yes` and `off` are texts, `012` is
//! twelve, `1e3` is a number with a fraction's type.

use super::origin::Origin;
use super::tree::Content;
use serde_json::Number;

/// Reads a plain scalar.
///
/// # Errors
///
/// What is wrong, and what would work: a number that JSON or 64 bits do not hold.
pub(super) fn plain(text: &str, origin: Origin) -> Result<Content, (&'static str, &'static str)> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Content::Null),
        "true" | "True" | "TRUE" => return Ok(Content::Boolean(true)),
        "false" | "False" | "FALSE" => return Ok(Content::Boolean(false)),
        _ => {}
    }
    if whole(text) {
        return integer(text).map(Content::Number).ok_or(TOO_LARGE);
    }
    match unsigned(text) {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => return Err(NO_NUMBER),
        digits if fraction(digits) => {}
        _ => return Ok(Content::Text(text.to_owned(), origin)),
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    number.map(Content::Number).ok_or(NO_NUMBER)
}

const TOO_LARGE: (&str, &str) =
    ("the number needs more than 64 bits", "write it in quotes, as a text");
const NO_NUMBER: (&str, &str) =
    ("JSON has no such number", "leave it out, or write it in quotes, as a text");

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[-+]? [0-9]+`, `0o [0-7]+` or `0x [0-9a-fA-F]+`.
fn whole(text: &str) -> bool {
    let of = |prefix, fits: fn(u8) -> bool| {
        text.strip_prefix(prefix)
            .is_some_and(|rest: &str| !rest.is_empty() && rest.bytes().all(fits))
    };
    digits(unsigned(text))
        || of("0o", |byte| matches!(byte, b'0'..=b'7'))
        || of("0x", |byte| byte.is_ascii_hexdigit())
}

fn integer(text: &str) -> Option<Number> {
    let radix = |digits, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    match text.as_bytes() {
        [b'0', b'o', ..] => radix(&text[2..], 8),
        [b'0', b'x', ..] => radix(&text[2..], 16),
        [b'-', ..] => text.parse::<i64>().ok().map(Number::from),
        _ => radix(unsigned(text), 10),
    }
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn fraction(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", after)) => digits(after),
        Some((before, after)) => digits(before) && (after.is_empty() || digits(after)),
        None => digits(mantissa),
    };
    mantissa_fits && exponent.is_none_or(|exponent| digits(unsigned(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        let place = crate::Place { line: 1, column: 1 };
        let content = plain(text, Origin::Begin(place)).unwrap();
        super::super::tree::Node { place, content }.to_json()
    }

    #[test]
    fn what_the_core_schema_knows_is_no_text() {
        for (text, value) in [
            ("~", json!(null)),
            ("True", json!(true)),
            ("012", json!(12)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1e3", json!(1000.0)),
            ("-.5", json!(-0.5)),
            ("1.", json!(1.0)),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
    }

    #[test]
    fn everything_else_is_a_text() {
        for text in [
            "yes",
            "no",
            "on",
            "Off",
            "y",
            "0b1",
            "0o8",
            "0x",
            "-0x1",
            "1_000",
            "1:30",
            ".",
            "e3",
            "1e",
            "--1",
            "+",
            "2026-01-01",
            "tRUE",
        ] {
            assert_eq!(read(text), json!(text));
        }
    }

    #[test]
    fn a_number_that_json_has_not_is_refused() {
        for text in
            ["18446744073709551616", "-9223372036854775809", ".inf", "-.INF", ".nan", "1e999"]
        {
            let place = crate::Place { line: 1, column: 1 };
            assert!(plain(text, Origin::Begin(place)).is_err(), "{text}");
        }
    }
}
