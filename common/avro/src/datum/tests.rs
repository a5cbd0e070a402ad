use super::*;
use proptest::prelude::*;
use tidemesh_model::{Error, ErrorKind};

const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;

/// The length 2^63 - 1.
const HUGE: [u8; 10] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];

fn schema(text: &str) -> Schema {
    Schema::parse(text).unwrap()
}

fn refused(text: &str, bytes: &[u8]) -> Error {
    decode(&schema(text), bytes).unwrap_err()
}

fn record(fields: Vec<(&str, Datum)>) -> Datum {
    Datum::Record(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

#[test]
fn the_specifications_record_has_its_bytes() {
    let schema = schema(
        r#"{"type":"record","name":"test","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}"#,
    );
    let datum = record(vec![("a", Datum::Long(27)), ("b", Datum::String("foo".into()))]);
    let mut bytes = Vec::new();
    encode(&schema, &datum, &mut bytes).unwrap();
    assert_eq!(bytes, [0x36, 0x06, 0x66, 0x6f, 0x6f]);
    assert_eq!(decode(&schema, &bytes).unwrap(), datum);
    assert_eq!(datum.field("a"), Some(&Datum::Long(27)));
}

#[test]
fn a_block_with_its_size_is_read() {
    let schema = schema(r#"{"type":"array","items":"long"}"#);
    let datum = decode(&schema, &[0x03, 0x04, 0x06, 0x36, 0x00]).unwrap();
    assert_eq!(datum, Datum::Array(vec![Datum::Long(3), Datum::Long(27)]));
}

#[test]
fn a_block_with_a_wrong_size_is_refused() {
    let error = refused(r#"{"type":"array","items":"long"}"#, &[0x03, 0x02, 0x06, 0x36, 0x00]);
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn data_cut_short_is_refused_with_its_path() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"a","type":
        {"type":"record","name":"I","fields":[{"name":"b","type":"string"}]}}]}"#;
    let error = refused(text, &[8, b'x']);
    assert!(error.to_string().contains("path=a.b"), "{error}");
}

#[test]
fn bytes_left_over_are_refused() {
    assert!(refused("\"long\"", &[2, 2]).to_string().contains("bytes_left=1"));
}

#[test]
fn nothing_is_allocated_for_a_length_that_is_not_there() {
    for text in ["\"bytes\"", "\"string\""] {
        assert_eq!(refused(text, &HUGE).kind(), ErrorKind::Malformed);
    }
}

#[test]
fn values_without_bytes_are_counted() {
    for items in ["\"null\"", r#"{"type":"fixed","name":"F","size":0}"#] {
        let error = refused(&format!(r#"{{"type":"array","items":{items}}}"#), &HUGE);
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

#[test]
fn a_long_symbol_counts_as_text_does() {
    let symbol = "S".repeat(100_000);
    let text = format!(
        r#"{{"type":"array","items":{{"type":"enum","name":"E","symbols":["{symbol}"]}}}}"#
    );
    let mut bytes = vec![0xc8, 0x01];
    bytes.extend([0; 101]);
    assert_eq!(refused(&text, &bytes).kind(), ErrorKind::TooLarge);
}

#[test]
fn data_nested_too_deep_is_refused() {
    assert_eq!(refused(LIST, &[2; 100_000]).kind(), ErrorKind::TooLarge);
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
    assert_eq!(refused(endless, &[]).kind(), ErrorKind::TooLarge);
}

#[test]
fn data_as_deep_as_is_allowed_comes_back() {
    let mut bytes = vec![2; DATA_DEPTH_MAX - 2];
    bytes.push(0);
    let schema = schema(LIST);
    let datum = decode(&schema, &bytes).unwrap();
    let mut again = Vec::new();
    encode(&schema, &datum, &mut again).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn a_datum_of_another_type_leaves_the_output_as_it_was() {
    let schema = schema(
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#,
    );
    let mut out = vec![9];
    let datum = record(vec![("a", Datum::Int(1)), ("b", Datum::Long(2))]);
    let error = encode(&schema, &datum, &mut out).unwrap_err();
    assert!(error.to_string().contains("path=b"), "{error}");
    assert_eq!(out, [9]);
}

#[test]
fn a_unions_branch_is_found_by_what_the_datum_is() {
    let schema = schema(
        r#"["null",{"type":"enum","name":"E","symbols":["A"]},{"type":"enum","name":"F","symbols":["B"]},
            {"type":"record","name":"R","fields":[{"name":"a","type":"int"}]},
            {"type":"record","name":"S","fields":[{"name":"b","type":"int"}]},
            {"type":"fixed","name":"X","size":1},{"type":"fixed","name":"Y","size":2}]"#,
    );
    for (datum, bytes) in [
        (Datum::Null, &[0][..]),
        (Datum::Enum("B".into()), &[4, 0]),
        (record(vec![("b", Datum::Int(1))]), &[8, 2]),
        (Datum::Fixed(vec![7, 7]), &[12, 7, 7]),
    ] {
        let mut out = Vec::new();
        encode(&schema, &datum, &mut out).unwrap();
        assert_eq!(out, bytes);
        assert_eq!(decode(&schema, bytes).unwrap(), datum);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for text in [
            LIST,
            r#"{"type":"array","items":{"type":"fixed","name":"F","size":0}}"#,
            r#"{"type":"map","values":["long","double",{"type":"enum","name":"E","symbols":["a"]}]}"#,
        ] {
            let schema = schema(text);
            if let Ok(datum) = decode(&schema, &bytes) {
                let mut again = Vec::new();
                encode(&schema, &datum, &mut again).unwrap();
                let decoded = decode(&schema, &again).unwrap();
                // As text, since NaN does not equal itself.
                prop_assert_eq!(format!("{decoded:?}"), format!("{datum:?}"));
            }
        }
    }
}
