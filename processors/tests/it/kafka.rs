//! Jobs over a real Kafka: output and offsets in one transaction.
//!
//! `scripts/test` starts the broker and names it in the environment.

use crate::support::job::{Mesh, cut_at_the_ends, killed};
use std::time::Duration;
use tidemesh_transport::kafka::{KafkaConfig, KafkaTransport};

async fn open(name: &str) -> Mesh<KafkaTransport> {
    let servers = std::env::var("TIDEMESH_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("TIDEMESH_TEST_KAFKA is not set: start the broker and the tests with `scripts/test`")
    });
    let mut config = KafkaConfig::new(servers);
    config.prefix = format!("{name}{}.", std::process::id());
    let mut mesh = Mesh::open(KafkaTransport::new(&config).unwrap()).await;
    mesh.quiet = Duration::from_secs(3);
    mesh
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_has_its_effect_once_however_often_the_job_is_killed() {
    killed(open("job").await, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_looks_rows_up_ends_where_its_topics_end() {
    cut_at_the_ends(open("cut").await).await;
}
