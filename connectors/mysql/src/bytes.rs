//! Reading of an event's bytes, part by part: little-endian, as the log has them, but where a name
//! says otherwise. None: there are fewer bytes than are read.

/// Bytes that are not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.fixed().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// A number of `count` bytes, at most 8.
    #[inline]
    pub(crate) fn uint(&mut self, count: usize) -> Option<u64> {
        Some(uint(self.take(count)?))
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    /// A packed number, as lengths in the protocol are (MySQL 9.1, `net_field_length_ll`).
    #[inline]
    pub(crate) fn packed(&mut self) -> Option<u64> {
        match self.u8()? {
            small @ 0..=250 => Some(u64::from(small)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.uint(8),
            // 251 is null, which no length is; 255 begins an error.
            251 | 255 => None,
        }
    }

    #[inline]
    pub(crate) fn packed_len(&mut self) -> Option<usize> {
        usize::try_from(self.packed()?).ok()
    }

    /// Bytes behind their packed length.
    pub(crate) fn packed_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.packed_len()?;
        self.take(length)
    }

    /// Bytes behind a length of one byte.
    pub(crate) fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes up to a zero, which is dropped.
    pub(crate) fn until_zero(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1).map(|_| text)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left over.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The number that at most 8 bytes are, the lowest first.
#[inline]
pub(crate) fn uint(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// The number that at most 8 bytes are, the highest first.
#[inline]
pub(crate) fn uint_be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// A bit for each of so many things, the lowest bit of a byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bitmap<'a>(pub(crate) &'a [u8]);

impl<'a> Bitmap<'a> {
    /// The bitmap at the front of `bytes`, for `count` things.
    pub(crate) fn take(bytes: &mut Bytes<'a>, count: usize) -> Option<Self> {
        bytes.take(count.div_ceil(8)).map(Self)
    }

    /// Whether the bit is set; beyond the end none is.
    #[inline]
    pub(crate) fn has(self, index: usize) -> bool {
        self.0.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// How many of the first `count` bits are set.
    pub(crate) fn ones(self, count: usize) -> usize {
        let whole = &self.0[..(count / 8).min(self.0.len())];
        let ones: usize = whole.iter().map(|byte| byte.count_ones() as usize).sum();
        ones + (whole.len() * 8..count).filter(|index| self.has(*index)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packed_numbers_have_four_lengths() {
        let read = |bytes: &[u8]| Bytes(bytes).packed();
        assert_eq!(read(&[250]), Some(250));
        assert_eq!(read(&[252, 1, 2]), Some(0x201));
        assert_eq!(read(&[253, 1, 2, 3]), Some(0x30201));
        assert_eq!(read(&[254, 1, 0, 0, 0, 0, 0, 0, 1]), Some(0x100_0000_0000_0001));
        assert_eq!(read(&[251]), None);
        assert_eq!(read(&[253, 1, 2]), None);
    }

    proptest! {
        #[test]
        fn set_bits_are_counted(bytes in proptest::collection::vec(any::<u8>(), 0..6), count in 0_usize..60) {
            let bitmap = Bitmap(&bytes);
            prop_assert_eq!(bitmap.ones(count), (0..count).filter(|index| bitmap.has(*index)).count());
        }
    }
}
