//! How long it takes to plan a thousand pipelines over a hundred sources.
//!
//! `cargo bench -p tidemesh-plan --bench mesh`. Prints, as its last line, medians as JSON: of a first
//! plan, of the same again from what was kept, of the same with a column more in one source, and of what a
//! change of a source would do.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(unreachable_pub, reason = "shared with the tests")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::json;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::large::{documents, topics};
use tidemesh_avro::schema::Schema;
use tidemesh_plan::document::Document;
use tidemesh_plan::mesh::{Accepted, MeshPlan, PlanCache, Topics, plan, plan_with};
use tidemesh_plan::upgrade::impact::{Change, impact};
use tidemesh_plan::upgrade::{Question, Subjects, Unfit};

const ROUNDS: usize = 9;

/// The median milliseconds of making something; to drop it is not part of it.
fn median_ms<M>(mut make: impl FnMut(usize) -> M) -> f64 {
    let mut figures: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let begin = Instant::now();
            let made = make(round);
            let took = begin.elapsed();
            drop(made);
            took
        })
        .collect();
    figures.sort_unstable();
    (figures[ROUNDS / 2].as_secs_f64() * 1e4).round() / 10.0
}

/// The topics with one more column in a source, another one each round.
fn with_column(topics: &Topics, round: usize) -> Topics {
    let mut topics = topics.clone();
    let topic = topics.get_mut("s0.t").unwrap();
    let more = format!(r#"{{"name":"more{round}","type":["null","string"]}},{{"name":"status""#);
    let text = topic.value.registry_text().replacen(r#"{"name":"status""#, &more, 1);
    topic.value = Schema::parse(&text).unwrap();
    topics
}

/// The median milliseconds in which it is found out what a dropped column would do: of one that the
/// pipelines of one chain read.
fn impact_ms(running: &MeshPlan, documents: &[Document], topics: &Topics) -> f64 {
    let (subjects, applied, unfit) = (Subjects::new(), BTreeSet::new(), Unfit::new());
    let (subjects, applied, unfit) = (&subjects, &applied, &unfit);
    let question = Question { running, documents, topics, subjects, applied, unfit };
    median_ms(|round| {
        let column = format!("c{}", round % 3);
        let changes = [Change::DropColumn { column }];
        black_box(impact(&question, "s0.t", &changes).unwrap())
    })
}

fn main() {
    let (topics, documents, accepted) = (topics(), documents(), Accepted::new());
    let cold = median_ms(|_| plan(&documents, &topics, &accepted).unwrap());
    let cache = PlanCache::default();
    plan_with(&documents, &topics, &accepted, &cache).unwrap();
    let warm = median_ms(|_| plan_with(&documents, &topics, &accepted, &cache).unwrap());
    let changed: Vec<Topics> = (0..ROUNDS).map(|round| with_column(&topics, round)).collect();
    let changed =
        median_ms(|round| plan_with(&documents, &changed[round], &accepted, &cache).unwrap());
    let running = plan(&documents, &topics, &accepted).unwrap();
    let impact = impact_ms(&running, &documents, &topics);
    println!(
        "{}",
        json!({"plan_ms": cold, "plan_warm_ms": warm, "plan_changed_ms": changed, "impact_ms": impact})
    );
}
