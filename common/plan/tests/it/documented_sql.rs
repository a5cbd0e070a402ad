//! The SQL of docs/pipelines.md: what it says that works is planned, and what it says that is refused is
//! refused with the words that it has.

use crate::support::{inputs, resolve};
use tidemesh_plan::key_columns;

const DOCUMENT: &str = include_str!("../../../../docs/pipelines.md");

/// The first two cells of a section's rows, with SQL in the first.
fn rows(heading: &str) -> Vec<(String, String)> {
    let section = DOCUMENT.split(heading).nth(1).unwrap();
    let section = section.split("\n##").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    cells
        .map(|(sql, rest)| {
            let why = rest.split(" |").next().unwrap_or_default();
            (sql.replace("\\|", "|"), why.to_owned())
        })
        .collect()
}

/// Plans a query to the key of what it writes; answers what is wrong.
fn planned(sql: &str) -> Result<(), String> {
    let inputs = inputs();
    let query = resolve(&inputs, sql).map_err(|problems| problems.to_string())?;
    key_columns(&query, &inputs, None).map(drop).map_err(|problem| problem.to_string())
}

#[test]
fn what_is_said_to_work_works() {
    let rows = rows("\n### What works\n");
    assert!(rows.len() > 10, "{}", rows.len());
    for (sql, _) in rows {
        assert_eq!(planned(&sql), Ok(()), "{sql}");
    }
}

#[test]
fn what_is_said_to_be_refused_is_refused_with_those_words() {
    let rows = rows("\n### What is refused\n");
    assert!(rows.len() > 10, "{}", rows.len());
    for (sql, why) in rows {
        let refused = planned(&sql).expect_err(&sql);
        assert!(refused.contains(&why), "{sql}\n  {why}\n  {refused}");
    }
}
