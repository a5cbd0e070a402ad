//! The keys that the reader knows are those of the editors' schema, and conversely; and places of
//! SQL, which need the reader's own view of a text.

use super::*;
use crate::document::pipeline::read as of_pipeline;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use tidemesh_model::{
    EmitSettings, MaskSettings, MysqlSettings, OutboxSettings, PostgresSettings, SnapshotSettings,
    SourceSettings, TopicSettings,
};

const READ: &[(&str, &[&str])] = &[
    ("metadata", metadata::METADATA),
    ("catalog_entry", catalog::ENTRY),
    ("catalog_field", catalog::FIELD),
    ("source_pipeline", source::PUBLISHED),
    ("source_output", source::OUTPUT),
    ("source_topic", source::TOPIC),
    ("pipeline", of_pipeline::PIPELINE),
    ("pipeline_field", of_pipeline::FIELD),
    ("pipeline_input_table", of_pipeline::INPUT),
    ("pipeline_processor", of_pipeline::PROCESSOR),
    ("pipeline_sink", of_pipeline::SINK),
    ("pipeline_kafka", of_pipeline::KAFKA),
    ("processor", processor::PROCESSOR),
    ("processor_input", processor::INPUT),
    ("processor_output", processor::OUTPUT),
    ("alert", alert::ALERT),
    ("alert_target", alert::TARGET),
    ("alert_condition", alert::CONDITION),
];

/// The keys of a table of settings, as its own refusal of another one lists them.
fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(json!({"?": 0})) else {
        panic!("unknown keys are not refused");
    };
    let text = error.to_string();
    let quoted = text.split('`').skip(1).step_by(2).map(str::to_owned);
    quoted.filter(|key| key != "?").collect()
}

fn in_schema(table: &Value) -> BTreeSet<String> {
    table["properties"].as_object().unwrap().keys().cloned().collect()
}

fn described(table: &Value) -> bool {
    let properties = table["properties"].as_object().unwrap();
    properties
        .values()
        .all(|property| property.get("description").is_some() || property.get("$ref").is_some())
}

#[test]
fn the_editors_schema_has_the_keys_that_are_read() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let own = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(in_schema(&schema), own(DOCUMENT));
    for (table, keys) in READ {
        let table = &schema["$defs"][table];
        assert_eq!(in_schema(table), own(keys));
        assert!(described(table), "{table}");
    }
}

/// The keys that docs/pipelines.md has of a table, from the first column under its mark.
fn documented(table: &str) -> BTreeSet<String> {
    let text = include_str!("../../../../docs/pipelines.md");
    let behind = text.split(&format!("<!-- keys of {table} -->\n")).nth(1).unwrap_or_default();
    let rows = behind.lines().take_while(|line| line.starts_with('|')).skip(2);
    let first = rows.filter_map(|row| row.split('|').nth(1));
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_documentation_has_the_keys_that_are_read() {
    for (table, keys) in READ.iter().chain(&[("document", DOCUMENT)]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(documented(table), keys, "{table}");
    }
}

#[test]
fn the_editors_schema_has_the_settings_of_a_connector() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let settings = [
        ("source_connector", keys::<SourceSettings>(), &["name"][..]),
        ("topic_settings", keys::<TopicSettings>(), &[]),
        ("snapshot", keys::<SnapshotSettings>(), &[]),
        ("emit", keys::<EmitSettings>(), &[]),
        ("outbox", keys::<OutboxSettings>(), &[]),
        // Secrets do not stand in documents.
        ("postgres", keys::<PostgresSettings>(), &["password"]),
        ("mysql", keys::<MysqlSettings>(), &["password"]),
        ("mask", keys::<MaskSettings>(), &["salt"]),
    ];
    for (table, mut known, elsewhere) in settings {
        known.retain(|key| !elsewhere.contains(&key.as_str()));
        let mut written = in_schema(&schema["$defs"][table]);
        written.remove("catalog");
        assert_eq!(written, known, "{table}");
        assert!(described(&schema["$defs"][table]), "{table}");
    }
}

#[test]
fn a_kinds_name_is_what_is_read() {
    for kind in Kind::ALL {
        assert!(<Kind as read::Choice>::ALL.contains(&(kind.name(), kind)));
    }
}

/// The SQL of a document whose only processor has this scalar, which begins in line 7.
fn sql(scalar: &str) -> SqlText {
    let text = format!(
        "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  processors:\n  - \
         name: x\n    sql: {scalar}\n  inputs: {{a: t}}\n  sinks: [{{name: o, from: x, kafka: \
         {{topic: u}}}}]\n"
    );
    let documents = parse(&text).unwrap_or_else(|problems| panic!("{text}{problems}"));
    let Spec::Pipeline(spec) = &documents[0].spec else { panic!() };
    let ProcessorKind::Sql { sql } = &spec.processors[0].kind else { panic!() };
    sql.clone()
}

fn at(sql: &SqlText, line: u32, column: u32) -> String {
    sql.place(Place { line, column }).to_string()
}

#[test]
fn sql_on_one_line_has_its_places_in_that_line() {
    let plain = sql("SELECT é, b FROM a  # why");
    assert_eq!(
        (plain.text.as_str(), at(&plain, 1, 1), at(&plain, 1, 11)),
        ("SELECT é, b FROM a", "7:10".into(), "7:20".into())
    );
    for quoted in ["'SELECT b FROM a'", "\"SELECT b FROM a\""] {
        let quoted = sql(quoted);
        assert_eq!((quoted.text.as_str(), at(&quoted, 1, 8)), ("SELECT b FROM a", "7:18".into()));
    }
}

#[test]
fn a_literal_block_has_its_places_line_by_line() {
    for header in ["|", "|-", "|+", "| # why"] {
        for indent in [5, 6, 13] {
            let space = " ".repeat(indent);
            let block = sql(&format!("{header}\n{space}SELECT b,\n\n{space}  c\n{space}FROM a"));
            assert_eq!(block.text.trim_end(), "SELECT b,\n\n  c\nFROM a");
            let column = |column| u32::try_from(indent).unwrap() + column;
            assert_eq!(at(&block, 1, 8), format!("8:{}", column(8)), "{header} {indent}");
            assert_eq!(at(&block, 3, 3), format!("10:{}", column(3)));
            assert_eq!(at(&block, 4, 6), format!("11:{}", column(6)));
        }
    }
}

#[test]
fn a_block_may_begin_with_empty_lines_or_spaces_of_its_own() {
    let empty = sql("|\n\n\n      SELECT 1\n      FROM a");
    assert_eq!(empty.text, "\n\nSELECT 1\nFROM a\n");
    assert_eq!((at(&empty, 3, 1), at(&empty, 4, 6)), ("10:7".into(), "11:12".into()));
    let spaces = sql("|2\n        SELECT 1\n      FROM a");
    assert_eq!(spaces.text, "  SELECT 1\nFROM a\n");
    assert_eq!((at(&spaces, 1, 3), at(&spaces, 2, 1)), ("8:9".into(), "9:7".into()));
}

#[test]
fn sql_that_is_folded_or_escaped_begins_where_it_begins() {
    for (scalar, begin) in [
        (">\n      SELECT b\n      FROM a", "8:7"),
        ("\"SELECT b\\nFROM a\"", "7:10"),
        ("'SELECT ''b'' FROM a'", "7:10"),
        ("'SELECT b\n      FROM a'", "7:10"),
        ("SELECT b\n      FROM a", "7:10"),
    ] {
        let sql = sql(scalar);
        assert_eq!((at(&sql, 1, 8), at(&sql, 2, 3)), (begin.into(), begin.into()), "{scalar}");
    }
}

#[test]
fn sql_with_windows_line_ends_keeps_its_lines() {
    let document = sql("|\r\n      SELECT 1\r\n      FROM a\r");
    assert_eq!(document.text, "SELECT 1\nFROM a\n");
    assert_eq!((at(&document, 1, 8), at(&document, 2, 6)), ("8:14".into(), "9:12".into()));
    let own = SqlText::new("SELECT 1");
    assert_eq!(at(&own, 3, 4), "3:4");
}
