//! How long it takes to plan a thousand pipelines over a hundred sources.
//!
//! `cargo bench -p tidemesh-plan --bench mesh`. Prints, as its last line, medians as JSON: of a first
//! plan, of the same again from what was kept, and of the same with a column more in one source, as for
//! `impact`.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(unreachable_pub, reason = "shared with the tests")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::large::{documents, topics};
use tidemesh_avro::schema::Schema;
use tidemesh_plan::mesh::{Accepted, MeshPlan, PlanCache, Topics, plan, plan_with};

const ROUNDS: usize = 9;

/// The median milliseconds of making a plan; to drop it is not part of it.
fn median_ms(mut make: impl FnMut(usize) -> MeshPlan) -> f64 {
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

fn main() {
    let (topics, documents, accepted) = (topics(), documents(), Accepted::new());
    let cold = median_ms(|_| plan(&documents, &topics, &accepted).unwrap());
    let cache = PlanCache::default();
    plan_with(&documents, &topics, &accepted, &cache).unwrap();
    let warm = median_ms(|_| plan_with(&documents, &topics, &accepted, &cache).unwrap());
    let changed: Vec<Topics> = (0..ROUNDS).map(|round| with_column(&topics, round)).collect();
    let changed =
        median_ms(|round| plan_with(&documents, &changed[round], &accepted, &cache).unwrap());
    println!("{}", json!({"plan_ms": cold, "plan_warm_ms": warm, "plan_changed_ms": changed}));
}
