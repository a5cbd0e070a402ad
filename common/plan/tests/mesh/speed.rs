//! How long a large mesh takes.

use super::support::{envelope, key};
use std::fmt::Write as _;
use std::time::Instant;
use tidemesh_plan::document::parse;
use tidemesh_plan::mesh::{Accepted, Topic, Topics, plan};

const SOURCES: usize = 100;
const PIPELINES: usize = 1_000;

/// A table of a source, of twenty columns.
fn table(number: usize) -> Topic {
    let columns: String = (0..18).fold(String::new(), |mut text, column| {
        let of = ["\"string\"", "\"long\"", "\"double\""][column % 3];
        write!(text, r#",{{"name":"c{column}","type":["null",{of}],"default":null}}"#).unwrap();
        text
    });
    let row = format!(
        r#"{{"type":"record","name":"Value","namespace":"s{number}.t","fields":[{{"name":"id","type":"long"}},
        {{"name":"status","type":["null","string"],"default":null}}{columns}]}}"#
    );
    Topic { key: key(&["id"]), value: envelope(&row), source: Some(format!("s{number}")) }
}

/// Chains of five pipelines, each of which reads the output of the one before it.
fn documents() -> String {
    (0..PIPELINES).fold(String::new(), |mut text, number| {
        let input = match number % 5 {
            0 => format!("s{}.t", number / 5 % SOURCES),
            _ => format!("m{}", number - 1),
        };
        write!(
            text,
            "---\napiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: p{number}}}\nspec:\n  \
             inputs: {{rows: {input}}}\n  processors:\n    - {{name: kept, sql: \"SELECT * FROM rows \
             WHERE status <> 'x{number}'\"}}\n    - {{name: made, sql: \"SELECT id, status, upper(c0) AS \
             c0, c1 * 2 AS c1, c2, c3, c4, c5 FROM kept\"}}\n  sinks: [{{name: out, from: made, kafka: \
             {{topic: m{number}}}}}]\n"
        )
        .unwrap();
        text
    })
}

#[test]
fn a_thousand_pipelines_over_a_hundred_sources_are_planned_in_time() {
    let topics: Topics =
        (0..SOURCES).map(|number| (format!("s{number}.t"), table(number))).collect();
    let documents = parse(&documents()).unwrap();
    let begin = Instant::now();
    let plan = plan(&documents, &topics, &Accepted::new()).unwrap();
    let planned = begin.elapsed();
    let begin = Instant::now();
    let graph = plan.graph();
    let drawn = begin.elapsed();
    let begin = Instant::now();
    let found = graph.downstream("s0.t", &["status".to_owned()]);
    let asked = begin.elapsed();
    assert_eq!(plan.pipelines.len(), PIPELINES);
    assert_eq!(found.readers.len(), PIPELINES / SOURCES);
    println!("planned in {planned:?}, graph in {drawn:?}, asked in {asked:?}");
    // Without optimisation it takes many times as long as the 200 ms that are the goal with it.
    assert!(planned.as_secs() < 60, "{planned:?}");
}
