//! Any schema, any value of it: written as `datum` writes it, and readable by apache-avro.

use super::*;
use crate::datum;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde::Serializer;
use serde::ser::{SerializeMap, SerializeSeq};
use serde_json::{Value as Json, json};

#[derive(Debug, Clone)]
enum Shape {
    Leaf(&'static str),
    Fixed(usize),
    Enum(usize),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Record(Vec<Shape>),
    Union(Vec<Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaves =
        ["null", "boolean", "int", "long", "float", "double", "bytes", "string"].map(Shape::Leaf);
    let leaf = prop_oneof![
        8 => proptest::sample::select(leaves.to_vec()),
        1 => (1_usize..5).prop_map(Shape::Fixed),
        1 => (1_usize..5).prop_map(Shape::Enum),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(|items| Shape::Array(Box::new(items))),
            1 => inner.clone().prop_map(|values| Shape::Map(Box::new(values))),
            4 => proptest::collection::vec(inner.clone(), 0..6).prop_map(Shape::Record),
            2 => proptest::collection::vec(inner, 1..5).prop_map(union),
        ]
    })
}

/// A union of those of which serde's types tell which is meant.
fn union(branches: Vec<Shape>) -> Shape {
    let mut seen = Vec::new();
    let distinct = branches.into_iter().filter(|branch| {
        let class = match branch {
            Shape::Union(_) => return false,
            Shape::Leaf("string") | Shape::Enum(_) => "text",
            Shape::Leaf("bytes") | Shape::Fixed(_) => "bytes",
            Shape::Map(_) | Shape::Record(_) => "map",
            Shape::Array(_) => "array",
            Shape::Leaf(name) => name,
        };
        let new = !seen.contains(&class);
        seen.push(class);
        new
    });
    let branches: Vec<Shape> = distinct.collect();
    if branches.is_empty() { Shape::Leaf("null") } else { Shape::Union(branches) }
}

/// The shape as a schema; each name once.
fn schema(shape: &Shape, names: &mut usize) -> Json {
    *names += 1;
    let name = format!("N{names}");
    match shape {
        Shape::Leaf(name) => json!(name),
        Shape::Fixed(size) => json!({"type": "fixed", "name": name, "size": size}),
        Shape::Enum(count) => {
            let symbols: Vec<_> = (0..*count).map(|place| format!("S{place}")).collect();
            json!({"type": "enum", "name": name, "namespace": "a.b", "symbols": symbols})
        }
        Shape::Array(items) => json!({"type": "array", "items": schema(items, names)}),
        Shape::Map(values) => json!({"type": "map", "values": schema(values, names)}),
        Shape::Record(fields) => {
            let fields = fields.iter().enumerate();
            let fields: Vec<_> = fields
                .map(|(place, field)| json!({"name": format!("f{place}"), "type": schema(field, names)}))
                .collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
        Shape::Union(branches) => branches.iter().map(|branch| schema(branch, names)).collect(),
    }
}

/// Numbers without end.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Short numbers as often as long ones.
        (self.0 ^ self.0 >> 29) >> (self.0 >> 58)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.next() % 256).unwrap()).collect()
    }

    fn text(&mut self) -> String {
        (0..self.below(9))
            .filter_map(|_| char::from_u32(u32::try_from(self.next() % 0x2_0000).unwrap()))
            .collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any number will do")]
fn value(shape: &Shape, dice: &mut Dice) -> Datum {
    match shape {
        Shape::Leaf("null") => Datum::Null,
        Shape::Leaf("boolean") => Datum::Boolean(dice.below(2) == 1),
        Shape::Leaf("int") => Datum::Int((dice.next() as u32).cast_signed()),
        Shape::Leaf("long") => Datum::Long(dice.next().cast_signed()),
        Shape::Leaf("float") => Datum::Float(dice.below(1000) as f32 / 7.0),
        Shape::Leaf("double") => Datum::Double(dice.below(1000) as f64 / 7.0),
        Shape::Leaf("bytes") => {
            let count = dice.below(70);
            Datum::Bytes(dice.bytes(count))
        }
        Shape::Leaf(_) => Datum::String(dice.text()),
        Shape::Fixed(size) => Datum::Fixed(dice.bytes(*size)),
        Shape::Enum(count) => Datum::Enum(format!("S{}", dice.below(*count))),
        Shape::Array(items) => {
            Datum::Array((0..dice.below(4)).map(|_| value(items, dice)).collect())
        }
        Shape::Map(values) => {
            let count = dice.below(4);
            Datum::Map((0..count).map(|key| (format!("k{key}"), value(values, dice))).collect())
        }
        Shape::Record(fields) => {
            let fields = fields.iter().enumerate();
            Datum::Record(
                fields
                    .map(|(place, field)| (format!("f{place}").into(), value(field, dice)))
                    .collect(),
            )
        }
        Shape::Union(branches) => value(&branches[dice.below(branches.len())], dice),
    }
}

/// A datum as serde gives it; a record's fields from the one at a place on, and then those before.
struct Given<'d>(&'d Datum, usize);

impl Serialize for Given<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Datum::Null => serializer.serialize_none(),
            Datum::Boolean(value) => serializer.serialize_bool(*value),
            Datum::Int(value) => serializer.serialize_i32(*value),
            Datum::Long(value) => serializer.serialize_i64(*value),
            Datum::Float(value) => serializer.serialize_f32(*value),
            Datum::Double(value) => serializer.serialize_f64(*value),
            Datum::Bytes(bytes) | Datum::Fixed(bytes) => serializer.serialize_bytes(bytes),
            Datum::String(text) | Datum::Enum(text) => serializer.serialize_str(text),
            Datum::Array(elements) => {
                let mut sequence = serializer.serialize_seq(None)?;
                for element in elements {
                    sequence.serialize_element(&Given(element, self.1))?;
                }
                sequence.end()
            }
            Datum::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Given(value, self.1))?;
                }
                map.end()
            }
            Datum::Record(fields) => {
                let mut map = serializer.serialize_map(None)?;
                let (before, after) = fields.split_at(self.1 % fields.len().max(1));
                for (name, value) in after.iter().chain(before) {
                    map.serialize_entry(&**name, &Given(value, self.1))?;
                }
                map.end()
            }
        }
    }
}

/// Any JSON.
fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[-0-9a-zT:.]{0,20}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            proptest::collection::vec(("f[0-4]", inner), 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_value_is_written_as_its_datum_is(shape in shape(), seed: u64, first in 0_usize..5) {
        let json = schema(&shape, &mut 0).to_string();
        let schema = Schema::parse(&json).unwrap();
        let datum = value(&shape, &mut Dice(seed));
        let mut expected = Vec::new();
        datum::encode(&schema, &datum, &mut expected).unwrap();
        let mut out = Vec::new();
        Plan::compile(&schema).unwrap().encode(&Given(&datum, first), &mut out).unwrap();
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(decode(&schema, &out).unwrap(), datum);

        let theirs = apache_avro::Schema::parse_str(&json).unwrap();
        let reader = GenericDatumReader::builder(&theirs).build().unwrap();
        let mut rest = out.as_slice();
        let read = reader.read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        let again = GenericDatumWriter::builder(&theirs).build().unwrap().write_value_to_vec(read);
        // Their maps have an order of their own.
        prop_assert_eq!(again.unwrap().len(), out.len());
    }

    #[test]
    fn any_value_is_written_or_refused(shape in shape(), value in json_value()) {
        let schema = Schema::parse(&schema(&shape, &mut 0).to_string()).unwrap();
        let mut out = vec![1];
        match Plan::compile(&schema).unwrap().encode(&value, &mut out) {
            Ok(()) => prop_assert!(decode(&schema, &out[1..]).is_ok()),
            Err(_) => prop_assert_eq!(out, [1]),
        }
    }
}
