use super::*;
use crate::compat::incompatibilities;

fn schema(text: &str) -> Schema {
    Schema::parse(text).unwrap()
}

fn of(reader: &str, writer: &str) -> Result<Witness, NoWitness> {
    witness(&schema(reader), &schema(writer))
}

fn shown(reader: &str, writer: &str) -> String {
    of(reader, writer).unwrap().json
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn what_can_be_read_has_none() {
    assert_eq!(of("\"long\"", "\"int\""), Err(NoWitness::Readable));
    assert_eq!(of("\"string\"", "\"bytes\""), Err(NoWitness::Readable));
}

#[test]
fn a_missing_symbol_is_the_one_shown() {
    let reader = r#"{"type":"enum","name":"E","symbols":["A","C"]}"#;
    let writer = r#"{"type":"enum","name":"E","symbols":["A","B","C","D"]}"#;
    assert_eq!(shown(reader, writer), "\"B\"");
}

#[test]
fn a_missing_default_needs_no_more_than_the_least() {
    let reader = record(r#"{"name":"a","type":"int"},{"name":"x","type":"int"}"#);
    let writer = record(
        r#"{"name":"a","type":"int"},{"name":"u","type":["string","null"]},
           {"name":"l","type":{"type":"array","items":"R"}}"#,
    );
    let witness = of(&reader, &writer).unwrap();
    assert_eq!(witness.json, r#"{"a":0,"u":null,"l":[]}"#);
    assert_eq!(witness.bytes, [0, 2, 0]);
    assert!(witness.refusal.contains("no field x"), "{}", witness.refusal);
}

#[test]
fn a_list_holds_the_one_element_that_breaks() {
    let list = |items: &str| {
        record(&format!(
            r#"{{"name":"m","type":{{"type":"map","values":{{"type":"array","items":{items}}}}}}}"#
        ))
    };
    let witness = of(&list(r#"["null","int"]"#), &list(r#"["null","string","int"]"#)).unwrap();
    assert_eq!(witness.json, r#"{"m":{"":[{"string":""}]}}"#);
    assert!(witness.refusal.contains("path=m"), "{}", witness.refusal);
}

#[test]
fn the_shortest_way_through_a_recursive_type_is_taken() {
    let list = |value: &str| {
        record(&format!(
            r#"{{"name":"next","type":["null","R"]}},{{"name":"v","type":["null",{value}]}}"#
        ))
    };
    assert_eq!(shown(&list("\"int\""), &list("\"long\"")), r#"{"next":null,"v":{"long":0}}"#);
}

#[test]
fn a_break_behind_a_branch_that_fits_in_part_is_found() {
    let writer = r#"{"type":"array","items":["int","string"]}"#;
    let reader = r#"["null",{"type":"array","items":"int"}]"#;
    assert_eq!(shown(reader, writer), r#"[{"string":""}]"#);
}

#[test]
fn endless_data_is_no_witness() {
    let endless = |kind: &str| {
        record(&format!(r#"{{"name":"r","type":"R"}},{{"name":"v","type":"{kind}"}}"#))
    };
    assert!(!incompatibilities(&schema(&endless("int")), &schema(&endless("long"))).is_empty());
    assert_eq!(of(&endless("int"), &endless("long")), Err(NoWitness::Endless));
    let none = r#"{"type":"enum","name":"E","symbols":[]}"#;
    assert_eq!(of("\"int\"", none), Err(NoWitness::Endless));
}

#[test]
fn what_is_too_large_is_not_made() {
    let writer = r#"{"type":"fixed","name":"F","size":2147483647}"#;
    assert_eq!(of("\"int\"", writer), Err(NoWitness::TooLarge));
    // Values without bytes, twice as many with each record.
    let mut inner = r#"{"type":"record","name":"R0","fields":[]}"#.to_owned();
    for index in 1..35 {
        let before = index - 1;
        inner = format!(
            r#"{{"type":"record","name":"R{index}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"R{before}"}}]}}"#
        );
    }
    assert_eq!(of("\"int\"", &inner), Err(NoWitness::TooLarge));
}

#[test]
fn a_default_that_is_none_is_told() {
    let reader =
        record(r#"{"name":"f","type":{"type":"fixed","name":"F","size":2},"default":"x"}"#);
    assert!(matches!(of(&reader, &record("")), Err(NoWitness::Schema(_))));
}

#[test]
fn a_record_whose_aliases_fit_its_own_fields_is_decoded() {
    let writer = record(r#"{"name":"a","type":"int","aliases":["b"]},{"name":"b","type":"int"}"#);
    assert_eq!(decode(&schema(&writer), &[2, 4]).unwrap().field("b"), Some(&Datum::Int(2)));
    let reader = record(r#"{"name":"b","type":"string"}"#);
    assert_eq!(shown(&reader, &writer), r#"{"a":0,"b":0}"#);
}

#[test]
fn records_that_look_alike_from_without_do_not_hide_a_witness() {
    let of = |name: &str, kind: &str| {
        format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"a","type":"{kind}"}}]}}"#)
    };
    let writer = format!("[{},{}]", of("A", "int"), of("B", "string"));
    assert_eq!(shown(&of("A", "int"), &writer), r#"{"B":{"a":""}}"#);
}

#[test]
fn places_have_their_varints_length() {
    for (place, bytes) in [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3)] {
        let mut out = Vec::new();
        crate::varint::write_length(&mut out, place);
        assert_eq!((out.len() as u64, cost::place_bytes(place)), (bytes, bytes), "{place}");
    }
}

#[test]
fn every_incompatible_vector_has_a_witness_or_a_reason_that_is_true() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/registry/compat-vectors.json");
    let vectors: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut shown = 0;
    for pair in vectors["pairs"].as_array().unwrap() {
        let (reader, writer) = (pair["reader"].as_str().unwrap(), pair["writer"].as_str().unwrap());
        let compatible = incompatibilities(&schema(reader), &schema(writer)).is_empty();
        match of(reader, writer) {
            Ok(witness) => {
                assert!(!compatible, "{}: {witness:?}", pair["id"]);
                shown += 1;
            }
            Err(NoWitness::Readable) => assert!(compatible, "{}", pair["id"]),
            Err(why) => assert!(why == NoWitness::Endless && !compatible, "{}: {why}", pair["id"]),
        }
    }
    println!("{shown} witnesses");
}
