//! The network fails between source and connector, by a proxy before the server.

use super::{TABLE, of_orders};
use crate::history::History;
use crate::network::{FAULT_TIME, RATE, each_fault, small_batches};
use crate::support::daemon::Daemon;
use crate::support::mysql::Database;
use crate::support::proxy::Proxy;
use crate::support::writer::{Writer, agrees_on, seed};

#[tokio::test(flavor = "multi_thread")]
async fn before_the_server_nothing_is_lost_or_repeated() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(database.port()).await;
    let config = small_batches(&of_orders(&database));
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &proxy.stands_in(&config, database.port())).await;
    daemon.streaming().await;
    let writer = Writer::run(database.commits(Some(RATE)), seed(), History::default());
    each_fault(&daemon, &proxy, FAULT_TIME).await;
    agrees_on(&daemon, &database.topic("orders"), &writer.stop().await).await;
}
