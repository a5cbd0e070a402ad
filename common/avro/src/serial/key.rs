//! A map's key, as text: what serde_json takes for one.

use super::error::Fault;
use super::writer::Displayed;
use serde::ser::Impossible;
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// The most bytes of a number of 128 bits, with its sign.
const NUMBER_BYTES: usize = 40;

/// Hands a key's text to a function.
pub(super) struct Key<F>(pub(super) F);

impl<R, F: FnOnce(&str) -> Result<R, Fault>> Key<F> {
    fn displayed(self, value: impl std::fmt::Display) -> Result<R, Fault> {
        let mut text = Displayed { bytes: [0; NUMBER_BYTES], length: 0 };
        let written = write!(text, "{value}");
        match std::str::from_utf8(&text.bytes[..text.length]) {
            Ok(text) if written.is_ok() => (self.0)(text),
            _ => refused("number"),
        }
    }
}

#[cold]
fn refused<R>(found: &'static str) -> Result<R, Fault> {
    Err(Fault::new("a map's key is no text").found(found).expected("text, a number or a boolean"))
}

macro_rules! displayed {
    ($($method:ident $type:ty,)*) => {
        $(fn $method(self, value: $type) -> Result<R, Fault> {
            self.displayed(value)
        })*
    };
}

macro_rules! refused {
    ($($method:ident($($type:ty),*) -> $ok:ty, $found:literal;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, Fault> {
            refused($found)
        })*
    };
}

impl<R, F: FnOnce(&str) -> Result<R, Fault>> Serializer for Key<F> {
    type Ok = R;
    type Error = Fault;
    type SerializeSeq = Impossible<R, Fault>;
    type SerializeTuple = Impossible<R, Fault>;
    type SerializeTupleStruct = Impossible<R, Fault>;
    type SerializeTupleVariant = Impossible<R, Fault>;
    type SerializeMap = Impossible<R, Fault>;
    type SerializeStruct = Impossible<R, Fault>;
    type SerializeStructVariant = Impossible<R, Fault>;

    displayed! {
        serialize_bool bool,
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_u128 u128,
        serialize_char char,
    }

    fn serialize_str(self, value: &str) -> Result<R, Fault> {
        (self.0)(value)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<R, Fault> {
        (self.0)(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<R, Fault> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<R, Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<R, Fault> {
        refused("variant with a value")
    }

    refused! {
        serialize_f32(f32) -> R, "f32";
        serialize_f64(f64) -> R, "f64";
        serialize_bytes(&[u8]) -> R, "bytes";
        serialize_none() -> R, "none";
        serialize_unit() -> R, "unit";
        serialize_unit_struct(&'static str) -> R, "unit struct";
        serialize_seq(Option<usize>) -> Self::SerializeSeq, "sequence";
        serialize_tuple(usize) -> Self::SerializeTuple, "tuple";
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct, "tuple struct";
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant, "tuple variant";
        serialize_map(Option<usize>) -> Self::SerializeMap, "map";
        serialize_struct(&'static str, usize) -> Self::SerializeStruct, "struct";
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant, "struct variant";
    }
}
