//! Whatever is missing of a good mesh: it is planned or refused, without a panic, and what is planned
//! can be asked everything.

use super::{GOOD, documents, topics};
use proptest::prelude::*;
use tidemesh_plan::Problem;
use tidemesh_plan::document::parse;
use tidemesh_plan::mesh::openlineage::{Event, State, run_event};
use tidemesh_plan::mesh::{Accepted, Topics, plan};

const EVENT: Event<'static> = Event {
    state: State::Start,
    time: "2026-11-29T17:00:00Z",
    run_id: "0190b3a0-1c2d-7e3f-8a4b-5c6d7e8f9a0b",
    producer: "https://example.org",
    job_namespace: "a",
    dataset_namespace: "b",
};

/// Plans, and asks of a plan what can be asked.
fn ask(documents: &[tidemesh_plan::document::Document], topics: &Topics) {
    let plan = match plan(documents, topics, &Accepted::new()) {
        Ok(plan) => plan,
        Err(problems) => {
            assert!(!problems.0.is_empty());
            // What SQL's parser refuses has no help of its own.
            let helps = |problem: &Problem| problem.help.is_some() || problem.sql_place.is_some();
            assert!(problems.0.iter().all(helps), "{problems}");
            return;
        }
    };
    let graph = plan.graph();
    for pipeline in &plan.pipelines {
        assert!(!pipeline.to_string().is_empty());
        assert!(run_event(pipeline, &EVENT).is_object());
        for output in &pipeline.outputs {
            assert!(!graph.upstream(&output.topic, &[]).truncated);
            assert!(!graph.downstream(&output.topic, &[]).truncated);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn documents_and_topics_may_be_missing(
        kept in proptest::collection::vec(any::<bool>(), 16),
        known in proptest::collection::vec(any::<bool>(), 4),
    ) {
        let documents = documents(GOOD);
        let mut kept = kept.into_iter();
        let documents: Vec<_> =
            documents.into_iter().filter(|_| kept.next().unwrap_or(true)).collect();
        let mut known = known.into_iter();
        let topics: Topics = topics().into_iter().filter(|_| known.next().unwrap_or(true)).collect();
        ask(&documents, &topics);
    }

    #[test]
    fn lines_may_be_missing(removed in proptest::collection::btree_set(0_usize..120, 0..4)) {
        let lines = GOOD.lines().enumerate().filter(|(line, _)| !removed.contains(line));
        let text: Vec<&str> = lines.map(|(_, line)| line).collect();
        if let Ok(documents) = parse(&text.join("\n")) {
            ask(&documents, &topics());
        }
    }

    #[test]
    fn words_may_be_others(at in 0_usize..400, word in "[a-z_.]{1,8}") {
        let words: Vec<&str> = GOOD.split(' ').collect();
        let mut words = words;
        let at = at % words.len();
        words[at] = &word;
        if let Ok(documents) = parse(&words.join(" ")) {
            ask(&documents, &topics());
        }
    }
}
