//! An instance that is stopped in the midst of a write, and goes on when others have gone on without it.

use crate::history::History;
use crate::support::daemon::{Daemon, configuration, connector, log_alone, registry, with};
use crate::support::eventually;
use crate::support::kafka::{Broker, on_broker, on_kafka, prefix, shared};
use crate::support::postgres::{Database, Server};
use crate::support::writer::{TABLE, TOPIC, Writer, agrees, seed};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;

/// How long a broker may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a transaction must have been open to be one that nobody ends just now.
const OPEN_FOR: Duration = Duration::from_millis(300);

/// How long the broker goes on between two stops.
const BROKER_TURN: Duration = Duration::from_millis(10);

/// Versions of a hundred rows, a megabyte each: more than an instance and the sockets before it hold.
const VERSIONS: i64 = 40;

/// Sees where a topic's only partition ends, with and without what is not committed.
struct Ends {
    all: BaseConsumer,
    committed: BaseConsumer,
    topic: String,
}

impl Ends {
    fn of(topic: String) -> Self {
        let consumer = |isolation| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", shared()).set("group.id", "ends");
            config.set("isolation.level", isolation).create().unwrap()
        };
        Self { all: consumer("read_uncommitted"), committed: consumer("read_committed"), topic }
    }

    fn transaction_is_open(&self) -> bool {
        let end = |consumer: &BaseConsumer| {
            consumer.fetch_watermarks(&self.topic, 0, ANSWER_MAX).unwrap().1
        };
        end(&self.committed) < end(&self.all)
    }
}

/// Stops it, and sees that a transaction stays open.
async fn stop_within_a_transaction(daemon: &Daemon, ends: &Ends) {
    eventually("it is stopped within a transaction", async || {
        daemon.signal("-STOP");
        if ends.transaction_is_open() {
            tokio::time::sleep(OPEN_FOR).await;
            if ends.transaction_is_open() {
                return Some(());
            }
        }
        daemon.signal("-CONT");
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_broker_ended_is_written_again() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let config = on_kafka(&log_alone(&config), "transaction_timeout_ms = 1000");
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let writer = Writer::enduring(&database, seed(), 200, History::default());
    eventually("it writes", async || {
        (daemon.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    let ends = Ends::of(format!("{}{TOPIC}", prefix(&config)));
    let errors = daemon.described()["errors"].as_u64();
    stop_within_a_transaction(&daemon, &ends).await;
    eventually("the broker has ended the transaction", async || {
        (!ends.transaction_is_open()).then_some(())
    })
    .await;
    let written = writer.stop().await;
    daemon.signal("-CONT");
    eventually("it is told", async || {
        (daemon.source().await["errors"].as_u64() > errors).then_some(())
    })
    .await;
    agrees(&daemon, &written).await;
}

/// Writes a version of a hundred rows of 10 kB.
async fn write_much(database: &Database, written: &mut History, version: i64) {
    let sql = format!(
        "INSERT INTO orders SELECT g, {version},
             (SELECT string_agg(md5(g::text || {version} || n), '') FROM generate_series(1, 300) n)
         FROM generate_series(1, 100) g
         ON CONFLICT (id) DO UPDATE SET n = excluded.n, note = excluded.note"
    );
    database.execute(&sql).await;
    (1..=100).for_each(|key| written.wrote(key, version));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_wakes_up_with_a_full_queue_writes_none_of_it() {
    let server = Server::start("wal_sender_timeout = '2s'");
    let broker = Broker::start();
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    let config = on_broker(
        &log_alone(&configuration(&database, &["public.orders"], "")),
        &broker.servers(),
        "",
    );
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let holder = registry(folders[0].path(), &config).await;
    let first = connector(folders[1].path(), &config, &holder.registry).await;
    first.streaming().await;
    let second = connector(folders[2].path(), &config, &holder.registry).await;
    second.logged("standby").await;
    let mut written = History::default();
    write_much(&database, &mut written, 1).await;
    eventually("it is written", async || {
        (first.source().await["records"].as_u64() >= Some(100)).then_some(())
    })
    .await;

    broker.signal("-STOP");
    for version in 2..=VERSIONS {
        write_much(&database, &mut written, version).await;
    }
    // Then it takes no more of the log, which the server cannot send any more.
    eventually("all that it may hold is gathered", async || {
        let waits = "SELECT count(*)::text FROM pg_stat_replication
                     WHERE pg_current_wal_lsn() - sent_lsn > 2000000";
        (database.text(waits).await == "1").then_some(())
    })
    .await;
    // What was written first ends, and all that was gathered meanwhile goes into the queue.
    eventually("the next append is under way", async || {
        broker.signal("-CONT");
        tokio::time::sleep(BROKER_TURN).await;
        broker.signal("-STOP");
        // By the command line, which takes long enough for what the broker has answered to be counted: one
        // turn more would let the queue through.
        (first.described()["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    first.signal("-STOP");
    broker.signal("-CONT");
    second.streaming().await;
    eventually("the second one writes", async || {
        (second.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    first.signal("-CONT");
    eventually("the first one is the standby now", async || {
        (first.source().await["state"] == "standby").then_some(())
    })
    .await;
    assert!(
        first.described()["records"].as_u64() < Some(100 * VERSIONS.unsigned_abs()),
        "its queue was full"
    );
    agrees(&second, &written).await;
}
