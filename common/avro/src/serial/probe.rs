//! Which of a union's records a struct or map is: asked of the value itself, before it is written.
//! Only names are looked at; what the fields hold is not visited.

use super::error::Fault;
use super::key::Key;
use super::plan::{Node, RecordPlan};
use super::union::{Given, UnionPlan};
use serde::ser::{Impossible, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

/// The most records of a union that are told by their fields; others by their name alone.
const CANDIDATES_MAX: usize = 32;

/// The most newtypes and `Some`s around a struct.
const WRAPS_MAX: usize = 64;

/// The branch of `union` that `value`, a struct or map, is of; none if it is something else, or of
/// none.
#[cold]
pub(super) fn record<T: Serialize + ?Sized>(
    union: &UnionPlan,
    nodes: &[Node],
    value: &T,
) -> Option<usize> {
    value.serialize(Probe { union, nodes, wraps: 0 }).ok().flatten()
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    union: &'a UnionPlan,
    nodes: &'a [Node],
    wraps: usize,
}

impl Probe<'_> {
    fn within<T: Serialize + ?Sized>(self, value: &T) -> Result<Option<usize>, Fault> {
        if self.wraps == WRAPS_MAX {
            return Ok(None);
        }
        value.serialize(Self { wraps: self.wraps + 1, ..self })
    }
}

impl<'a> Probe<'a> {
    fn fields(self, decided: Option<usize>) -> Names<'a> {
        let mut names =
            Names { decided, candidates: [None; CANDIDATES_MAX], seen: [0; CANDIDATES_MAX] };
        if decided.is_none() {
            let records = self.union.branches.iter().enumerate().filter_map(|(place, branch)| {
                match &self.nodes[branch.node] {
                    Node::Record(record) => Some((place, record)),
                    _ => None,
                }
            });
            for (candidate, record) in names.candidates.iter_mut().zip(records) {
                *candidate = Some(record);
            }
        }
        names
    }
}

/// The names of a value's fields, held against each record.
struct Names<'a> {
    decided: Option<usize>,
    /// The records that have all fields so far, with their branch.
    candidates: [Option<(usize, &'a RecordPlan)>; CANDIDATES_MAX],
    /// How many of each record's fields without a default there were.
    seen: [usize; CANDIDATES_MAX],
}

impl Names<'_> {
    fn name(&mut self, name: &str) {
        for (candidate, seen) in self.candidates.iter_mut().zip(&mut self.seen) {
            let Some((_, record)) = candidate else { continue };
            match record.place(name) {
                Some(place) => *seen += usize::from(record.fields[place].default.is_none()),
                None => *candidate = None,
            }
        }
    }

    fn answer(&self) -> Option<usize> {
        let whole = |record: &RecordPlan, seen: usize| {
            record.fields.iter().filter(|field| field.default.is_none()).count() == seen
        };
        let mut candidates = self.candidates.iter().zip(&self.seen);
        self.decided.or_else(|| {
            candidates.find_map(|(candidate, seen)| {
                candidate.and_then(|(place, record)| whole(record, *seen).then_some(place))
            })
        })
    }
}

/// What is neither struct nor map.
macro_rules! other {
    ($($method:ident($($type:ty),*);)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<Option<usize>, Fault> {
            Ok(None)
        })*
    };
}

macro_rules! other_many {
    ($($method:ident($($type:ty),*) -> $many:ident;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<Self::$many, Fault> {
            Err(Fault::new("neither struct nor map"))
        })*
    };
}

impl<'a> Serializer for Probe<'a> {
    type Ok = Option<usize>;
    type Error = Fault;
    type SerializeSeq = Impossible<Option<usize>, Fault>;
    type SerializeTuple = Impossible<Option<usize>, Fault>;
    type SerializeTupleStruct = Impossible<Option<usize>, Fault>;
    type SerializeTupleVariant = Impossible<Option<usize>, Fault>;
    type SerializeMap = Names<'a>;
    type SerializeStruct = Names<'a>;
    type SerializeStructVariant = Impossible<Option<usize>, Fault>;

    other! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    other_many! {
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, _: &T) -> Result<Option<usize>, Fault> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Option<usize>, Fault> {
        self.within(value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Option<usize>, Fault> {
        self.within(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Option<usize>, Fault> {
        Ok(None)
    }

    /// A union's map takes a map before any record does.
    fn serialize_map(self, _: Option<usize>) -> Result<Names<'a>, Fault> {
        Ok(self.fields(self.union.pick(self.nodes, &Given::Map)))
    }

    /// A record of the struct's name takes it before any other.
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Names<'a>, Fault> {
        let named = self.union.pick(self.nodes, &Given::Struct(name));
        let record =
            |place: &usize| matches!(self.nodes[self.union.branches[*place].node], Node::Record(_));
        Ok(self.fields(named.filter(record)))
    }
}

impl SerializeStruct for Names<'_> {
    type Ok = Option<usize>;
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        _: &T,
    ) -> Result<(), Fault> {
        self.name(name);
        Ok(())
    }

    fn end(self) -> Result<Option<usize>, Fault> {
        Ok(self.answer())
    }
}

impl SerializeMap for Names<'_> {
    type Ok = Option<usize>;
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        key.serialize(Key(|name: &str| {
            self.name(name);
            Ok(())
        }))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Fault> {
        Ok(())
    }

    fn end(self) -> Result<Option<usize>, Fault> {
        Ok(self.answer())
    }
}
