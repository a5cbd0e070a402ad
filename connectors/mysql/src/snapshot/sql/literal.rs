//! Keys' texts as literals. Pure.
//!
//! In some charsets a character has two forms, which no text in UTF-8 tells apart, and which stand at two
//! places of an index. A key's text has the bytes themselves there, behind [`RAW`].

use crate::snapshot::text::hex;
use crate::types::Reader;

/// What a key's text begins with that is a text's bytes, as hexadecimal digits: no character of the
/// charsets of [`has_two_forms`].
const RAW: char = '\u{ffff}';

/// Whether a charset, by the server's name of it, has characters of two forms: by what a MariaDB 10.11.19
/// reads each as (`testdata/characters.txt`).
pub(super) fn has_two_forms(charset: &str) -> bool {
    matches!(charset, "armscii8" | "cp932" | "eucjpms" | "sjis" | "ujis")
}

/// A key's text that is these bytes of a text, as hexadecimal digits.
pub(super) fn raw(hex: &str) -> String {
    format!("{RAW}{hex}")
}

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

/// The literal of a key column's text; none for a text that is none of its type's.
pub(super) fn literal(
    reader: &Reader,
    text: &str,
    charset: Option<&str>,
    collation: Option<&str>,
) -> Option<String> {
    match reader {
        reader if reader.is_whole_number() => whole(text),
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
        Reader::Text(_) if text.starts_with(RAW) => {
            let (hex, charset) = (text.strip_prefix(RAW)?, charset?);
            let is_raw = has_two_forms(charset) && is_hex(hex);
            is_raw.then(|| Some(format!("_{charset} X'{hex}' COLLATE {}", collation?)))?
        }
        Reader::Text(_) | Reader::JsonText => {
            let text = format!("_utf8mb4 X'{}'", hex(text.as_bytes()));
            let value = match charset? {
                "utf8mb4" => text,
                charset => format!("CONVERT({text} USING {charset})"),
            };
            Some(format!("{value} COLLATE {}", collation?))
        }
        Reader::Bytes | Reader::Binary(_) => is_hex(text).then(|| format!("X'{text}'")),
        // They are ordered by their numbers, and by those a text of theirs would not be compared.
        Reader::Enum(labels) => match labels.iter().position(|label| label == text) {
            Some(place) => Some((place + 1).to_string()),
            None => text.is_empty().then(|| "0".to_owned()),
        },
        Reader::Set(labels) => members(text, labels).map(|number| number.to_string()),
        _ => None,
    }
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Charset;
    use proptest::prelude::*;
    use std::collections::HashSet;

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

    /// By what a MariaDB 10.11.19 reads each character as, see `testdata/README.md`.
    #[test]
    fn the_charsets_whose_characters_have_two_forms_are_known() {
        for line in include_str!("../../../testdata/characters.txt").lines() {
            let (charset, runs) = line.split_once(' ').unwrap();
            let parts = runs.split(' ').flat_map(|run| run.split_once('=').unwrap().1.split(','));
            let all: Vec<u32> = parts.map(|code| u32::from_str_radix(code, 16).unwrap()).collect();
            let distinct: HashSet<u32> = all.iter().copied().collect();
            // Of charsets of several bytes the list has not the single ones, which are ASCII.
            let is_also_ascii = all.len() > 256 && all.iter().any(|code| *code < 0x80);
            let has_two = distinct.len() < all.len() || is_also_ascii;
            assert_eq!(has_two_forms(charset), has_two, "{charset}");
        }
    }

    #[test]
    fn a_text_of_two_forms_is_written_by_its_bytes() {
        let charset = Charset::of_collation(13).unwrap();
        let reader = Reader::Text(charset);
        let of = |text: &str, charset| literal(&reader, text, Some(charset), Some("c"));
        assert_eq!(of(&raw("815F"), "sjis").unwrap(), "_sjis X'815F' COLLATE c");
        assert_eq!(of(&raw("81'"), "sjis"), None);
        assert_eq!(of(&raw("81"), "latin1"), None);
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
