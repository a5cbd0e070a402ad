use super::*;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

#[derive(Serialize)]
struct Pair {
    a: i64,
    b: &'static str,
}

const A: &str = r#"{"name":"a","type":"long"}"#;
const B: &str = r#"{"name":"b","type":"string"}"#;

fn pair() -> Datum {
    fields(vec![("a", Datum::Long(27)), ("b", string("foo"))])
}

#[test]
fn fields_are_put_in_the_schemas_order() {
    let value = Pair { a: 27, b: "foo" };
    assert_eq!(encode(&record(&format!("{A},{B}")), &value).unwrap(), [0x36, 6, b'f', b'o', b'o']);
    assert_eq!(encode(&record(&format!("{B},{A}")), &value).unwrap(), [6, b'f', b'o', b'o', 0x36]);
    for json in [json!({"a": 27, "b": "foo"}), json!({"b": "foo", "a": 27})] {
        assert_eq!(written(&record(&format!("{A},{B}")), &json), pair());
    }
}

#[test]
fn what_is_missing_takes_its_default() {
    let three = |default: &str| {
        record(&format!(r#"{A},{{"name":"c","type":["null","int"]{default}}},{B}"#))
    };
    let datum = fields(vec![("a", Datum::Long(27)), ("c", Datum::Null), ("b", string("foo"))]);
    let value = Pair { a: 27, b: "foo" };
    assert_eq!(written(&three(r#","default":null"#), &value), datum);
    let text = refused(&three(""), &value);
    assert!(text.contains("path=c") && text.contains("expected=union of null and int"), "{text}");
    let last = record(&format!(r#"{A},{B},{{"name":"c","type":"int","default":7}}"#));
    let datum = fields(vec![("a", Datum::Long(27)), ("b", string("foo")), ("c", Datum::Int(7))]);
    assert_eq!(written(&last, &value), datum);
    let first = record(&format!(r#"{{"name":"c","type":"int","default":7}},{A},{B}"#));
    let datum = fields(vec![("c", Datum::Int(7)), ("a", Datum::Long(27)), ("b", string("foo"))]);
    assert_eq!(written(&first, &value), datum);
}

#[derive(Serialize)]
struct Sparse {
    a: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<i32>,
    b: &'static str,
}

#[test]
fn a_field_that_is_skipped_takes_its_default() {
    let schema = record(&format!(r#"{A},{{"name":"c","type":["int","null"],"default":7}},{B}"#));
    let datum = |c| fields(vec![("a", Datum::Long(27)), ("c", c), ("b", string("foo"))]);
    let sparse = |c| Sparse { a: 27, c, b: "foo" };
    assert_eq!(written(&schema, &sparse(None)), datum(Datum::Int(7)));
    assert_eq!(written(&schema, &sparse(Some(1))), datum(Datum::Int(1)));
    let lacking = record(&format!("{A},{B}"));
    assert_eq!(written(&lacking, &sparse(None)), pair());
    assert!(refused(&lacking, &sparse(Some(1))).contains("path=c"));
    let without = record(&format!(r#"{A},{{"name":"c","type":"int"}},{B}"#));
    assert!(refused(&without, &sparse(None)).contains("path=c"));
}

#[test]
fn a_field_that_the_schema_lacks_is_named() {
    let text = refused(&record(A), &Pair { a: 27, b: "foo" });
    assert!(text.contains("path=b") && text.contains("record shop.R"), "{text}");
    assert!(!text.contains("foo"), "{text}");
    let long = "x".repeat(1000);
    let mut map = BTreeMap::new();
    map.insert(long.as_str(), 1);
    assert!(refused(&record(A), &map).len() < 400);
}

#[test]
fn flattened_and_tagged_types_are_records() {
    #[derive(Serialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Pair,
        c: bool,
    }
    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Pair { a: i64, b: &'static str },
    }
    let c = r#"{"name":"c","type":"boolean"}"#;
    let schema = record(&format!("{c},{A},{B}"));
    let datum =
        fields(vec![("c", Datum::Boolean(true)), ("a", Datum::Long(27)), ("b", string("foo"))]);
    assert_eq!(written(&schema, &Outer { inner: Pair { a: 27, b: "foo" }, c: true }), datum);
    let kind = r#"{"name":"kind","type":{"type":"enum","name":"K","symbols":["Pair"]}}"#;
    let schema = record(&format!("{A},{B},{kind}"));
    let value = Tagged::Pair { a: 27, b: "foo" };
    let kind = Datum::Enum("Pair".into());
    let datum = fields(vec![("a", Datum::Long(27)), ("b", string("foo")), ("kind", kind)]);
    assert_eq!(written(&schema, &value), datum);
}

#[test]
fn a_field_given_twice_is_refused() {
    #[derive(Serialize)]
    struct Twice {
        a: i64,
        #[serde(flatten)]
        inner: Pair,
    }
    for schema in [record(&format!("{A},{B}")), record(&format!("{B},{A}"))] {
        let text = refused(&schema, &Twice { a: 1, inner: Pair { a: 27, b: "foo" } });
        assert!(text.contains("twice") && text.contains("path=a"), "{text}");
    }
}

#[test]
fn paths_lead_through_lists_and_maps() {
    let line = r#"{"type":"record","name":"L","fields":[{"name":"price","type":"long"}]}"#;
    let order = record(&format!(r#"{{"name":"lines","type":{{"type":"array","items":{line}}}}}"#));
    let schema = format!(
        r#"{{"type":"record","name":"O","fields":[{{"name":"order","type":{order}}},
            {{"name":"tags","type":{{"type":"map","values":"long"}},"default":{{}}}}]}}"#
    );
    let prices = [json!(1), json!(2), json!(3), json!("secret")];
    let lines: Vec<_> = prices.iter().map(|price| json!({"price": price})).collect();
    let text = refused(&schema, &json!({"order": {"lines": lines}}));
    assert!(text.contains("path=order.lines[3].price"), "{text}");
    assert!(text.contains("found=text") && text.contains("expected=long"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let text = refused(&schema, &json!({"order": {"lines": []}, "tags": {"a": 1, "secret": "x"}}));
    assert!(text.contains("path=tags{1}") && !text.contains("secret"), "{text}");
}

#[test]
fn maps_take_maps_and_structs() {
    let schema = r#"{"type":"map","values":"long"}"#;
    let datum = Datum::Map(vec![("1".into(), Datum::Long(2))]);
    assert_eq!(written(schema, &HashMap::from([(1_u8, 2_i32)])), datum);
    assert_eq!(
        written(schema, &BTreeMap::from([(true, 2)])),
        Datum::Map(vec![("true".into(), Datum::Long(2))])
    );
    assert_eq!(written(schema, &HashMap::<&str, i32>::new()), Datum::Map(vec![]));
    #[derive(Serialize)]
    struct Point {
        x: i64,
        y: i64,
    }
    let datum = Datum::Map(vec![("x".into(), Datum::Long(1)), ("y".into(), Datum::Long(2))]);
    assert_eq!(written(schema, &Point { x: 1, y: 2 }), datum);
    let by_pair = BTreeMap::from([((1, 2), 3)]);
    assert!(refused(schema, &by_pair).contains("a map's key is no text"));
}

#[test]
fn tuples_are_arrays_and_never_records() {
    assert_eq!(
        written(r#"{"type":"array","items":"int"}"#, &(1, 2_u8)),
        Datum::Array(vec![Datum::Int(1), Datum::Int(2)])
    );
    assert!(refused(&record(&format!("{A},{B}")), &(27, "foo")).contains("by name"));
    assert!(refused(&record(A), &"x").contains("expected=record shop.R"));
}

#[test]
fn newtypes_are_what_they_hold() {
    #[derive(Serialize)]
    struct Id(i64);
    #[derive(Serialize)]
    #[serde(transparent)]
    struct Clear {
        inner: Id,
    }
    assert_eq!(written("\"long\"", &Id(3)), Datum::Long(3));
    assert_eq!(written("\"long\"", &Clear { inner: Id(3) }), Datum::Long(3));
}

const LIST: &str = r#"{"type":"record","name":"L","fields":[
    {"name":"value","type":"int","default":0},{"name":"next","type":["null","L"]}]}"#;

#[derive(Serialize)]
struct List {
    next: Option<Box<List>>,
}

fn list(length: usize) -> List {
    let mut list = List { next: None };
    for _ in 1..length {
        list = List { next: Some(Box::new(list)) };
    }
    list
}

#[test]
fn recursive_types_are_as_deep_as_can_be_read() {
    let longest = crate::datum::DATA_DEPTH_MAX - 1;
    written(LIST, &list(longest));
    let error = encode(LIST, &list(longest + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("next.next"), "{error}");
}

#[test]
fn wrappers_without_end_are_refused() {
    #[derive(Serialize)]
    struct Wrap(Option<Box<Wrap>>);
    let mut wrap = Wrap(None);
    for _ in 0..3000 {
        wrap = Wrap(Some(Box::new(wrap)));
    }
    assert_eq!(encode("\"long\"", &wrap).unwrap_err().kind(), ErrorKind::TooLarge);
    let unions = r#"["null","long",{"type":"record","name":"A","fields":[]},{"type":"record","name":"B","fields":[]}]"#;
    assert_eq!(encode(unions, &wrap).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn the_key_is_cut_out_of_the_row() {
    let schema = Schema::parse(&record(&format!(
        r#"{A},{B},{{"name":"c","type":["null","int"],"default":null}}"#
    )))
    .unwrap();
    let plan = Plan::compile_with_key(&schema, &["c", "a"]).unwrap();
    let (mut out, mut spans, mut key) = (vec![9, 9], Spans::default(), vec![1]);
    for value in [
        json!({"a": 27, "b": "foo", "c": 1}),
        json!({"c": 1, "b": "foo", "a": 27}),
        json!({"b": "foo", "a": 27, "c": 1}),
    ] {
        out.truncate(2);
        key.truncate(1);
        plan.encode_with_key(&value, &mut out, &mut spans).unwrap();
        plan.write_key(&out, &spans, &mut key).unwrap();
        assert_eq!(out, [9, 9, 0x36, 6, b'f', b'o', b'o', 2, 2], "{value}");
        assert_eq!(key, [1, 2, 2, 0x36], "{value}");
        assert_eq!(spans.range(1), Some(2..3));
    }
    out.clear();
    key.clear();
    plan.encode_with_key(&Pair { a: 27, b: "" }, &mut out, &mut spans).unwrap();
    plan.write_key(&out, &spans, &mut key).unwrap();
    assert_eq!(key, [0, 0x36]);
    assert!(plan.encode_with_key(&1, &mut out, &mut spans).is_err());
    assert_eq!(plan.write_key(&out, &spans, &mut key).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(key, [0, 0x36]);
}

#[test]
fn the_key_of_a_recursive_record_is_that_of_the_outermost() {
    let plan = Plan::compile_with_key(&Schema::parse(LIST).unwrap(), &["value"]).unwrap();
    let (mut out, mut spans) = (Vec::new(), Spans::default());
    let value = json!({"value": 1, "next": {"value": 2, "next": null}});
    plan.encode_with_key(&value, &mut out, &mut spans).unwrap();
    assert_eq!((&out[..], spans.range(0)), (&[2, 2, 4, 0][..], Some(0..1)));
}

#[test]
fn a_key_that_cannot_be_is_refused() {
    let schema = Schema::parse(&record(A)).unwrap();
    for key in [&["x"][..], &["a", "a"]] {
        assert_eq!(Plan::compile_with_key(&schema, key).unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(Plan::compile_with_key(&Schema::parse("\"long\"").unwrap(), &["a"]).is_err());
}

#[test]
fn a_plan_is_shared_between_threads_and_types() {
    #[derive(Serialize)]
    struct Same {
        a: i64,
        b: String,
    }
    let plan = plan(&record(&format!("{A},{B}")));
    let encode = |value: &dyn Fn(&mut Vec<u8>) -> Result<()>| {
        let mut out = Vec::new();
        value(&mut out).unwrap();
        assert_eq!(out, [0x36, 6, b'f', b'o', b'o']);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    encode(&|out| plan.encode(&Pair { a: 27, b: "foo" }, out));
                    encode(&|out| plan.encode(&Same { a: 27, b: "foo".into() }, out));
                    encode(&|out| plan.encode(&json!({"a": 27, "b": "foo"}), out));
                }
            });
        }
    });
}
