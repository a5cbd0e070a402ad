use super::*;
use crate::compat::incompatibilities;

const ORDER: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"id","type":"long"},
    {"name":"billing","type":{"type":"record","name":"Address","doc":"d","fields":[
        {"name":"zip","type":"string","aliases":["code"]},{"name":"city","type":"string","default":"?"}]}},
    {"name":"shipping","type":["null","Address"],"default":null},
    {"name":"lines","type":{"type":"array","items":{"type":"map","values":{"type":"record","name":"Line","fields":[
        {"name":"sku","type":"string"},{"name":"count","type":"int"}]}}}},
    {"name":"payload","type":["string",{"type":"record","name":"A","fields":[{"name":"x","type":"int"}]},
        {"type":"record","name":"B","fields":[{"name":"y","type":"int"}]}]}]}"#;

fn paths(texts: &[&str]) -> Vec<FieldPath> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn projected(texts: &[&str]) -> String {
    project(&Schema::parse(ORDER).unwrap(), &paths(texts)).unwrap().registry_text()
}

#[test]
fn only_the_fields_that_are_read_are_left() {
    assert_eq!(
        projected(&["billing.zip", "lines.count"]),
        r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"billing","type":{"type":"record","name":"Address","doc":"d","fields":[{"name":"zip","type":"string","aliases":["code"]}]}},{"name":"lines","type":{"type":"array","items":{"type":"map","values":{"type":"record","name":"Line","fields":[{"name":"count","type":"int"}]}}}}]}"#
    );
    assert_eq!(
        projected(&[]),
        r#"{"type":"record","name":"Order","namespace":"shop","fields":[]}"#
    );
}

#[test]
fn a_path_takes_all_that_is_within() {
    let whole = projected(&["billing", "billing.zip", "shipping"]);
    assert!(whole.contains(r#""name":"city""#), "{whole}");
}

#[test]
fn a_named_type_keeps_what_any_path_reads() {
    let text = projected(&["billing.zip", "shipping.city"]);
    let again = Schema::parse(&text).unwrap();
    for path in paths(&["billing.city", "shipping.zip"]) {
        find(&again, &path).unwrap();
    }
    let schema = Schema::parse(ORDER).unwrap();
    let (exact, missing) =
        project_exactly(&schema, &paths(&["billing.zip", "shipping.city", "nothing"])).unwrap();
    assert_eq!(missing, paths(&["nothing"]));
    assert!(find(&exact.schema, &"billing.city".parse().unwrap()).is_err());
    assert!(find(&exact.schema, &"shipping.city".parse().unwrap()).is_ok());
}

#[test]
fn a_union_keeps_its_branches() {
    let text = projected(&["payload.y"]);
    assert!(text.contains(r#""name":"A","fields":[]"#), "{text}");
    assert!(text.contains(r#"{"name":"y","type":"int"}"#), "{text}");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let schema = Schema::parse(ORDER).unwrap();
    for (path, expected) in [
        ("billing.street", "`billing` has no field `street`; it has: zip, city"),
        ("billing.code", "it is called `zip` now"),
        ("id.x", "`id` is no record"),
        ("lines.price", "it has: sku, count"),
    ] {
        let error = project(&schema, &paths(&[path])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!("a..b".parse::<FieldPath>().unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!("a.".repeat(100).parse::<FieldPath>().unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_recursive_type_is_projected() {
    let list = r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"w","type":"int"},
        {"name":"next","type":["null","L"]}]}"#;
    let schema = Schema::parse(list).unwrap();
    let text = project(&schema, &paths(&["next.next.v"])).unwrap().registry_text();
    assert_eq!(
        text,
        r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","L"]}]}"#
    );
    let (exact, _) = project_exactly(&schema, &paths(&["next.next.v", "w"])).unwrap();
    assert!(incompatibilities(&exact.schema, &schema).is_empty());
}
