//! Charsets: which one a collation is of, and its bytes as UTF-8.
//!
//! Charsets of one byte a character are read by tables that a server gave (`single`); those of several
//! by `encoding_rs`, but for what a server reads otherwise (`multi`). Bytes that are not of the charset
//! are refused: a server replaces them by `?`, by which they would be lost without a word.

mod multi;
mod single;

use encoding_rs::{BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};
use multi::Run;
use serde::{Deserialize, Serialize};

/// A charset, by the name that servers give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Charset {
    Armscii8,
    Ascii,
    Big5,
    Binary,
    Cp1250,
    Cp1251,
    Cp1256,
    Cp1257,
    Cp850,
    Cp852,
    Cp866,
    Cp932,
    Dec8,
    Eucjpms,
    Euckr,
    Gb18030,
    Gb2312,
    Gbk,
    Geostd8,
    Greek,
    Hebrew,
    Hp8,
    Keybcs2,
    Koi8r,
    Koi8u,
    Latin1,
    Latin2,
    Latin5,
    Latin7,
    Macce,
    Macroman,
    Sjis,
    Swe7,
    Tis620,
    Ucs2,
    Ujis,
    Utf16,
    Utf16le,
    Utf32,
    Utf8mb3,
    Utf8mb4,
}

/// How a charset is read.
enum Form {
    Utf8,
    Ascii,
    /// ASCII, and a table of the bytes above it.
    Single(&'static [u16; 128]),
    Swe7,
    /// Several bytes a character, and what is read otherwise than by the encoding.
    Multi(&'static Encoding, Lead, &'static [Run]),
    /// Units of two bytes, the highest first or last.
    Utf16 {
        is_little_endian: bool,
    },
    Utf32,
}

/// How many bytes a character has by its first ones.
#[derive(Clone, Copy)]
enum Lead {
    Two,
    /// Half-width katakana have one byte.
    ShiftJis,
    /// A third set of characters has three bytes.
    Euc,
}

/// A collation of the charset that servers call so; none for one that is not known. Servers before
/// MySQL 8.0.30 and MariaDB 10.6 say `utf8` of `utf8mb3`.
pub(crate) fn collation_of(charset: &str) -> Option<u64> {
    const COLLATION_MAX: u64 = 250;
    let charset = if charset == "utf8" { "utf8mb3" } else { charset };
    (1..=COLLATION_MAX).find(|id| Charset::of_collation(*id).is_some_and(|of| of.name() == charset))
}

impl Charset {
    /// The charset of a collation, by its id; none for an id that is not known.
    ///
    /// Ids: `information_schema.COLLATION_CHARACTER_SET_APPLICABILITY` of a MariaDB 10.11.19
    /// (`testdata/collations.txt`); MySQL 9.1, `strings/ctype-gb18030.cc` and `ctype-uca.cc`.
    pub(crate) fn of_collation(id: u64) -> Option<Self> {
        Some(match id {
            // MariaDB's collations that do not pad, behind those that do.
            1025..=1279 => return Self::of_collation(id - 1024),
            1 | 84 => Self::Big5,
            2 | 9 | 21 | 27 | 77 => Self::Latin2,
            3 | 69 => Self::Dec8,
            4 | 80 => Self::Cp850,
            5 | 8 | 15 | 31 | 47..=49 | 94 => Self::Latin1,
            6 | 72 => Self::Hp8,
            7 | 74 => Self::Koi8r,
            10 | 82 => Self::Swe7,
            11 | 65 => Self::Ascii,
            12 | 91 => Self::Ujis,
            13 | 88 => Self::Sjis,
            14 | 23 | 50..=52 => Self::Cp1251,
            16 | 71 => Self::Hebrew,
            18 | 89 => Self::Tis620,
            19 | 85 => Self::Euckr,
            20 | 41 | 42 | 79 => Self::Latin7,
            22 | 75 => Self::Koi8u,
            24 | 86 => Self::Gb2312,
            25 | 70 => Self::Greek,
            26 | 34 | 44 | 66 | 99 => Self::Cp1250,
            28 | 87 => Self::Gbk,
            29 | 58 | 59 => Self::Cp1257,
            30 | 78 => Self::Latin5,
            32 | 64 => Self::Armscii8,
            33 | 76 | 83 | 192..=215 | 223 | 576..=607 | 2048..=2303 => Self::Utf8mb3,
            35 | 90 | 128..=151 | 159 | 640..=671 | 2560..=2815 => Self::Ucs2,
            36 | 68 => Self::Cp866,
            37 | 73 => Self::Keybcs2,
            38 | 43 => Self::Macce,
            39 | 53 => Self::Macroman,
            40 | 81 => Self::Cp852,
            45 | 46 | 224..=247 | 255..=323 | 608..=639 | 2304..=2559 => Self::Utf8mb4,
            54 | 55 | 101..=124 | 672..=703 | 2816..=3071 => Self::Utf16,
            56 | 62 => Self::Utf16le,
            57 | 67 => Self::Cp1256,
            60 | 61 | 160..=183 | 736..=767 | 3072..=3327 => Self::Utf32,
            63 => Self::Binary,
            92 | 93 => Self::Geostd8,
            95 | 96 => Self::Cp932,
            97 | 98 => Self::Eucjpms,
            248..=250 => Self::Gb18030,
            _ => return None,
        })
    }

    fn form(self) -> Form {
        use Form::{Ascii, Multi, Single, Swe7, Utf8, Utf16, Utf32};
        match self {
            // Nobody asks: bytes are not read as text. UTF-8 refuses what is none.
            Self::Binary | Self::Utf8mb3 | Self::Utf8mb4 => Utf8,
            Self::Ascii => Ascii,
            Self::Swe7 => Swe7,
            Self::Armscii8 => Single(&single::ARMSCII8),
            Self::Cp1250 => Single(&single::CP1250),
            Self::Cp1251 => Single(&single::CP1251),
            Self::Cp1256 => Single(&single::CP1256),
            Self::Cp1257 => Single(&single::CP1257),
            Self::Cp850 => Single(&single::CP850),
            Self::Cp852 => Single(&single::CP852),
            Self::Cp866 => Single(&single::CP866),
            Self::Dec8 => Single(&single::DEC8),
            Self::Geostd8 => Single(&single::GEOSTD8),
            Self::Greek => Single(&single::GREEK),
            Self::Hebrew => Single(&single::HEBREW),
            Self::Hp8 => Single(&single::HP8),
            Self::Keybcs2 => Single(&single::KEYBCS2),
            Self::Koi8r => Single(&single::KOI8R),
            Self::Koi8u => Single(&single::KOI8U),
            Self::Latin1 => Single(&single::LATIN1),
            Self::Latin2 => Single(&single::LATIN2),
            Self::Latin5 => Single(&single::LATIN5),
            Self::Latin7 => Single(&single::LATIN7),
            Self::Macce => Single(&single::MACCE),
            Self::Macroman => Single(&single::MACROMAN),
            Self::Tis620 => Single(&single::TIS620),
            Self::Big5 => Multi(BIG5, Lead::Two, multi::BIG5),
            Self::Euckr => Multi(EUC_KR, Lead::Two, &[]),
            Self::Gb18030 => Multi(GB18030, Lead::Two, &[]),
            Self::Gb2312 => Multi(GBK, Lead::Two, multi::GB2312),
            Self::Gbk => Multi(GBK, Lead::Two, &[]),
            Self::Sjis => Multi(SHIFT_JIS, Lead::ShiftJis, multi::SJIS),
            Self::Cp932 => Multi(SHIFT_JIS, Lead::ShiftJis, &[]),
            Self::Ujis => Multi(EUC_JP, Lead::Euc, multi::UJIS),
            Self::Eucjpms => Multi(EUC_JP, Lead::Euc, multi::EUCJPMS),
            Self::Ucs2 | Self::Utf16 => Utf16 { is_little_endian: false },
            Self::Utf16le => Utf16 { is_little_endian: true },
            Self::Utf32 => Utf32,
        }
    }

    /// The most bytes of a character, by which a column's length in bytes is one in characters.
    pub(crate) fn bytes_max(self) -> u16 {
        match self.form() {
            Form::Ascii | Form::Single(_) | Form::Swe7 => 1,
            Form::Utf8 => match self {
                Self::Binary => 1,
                Self::Utf8mb3 => 3,
                _ => 4,
            },
            Form::Multi(_, Lead::Euc, _) => 3,
            Form::Multi(..) if self == Self::Gb18030 => 4,
            Form::Multi(..) => 2,
            Form::Utf16 { .. } if self == Self::Ucs2 => 2,
            Form::Utf16 { .. } | Form::Utf32 => 4,
        }
    }

    /// The server's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Armscii8 => "armscii8",
            Self::Ascii => "ascii",
            Self::Big5 => "big5",
            Self::Binary => "binary",
            Self::Cp1250 => "cp1250",
            Self::Cp1251 => "cp1251",
            Self::Cp1256 => "cp1256",
            Self::Cp1257 => "cp1257",
            Self::Cp850 => "cp850",
            Self::Cp852 => "cp852",
            Self::Cp866 => "cp866",
            Self::Cp932 => "cp932",
            Self::Dec8 => "dec8",
            Self::Eucjpms => "eucjpms",
            Self::Euckr => "euckr",
            Self::Gb18030 => "gb18030",
            Self::Gb2312 => "gb2312",
            Self::Gbk => "gbk",
            Self::Geostd8 => "geostd8",
            Self::Greek => "greek",
            Self::Hebrew => "hebrew",
            Self::Hp8 => "hp8",
            Self::Keybcs2 => "keybcs2",
            Self::Koi8r => "koi8r",
            Self::Koi8u => "koi8u",
            Self::Latin1 => "latin1",
            Self::Latin2 => "latin2",
            Self::Latin5 => "latin5",
            Self::Latin7 => "latin7",
            Self::Macce => "macce",
            Self::Macroman => "macroman",
            Self::Sjis => "sjis",
            Self::Swe7 => "swe7",
            Self::Tis620 => "tis620",
            Self::Ucs2 => "ucs2",
            Self::Ujis => "ujis",
            Self::Utf16 => "utf16",
            Self::Utf16le => "utf16le",
            Self::Utf32 => "utf32",
            Self::Utf8mb3 => "utf8mb3",
            Self::Utf8mb4 => "utf8mb4",
        }
    }

    /// Whether bytes below 0x80 are ASCII.
    pub(crate) fn has_ascii(self) -> bool {
        !matches!(self.form(), Form::Utf16 { .. } | Form::Utf32 | Form::Swe7)
    }

    /// Whether its bytes are UTF-8 already.
    pub(crate) fn is_utf8(self) -> bool {
        matches!(self, Self::Utf8mb3 | Self::Utf8mb4)
    }

    /// Appends what the bytes are; none if they are not of the charset.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut String) -> Option<()> {
        match self.form() {
            Form::Utf8 => out.push_str(std::str::from_utf8(bytes).ok()?),
            Form::Ascii => {
                out.push_str(bytes.is_ascii().then(|| std::str::from_utf8(bytes).ok())??)
            }
            Form::Single(table) => {
                for byte in bytes {
                    out.push(by_table(table, *byte)?);
                }
            }
            Form::Swe7 => {
                for byte in bytes {
                    out.push(swe7(*byte)?);
                }
            }
            Form::Multi(encoding, lead, runs) => multi(encoding, lead, runs, bytes, out)?,
            Form::Utf16 { is_little_endian } => utf16(bytes, is_little_endian, out)?,
            Form::Utf32 => {
                let (units, rest) = bytes.as_chunks::<4>();
                rest.is_empty().then_some(())?;
                for unit in units {
                    out.push(char::from_u32(u32::from_be_bytes(*unit))?);
                }
            }
        }
        Some(())
    }
}

fn by_table(table: &[u16; 128], byte: u8) -> Option<char> {
    match byte {
        0..0x80 => Some(char::from(byte)),
        _ => {
            let code = table[usize::from(byte - 0x80)];
            (code != 0).then(|| char::from_u32(code.into()))?
        }
    }
}

/// Seven bits, with Swedish letters in place of some signs.
fn swe7(byte: u8) -> Option<char> {
    Some(match byte {
        b'@' => 'É',
        b'[' => 'Ä',
        b'\\' => 'Ö',
        b']' => 'Å',
        b'^' => 'Ü',
        b'`' => 'é',
        b'{' => 'ä',
        b'|' => 'ö',
        b'}' => 'å',
        b'~' => 'ü',
        0..0x7f => char::from(byte),
        _ => return None,
    })
}

fn utf16(bytes: &[u8], is_little_endian: bool, out: &mut String) -> Option<()> {
    let (units, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    let unit = |unit: &[u8; 2]| match is_little_endian {
        true => u16::from_le_bytes(*unit),
        false => u16::from_be_bytes(*unit),
    };
    for character in char::decode_utf16(units.iter().map(unit)) {
        out.push(character.ok()?);
    }
    Some(())
}

/// What stands between the characters that are read otherwise goes to the encoding in one piece.
fn multi(
    encoding: &'static Encoding,
    lead: Lead,
    runs: &[Run],
    bytes: &[u8],
    out: &mut String,
) -> Option<()> {
    let (mut begin, mut at) = (0, 0);
    while !runs.is_empty() && at < bytes.len() {
        let length = match (bytes[at], lead) {
            (0..0x80, _) | (0xa0..0xe0, Lead::ShiftJis) => 1,
            (0x8f, Lead::Euc) => 3,
            _ => 2,
        };
        let character = bytes.get(at..at + length)?;
        if length > 1
            && let Some(found) = by_runs(runs, character)
        {
            whole(encoding, &bytes[begin..at], out)?;
            out.push(found);
            begin = at + length;
        }
        at += length;
    }
    whole(encoding, &bytes[begin..], out)
}

fn by_runs(runs: &[Run], character: &[u8]) -> Option<char> {
    let code = character.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
    let place = runs.partition_point(|(first, ..)| *first <= code).checked_sub(1)?;
    let (first, to, count) = runs[place];
    let offset = code - first;
    (offset < u32::from(count)).then(|| char::from_u32(u32::from(to) + offset))?
}

fn whole(encoding: &'static Encoding, bytes: &[u8], out: &mut String) -> Option<()> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    out.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, out, true);
    (result == DecoderResult::InputEmpty).then_some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All, by their names.
    pub(crate) fn all() -> Vec<Charset> {
        let mut all: Vec<Charset> = (0..4000).filter_map(Charset::of_collation).collect();
        all.sort_by_key(|charset| *charset as u8);
        all.dedup();
        all
    }

    /// The collations of a MariaDB 10.11.19, see `testdata/README.md`.
    #[test]
    fn every_collation_of_the_server_has_its_charset() {
        let list = include_str!("../../../testdata/collations.txt");
        let mut seen = 0;
        for line in list.lines() {
            let (charset, id) = line.split_once('\t').unwrap();
            let found = Charset::of_collation(id.parse().unwrap()).map(Charset::name);
            assert_eq!(found, Some(charset), "{id}");
            seen += 1;
        }
        assert!(seen > 1000, "{seen}");
        assert_eq!(all().len(), 41);
    }

    /// What a MariaDB 10.11.19 reads each character of each charset as, see `testdata/README.md`.
    #[test]
    fn every_character_is_what_the_server_says() {
        let list = include_str!("../../../testdata/characters.txt");
        let mut seen = 0;
        for line in list.lines() {
            let (charset, runs) = line.split_once(' ').unwrap();
            let charset = all().into_iter().find(|known| known.name() == charset).unwrap();
            for run in runs.split(' ') {
                let (from, text) = run.split_once('=').unwrap();
                let first = u32::from_str_radix(from, 16).unwrap();
                for (code, expected) in (first..).zip(text.split(',')) {
                    let expected = u32::from_str_radix(expected, 16).unwrap();
                    let bytes = code.to_be_bytes();
                    let bytes = &bytes[4 - from.len() / 2..];
                    let mut out = String::new();
                    charset
                        .decode(bytes, &mut out)
                        .unwrap_or_else(|| panic!("{charset:?} {bytes:x?}"));
                    assert_eq!(out.chars().map(u32::from).collect::<Vec<_>>(), [expected]);
                    seen += 1;
                }
            }
        }
        assert!(seen > 100_000, "{seen}");
    }

    #[test]
    fn bytes_that_are_not_of_the_charset_are_refused() {
        let decode = |charset: Charset, bytes: &[u8]| charset.decode(bytes, &mut String::new());
        assert_eq!(decode(Charset::Ascii, &[0x80]), None);
        assert_eq!(decode(Charset::Utf8mb4, &[0xff]), None);
        assert_eq!(decode(Charset::Utf16, &[0xd8, 0]), None);
        assert_eq!(decode(Charset::Utf16, &[0]), None);
        assert_eq!(decode(Charset::Gbk, &[0x81]), None);
        assert_eq!(decode(Charset::Cp1250, &[0x81]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            for charset in all() {
                let mut out = String::new();
                let _ = charset.decode(&bytes, &mut out);
                if charset.has_ascii() && bytes.is_ascii() {
                    prop_assert_eq!(out.as_bytes(), bytes.as_slice());
                }
            }
        }
    }
}
