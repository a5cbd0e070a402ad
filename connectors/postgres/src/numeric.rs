//! PostgreSQL's binary `numeric`: digits of base 10,000 (PostgreSQL 18, `numeric_send` in
//! `src/backend/utils/adt/numeric.c`).

use std::io::Write;
use tidemesh_model::DecimalRef;

/// Words of 32 bits that hold any `numeric` with a declared precision: at most 1,000 digits.
const WORDS: usize = 106;

/// Why a number is none that a decimal can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotFinite {
    Nan,
    Infinity,
    MinusInfinity,
}

/// A numeric's parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numeric<'a> {
    /// The power of 10,000 of the first digit.
    weight: i32,
    negative: bool,
    /// Decimal digits behind the point, as displayed.
    display_scale: u32,
    digits: &'a [[u8; 2]],
}

/// Reads the parts; the outer none is malformed bytes.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<Result<Numeric<'_>, NotFinite>> {
    let (head, digits) = bytes.split_first_chunk::<8>()?;
    let count = usize::from(u16::from_be_bytes([head[0], head[1]]));
    let weight = i32::from(i16::from_be_bytes([head[2], head[3]]));
    let negative = match u16::from_be_bytes([head[4], head[5]]) {
        0x0000 => false,
        0x4000 => true,
        0xc000 => return Some(Err(NotFinite::Nan)),
        0xd000 => return Some(Err(NotFinite::Infinity)),
        0xf000 => return Some(Err(NotFinite::MinusInfinity)),
        _ => return None,
    };
    let display_scale = u32::from(u16::from_be_bytes([head[6], head[7]]));
    let (digits, rest) = digits.as_chunks::<2>();
    if digits.len() != count || !rest.is_empty() {
        return None;
    }
    Some(Ok(Numeric { weight, negative, display_scale, digits }))
}

impl Numeric<'_> {
    /// Hands the number, scaled by `10^scale`, to `take`; none if it does not fit that scale or the
    /// most digits there are.
    #[inline]
    pub(crate) fn with_decimal<T>(
        &self,
        scale: u32,
        take: impl FnOnce(DecimalRef<'_>) -> T,
    ) -> Option<T> {
        match self.small(scale) {
            Some(unscaled) => Some(take(DecimalRef::Small { unscaled, scale })),
            None => self.big(scale, take),
        }
    }

    /// How many powers of ten the last digit's place is above `10^-scale`.
    fn shift(&self, scale: u32) -> Option<i32> {
        let count = i32::try_from(self.digits.len()).ok()?;
        let last = self.weight.checked_sub(count)?.checked_add(1)?;
        last.checked_mul(4)?.checked_add(i32::try_from(scale).ok()?)
    }

    #[inline]
    fn small(&self, scale: u32) -> Option<i128> {
        let mut value = 0_i128;
        for digit in self.digits {
            let digit = i128::from(u16::from_be_bytes(*digit));
            value = value.checked_mul(10_000)?.checked_add(digit)?;
        }
        let shift = self.shift(scale)?;
        let power = 10_i128.checked_pow(shift.unsigned_abs())?;
        let value = if shift >= 0 {
            value.checked_mul(power)?
        } else if value % power == 0 {
            value / power
        } else {
            return None;
        };
        Some(if self.negative { -value } else { value })
    }

    #[cold]
    fn big<T>(&self, scale: u32, take: impl FnOnce(DecimalRef<'_>) -> T) -> Option<T> {
        let mut words = [0_u32; WORDS];
        for digit in self.digits {
            multiply_add(&mut words, 10_000, u32::from(u16::from_be_bytes(*digit)))?;
        }
        let shift = self.shift(scale)?;
        for _ in 0..shift.max(0) {
            multiply_add(&mut words, 10, 0)?;
        }
        for _ in shift.min(0)..0 {
            (divide(&mut words, 10) == 0).then_some(())?;
        }
        if self.negative {
            negate(&mut words);
        }
        let mut bytes = [0; WORDS * 4];
        for (place, word) in words.iter().rev().enumerate() {
            bytes[place * 4..place * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        Some(take(DecimalRef::Big { unscaled: &bytes, scale }))
    }

    /// Appends the number as PostgreSQL prints it.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>) -> Option<()> {
        if self.negative {
            out.push(b'-');
        }
        let digit = |place: i32| -> u16 {
            usize::try_from(place)
                .ok()
                .and_then(|place| self.digits.get(place))
                .map_or(0, |bytes| u16::from_be_bytes(*bytes))
        };
        if self.weight < 0 {
            out.push(b'0');
        }
        for place in 0..=self.weight {
            let digit = digit(place);
            if place == 0 {
                write!(out, "{digit}").ok()?;
            } else {
                write!(out, "{digit:04}").ok()?;
            }
        }
        if self.display_scale > 0 {
            out.push(b'.');
            let end = out.len() + self.display_scale as usize;
            let mut place = self.weight + 1;
            while out.len() < end {
                write!(out, "{:04}", digit(place)).ok()?;
                place += 1;
            }
            out.truncate(end);
        }
        Some(())
    }
}

/// `words = words * by + plus`, the lowest word first; none if it does not fit (the sign's bit
/// included).
fn multiply_add(words: &mut [u32; WORDS], by: u32, plus: u32) -> Option<()> {
    let mut carry = u64::from(plus);
    for word in words.iter_mut() {
        carry += u64::from(*word) * u64::from(by);
        *word = low(carry);
        carry >>= 32;
    }
    (carry == 0 && words[WORDS - 1] >> 31 == 0).then_some(())
}

/// `words = words / by`; answers the remainder.
fn divide(words: &mut [u32; WORDS], by: u32) -> u32 {
    let mut rest = 0_u64;
    for word in words.iter_mut().rev() {
        let value = (rest << 32) | u64::from(*word);
        *word = low(value / u64::from(by));
        rest = value % u64::from(by);
    }
    low(rest)
}

fn negate(words: &mut [u32; WORDS]) {
    let mut carry = true;
    for word in words.iter_mut() {
        let (value, over) = (!*word).overflowing_add(u32::from(carry));
        *word = value;
        carry = over;
    }
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let mut bytes = u16::try_from(digits.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&weight.to_be_bytes());
        bytes.extend_from_slice(&sign.to_be_bytes());
        bytes.extend_from_slice(&scale.to_be_bytes());
        digits.iter().for_each(|digit| bytes.extend_from_slice(&digit.to_be_bytes()));
        bytes
    }

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        read(bytes).unwrap().unwrap().write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_print_as_postgresql_prints_them() {
        assert_eq!(text(&bytes(1, 0, 2, &[1, 2345, 6700])), "12345.67");
        assert_eq!(text(&bytes(-1, 0x4000, 4, &[12])), "-0.0012");
        assert_eq!(text(&bytes(0, 0, 0, &[])), "0");
        assert_eq!(text(&bytes(2, 0, 0, &[5])), "500000000");
    }

    #[test]
    fn numbers_take_the_types_scale() {
        let unscaled = |bytes: &[u8], scale| {
            read(bytes).unwrap().unwrap().with_decimal(scale, |d| d.with_unscaled(<[u8]>::to_vec))
        };
        assert_eq!(
            unscaled(&bytes(1, 0, 2, &[1, 2345, 6700]), 2).unwrap(),
            1_234_567_i32.to_be_bytes()[1..]
        );
        assert_eq!(unscaled(&bytes(0, 0x4000, 2, &[1]), 2).unwrap(), [0x9c]);
        assert_eq!(unscaled(&bytes(-1, 0, 4, &[12]), 2), None);
    }

    proptest! {
        #[test]
        fn the_long_way_agrees_with_the_short(digits in proptest::collection::vec(0_u16..10_000, 0..8), weight in -3_i16..4, negative: bool) {
            let bytes = bytes(weight, if negative { 0x4000 } else { 0 }, 4, &digits);
            let number = read(&bytes).unwrap().unwrap();
            if let Some(small) = number.small(40) {
                let short = DecimalRef::Small { unscaled: small, scale: 40 }.with_unscaled(<[u8]>::to_vec);
                let long = number.big(40, |d| d.with_unscaled(<[u8]>::to_vec)).unwrap();
                prop_assert_eq!(short, long);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(Ok(number)) = read(&bytes) {
                let _ = number.with_decimal(10, |_| ());
            }
        }
    }
}
