use super::*;
use crate::compat::incompatibilities;
use crate::datum::encode;
use tidemesh_model::Error;

fn schema(text: &str) -> Schema {
    Schema::parse(text).unwrap()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

fn read(writer: &str, datum: &Datum, reader: &str) -> Result<Datum> {
    let (writer, reader) = (schema(writer), schema(reader));
    let mut bytes = Vec::new();
    encode(&writer, datum, &mut bytes).unwrap();
    Resolver::new(&writer, &reader)?.read(&bytes)
}

fn refused(writer: &str, reader: &str) -> Error {
    Resolver::new(&schema(writer), &schema(reader)).unwrap_err()
}

fn values(fields: Vec<(&str, Datum)>) -> Datum {
    Datum::Record(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn text(text: &str) -> Datum {
    Datum::String(text.into())
}

#[test]
fn numbers_and_texts_are_promoted() {
    for (writer, datum, reader, expected) in [
        ("int", Datum::Int(-7), "long", Datum::Long(-7)),
        ("int", Datum::Int(-7), "float", Datum::Float(-7.0)),
        ("int", Datum::Int(-7), "double", Datum::Double(-7.0)),
        ("long", Datum::Long(1 << 40), "float", Datum::Float((1_u64 << 40) as f32)),
        ("long", Datum::Long(1 << 40), "double", Datum::Double((1_u64 << 40) as f64)),
        ("float", Datum::Float(0.5), "double", Datum::Double(0.5)),
        ("string", Datum::String("ä".into()), "bytes", Datum::Bytes(vec![0xc3, 0xa4])),
        ("bytes", Datum::Bytes(vec![0xc3, 0xa4]), "string", Datum::String("ä".into())),
    ] {
        let (writer, reader) = (format!("\"{writer}\""), format!("\"{reader}\""));
        assert_eq!(read(&writer, &datum, &reader).unwrap(), expected, "{writer} {reader}");
    }
}

#[test]
fn numbers_are_not_demoted() {
    let error = refused("\"long\"", "\"int\"");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("reader's int cannot take the writer's long"), "{error}");
}

#[test]
fn bytes_that_are_no_text_are_refused_as_text() {
    let error = read("\"bytes\"", &Datum::Bytes(vec![0xff]), "\"string\"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn fields_are_matched_by_name_skipped_and_filled_with_defaults() {
    let writer = record(
        r#"{"name":"a","type":"int"},
           {"name":"gone","type":{"type":"map","values":["null","string"]}},{"name":"b","type":"string"}"#,
    );
    let reader = record(
        r#"{"name":"b","type":"string"},{"name":"new","type":["null","int"],"default":null},{"name":"a","type":"long"}"#,
    );
    let map = Datum::Map(vec![("k".into(), text("v"))]);
    let datum = values(vec![("a", Datum::Int(1)), ("gone", map), ("b", text("x"))]);
    assert_eq!(
        read(&writer, &datum, &reader).unwrap(),
        values(vec![("b", text("x")), ("new", Datum::Null), ("a", Datum::Long(1))])
    );
}

#[test]
fn a_field_without_data_or_default_is_refused() {
    let error =
        refused(&record(r#"{"name":"a","type":"int"}"#), &record(r#"{"name":"b","type":"int"}"#));
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("no field b"), "{error}");
}

#[test]
fn aliases_of_fields_and_types_are_followed() {
    let writer = r#"{"type":"record","name":"n.Old","fields":[{"name":"old","type":"int"}]}"#;
    let reader = r#"{"type":"record","name":"m.New","aliases":["n.Old"],"fields":[
        {"name":"new","aliases":["older","old"],"type":"int"}]}"#;
    let datum = values(vec![("old", Datum::Int(4))]);
    assert_eq!(read(writer, &datum, reader).unwrap(), values(vec![("new", Datum::Int(4))]));
}

#[test]
fn two_fields_may_read_one() {
    let writer = record(r#"{"name":"a","type":"int"},{"name":"z","type":"int"}"#);
    let reader = record(
        r#"{"name":"a","type":"long"},{"name":"b","aliases":["a"],"type":"double"},{"name":"z","type":"int"}"#,
    );
    let datum = values(vec![("a", Datum::Int(4)), ("z", Datum::Int(5))]);
    assert_eq!(
        read(&writer, &datum, &reader).unwrap(),
        values(vec![("a", Datum::Long(4)), ("b", Datum::Double(4.0)), ("z", Datum::Int(5))])
    );
}

#[test]
fn a_field_whose_aliases_fit_several_is_refused() {
    let error = refused(
        &record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#),
        &record(r#"{"name":"c","type":"int","aliases":["a","b"]}"#),
    );
    assert!(error.to_string().contains("several"), "{error}");
}

#[test]
fn fields_that_are_read_twice_at_each_level_are_bounded() {
    let (mut writer, mut reader) = ("\"int\"".to_owned(), "\"int\"".to_owned());
    for index in 0..40 {
        writer = format!(
            r#"{{"type":"record","name":"R{index}","fields":[{{"name":"a","type":{writer}}}]}}"#
        );
        let inner = if index == 0 { "int".to_owned() } else { format!("R{}", index - 1) };
        reader = format!(
            r#"{{"type":"record","name":"R{index}","fields":[{{"name":"a","type":{reader}}},
                {{"name":"b","aliases":["a"],"type":"{inner}"}}]}}"#
        );
    }
    let error = Resolver::new(&schema(&writer), &schema(&reader)).unwrap().read(&[2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn defaults_that_outgrow_their_data_are_refused() {
    let writer = r#"{"type":"array","items":{"type":"record","name":"R","fields":[]}}"#;
    let reader = format!(
        r#"{{"type":"array","items":{{"type":"record","name":"R","fields":[
            {{"name":"a","type":"string","default":"{}"}}]}}}}"#,
        "x".repeat(100_000)
    );
    let resolver = Resolver::new(&schema(writer), &schema(&reader)).unwrap();
    assert!(resolver.read(&[20, 0]).is_ok());
    let error = resolver.read(&[200, 1, 0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn bytes_left_over_are_refused() {
    let resolver = Resolver::new(&schema("\"int\""), &schema("\"long\"")).unwrap();
    assert_eq!(resolver.read(&[2, 2]).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn an_unknown_symbol_becomes_the_default_or_is_refused() {
    let writer = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
    let with_default = r#"{"type":"enum","name":"E","symbols":["X","A"],"default":"X"}"#;
    let without = r#"{"type":"enum","name":"E","symbols":["X","A"]}"#;
    let symbol = |name: &str| Datum::Enum(name.into());
    assert_eq!(read(writer, &symbol("B"), with_default).unwrap(), symbol("X"));
    assert_eq!(read(writer, &symbol("A"), without).unwrap(), symbol("A"));
    let error = read(writer, &symbol("B"), without).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
}

#[test]
fn a_union_is_read_where_its_branch_can_be() {
    let (writer, reader) = (r#"["null","int","string"]"#, r#""long""#);
    assert_eq!(read(writer, &Datum::Int(3), reader).unwrap(), Datum::Long(3));
    let error = read(writer, &text("x"), reader).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
}

#[test]
fn a_readers_union_prefers_the_writers_own_type() {
    let datum = Datum::Int(3);
    assert_eq!(read("\"int\"", &datum, r#"["double","int"]"#).unwrap(), datum);
    assert_eq!(
        read("\"int\"", &datum, r#"["string","double","long"]"#).unwrap(),
        Datum::Double(3.0)
    );
}

#[test]
fn a_readers_union_prefers_the_writers_full_name() {
    let of = |name: &str, field: &str| {
        format!(
            r#"{{"type":"record","name":"{name}","fields":[{{"name":"{field}","type":"int","default":0}}]}}"#
        )
    };
    let reader = format!("[{},{}]", of("a.R", "x"), of("b.R", "y"));
    let field = |name: &str| values(vec![(name, Datum::Int(0))]);
    assert_eq!(read(&of("b.R", "z"), &field("z"), &reader).unwrap(), field("y"));
    assert_eq!(read(&of("c.R", "z"), &field("z"), &reader).unwrap(), field("x"));
}

#[test]
fn a_branch_that_fits_in_part_takes_the_data_that_fits() {
    let writer = r#"{"type":"array","items":["int","string"]}"#;
    let reader = r#"["null",{"type":"array","items":"int"}]"#;
    let list = Datum::Array(vec![Datum::Int(1)]);
    assert_eq!(read(writer, &list, reader).unwrap(), list);
    assert!(read(writer, &Datum::Array(vec![text("x")]), reader).is_err());
}

#[test]
fn recursive_records_are_resolved() {
    let writer = record(r#"{"name":"v","type":"int"},{"name":"next","type":["null","R"]}"#);
    let reader = record(r#"{"name":"next","type":["null","R"]},{"name":"v","type":"long"}"#);
    let end = values(vec![("v", Datum::Int(2)), ("next", Datum::Null)]);
    let datum = values(vec![("v", Datum::Int(1)), ("next", end)]);
    let end = values(vec![("next", Datum::Null), ("v", Datum::Long(2))]);
    assert_eq!(
        read(&writer, &datum, &reader).unwrap(),
        values(vec![("next", end), ("v", Datum::Long(1))])
    );
}

#[test]
fn every_compatible_pair_of_the_vectors_can_be_resolved() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/registry/compat-vectors.json");
    let vectors: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for pair in vectors["pairs"].as_array().unwrap() {
        let part = |name: &str| schema(pair[name].as_str().unwrap());
        let (reader, writer) = (part("reader"), part("writer"));
        if incompatibilities(&reader, &writer).is_empty() {
            let resolved = Resolver::new(&writer, &reader);
            assert!(resolved.is_ok(), "{}: {resolved:?}", pair["id"]);
        }
    }
}

#[test]
fn the_deepest_schema_is_resolved_and_rings_end() {
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(120), "}".repeat(120));
    let deep = schema(&deep);
    assert_eq!(Resolver::new(&deep, &deep).unwrap().read(&[0]).unwrap(), Datum::Array(vec![]));
    let aliases = (0..30).map(|index| format!("\"R{index}\"")).collect::<Vec<_>>().join(",");
    let ring = |count: usize| {
        let start = r#"["null","R0"]"#.to_owned();
        schema(&(0..count).rev().fold(start, |inner, index| {
            format!(
                r#"{{"type":"record","name":"R{index}","aliases":[{aliases}],
                    "fields":[{{"name":"x","type":["null",{}]}}]}}"#,
                inner.trim_start_matches(r#"["null","#).trim_end_matches(']')
            )
        }))
    };
    let rings = |count: usize| Resolver::new(&ring(count), &ring(count + 1));
    assert_eq!(rings(3).unwrap().read(&[2, 2, 2, 2, 0]).unwrap().type_name(), "record");
    assert_eq!(rings(25).err().unwrap().kind(), ErrorKind::TooLarge);
}
