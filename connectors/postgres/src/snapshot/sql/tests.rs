//! The statements' texts.

use super::*;
use crate::relation::RelationShape;
use crate::types::Reader;
use std::sync::Arc;
use tidemesh_model::{DataType, Field, NumericSpecial, RowKey, SourceKind, TableSchema};
use tidemesh_source::Mask;

fn relation(origin: KeyOrigin, columns: Vec<usize>) -> Relation {
    let field = |name: &str, of: &str| Field {
        name: name.into(),
        data_type: DataType::Text,
        source_type: of.into(),
        nullable: false,
        default: None,
        aliases: Vec::new(),
        kind: SourceKind::Plain,
        key_default: None,
    };
    let name = TableName::new("public", "o'rders");
    let fields = vec![field("a", "bigint"), field("b\"", "text")];
    let schema = TableSchema::new(name.clone(), fields, RowKey { origin, columns }).unwrap();
    Relation {
        since_lsn: 0,
        shape: RelationShape { id: 1, name, replica_identity: b'd', columns: Vec::new() },
        schema: Arc::new(schema),
        readers: vec![Reader::Int8, Reader::Text],
        numbers: vec![Some(1), Some(2)],
        is_stale: false,
    }
}

fn query(relation: &Relation, part: Part, after: Option<Key>) -> Result<String> {
    let table = relation.schema.name.clone();
    let request = ChunkRequest { table, part, after, rows_max: 9, bytes_max: 9 };
    let keys = KeyColumns::of(relation, false);
    let condition = condition(&keys, &request)?;
    Ok(chunk_query(relation, &keys, Form::Binary, &condition, 7))
}

fn key(texts: &[&str]) -> Key {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_composite_key_is_compared_as_a_row() {
    let relation = relation(KeyOrigin::PrimaryKey, vec![1, 0]);
    let part = Part::Span { after: Some(key(&["x", "1"])), upto: Some(key(&["it's", "2"])) };
    assert_eq!(
        query(&relation, part.clone(), None).unwrap(),
        "COPY (SELECT t.\"a\", t.\"b\"\"\" FROM ONLY \"public\".\"o'rders\" t WHERE \
         (\"b\"\"\", \"a\") <= ('it''s'::text, '2'::bigint) AND \
         (\"b\"\"\", \"a\") > ('x'::text, '1'::bigint) \
         ORDER BY t.\"b\"\"\", t.\"a\" LIMIT 7) TO STDOUT (FORMAT binary)"
    );
    let later = query(&relation, part, Some(key(&["y", "3"]))).unwrap();
    assert!(later.contains("> ('y'::text, '3'::bigint)"), "{later}");
    assert!(!later.contains("'x'"), "{later}");
}

#[test]
fn a_table_without_a_key_goes_by_places() {
    let relation = relation(KeyOrigin::WholeRow, vec![0, 1]);
    let part = Part::Span { after: None, upto: Some(key(&["(9,0)"])) };
    assert_eq!(
        query(&relation, part, None).unwrap(),
        "COPY (SELECT t.ctid, t.\"a\", t.\"b\"\"\" FROM ONLY \"public\".\"o'rders\" t WHERE \
         (ctid) <= ('(9,0)'::tid) AND ctid > '(0,0)'::tid LIMIT 7) TO STDOUT (FORMAT binary)"
    );
}

#[test]
fn keys_that_the_table_cannot_have_are_refused() {
    let relation = relation(KeyOrigin::PrimaryKey, vec![0]);
    let error = query(&relation, Part::Keys(vec![key(&["1", "2"])]), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let listed = query(&relation, Part::Keys(vec![key(&["1"]), key(&["2"])]), None).unwrap();
    assert!(listed.contains("(\"a\") IN (('1'::bigint), ('2'::bigint))"), "{listed}");
}

fn with_reader(of: &str, data_type: DataType, reader: Reader) -> Relation {
    let mut relation = relation(KeyOrigin::PrimaryKey, vec![0]);
    let schema = Arc::make_mut(&mut relation.schema);
    schema.fields[1].source_type = of.into();
    schema.fields[1].data_type = data_type;
    relation.readers[1] = reader;
    relation
}

#[test]
fn texts_are_what_the_topic_has() {
    let text = |of: &str, data_type: DataType, reader: Reader| {
        cells(&with_reader(of, data_type, reader), Form::Text).remove(1)
    };
    let plain = |of: &str, data_type: DataType| text(of, data_type, Reader::Text);
    assert_eq!(plain("inet", DataType::Text), "inet_out(t.\"b\"\"\")::text");
    assert_eq!(plain("regclass", DataType::Int64), "t.\"b\"\"\"::oid::text");
    assert_eq!(plain("public.hstore", DataType::Json), "t.\"b\"\"\"::json::text");
    let several = |of: DataType| DataType::Array(Box::new(of));
    let counted_anew = |text: &str| format!("regexp_replace({text}, '^\\[[^=]*=', '')");
    assert_eq!(
        plain("regclass[]", several(DataType::Int64)),
        counted_anew("t.\"b\"\"\"::oid[]::text")
    );
    assert_eq!(
        plain("hstore[]", several(DataType::Json)),
        counted_anew("t.\"b\"\"\"::json[]::text")
    );
    assert_eq!(plain("inet[]", several(DataType::Text)), counted_anew("t.\"b\"\"\"::text"));
    let special = NumericSpecial::Null;
    let numeric = Reader::Numeric { precision: 5, scale: 2, special };
    let found = text("numeric(5,2)", DataType::Text, numeric);
    assert!(found.starts_with("(CASE WHEN t.\"b\"\"\" NOT IN ('NaN'"), "{found}");
    let written = "CASE WHEN t.\"b\"\"\" IS NOT NULL THEN format('%s', t.\"b\"\"\") END";
    assert_eq!(plain("character(5)", DataType::Text), written);
    assert_eq!(plain("a_domain", DataType::Text), written);
    assert_eq!(plain("character varying(5)", DataType::Text), "t.\"b\"\"\"::text");
}

#[test]
fn a_type_without_a_binary_form_is_cast() {
    let relation = with_reader("seg", DataType::Text, Reader::Declared);
    assert_eq!(cells(&relation, Form::Binary), ["t.\"a\"", "t.\"b\"\"\"::text"]);
}

#[test]
fn a_place_is_printed_as_the_server_prints_it() {
    assert_eq!(ctid_text(&[0, 0, 1, 2, 0, 3]).unwrap(), "(258,3)");
    assert_eq!(ctid_text(&[0]), None);
}

#[test]
fn what_is_not_captured_is_not_selected_and_what_is_masked_comes_as_the_log_has_it() {
    let mut relation = with_reader("text", DataType::Text, Reader::Masked(Mask::Redact));
    relation.readers.insert(1, Reader::Skipped);
    assert_eq!(cells(&relation, Form::Binary), ["t.\"a\"", "t.\"b\"\"\""]);
    let texts = cells(&relation, Form::Text);
    assert_eq!(texts[1], "CASE WHEN t.\"b\"\"\" IS NOT NULL THEN format('%s', t.\"b\"\"\") END");
}

#[test]
fn a_partitioned_table_is_read_with_its_partitions() {
    let relation = relation(KeyOrigin::PrimaryKey, vec![0]);
    let keys = KeyColumns::of(&relation, true);
    let queries = [
        chunk_query(&relation, &keys, Form::Binary, "true", 7),
        sample_query(&keys, 100, 10),
        largest_query(&keys),
        keys.touch_query(),
    ];
    for query in queries {
        assert!(query.contains("FROM \"public\".\"o'rders\" t "), "{query}");
    }
}
