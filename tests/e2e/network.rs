//! The network fails between the parts, by a proxy before each: refused, half-open, cut on one side, a
//! byte a second, reset, or gone without a word.

use crate::history::History;
use crate::support::daemon::{Daemon, configuration, connector, log_alone, registry, with};
use crate::support::eventually;
use crate::support::kafka::{Broker, on_broker, on_kafka};
use crate::support::postgres::Database;
use crate::support::proxy::{Fault, Proxy};
use crate::support::writer::{TABLE, Writer, agrees, seed};
use std::time::Duration;

/// Transactions a second that are written meanwhile.
pub(crate) const RATE: u32 = 40;

/// How long each fault is there.
pub(crate) const FAULT_TIME: Duration = Duration::from_secs(2);

/// Longer than Kafka's timeouts here, so that clients give up before the network is well again.
const BROKER_FAULT_TIME: Duration = Duration::from_secs(3);

const BROKER_TIMEOUTS: &str = "transaction_timeout_ms = 2000\nrequest_timeout_ms = 2000";

/// Its batches are small, so that a fault comes between those of one transaction.
pub(crate) fn small_batches(configuration: &str) -> String {
    with(configuration, "batch_bytes_max = 16384")
}

/// Waits until more records are written.
pub(crate) async fn comes_on(daemon: &Daemon) {
    let before = daemon.described()["records"].as_u64();
    eventually("it comes on", async || {
        (daemon.source().await["records"].as_u64() > before).then_some(())
    })
    .await;
}

/// Each fault for a while; after each the source must come on.
pub(crate) async fn each_fault(daemon: &Daemon, proxy: &Proxy, time: Duration) {
    for fault in Fault::ALL {
        println!("{fault:?}");
        proxy.fail(fault);
        tokio::time::sleep(time).await;
        proxy.heal();
        comes_on(daemon).await;
    }
    proxy.reset();
    comes_on(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_database_nothing_is_lost_or_repeated() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(database.port).await;
    let config = small_batches(&configuration(&database, &["public.orders"], ""));
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &proxy.stands_in(&config, database.port)).await;
    daemon.streaming().await;
    let writer = Writer::enduring(&database, seed(), RATE, History::default());
    each_fault(&daemon, &proxy, FAULT_TIME).await;
    agrees(&daemon, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_vanishes_without_a_word_is_given_up() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(database.port).await;
    let config = small_batches(&configuration(&database, &["public.orders"], ""));
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &proxy.stands_in(&config, database.port)).await;
    daemon.streaming().await;
    let writer = Writer::enduring(&database, seed(), RATE, History::default());
    comes_on(&daemon).await;
    proxy.lose();
    eventually("the database is silent", async || {
        (daemon.source().await["heartbeat_age_ms"].as_u64() > Some(30_000)).then_some(())
    })
    .await;
    comes_on(&daemon).await;
    assert!(daemon.log_text().contains("the server has been silent"), "it says why");
    agrees(&daemon, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_connection_has_vanished_takes_over() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(database.port).await;
    let config = on_kafka(&configuration(&database, &["public.orders"], ""), "");
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let holder = registry(folders[0].path(), &config).await;
    let mut first = connector(folders[1].path(), &config, &holder.registry).await;
    first.streaming().await;
    let config = proxy.stands_in(&config, database.port);
    let second = connector(folders[2].path(), &config, &holder.registry).await;
    second.logged("standby").await;
    let writer = Writer::enduring(&database, seed(), RATE, History::default());
    comes_on(&first).await;
    proxy.lose();
    first.kill();
    comes_on(&second).await;
    agrees(&second, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_broker_nothing_is_lost_or_repeated() {
    let (broker, proxy) = Broker::behind_proxy().await;
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = small_batches(&log_alone(&configuration(&database, &["public.orders"], "")));
    let config = on_broker(&config, &broker.servers(), BROKER_TIMEOUTS);
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let writer = Writer::enduring(&database, seed(), RATE, History::default());
    each_fault(&daemon, &proxy, BROKER_FAULT_TIME).await;
    // Its connections are half-open for ever, and it is for the client to notice.
    proxy.lose();
    comes_on(&daemon).await;
    agrees(&daemon, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_registry_and_the_log_nothing_is_lost_or_repeated() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = small_batches(&configuration(&database, &["public.orders"], ""));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let holder = Daemon::up(folders[0].path(), config.split("[[source]]").next().unwrap()).await;
    let endpoints = holder.logged("listening").await;
    let port = |name: &str| {
        let (_, port) = endpoints[name].as_str().unwrap().rsplit_once(':').unwrap();
        port.parse().unwrap()
    };
    let (registry, data) = (Proxy::start(port("registry")).await, Proxy::start(port("data")).await);
    let url = |what: &str, scheme: &str, proxy: &Proxy| {
        format!("{what}.url = \"{scheme}://127.0.0.1:{}\"", proxy.port)
    };
    let config = config
        .replace("registry.listen = \"127.0.0.1:0\"", &url("registry", "http", &registry))
        .replace("data.listen = \"127.0.0.1:0\"", &url("data", "tcp", &data));
    let connector = Daemon::start(folders[1].path(), &config, &["connector", "postgres"]).await;
    connector.streaming().await;
    let writer = Writer::enduring(&database, seed(), RATE, History::default());
    comes_on(&connector).await;
    for (number, fault) in Fault::ALL.into_iter().enumerate() {
        println!("{fault:?}");
        registry.fail(fault);
        // Only for another schema is the registry asked.
        database.execute(&format!("ALTER TABLE orders ADD COLUMN c{number} int")).await;
        tokio::time::sleep(FAULT_TIME).await;
        registry.heal();
        comes_on(&connector).await;
    }
    registry.lose();
    database.execute("ALTER TABLE orders DROP COLUMN c0").await;
    comes_on(&connector).await;
    each_fault(&connector, &data, FAULT_TIME).await;
    agrees(&connector, &writer.stop().await).await;
}
