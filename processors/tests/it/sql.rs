//! Every function, operator and cast that docs/sql.md lists is run, over values and over nulls, and
//! gives what it says there.

use crate::support::plan::{input, resolve};
use crate::support::{Batch, Bench};
use serde_json::{Value as Json, json};
use tidemesh_avro::frame;
use tidemesh_avro::json::to_json;
use tidemesh_avro::schema::Schema;
use tidemesh_model::EnvelopeForm::Flat;
use tidemesh_plan::output::{Target, output_schemas};
use tidemesh_plan::query::Input;

/// The columns of the document's sample row.
const ROW: &str = r#"{"type":"record","name":"Sample","fields":[
    {"name":"b","type":["null","boolean"]},
    {"name":"i","type":["null","int"]},
    {"name":"l","type":["null","long"]},
    {"name":"f","type":["null","float"]},
    {"name":"d","type":["null","double"]},
    {"name":"n","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}]},
    {"name":"t","type":["null","string"]},
    {"name":"y","type":["null","bytes"]},
    {"name":"dt","type":["null",{"type":"int","logicalType":"date"}]},
    {"name":"tm","type":["null",{"type":"long","logicalType":"time-micros"}]},
    {"name":"ts","type":["null",{"type":"long","logicalType":"local-timestamp-micros"}]},
    {"name":"tz","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
    {"name":"j","type":["null","string"]},
    {"name":"ta","type":["null",{"type":"array","items":["null","string"]}]},
    {"name":"ia","type":["null",{"type":"array","items":["null","int"]}]},
    {"name":"r","type":["null",{"type":"record","name":"R","fields":[
        {"name":"x","type":["null","int"]},{"name":"s","type":["null","string"]}]}]},
    {"name":"m","type":["null",{"type":"map","values":["null","string"]}]}]}"#;

fn row() -> Json {
    json!({"b": true, "i": 7, "l": 1_234_567_890_123_i64, "f": 1.5, "d": -2.25, "n": 1235,
        "t": "Ab-cd", "y": 0x6162, "dt": 20_649, "tm": 49_530_500_000_i64,
        "ts": 1_784_123_130_500_000_i64, "tz": 1_784_123_130_500_000_i64,
        "j": r#"{"a": {"b": [1, "x"]}, "n": null}"#, "ta": ["a", null, "b"], "ia": [3, 1, 2],
        "r": {"x": 5, "s": "in"}, "m": {"k": "v"}})
}

fn inputs() -> Vec<Input> {
    vec![input("samples", None, Schema::parse(ROW).unwrap())]
}

/// What an expression gives of the sample row and of one of nulls, as a person reads it.
///
/// # Errors
///
/// Why it is refused, or what fails.
fn given(expr: &str) -> Result<[String; 2], String> {
    let sql = format!("SELECT {expr} AS x FROM samples");
    let query = resolve(&inputs(), &sql).map_err(|refused| refused.to_string())?;
    let target = Target { pipeline: "p", topic: "mesh.out", envelope: Flat, key: None };
    output_schemas(&query, &inputs(), target).map_err(|refused| refused.to_string())?;
    let mut bench = Bench::over(inputs(), &[("out", &sql)], Flat);
    let schema = Schema::parse(&bench.schemas.value).unwrap();
    let mut one = |row: Json| {
        let mut batch = Batch::default();
        bench.event(&mut batch, 0, "c", Json::Null, row);
        let given = bench.run(0, &batch);
        match given.failures.first() {
            Some((_, why)) => format!("fails: {why}"),
            None => text(&schema, given.records[0].1.as_deref().unwrap()),
        }
    };
    Ok([one(row()), one(json!({}))])
}

fn text(schema: &Schema, value: &[u8]) -> String {
    let (_, payload) = frame::split(value).unwrap();
    match &to_json(schema, payload).unwrap()["x"] {
        Json::Null => "null".to_owned(),
        Json::String(text) if text.is_empty() => "''".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

const DOCUMENT: &str = include_str!("../../../docs/sql.md");

/// The cells of the document's table rows that begin with SQL.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    let cells = lines.map(|line| line.replace("\\|", "\u{1}"));
    let cell = |text: &str| text.trim().trim_matches('`').replace('\u{1}', "|");
    cells.map(|line| line.trim_matches('|').split('|').map(cell).collect()).collect()
}

/// The part of the document under a heading.
fn section(heading: &str) -> &'static str {
    let behind = DOCUMENT.split(&format!("\n### {heading}\n")).nth(1).unwrap();
    behind.split("\n### ").next().unwrap()
}

#[test]
fn every_function_and_operator_gives_what_is_documented() {
    let (before, _) = DOCUMENT.split_once("\n### Casts\n").unwrap();
    let rows: Vec<Vec<String>> = rows(before.split_once("\n### ").unwrap().1)
        .into_iter()
        .filter(|row| row.len() == 4)
        .collect();
    assert!(rows.len() > 250, "{}", rows.len());
    let mut wrong = String::new();
    for row in rows {
        let of_nulls = if row[2].is_empty() { "null" } else { &row[2] };
        let found = given(&row[0]);
        if found.as_ref().is_ok_and(|[value, nulls]| *value == row[1] && nulls == of_nulls) {
            continue;
        }
        wrong += &format!("{}: {found:?} and not {} and {of_nulls}\n", row[0], row[1]);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_cast_gives_what_is_documented() {
    let text = section("Casts");
    let header = text.lines().find(|line| line.starts_with("| of |")).unwrap();
    let types: Vec<&str> = header.split('`').skip(1).step_by(2).collect();
    assert_eq!(types.len(), 13);
    let mut wrong = String::new();
    for row in rows(text) {
        let column = row[0].split('`').next().unwrap().to_owned();
        for (data_type, says) in types.iter().zip(&row[1..]) {
            let says = says.trim_end_matches('*').trim_matches('`');
            let found = given(&format!("{column}::{data_type}"));
            let fits = match &found {
                Err(_) => says == "—",
                Ok([value, _]) if says == "fails" => value.starts_with("fails"),
                Ok([value, nulls]) => value == says && nulls == "null",
            };
            if !fits {
                wrong += &format!("{column}::{data_type}: {found:?} and not {says}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_function_is_documented_by_one_of_its_names() {
    let names = tidemesh_plan::sql::function_names();
    let calls = |name: &String| {
        let called = format!("{name}(");
        DOCUMENT
            .match_indices(&called)
            .any(|(at, _)| !DOCUMENT[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let missing: Vec<&String> = names
        .iter()
        .filter(|(name, others)| !calls(name) && !others.iter().any(calls))
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let others = section("Other names");
    for other in names.values().flatten() {
        assert!(others.contains(&format!("`{other}`")), "{other}");
    }
}
