//! Whatever a text holds: it is read or refused within bounds, without a panic, and what is read is
//! what it is written as.

use proptest::prelude::*;
use std::time::{Duration, Instant};
use tidemesh_plan::document::{DEPTH_MAX, DOCUMENTS_MAX, PROBLEMS_MAX, TEXT_BYTES_MAX, parse};

const GOOD: &[&str] = &[
    include_str!("../../testdata/sources.yaml"),
    include_str!("../../testdata/pipelines.yaml"),
    include_str!("../../testdata/processors.yaml"),
    include_str!("../../testdata/alerts.yaml"),
    include_str!("../../testdata/mesh.json"),
];

/// What YAML means something by.
const MARKS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "? ",
    ", ",
    "\n",
    "\n  ",
    "---\n",
    "...\n",
    "\"",
    "'",
    "|",
    ">",
    "|2",
    "#",
    "!",
    "&a ",
    "*a",
    "%",
    "\t",
    " ",
    "\r\n",
    "\\",
    "\u{feff}",
    "é",
    "@",
    "`",
    "<<: ",
    "~",
    "1e9",
    "null",
    "[]",
    "{}",
    "-1",
    "99999999999999999999",
    "sql",
    "name: x",
];

/// Reads a text; what is read is read again from what it is written as.
fn read(text: &str) {
    match parse(text) {
        Ok(documents) => {
            for document in documents {
                let again = parse(&document.to_json().to_string());
                assert_eq!(again.as_deref(), Ok(&[document][..]));
            }
        }
        Err(problems) => {
            assert!((1..=PROBLEMS_MAX + 1).contains(&problems.0.len()));
            let placed = problems.0.iter().filter_map(|problem| problem.place);
            assert!(placed.is_sorted() && !problems.to_string().is_empty());
        }
    }
}

/// A good text in which some things are taken out, put in or doubled.
fn changed() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0_usize..40, prop::sample::select(MARKS), 0..4);
    (prop::sample::select(GOOD), prop::collection::vec(edit, 1..5)).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (index, length, mark, what) in edits {
            let begin = index.index(text.len() + 1);
            let end = (begin + length).min(text.len());
            match what {
                0 => drop(text.drain(begin..end)),
                1 => drop(text.splice(begin..begin, mark.chars())),
                2 => drop(text.splice(begin..end, mark.chars())),
                _ => {
                    let part = text[begin..end].to_vec();
                    drop(text.splice(begin..begin, part));
                }
            }
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn any_marks_of_yaml_are_read_or_refused(marks in prop::collection::vec(prop::sample::select(MARKS), 0..60)) {
        read(&marks.concat());
    }

    #[test]
    fn a_good_text_that_was_changed_is_read_or_refused(text in changed()) {
        read(&text);
    }

    #[test]
    fn texts_of_any_characters_are_written_and_read_again(
        description in "[^\\x00-\\x08\\x0b-\\x1f\\x7f]{1,40}",
        value in any::<String>(),
        (integer, fraction) in (any::<i64>(), any::<f64>()),
    ) {
        let spec = serde_json::json!({
            "inputs": {"a": "t"},
            "processors": [
                {"name": "x", "processor": "f@1", "inputs": ["a"], "config": {"v": [value, integer, fraction]}},
            ],
            "sinks": [{"name": "o", "from": "x", "kafka": {"topic": "u"}}],
        });
        let metadata = serde_json::json!({"name": "p", "description": description});
        let document = serde_json::json!({
            "apiVersion": "tidemesh/v1", "kind": "Pipeline", "metadata": metadata, "spec": spec,
        });
        read(&document.to_string());
    }
}

/// What is told first of a text, which is to be told soon.
fn first(text: &str) -> String {
    let begin = Instant::now();
    let problems = parse(text).expect_err("a mistake");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert!(problems.0.len() <= PROBLEMS_MAX + 1);
    problems.0[0].message.clone()
}

#[test]
fn what_is_too_much_is_refused() {
    assert!(first(&" ".repeat(TEXT_BYTES_MAX + 1)).contains("at most"));
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
    assert!(first(&deep).contains("deep within each other"));
    assert!(first(&format!("a: [{}]", "1,".repeat(5_000))).contains("more than 4096"));
    let documents = parse(&"---\na: b\n".repeat(DOCUMENTS_MAX + 1)).unwrap_err();
    assert_eq!(documents.0.len(), PROBLEMS_MAX + 1);
    assert!(documents.0[PROBLEMS_MAX].message.contains("more problems"));
}

#[test]
fn a_hostile_text_costs_no_more_than_its_length() {
    for part in [
        "[", "{", "- ", "? ", "a: ", "[a,", "{a: ", "\"", "&a ", "*a ", "[[],", "- [", "a: b\n",
        "--- \n",
    ] {
        first(&part.repeat(200_000 / part.len()));
    }
    let head =
        "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  inputs: {a: t}\n";
    let many = |part: &str, times: usize| -> String {
        (0..times).map(|n| part.replace('N', &n.to_string())).collect()
    };
    first(&format!("{head}{}", many("  unknownN: 1\n", 4_000)));
    first(&format!(
        "{head}  sinks:\n{}",
        many("  - {name: sN, from: fN, kafka: {topic: t}}\n", 4_000)
    ));
    let processor = "  - {name: pN, processor: f@1, inputs: [qN]}\n";
    first(&format!("{head}  processors:\n{}", many(processor, 4_000)));
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n";
    let told = parse(bomb).unwrap_err().to_string();
    assert!(told.contains("an anchor") && told.contains("an alias"), "{told}");
    let tables = many("public.tN,", 4_000);
    let source = head.replace("Pipeline", "Source").replace("  inputs: {a: t}\n", "");
    let postgres = format!("  postgres: {{database: d, user: u, tables: [{tables}]}}\n");
    first(&format!("{source}{postgres}  catalog:\n{}", many("    a.tN: {}\n", 4_000)));
}
