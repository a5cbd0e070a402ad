//! How long a large mesh takes.

use super::support::large::{PIPELINES, SOURCES, documents, topics};
use sha2::{Digest, Sha256};
use std::time::Instant;
use tidemesh_plan::mesh::{Accepted, plan};

/// SHA-256 of all digests of the plan, as they were when they were first made: a plan that is made in
/// another way has the digest that it had, or every pipeline would be taken for a changed one.
const DIGESTS: &str = "f1b4e61e0dd38f763705a004b28cf771eb6f050aab0b598dfbc9a64a54214b8a";

#[test]
fn a_thousand_pipelines_over_a_hundred_sources_are_planned_in_time() {
    let (topics, documents) = (topics(), documents());
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
    let digests = plan.pipelines.iter().fold(Sha256::new(), |all, of| all.chain_update(&of.digest));
    assert_eq!(format!("{:x}", digests.finalize()), DIGESTS);
    println!("planned in {planned:?}, graph in {drawn:?}, asked in {asked:?}");
    // Without optimisation it takes many times as long as the 200 ms that are the goal with it.
    assert!(planned.as_secs() < 60, "{planned:?}");
}
