//! Two daemons over one database and one cluster: one acts, and the other goes on where that one was
//! killed, or held up for longer than its lease lasts.

use crate::pipelines::{applied, is, pipeline, report, rows, with_documents};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::equals;
use std::collections::BTreeSet;

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, status text, qty int)";
const TOPIC: &str = "shop.public.orders";

struct Pair {
    database: Database,
    stores: Database,
    folders: [tempfile::TempDir; 2],
    acts: Daemon,
    waits: Daemon,
}

async fn acts(daemon: &Daemon) {
    daemon.logged("the controller acts").await;
}

impl Pair {
    async fn open() -> Self {
        let (database, stores) = (Database::new().await, Database::new().await);
        database.execute(TABLE).await;
        let seed = "INSERT INTO orders SELECT g, 'open', g FROM generate_series(1, 50) g";
        database.execute(seed).await;
        let url = format!("postgresql://postgres@127.0.0.1:{}/{}", stores.port, stores.name);
        let source = on_kafka(&configuration(&database, &["public.orders"], ""), "");
        let config = format!(
            "controller.store = \"{url}\"\ncontroller.lease_ms = 3000\nregistry.store = \"{url}\"\n{source}"
        );
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = Daemon::up(folders[0].path(), &config).await;
        acts(&first).await;
        first.streaming().await;
        let second = Daemon::up(folders[1].path(), &config).await;
        second.logged("standby").await;
        let pair = Self { database, stores, folders, acts: first, waits: second };
        let documents = [
            pipeline("all", TOPIC, "SELECT * FROM rows"),
            pipeline("chained", "mesh.all", "SELECT * FROM rows"),
        ];
        eventually("the table has its topic", async || {
            let (folder, text) = (pair.folders[0].path(), documents.join("---\n"));
            (with_documents(&pair.acts, folder, "apply", &text).0 == Some(0)).then_some(())
        })
        .await;
        pair
    }

    /// Both topics hold what the table does, and each change of it once.
    async fn agree(&self, daemon: &Daemon) {
        for name in ["all", "chained"] {
            is(daemon, name, "running").await;
            let expected = rows(&self.database, "SELECT * FROM orders").await;
            let found = equals(daemon, &format!("mesh.{name}"), &expected).await;
            let changes: Vec<(String, String)> = found
                .iter()
                .filter(|record| record["value"]["op"] != "r")
                .map(|record| (record["key"].to_string(), record["position"].to_string()))
                .collect();
            let once: BTreeSet<_> = changes.iter().collect();
            assert_eq!(once.len(), changes.len(), "mesh.{name} has something twice");
        }
    }

    async fn touch(&self) {
        self.database.execute("UPDATE orders SET qty = qty + 1").await;
    }

    /// The epoch of the lease.
    async fn epoch(&self) -> String {
        self.stores.text("SELECT epoch::text FROM tidemesh_controller.lease").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_daemon_goes_on_where_one_was_killed() {
    let mut pair = Pair::open().await;
    pair.agree(&pair.acts).await;
    // Whoever asks the one that waits is sent to the one that acts.
    let third = pipeline("third", TOPIC, "SELECT id, qty FROM rows WHERE qty > 20");
    applied(&pair.waits, pair.folders[1].path(), &third);
    is(&pair.acts, "third", "running").await;
    eventually("who waits shows what is declared", async || {
        (report(&pair.waits, "third")["name"] == "third").then_some(())
    })
    .await;
    let epoch = pair.epoch().await;

    pair.database.execute("ALTER TABLE orders ADD COLUMN colour text DEFAULT 'red'").await;
    pair.touch().await;
    pair.acts.kill();
    acts(&pair.waits).await;
    assert_ne!(pair.epoch().await, epoch, "each lease has an epoch of its own");
    pair.waits.streaming().await;
    pair.touch().await;
    pair.agree(&pair.waits).await;
    let expected = rows(&pair.database, "SELECT id, qty FROM orders WHERE qty > 20").await;
    equals(&pair.waits, "mesh.third", &expected).await;
    let deleted = pair.waits.command(&["delete", "pipeline", "third"]);
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert!(pair.waits.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_held_up_for_longer_than_its_lease_changes_nothing_any_more() {
    let pair = Pair::open().await;
    pair.agree(&pair.acts).await;
    pair.acts.signal("-STOP");
    acts(&pair.waits).await;
    pair.acts.signal("-CONT");
    pair.acts.logged("another controller acts").await;
    pair.touch().await;
    pair.agree(&pair.waits).await;
    let text = pipeline("late", TOPIC, "SELECT id FROM rows");
    applied(&pair.acts, pair.folders[0].path(), &text);
    is(&pair.waits, "late", "running").await;
}
