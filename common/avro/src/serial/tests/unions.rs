use super::*;
use serde_json::json;

/// The branch that is written, and its value.
fn branch<T: Serialize + ?Sized>(schema: &str, value: &T) -> (u8, Datum) {
    (encode(schema, value).unwrap()[0] / 2, written(schema, value))
}

const RECORDS: &str = r#"["null",
    {"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"id","type":"long"},{"name":"note","type":"string","default":""}]},
    {"type":"record","name":"Refund","namespace":"shop","fields":[
        {"name":"id","type":"long"},{"name":"reason","type":"string"}]}]"#;

#[derive(Serialize)]
struct Order {
    id: i64,
}

#[derive(Serialize)]
#[serde(rename = "shop.Refund")]
struct Repaid {
    reason: &'static str,
    id: i64,
}

fn order() -> Datum {
    fields(vec![("id", Datum::Long(1)), ("note", string(""))])
}

fn refund() -> Datum {
    fields(vec![("id", Datum::Long(1)), ("reason", string("x"))])
}

#[test]
fn null_stands_in_either_place() {
    for (schema, null, value) in [(r#"["null","int"]"#, 0, 1), (r#"["int","null"]"#, 1, 0)] {
        assert_eq!(branch(schema, &None::<i32>), (null, Datum::Null));
        assert_eq!(branch(schema, &Some(3)), (value, Datum::Int(3)));
        assert_eq!(branch(schema, &3), (value, Datum::Int(3)));
        assert_eq!(branch(schema, &json!(3)), (value, Datum::Int(3)));
        assert_eq!(branch(schema, &json!(null)), (null, Datum::Null));
        refused(schema, &Some("x"));
    }
}

#[test]
fn the_exact_type_comes_first() {
    let numbers = r#"["double","long","float","int"]"#;
    assert_eq!(branch(numbers, &1_i32), (3, Datum::Int(1)));
    assert_eq!(branch(numbers, &1_i64), (1, Datum::Long(1)));
    assert_eq!(branch(numbers, &1_u32), (1, Datum::Long(1)));
    assert_eq!(branch(numbers, &1.0_f32), (2, Datum::Float(1.0)));
    assert_eq!(branch(numbers, &1.0_f64), (0, Datum::Double(1.0)));
    assert_eq!(branch(r#"["string","int"]"#, &1_i64), (1, Datum::Int(1)));
    assert_eq!(branch(r#"["int","double","string"]"#, &(1_i64 << 40)).0, 1);
    refused(r#"["string","int"]"#, &i64::MAX);
    refused(r#"["int","float","double"]"#, &u64::MAX);
    refused(r#"[]"#, &1);
}

#[test]
fn text_prefers_string_then_symbols_then_logical_types() {
    let symbols = r#"{"type":"enum","name":"E","symbols":["A","null"]}"#;
    let date = r#"{"type":"int","logicalType":"date"}"#;
    let schema = format!(r#"[{date},{symbols},"null"]"#);
    assert_eq!(branch(&format!(r#"[{symbols},"int","string"]"#), "A").0, 2);
    assert_eq!(branch(&schema, "A").0, 1);
    assert_eq!(branch(&schema, "1970-01-02"), (0, Datum::Int(1)));
    assert!(refused(&schema, "B").contains("no branch"));
    let uuid = r#"[{"type":"string","logicalType":"uuid"},{"type":"long","logicalType":"timestamp-millis"},"int"]"#;
    assert_eq!(branch(uuid, "00000000-0000-0000-0000-000000000000").0, 0);
    assert_eq!(branch(uuid, "1970-01-01T00:00:01Z"), (1, Datum::Long(1000)));
}

#[test]
fn sequences_and_bytes_go_to_their_own() {
    let schema = r#"["bytes",{"type":"array","items":"int"},{"type":"fixed","name":"F","size":2}]"#;
    assert_eq!(branch(schema, &[1_u8, 2]).0, 1);
    assert_eq!(branch(r#"["int","bytes","string"]"#, &[1_u8, 2]).0, 1);
    let fixed =
        r#"["int",{"type":"fixed","name":"F","size":2},{"type":"fixed","name":"G","size":3}]"#;
    assert_eq!(branch(fixed, &[1_u8, 2, 3]).0, 2);
    refused(fixed, &[1_u8]);
}

#[test]
fn a_record_is_told_by_its_name_and_else_by_its_fields() {
    assert_eq!(branch(RECORDS, &Order { id: 1 }), (1, order()));
    assert_eq!(branch(RECORDS, &Some(Order { id: 1 })), (1, order()));
    assert_eq!(branch(RECORDS, &Repaid { reason: "x", id: 1 }), (2, refund()));
    assert_eq!(branch(RECORDS, &json!({"reason": "x", "id": 1})), (2, refund()));
    assert_eq!(branch(RECORDS, &json!({"id": 1})), (1, order()));
    assert_eq!(branch(RECORDS, &json!(null)), (0, Datum::Null));
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Event {
        Order(Order),
        Other { id: i64, reason: &'static str },
        Nothing,
    }
    assert_eq!(branch(RECORDS, &Event::Order(Order { id: 1 })), (1, order()));
    assert_eq!(branch(RECORDS, &Event::Other { id: 1, reason: "x" }), (2, refund()));
    assert_eq!(branch(RECORDS, &Event::Nothing).0, 0);
    let text = refused(RECORDS, &json!({"id": 1, "reason": "x", "note": "y"}));
    assert!(text.contains("union of null, shop.Order, shop.Refund"), "{text}");
    let list = format!(r#"{{"type":"array","items":{RECORDS}}}"#);
    let datum = Datum::Array(vec![refund(), order()]);
    assert_eq!(written(&list, &json!([{"reason": "x", "id": 1}, {"id": 1}])), datum);
}

#[test]
fn variants_name_their_branch() {
    #[derive(Serialize)]
    enum Event {
        Order(Order),
        #[serde(rename = "shop.Refund")]
        Refund {
            id: i64,
            reason: &'static str,
        },
        Null,
        Missing(i64),
    }
    assert_eq!(branch(RECORDS, &Event::Order(Order { id: 1 })), (1, order()));
    assert_eq!(branch(RECORDS, &Event::Refund { id: 1, reason: "x" }), (2, refund()));
    assert_eq!(branch(RECORDS, &Event::Null), (0, Datum::Null));
    assert!(refused(RECORDS, &Event::Missing(1)).contains("variant Missing"));

    #[derive(Serialize)]
    enum Value {
        Null,
        Long(i64),
        #[serde(rename = "string")]
        Text(&'static str),
        Array(i32, i32),
    }
    let schema = r#"["string","long","null",{"type":"array","items":"long"}]"#;
    assert_eq!(branch(schema, &Value::Text("x")), (0, string("x")));
    assert_eq!(branch(schema, &Value::Long(1)), (1, Datum::Long(1)));
    assert_eq!(branch(schema, &Value::Null).0, 2);
    assert_eq!(branch(schema, &Value::Array(1, 2)).0, 3);
    assert_eq!(branch(r#"["null","long"]"#, &Value::Long(1)), (1, Datum::Long(1)));
    assert_eq!(branch(r#"["null","long"]"#, &Some(Value::Long(1))), (1, Datum::Long(1)));
    assert_eq!(branch(r#"["null","string"]"#, &Value::Null), (0, Datum::Null));
    assert!(refused(r#"["null","long"]"#, &Value::Text("secret")).contains("variant string"));
    refused("\"double\"", &Value::Long(1));
}

#[test]
fn unit_variants_are_symbols_in_a_union() {
    #[derive(Serialize)]
    enum E {
        A,
        Null,
    }
    let schema = r#"["null",{"type":"enum","name":"E","symbols":["A","Null"]}]"#;
    assert_eq!(branch(schema, &E::A), (1, Datum::Enum("A".into())));
    assert_eq!(branch(schema, &E::Null), (1, Datum::Enum("Null".into())));
    assert_eq!(branch(r#"["null","string"]"#, &E::A), (1, string("A")));
    assert_eq!(branch(r#"["int","string"]"#, &E::A), (1, string("A")));
}

#[test]
fn maps_are_maps_and_structs_are_records() {
    let schema = r#"[{"type":"map","values":"long"},
        {"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}]"#;
    assert_eq!(branch(schema, &json!({"id": 1})).0, 0);
    assert_eq!(branch(schema, &Order { id: 1 }).0, 1);
    #[derive(Serialize)]
    struct Empty;
    let empty = r#"["null",{"type":"record","name":"Empty","fields":[]}]"#;
    assert_eq!(branch(empty, &Empty), (1, fields(vec![])));
}
