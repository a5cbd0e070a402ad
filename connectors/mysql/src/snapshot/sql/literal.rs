//! Keys' texts as literals. Pure.

use crate::types::Reader;
use std::fmt::Write;

/// Whether rows can be ordered by such a column, and its values be written as literals.
pub(super) fn orders(reader: &Reader) -> bool {
    !matches!(
        reader,
        Reader::Json
            | Reader::Geometry
            | Reader::Vector
            | Reader::CompressedText(_)
            | Reader::CompressedBytes
            | Reader::Masked { .. }
            | Reader::Skipped
    )
}

/// Whether such a column has whole numbers.
pub(super) fn is_whole(reader: &Reader) -> bool {
    matches!(
        reader,
        Reader::Int8
            | Reader::Int16
            | Reader::Int24
            | Reader::Int32
            | Reader::Int64
            | Reader::Uint8
            | Reader::Uint16
            | Reader::Uint24
            | Reader::Uint32
            | Reader::Uint64(_)
    )
}

/// The literal of a key column's text; none for a text that is none of its type's.
pub(super) fn literal(
    reader: &Reader,
    text: &str,
    charset: Option<&str>,
    collation: Option<&str>,
) -> Option<String> {
    match reader {
        reader if is_whole(reader) => whole(text),
        Reader::Year => whole(text),
        Reader::Decimal { .. } => {
            let (before, behind) = text.split_once('.').unwrap_or((text, "0"));
            let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            whole(before)?;
            is_digits(behind).then(|| text.to_owned())
        }
        Reader::Float | Reader::Double => {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
            Some(format!("{value:e}"))
        }
        // All bits have a number; compared with a text they would be bytes.
        Reader::Bits(_) => u64::from_str_radix(text, 2).ok().map(|number| number.to_string()),
        Reader::Date(_) | Reader::Datetime(..) | Reader::Timestamp(..) | Reader::Time(..) => {
            plain(text, |byte| byte.is_ascii_digit() || b"-:. ".contains(&byte))
        }
        Reader::Uuid | Reader::Inet4 | Reader::Inet6 => {
            plain(text, |byte| byte.is_ascii_hexdigit() || b"-:.".contains(&byte))
        }
        Reader::Text(_) | Reader::JsonText => {
            let text = format!("_utf8mb4 X'{}'", hex(text.as_bytes()));
            let value = match charset? {
                "utf8mb4" => text,
                charset => format!("CONVERT({text} USING {charset})"),
            };
            Some(format!("{value} COLLATE {}", collation?))
        }
        Reader::Bytes | Reader::Binary(_) => {
            let is_hex =
                text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| format!("X'{text}'"))
        }
        // They are ordered by their numbers, and by those a text of theirs would not be compared.
        Reader::Enum(labels) => match labels.iter().position(|label| label == text) {
            Some(place) => Some((place + 1).to_string()),
            None => text.is_empty().then(|| "0".to_owned()),
        },
        Reader::Set(labels) => members(text, labels).map(|number| number.to_string()),
        _ => None,
    }
}

fn whole(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.to_owned())
}

/// A text of characters that need no quoting.
fn plain(text: &str, is_plain: impl Fn(u8) -> bool) -> Option<String> {
    text.bytes().all(is_plain).then(|| format!("'{text}'"))
}

fn members(text: &str, labels: &[String]) -> Option<u64> {
    if text.is_empty() {
        return Some(0);
    }
    text.split(',').try_fold(0, |number, member| {
        let place = labels.iter().position(|label| label == member)?;
        Some(number | 1_u64.checked_shl(u32::try_from(place).ok()?)?)
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a text never fails.
        let _ = write!(out, "{byte:02X}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(reader: &Reader, text: &str) -> Option<String> {
        literal(reader, text, Some("utf8mb4"), Some("utf8mb4_bin"))
    }

    #[test]
    fn literals_are_of_their_columns() {
        assert_eq!(of(&Reader::Int32, "-7").unwrap(), "-7");
        assert_eq!(of(&Reader::Int32, "7 OR 1"), None);
        assert_eq!(of(&Reader::Decimal { precision: 9, scale: 2 }, "-0.50").unwrap(), "-0.50");
        assert_eq!(of(&Reader::Double, "0.5").unwrap(), "5e-1");
        assert_eq!(of(&Reader::Bits(4), "1010").unwrap(), "10");
        assert_eq!(of(&Reader::JsonText, "é'").unwrap(), "_utf8mb4 X'C3A927' COLLATE utf8mb4_bin");
        assert_eq!(of(&Reader::Bytes, "00ff").unwrap(), "X'00ff'");
        assert_eq!(of(&Reader::Bytes, "0"), None);
        let labels = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(of(&Reader::Enum(labels()), "b").unwrap(), "2");
        assert_eq!(of(&Reader::Enum(labels()), "").unwrap(), "0");
        assert_eq!(of(&Reader::Set(labels()), "a,b").unwrap(), "3");
        assert_eq!(of(&Reader::Set(labels()), "a,c"), None);
    }

    proptest! {
        #[test]
        fn no_text_gets_out_of_its_literal(text in ".{0,30}") {
            for reader in Reader::samples() {
                let Some(literal) = of(&reader, &text) else { continue };
                let inside: String = literal.split('\'').step_by(2).collect();
                prop_assert!(inside.bytes().all(|byte| byte.is_ascii_alphanumeric()
                    || b"-+._ ".contains(&byte)), "{}", literal);
            }
        }
    }
}
