//! Another primary: a replica that has all of it is gone on with, by its GTIDs; one that lacks some of it
//! is recognised before anything of it is told.

use super::{TABLE, of_orders};
use crate::history::History;
use crate::support::daemon::{Daemon, verified};
use crate::support::mysql::{Database, Server};
use crate::support::topic::{equals, records};
use crate::support::writer::{Writer, agrees_on, seed};

struct Site {
    primary: Server,
    replica: Server,
    database: Database,
    folder: tempfile::TempDir,
}

impl Site {
    async fn open() -> Self {
        let primary = Server::start("").await;
        let replica = primary.start_replica("read-only=ON").await;
        let database = primary.database().await;
        database.execute(TABLE).await;
        Self { primary, replica, database, folder: tempfile::tempdir().unwrap() }
    }

    async fn up(&self, database: &Database) -> Daemon {
        Daemon::up(self.folder.path(), &of_orders(database)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_became_the_primary_is_gone_on_with() {
    let site = Site::open().await;
    let mut daemon = site.up(&site.database).await;
    daemon.streaming().await;
    let writer = Writer::run(site.database.commits(Some(300)), seed(), History::default());
    let topic = site.database.topic("orders");
    crate::support::eventually("something is told", async || {
        (records(&daemon, &topic).len() > 200).then_some(())
    })
    .await;
    daemon.kill();
    let written = writer.stop().await;
    site.replica.catches_up(&site.database).await;
    site.primary.kill();
    site.replica.promote().await;
    let database = site.database.at(&site.replica).await;
    let daemon = site.up(&database).await;
    daemon.streaming().await;
    let writer = Writer::run(database.commits(Some(300)), seed(), written);
    crate::support::eventually("it goes on", async || {
        (daemon.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    agrees_on(&daemon, &topic, &writer.stop().await).await;
    let positions: Vec<String> = records(&daemon, &topic)
        .iter()
        .map(|record| record["position"].as_str().unwrap().to_owned())
        .collect();
    assert!(positions.is_sorted(), "positions do not rise");
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lacks_what_was_told_stops_it() {
    let site = Site::open().await;
    let mut daemon = site.up(&site.database).await;
    daemon.streaming().await;
    site.replica.catches_up(&site.database).await;
    site.replica.execute("STOP SLAVE").await;
    site.database.execute("INSERT INTO orders VALUES (1, 1, 'told, and never replicated')").await;
    let topic = site.database.topic("orders");
    equals(&daemon, &topic, &site.database.rows("orders").await).await;
    daemon.kill();
    site.primary.kill();
    site.replica.promote().await;
    let database = site.database.at(&site.replica).await;
    let daemon = site.up(&database).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("on_position_lost"), "{error}");
}
