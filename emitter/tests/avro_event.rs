//! Types that `avro_event!` makes, of schemas with every type there is: what serde writes of them, what
//! apache-avro reads back, and that the schema is the parser's too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![recursion_limit = "256"]

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use tidemesh_avro::serial::Plan;
use tidemesh_emitter::Event;

mod order {
    tidemesh_emitter::avro_event! {
        #[derive(Eq, Hash)]
        file = "schemas/order_placed.avsc",
        topic = "shop.orders",
        key = ["order_id"],
    }
}

mod all {
    tidemesh_emitter::avro_event! {
        file = "tests/schemas/everything.avsc",
        topic = "test.everything",
        key = ["large", "text", "rawMaybe"],
        visibility = pub(crate),
    }
}

mod defaults {
    tidemesh_emitter::avro_event! {
        file = "tests/schemas/defaults.avsc",
        topic = "test.defaults",
    }
}

mod plain {
    tidemesh_emitter::avro_event! {
        file = "tests/schemas/plain.avsc",
        topic = "test.plain",
    }
}

fn everything() -> all::Everything {
    use all::*;
    let leaf = Tree { left: None, right: None, leaves: vec![] };
    let text = |text: &str| text.to_owned();
    Everything {
        nothing: (),
        flag: true,
        small: -1,
        large: i64::MIN,
        single: 1.5,
        twice: -0.1,
        raw: vec![0, 255],
        text: text("ü"),
        raw_maybe: Some(vec![1]),
        raw_list: vec![vec![], vec![2]],
        raw_map: BTreeMap::from([(text("a"), None), (text("b"), Some(vec![3]))]),
        digest: [9; 48],
        digest_maybe: None,
        texts: vec![vec![text("x")], vec![]],
        counts: BTreeMap::from([(text("n"), 4)]),
        colour: Colour::Self_,
        r#type: text("t"),
        self_: text("s"),
        r#gen: text("g"),
        choice: EverythingChoice::OneAddress(OneAddress { street: text("Main") }),
        choice_maybe: Some(EverythingChoiceMaybe::Long(5)),
        choices: vec![
            EverythingChoicesItem::Boolean(false),
            EverythingChoicesItem::Map(BTreeMap::from([(
                text("k"),
                EverythingChoicesItemValue::Double(0.5),
            )])),
        ],
        only: EverythingOnly::String(text("o")),
        one: OneAddress { street: text("First") },
        two: TwoAddress { zip: 12345 },
        amount: text("-12.50"),
        amount_maybe: Some(text("0.01")),
        price: Some(EverythingPrice::Bytes(text("1.5"))),
        key_16: text("01010101-0101-0101-0101-010101010101"),
        id: text("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        day: 1,
        at_millis: 2,
        at_micros: 3,
        ts_millis: 4,
        ts_micros: Some(5),
        ts_nanos: 6,
        local_millis: 7,
        local_micros: 8,
        local_nanos: 9,
        span: [1; 12],
        tree: Tree {
            left: Some(Box::new(leaf.clone())),
            right: Some(TreeRight::Tree(Box::new(leaf.clone()))),
            leaves: vec![leaf],
        },
    }
}

fn everything_json() -> Json {
    let leaf = json!({"left": null, "right": null, "leaves": []});
    json!({
        "nothing": null, "flag": true, "small": -1, "large": i64::MIN, "single": 1.5, "twice": -0.1,
        "raw": [0, 255], "text": "ü", "rawMaybe": [1], "raw_list": [[], [2]],
        "raw_map": {"a": null, "b": [3]}, "digest": vec![9; 48], "digest_maybe": null,
        "texts": [["x"], []], "counts": {"n": 4}, "colour": "self", "type": "t", "self": "s",
        "gen": "g", "choice": {"test.one.Address": {"street": "Main"}},
        "choice_maybe": {"long": 5},
        "choices": [{"boolean": false}, {"map": {"k": {"double": 0.5}}}],
        "only": {"string": "o"}, "one": {"street": "First"}, "two": {"zip": 12345},
        "amount": "-12.50", "amount_maybe": "0.01", "price": {"bytes": "1.5"},
        "key_16": "01010101-0101-0101-0101-010101010101", "id": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "day": 1, "at_millis": 2, "at_micros": 3, "ts_millis": 4, "ts_micros": 5, "ts_nanos": 6,
        "local_millis": 7, "local_micros": 8, "local_nanos": 9, "span": vec![1; 12],
        "tree": {"left": leaf, "right": {"test.all.Tree": leaf}, "leaves": [leaf]},
    })
}

/// Serde's form of a value is that JSON, and the value comes back of it.
fn serde_keeps<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, json: &Json) {
    assert_eq!(serde_json::to_value(value).unwrap(), *json);
    assert_eq!(serde_json::from_value::<T>(json.clone()).unwrap(), *value);
}

/// The value as our encoder writes it, as Avro's own JSON, in which unions name their branch.
fn avro_json<T: Event>(value: &T) -> Json {
    let schema = tidemesh_avro::schema::Schema::parse(&T::schema()).unwrap();
    tidemesh_avro::datum::to_avro_json(&schema, &ours(value)).unwrap()
}

/// The value as our encoder writes it.
fn ours<T: Event>(value: &T) -> Vec<u8> {
    let schema = tidemesh_avro::schema::Schema::parse(&T::schema()).unwrap();
    let mut bytes = Vec::new();
    Plan::compile_with_key(&schema, T::KEY).unwrap().encode(value, &mut bytes).unwrap();
    bytes
}

/// apache-avro writes the value by its schema, and reads the same value, also of what ours writes.
fn avro_keeps<T: Event + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let schema = apache_avro::Schema::parse_str(&T::schema()).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let bytes = writer.write_ser_to_vec(value).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    for bytes in [bytes, ours(value)] {
        let mut rest = bytes.as_slice();
        assert_eq!(reader.read_deser::<T>(&mut rest).unwrap(), *value);
        assert!(rest.is_empty());
    }
}

#[test]
fn every_type_is_written_to_the_branch_that_was_meant() {
    let json = avro_json(&everything());
    let leaf = json!({"left": null, "right": null, "leaves": []});
    let expected = json!({
        "raw": "\u{0}\u{ff}", "rawMaybe": {"bytes": "\u{1}"},
        "raw_map": {"a": null, "b": {"bytes": "\u{3}"}},
        "digest": "\t".repeat(48), "colour": "self", "self": "s",
        "choice": {"test.one.Address": {"street": "Main"}}, "choice_maybe": {"long": 5},
        "choices": [{"boolean": false}, {"map": {"k": {"double": 0.5}}}], "only": {"string": "o"},
        "amount": "\u{fb}\u{1e}", "price": {"bytes": "\u{f}"}, "key_16": "\u{1}".repeat(16), "id": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "ts_micros": {"long": 5}, "span": "\u{1}".repeat(12),
        "tree": {
            "left": {"test.all.Tree": leaf}, "right": {"test.all.Tree": leaf}, "leaves": [leaf]
        },
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(json[name], *value, "{name}");
    }
    assert_eq!(json.as_object().unwrap().len(), everything_json().as_object().unwrap().len());
}

#[test]
fn what_our_encoder_writes_of_every_type_apache_avro_reads() {
    let schema = apache_avro::Schema::parse_str(&all::Everything::schema()).unwrap();
    let bytes = ours(&everything());
    let mut rest = bytes.as_slice();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let Value::Record(fields) = reader.read_value(&mut rest).unwrap() else { panic!("a record") };
    assert!(rest.is_empty());
    let field = |name: &str| &fields.iter().find(|(field, _)| field == name).unwrap().1;
    assert_eq!(*field("raw"), Value::Bytes(vec![0, 255]));
    assert_eq!(*field("choice_maybe"), Value::Union(1, Box::new(Value::Long(5))));
    assert_eq!(*field("colour"), Value::Enum(3, "self".to_owned()));
}

#[test]
fn defaults_are_written_by_our_encoder() {
    assert_eq!(avro_json(&defaults::Defaults::default())["choice"], json!({"int": 5}));
}

#[test]
fn every_type_has_the_form_of_its_schema() {
    serde_keeps(&everything(), &everything_json());
}

#[test]
fn what_is_missing_of_optional_bytes_is_none() {
    let mut json = everything_json();
    for name in ["rawMaybe", "digest_maybe", "ts_micros"] {
        json.as_object_mut().unwrap().remove(name);
    }
    let read: all::Everything = serde_json::from_value(json).unwrap();
    assert_eq!((read.raw_maybe, read.digest_maybe, read.ts_micros), (None, None, None));
}

#[test]
fn the_schema_is_the_files_text_and_the_key_is_as_it_was_said() {
    assert_eq!(all::Everything::TOPIC, "test.everything");
    assert_eq!(all::Everything::KEY, ["large", "text", "rawMaybe"]);
    assert!(defaults::Defaults::KEY.is_empty());
    let text = include_str!("schemas/everything.avsc");
    assert!(matches!(all::Everything::schema(), Cow::Borrowed(borrowed) if borrowed == text));
    for text in [text, &order::OrderPlaced::schema(), &defaults::Defaults::schema()] {
        tidemesh_avro::schema::Schema::parse(text).unwrap();
    }
}

#[test]
fn attributes_are_on_each_type() {
    fn hashed<T: std::hash::Hash + Eq>(_: &T) {}
    let customer = order::Customer { name: "Ada".to_owned(), email: None };
    hashed(&customer);
    hashed(&order::Status::Delivered);
}

#[test]
fn defaults_are_the_schemas() {
    let made = defaults::Defaults::default();
    let expected = json!({
        "nothing": null, "flag": true, "small": -7, "large": i64::MIN, "single": 1.0,
        "twice": -2.5e-9, "raw": [0, 255], "raw_empty": [], "text": "a \"b\"", "pair": [1, 2],
        "texts": ["x", "y"], "none": [], "counts": {"a": 1}, "colour": "BLUE", "maybe": null,
        "surely": "s", "choice": {"int": 5}, "amount": "12.50", "inner": {"a": 1, "b": 2},
        "tree": {"value": 3, "next": {"value": 4, "next": null}},
    });
    serde_keeps(&made, &expected);
    assert_eq!(defaults::Tree::default(), defaults::Tree { value: 0, next: None });
}

#[test]
fn apache_avro_writes_and_reads_what_is_made() {
    use plain::*;
    let leaf = Node { value: 1, next: None, more: vec![] };
    avro_keeps(&Plain {
        flag: true,
        small: i32::MIN,
        large: i64::MAX,
        single: 0.25,
        twice: -1e300,
        raw: vec![1, 2, 3],
        text: "text".to_owned(),
        raw_maybe: Some(vec![4]),
        digest: [5; 40],
        digest_maybe: Some([6; 40]),
        texts: vec!["a".to_owned()],
        counts: BTreeMap::from([("n".to_owned(), 7)]),
        colour: Colour::DarkBlue,
        r#type: "keyword".to_owned(),
        choice: PlainChoice::Node(Node { next: Some(Box::new(leaf.clone())), ..leaf.clone() }),
        choices: vec![PlainChoicesItem::Double(2.0), PlainChoicesItem::Bytes(vec![8])],
        day: 9,
        placed_at: 10,
        tree: Node { value: 2, next: Some(Box::new(leaf.clone())), more: vec![leaf] },
    });
}
