//! Schemas of one feature each: what is made of them, and what is refused.

use super::*;
use syn::Item;

/// The macro's input for a file of no matter.
fn input(key: &str) -> Input {
    syn::parse_str(&format!(r#"file = "s.avsc", topic = "t", key = {key}"#)).unwrap()
}

fn made(schema: &str) -> syn::File {
    let tokens = generate(&input("[]"), schema, "/x/s.avsc").unwrap();
    syn::parse2(tokens).unwrap()
}

fn refused(schema: &str, key: &str) -> String {
    generate(&input(key), schema, "/x/s.avsc").unwrap_err().to_string()
}

/// A record with fields of these types, as `{"name": …, "type": …}`.
fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "R", "namespace": "n", "fields": [{fields}]}}"#)
}

/// The text of a field's type in the struct `R`.
fn field_type(avro: &str) -> String {
    let file = made(&record(&format!(r#"{{"name": "f", "type": {avro}}}"#)));
    let Some(Item::Struct(item)) = file.items.iter().find(|i| named(i) == "R").cloned() else {
        panic!("no struct")
    };
    let ty = &item.fields.iter().next().unwrap().ty;
    quote!(#ty).to_string().replace(' ', "")
}

fn named(item: &Item) -> String {
    match item {
        Item::Struct(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        _ => String::new(),
    }
}

fn names(schema: &str) -> Vec<String> {
    made(schema).items.iter().map(named).filter(|name| !name.is_empty()).collect()
}

fn text(schema: &str) -> String {
    generate(&input("[]"), schema, "/x/s.avsc").unwrap().to_string().replace(' ', "")
}

#[test]
fn a_record_becomes_a_struct_that_is_an_event() {
    let schema = r#"{"type":"record","name":"order_placed","doc":"An order.","fields":[
        {"name":"orderId","type":"long","doc":"Its number."}]}"#;
    let input: Input = syn::parse_str(
        r#"#[derive(Hash)] file = "s.avsc", topic = "shop.orders", key = ["orderId"], visibility = pub(crate)"#,
    )
    .unwrap();
    let expected = quote! {
        const _: &[u8] = ::core::include_bytes!("/x/s.avsc");
        #[doc = " An order."]
        #[doc = ""]
        #[doc = " Avro's `order_placed`, of `s.avsc`."]
        #[derive(
            ::core::fmt::Debug,
            ::core::clone::Clone,
            ::core::cmp::PartialEq,
            ::tidemesh_emitter::__private::serde::Serialize,
            ::tidemesh_emitter::__private::serde::Deserialize,
        )]
        #[serde(crate = "::tidemesh_emitter::__private::serde")]
        #[allow(dead_code, non_camel_case_types, non_snake_case)]
        #[allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
        #[derive(Hash)]
        #[serde(rename = "order_placed")]
        pub(crate) struct OrderPlaced {
            #[doc = " Its number."]
            #[serde(rename = "orderId")]
            pub(crate) order_id: i64,
        }
        impl ::tidemesh_emitter::Event for OrderPlaced {
            const TOPIC: &'static str = "shop.orders";
            const KEY: &'static [&'static str] = &["orderId"];

            fn schema() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(#schema)
            }
        }
    };
    let made = generate(&input, schema, "/x/s.avsc").unwrap();
    assert_eq!(made.to_string(), expected.to_string());
}

#[test]
fn each_type_has_its_own_in_rust() {
    let cases = [
        (r#""null""#, "()"),
        (r#""boolean""#, "bool"),
        (r#""int""#, "i32"),
        (r#""long""#, "i64"),
        (r#""float""#, "f32"),
        (r#""double""#, "f64"),
        (r#""string""#, "::std::string::String"),
        (r#""bytes""#, "::std::vec::Vec<u8>"),
        (r#"{"type":"fixed","name":"F","size":40}"#, "[u8;40usize]"),
        (r#"{"type":"array","items":"int"}"#, "::std::vec::Vec<i32>"),
        (
            r#"{"type":"map","values":"int"}"#,
            "::std::collections::BTreeMap<::std::string::String,i32>",
        ),
        (r#"["null","int"]"#, "::core::option::Option<i32>"),
        (r#"["int","null"]"#, "::core::option::Option<i32>"),
        (r#"["null"]"#, "()"),
        (r#"["int"]"#, "RF"),
        (r#"["int","string"]"#, "RF"),
        (r#"["int","null","string"]"#, "::core::option::Option<RF>"),
        (r#"{"type":"array","items":["int","string"]}"#, "::std::vec::Vec<RFItem>"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":9}"#, "::std::string::String"),
        (r#"{"type":"string","logicalType":"uuid"}"#, "::std::string::String"),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, "i64"),
        (r#"{"type":"int","logicalType":"date"}"#, "i32"),
        (r#"{"type":"enum","name":"colour","symbols":["RED"]}"#, "Colour"),
        (r#"["null","R"]"#, "::core::option::Option<::std::boxed::Box<R>>"),
        (r#"{"type":"array","items":"R"}"#, "::std::vec::Vec<R>"),
    ];
    for (avro, rust) in cases {
        assert_eq!(field_type(avro), rust, "{avro}");
    }
}

#[test]
fn bytes_are_told_to_serde_wherever_they_stand_and_units_are_documented() {
    let with = r#"#[serde(with="::tidemesh_emitter::bytes")]"#;
    for avro in [r#""bytes""#, r#"{"type":"array","items":["null","bytes"]}"#, r#"["int","bytes"]"#]
    {
        assert!(
            text(&record(&format!(r#"{{"name":"f","type":{avro}}}"#))).contains(with),
            "{avro}"
        );
    }
    let decimal = r#"{"name":"f","type":{"type":"bytes","logicalType":"decimal","precision":9}}"#;
    assert!(!text(&record(decimal)).contains(with));
    let unit = r#"{"name":"f","type":["null",{"type":"long","logicalType":"timestamp-millis"}]}"#;
    assert!(text(&record(unit)).contains("Millisecondssince1970-01-01T00:00:00Z"));
}

#[test]
fn types_of_one_name_are_told_apart_by_their_namespaces() {
    let address = |namespace: &str| {
        format!(
            r#"{{"name":"{namespace}","type":{{"type":"record","name":"address","namespace":"shop.{namespace}","fields":[]}}}}"#
        )
    };
    let both = record(&format!("{},{}", address("home"), address("work")));
    assert_eq!(names(&both), ["R", "HomeAddress", "WorkAddress"]);
    let one = record(&address("home"));
    assert_eq!(names(&one), ["R", "Address"]);
    let root =
        record(r#"{"name":"f","type":{"type":"record","name":"R","namespace":"a.b","fields":[]}}"#);
    assert_eq!(names(&root), ["R", "BR"]);
    let same = r#"{"name":"f","type":{"type":"record","name":"n.r","fields":[]}},
        {"name":"g","type":{"type":"record","name":"n.N_R","fields":[]}}"#;
    let schema = record(same).replace(r#""namespace": "n","#, "");
    assert_eq!(names(&schema), ["R", "NR", "NNR"]);
    let none = r#"{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"record","name":"r","fields":[]}}]}"#;
    let error = refused(none, "[]");
    assert!(error.contains("would be the Rust type R") && error.contains("rename"), "{error}");
}

#[test]
fn a_type_that_is_used_twice_is_made_once() {
    let schema = record(
        r#"{"name":"a","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"b","type":"E"}"#,
    );
    assert_eq!(names(&schema), ["R", "E"]);
}

#[test]
fn a_unions_enum_names_its_branches_as_avro_does() {
    let text = text(&record(
        r#"{"name":"pay","type":["null","long",{"type":"record","name":"card","namespace":"bank","fields":[]}]}"#,
    ));
    assert!(text.contains(r#"#[serde(rename="long")]Long(i64)"#), "{text}");
    assert!(text.contains(r#"#[serde(rename="bank.card")]Card(Card)"#), "{text}");
    let clash =
        record(r#"{"name":"f","type":["long",{"type":"record","name":"Long","fields":[]}]}"#);
    let file = made(&clash);
    let Some(Item::Enum(item)) = file.items.iter().find(|item| named(item) == "RF") else {
        panic!("no enum")
    };
    let variants: Vec<_> = item.variants.iter().map(|variant| variant.ident.to_string()).collect();
    assert_eq!(variants, ["long", "n_Long"]);
}

#[test]
fn a_union_gives_way_to_a_type_that_has_its_name() {
    let schema = record(
        r#"{"name":"fo","type":["int","string"]},{"name":"g","type":{"type":"record","name":"RFo","fields":[]}}"#,
    );
    assert_eq!(names(&schema), ["R", "RFoUnion", "RFo"]);
}

#[test]
fn records_that_hold_each_other_are_boxed_both_ways() {
    let text = text(&record(
        r#"{"name":"f","type":["int",{"type":"record","name":"S","fields":[{"name":"r","type":["null","R"]}]}]}"#,
    ));
    assert!(text.contains("S(::std::boxed::Box<S>)"), "{text}");
    assert!(text.contains("pubr:::core::option::Option<::std::boxed::Box<R>>"), "{text}");
}

#[test]
fn a_default_is_made_only_where_each_field_has_one_that_rust_can_say() {
    let has = |field: &str| text(&record(field)).contains("Default");
    assert!(has(r#"{"name":"f","type":"int","default":-1}"#));
    assert!(!has(r#"{"name":"f","type":"int","default":1},{"name":"g","type":"int"}"#));
    assert!(!has(
        r#"{"name":"f","type":{"type":"enum","name":"E","symbols":["X"]},"default":"Y"}"#
    ));
    assert!(!has(r#"{"name":"f","type":"float","default":1e300}"#));
    assert!(!has(r#"{"name":"f","type":{"type":"fixed","name":"F","size":2},"default":"x"}"#));
}

#[test]
fn what_is_no_schema_of_an_event_is_refused_with_its_place() {
    let cases = [
        ("{", "s.avsc: cannot read an Avro schema: it is not JSON: EOF"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"strin"}]}"#,
            "/fields/0/type",
        ),
        (r#"["null","int"]"#, "an event is a record, and this schema is of the type union"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "of the type E"),
    ];
    for (schema, part) in cases {
        let error = refused(schema, "[]");
        assert!(error.contains(part), "{error}");
    }
    let without_symbols = record(r#"{"name":"f","type":{"type":"enum","name":"E","symbols":[]}}"#);
    assert!(refused(&without_symbols, "[]").contains("n.E: an enum without symbols"));
    let error = refused(&record(r#"{"name":"f","type":[]}"#), "[]");
    assert!(error.contains("n.R: a union of no types"), "{error}");
    let odd = record(r#"{"name":"self","type":"int"},{"name":"self_","type":"int"}"#);
    assert!(refused(&odd, "[]").contains("would both be `self_`"));
}

#[test]
fn a_key_is_of_fields_that_can_be_one() {
    let uuid = r#"{"type":"string","logicalType":"uuid"}"#;
    let (maybe, last) = (r#"["null","int"]"#, r#"["string","null"]"#);
    for good in [r#""boolean""#, r#""int""#, r#""long""#, r#""bytes""#, uuid, maybe, last] {
        let schema = record(&format!(r#"{{"name":"f","type":{good}}}"#));
        assert!(generate(&input(r#"["f"]"#), &schema, "/x").is_ok(), "{good}");
    }
    let bad = [
        (r#""double""#, "floating point"),
        (r#""null""#, "always null"),
        (r#"["null","double"]"#, "floating point"),
        (r#"["string","int"]"#, "more than one type"),
        (r#"["null","string","int"]"#, "more than one type"),
        (r#"["string"]"#, "a union"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "an enum"),
        (r#"{"type":"fixed","name":"F","size":2}"#, "a fixed"),
        (r#"{"type":"array","items":"int"}"#, "an array"),
        (r#"{"type":"map","values":"int"}"#, "a map"),
        (r#"{"type":"record","name":"S","fields":[]}"#, "a record"),
    ];
    for (avro, reason) in bad {
        let error = refused(&record(&format!(r#"{{"name":"f","type":{avro}}}"#)), r#"["f"]"#);
        assert!(error.contains("cannot be part of a key") && error.contains(reason), "{error}");
    }
    let schema = record(r#"{"name":"f","type":"int"}"#);
    assert!(refused(&schema, r#"["g"]"#).contains("n.R has no field \"g\"; its fields are `f`"));
    assert!(refused(&schema, r#"["f.g"]"#).contains("not of fields within them"));
    assert!(refused(&schema, r#"["f", "f"]"#).contains("names \"f\" twice"));
}
