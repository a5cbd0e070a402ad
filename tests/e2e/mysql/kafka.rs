//! The same job over a real Kafka: exactly once, through its bad days.

use super::faults::killed_at_random_moments;
use super::{TABLE, of_orders};
use crate::history::History;
use crate::network::{RATE, comes_on};
use crate::support::daemon::{Daemon, log_alone, with};
use crate::support::eventually;
use crate::support::kafka::{Broker, on_broker, on_kafka};
use crate::support::mysql::Database;
use crate::support::topic::equals;
use crate::support::writer::{Writer, agrees_on, seed};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    let database = Database::new().await;
    let config = on_kafka(&with(&of_orders(&database), "batch_bytes_max = 16384"), "");
    killed_at_random_moments(&database, &config, 8, Duration::from_millis(600)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_is_taken_up_again() {
    let mut broker = Broker::start();
    let database = Database::new().await;
    database.execute(TABLE).await;
    // A fatal timeout soon, so that the test sees the writer opened again.
    let config = on_broker(
        &log_alone(&of_orders(&database)),
        &broker.servers(),
        "transaction_timeout_ms = 3000\nrequest_timeout_ms = 3000",
    );
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let writer = Writer::run(database.commits(Some(RATE)), seed(), History::default());
    for _ in 0..2 {
        let errors = daemon.source().await["errors"].as_u64();
        comes_on(&daemon).await;
        broker.kill().await;
        eventually("the broker is missed", async || {
            (daemon.source().await["errors"].as_u64() > errors).then_some(())
        })
        .await;
        broker.start_again();
    }
    let topic = database.topic("orders");
    agrees_on(&daemon, &topic, &writer.stop().await).await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
}
