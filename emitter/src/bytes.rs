//! Has serde write bytes as bytes, where it would write a list of numbers: `#[serde(with =
//! "tidemesh_emitter::bytes")]` on a field. Whatever holds the bytes is passed through: options, lists,
//! maps.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Upload {
//!     #[serde(with = "tidemesh_emitter::bytes")]
//!     content: Vec<u8>,
//!     #[serde(with = "tidemesh_emitter::bytes")]
//!     digest: [u8; 64],
//!     #[serde(default, with = "tidemesh_emitter::bytes")]
//!     parts: Option<BTreeMap<String, Vec<Vec<u8>>>>,
//! }
//! # let upload = Upload { content: vec![1], digest: [2; 64], parts: None };
//! # let text = serde_json::to_string(&upload).unwrap();
//! # assert_eq!(serde_json::from_str::<Upload>(&text).unwrap().digest, [2; 64]);
//! ```

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Bytes of any number, of a fixed number, or what holds them.
pub trait Bytes: Sized {
    /// Writes them as bytes.
    ///
    /// # Errors
    ///
    /// The serialiser's own.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads them from bytes, or from a list of numbers as JSON has it.
    ///
    /// # Errors
    ///
    /// The deserialiser's own, and another number of bytes than is fixed.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Serialises bytes, for `#[serde(with = …)]`.
///
/// # Errors
///
/// The serialiser's own.
pub fn serialize<T: Bytes, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

/// Deserialises bytes, for `#[serde(with = …)]`.
///
/// # Errors
///
/// The deserialiser's own, and another number of bytes than is fixed.
pub fn deserialize<'de, T: Bytes, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// A value that is written as bytes.
struct Written<'a, T>(&'a T);

impl<T: Bytes> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// A value that is read from bytes.
struct Read<T>(T);

impl<'de, T: Bytes> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Read)
    }
}

impl Bytes for Vec<u8> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Any)
    }
}

impl<const N: usize> Bytes for [u8; N] {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Fixed(PhantomData))
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => serializer.serialize_some(&Written(value)),
            None => serializer.serialize_none(),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Read<T>>::deserialize(deserializer)?.map(|read| read.0))
    }
}

impl<T: Bytes> Bytes for Vec<T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Written))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<Read<T>>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|read| read.0).collect())
    }
}

impl<T: Bytes> Bytes for BTreeMap<String, T> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(key, value)| (key, Written(value))))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Read<T>>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(key, read)| (key, read.0)).collect())
    }
}

/// Takes any number of bytes.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

/// Takes `N` bytes.
struct Fixed<const N: usize>(PhantomData<[u8; N]>);

impl<'de, const N: usize> Visitor<'de> for Fixed<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<[u8; N], A::Error> {
        let bytes = Any.visit_seq(list)?;
        self.visit_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        #[serde(with = "super")]
        any: Vec<u8>,
        #[serde(with = "super")]
        fixed: [u8; 33],
        #[serde(with = "super")]
        maybe: Option<[u8; 2]>,
        #[serde(with = "super")]
        many: BTreeMap<String, Vec<Option<Vec<u8>>>>,
    }

    #[test]
    fn bytes_come_back_through_all_that_holds_them() {
        let all = All {
            any: vec![0, 255],
            fixed: [7; 33],
            maybe: Some([1, 2]),
            many: BTreeMap::from([("a".to_owned(), vec![Some(vec![3]), None])]),
        };
        let json = serde_json::to_value(&all).unwrap();
        let expected = json!({
            "any": [0, 255], "fixed": vec![7; 33], "maybe": [1, 2], "many": {"a": [[3], null]}
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<All>(json).unwrap(), all);
    }

    #[test]
    fn another_number_of_bytes_than_is_fixed_is_refused() {
        let short = json!({"any": [], "fixed": [1, 2], "maybe": null, "many": {}});
        let error = serde_json::from_value::<All>(short).unwrap_err();
        assert!(error.to_string().contains("invalid length 2, expected 33 bytes"), "{error}");
    }
}
