//! Texts with mistakes: each mistake is told where it stands, with what would work, and nothing else
//! is told.

mod form;
mod others;
mod pipelines;
mod together;

use tidemesh_plan::document::parse;

/// A text, and all that is told of it.
struct Case {
    name: &'static str,
    text: &'static str,
    /// For each problem: line and column, a part of what is wrong, and a part of what would work.
    told: &'static [(&'static str, &'static str, &'static str)],
}

#[test]
fn every_mistake_is_told_where_it_stands() {
    let cases = [form::CASES, others::CASES, pipelines::CASES, together::CASES];
    for Case { name, text, told } in cases.into_iter().flatten() {
        let problems = parse(text).expect_err(name);
        assert_eq!(problems.0.len(), told.len(), "{name}:\n{problems}");
        for (problem, (place, message, help)) in problems.0.iter().zip(*told) {
            let found = problem.place.map(|place| place.to_string()).unwrap_or_default();
            assert_eq!(found, *place, "{name}:\n{problems}");
            assert!(problem.message.contains(message), "{name}:\n{problem}");
            assert!(problem.help.as_ref().unwrap().contains(help), "{name}:\n{problem}");
        }
    }
}

#[test]
fn no_secret_is_repeated() {
    for text in others::CASES.iter().map(|case| case.text) {
        let told = parse(text).unwrap_err().to_string();
        assert!(!told.contains("hunter2") && !told.contains("pepper"), "{told}");
    }
}

#[test]
fn the_document_and_the_path_are_named() {
    let case = together::CASES.iter().find(|case| case.name == "a tap and a sink with one topic");
    let told = parse(case.expect("the case").text).unwrap_err();
    assert_eq!(told.0[0].about, "Pipeline p: spec.sinks[0].kafka.topic");
    let told = parse("kind: Source\nspec: {catalog: {public.t: {fields: 1}}}").unwrap_err();
    let about: Vec<_> = told.0.iter().map(|problem| problem.about.as_str()).collect();
    assert!(about.contains(&"Source: spec.catalog[\"public.t\"].fields"), "{told}");
}
