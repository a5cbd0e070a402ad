//! A large mesh: a thousand pipelines over a hundred sources.
#![allow(dead_code, reason = "the bench takes more of it than the test")]

use super::{envelope, key};
use std::fmt::Write as _;
use tidemesh_plan::document::{Document, parse};
use tidemesh_plan::mesh::{Topic, Topics};

pub(crate) const SOURCES: usize = 100;
pub(crate) const PIPELINES: usize = 1_000;

/// The sources' topics.
pub(crate) fn topics() -> Topics {
    (0..SOURCES).map(|number| (format!("s{number}.t"), table(number))).collect()
}

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
pub(crate) fn documents() -> Vec<Document> {
    let text = (0..PIPELINES).fold(String::new(), |mut text, number| {
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
    });
    parse(&text).unwrap()
}
