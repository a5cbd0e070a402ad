//! Bad days: killed at any moment, the server restarted and killed, its log gone, two instances at once.

use super::{TABLE, of_orders};
use crate::faults::killed_while_written;
use crate::history::{History, Told};
use crate::support::daemon::{Daemon, registry, with};
use crate::support::mysql::{Database, Server};
use crate::support::topic::{equals, records};
use crate::support::writer::{Writer, agrees_on, seed};
use crate::support::{PATIENCE, eventually};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    let database = Database::new().await;
    let config = with(&of_orders(&database), "batch_bytes_max = 16384");
    killed_at_random_moments(&database, &config, 30, Duration::from_millis(400)).await;
}

/// Kills the daemon so often, each time within so long, while somebody writes; nothing may be lost or
/// repeated.
pub(super) async fn killed_at_random_moments(
    database: &Database,
    config: &str,
    kills: u32,
    within: Duration,
) {
    database.execute(TABLE).await;
    let writer = async |seed| Writer::run(database.commits(None), seed, History::default());
    killed_while_written(config, &database.topic("orders"), writer, kills, within).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_or_is_killed_is_taken_up_again() {
    let server = Server::start("").await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    let writer = Writer::run(database.commits(Some(200)), seed(), History::default());
    for kill in [false, true, false] {
        let before = daemon.source().await["records"].clone();
        eventually("it comes on", async || {
            (daemon.source().await["records"] != before).then_some(())
        })
        .await;
        let errors = daemon.source().await["errors"].clone();
        if kill {
            server.kill()
        } else {
            server.stop()
        }
        eventually("it has seen that", async || {
            (daemon.source().await["errors"] != errors).then_some(())
        })
        .await;
        server.start_again().await;
        daemon.streaming().await;
    }
    let topic = database.topic("orders");
    agrees_on(&daemon, &topic, &writer.stop().await).await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
}

/// Stops the daemon, and has the server forget the log that it would go on from.
async fn purged(daemon: &mut Daemon, database: &Database) {
    daemon.kill();
    database
        .execute("INSERT INTO orders VALUES (2, 2, 'unseen'); DELETE FROM orders WHERE id = 1")
        .await;
    database.execute("FLUSH BINARY LOGS").await;
    let status = match database.is_mariadb().await {
        true => "SHOW MASTER STATUS",
        false => "SHOW BINARY LOG STATUS",
    };
    let file = database.cell(status, "File").await;
    let purge = format!("PURGE BINARY LOGS TO '{file}'");
    eventually("nobody reads the file any more, and it goes", async || {
        database.execute(&purge).await;
        (database.cell("SHOW BINARY LOGS", "Log_name").await == file).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_purged_stops_it_or_has_its_tables_read_anew() {
    let server = Server::start("").await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'seen')").await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    purged(&mut daemon, &database).await;
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("on_position_lost"), "{error}");
    drop(daemon);
    let resnapshot = with(&of_orders(&database), "on_position_lost = \"resnapshot\"");
    let daemon = Daemon::up(folder.path(), &resnapshot).await;
    daemon.streaming().await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_waits_and_takes_over() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    if database.is_mariadb().await {
        let may = format!("GRANT REPLICATION MASTER ADMIN ON *.* TO {}@'%'", database.name);
        database.execute(&may).await;
    }
    let site = Instances::open(&database).await;
    let mut first = site.start().await;
    first.streaming().await;
    let writer = Writer::run(database.commits(Some(200)), seed(), History::default());
    let second = site.start().await;
    eventually("the second one waits", async || {
        (second.source().await["state"] == "standby").then_some(())
    })
    .await;
    assert_eq!(first.source().await["state"], "streaming");
    first.kill();
    second.streaming().await;
    site.agree(&database, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_do_not_see_each_other_tell_nothing_twice() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let site = Instances::open(&database).await;
    let (mut first, second) = (site.start().await, site.start().await);
    let writer = Writer::run(database.commits(Some(200)), seed(), History::default());
    eventually("something is told", async || {
        (records(&site.holder, &database.topic("orders")).len() > 300).then_some(())
    })
    .await;
    first.kill();
    site.agree(&database, &writer.stop().await).await;
    assert_ne!(second.source().await["state"], "stopped");
}

/// A daemon that holds the log, to which instances of one source write.
struct Instances {
    config: String,
    holder: Daemon,
    folders: Vec<tempfile::TempDir>,
    started: AtomicUsize,
}

impl Instances {
    async fn open(database: &Database) -> Self {
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let config = of_orders(database);
        let holder = registry(folders[0].path(), &config).await;
        let data = format!("data.url = \"{}\"", holder.data);
        let registry = format!("registry.url = \"{}\"", holder.registry);
        let config = config
            .replace("data.listen = \"127.0.0.1:0\"", &data)
            .replace("registry.listen = \"127.0.0.1:0\"", &registry);
        Self { config, holder, folders, started: AtomicUsize::new(1) }
    }

    async fn start(&self) -> Daemon {
        let folder = &self.folders[self.started.fetch_add(1, Ordering::Relaxed)];
        Daemon::start(folder.path(), &self.config, &["connector", "mysql"]).await
    }

    /// Waits until the topic tells what was written, and no longer.
    async fn agree(&self, database: &Database, written: &History) {
        let topic = database.topic("orders");
        let mut difference = None;
        let agreed = eventually("the topic's history is the table's", async || {
            difference = written.difference(&Told::of_topic(&records(&self.holder, &topic)));
            difference.is_none().then_some(())
        });
        if tokio::time::timeout(PATIENCE / 2, agreed).await.is_err() {
            panic!("{}", difference.unwrap_or_default());
        }
    }
}
