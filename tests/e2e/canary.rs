//! An upgrade whose new plan fails where the running one does not: nothing of it is taken, and the pipeline
//! goes on as it was. `examples/own_binary.rs` has a processor that takes a field which the table lacks at
//! first, and refuses some of its values.

use crate::own_binary::binary;
use crate::pipelines::{applied, is, rows, with_documents};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::equals;

/// What it scores by is a column of its input, or null.
const SCORED: &str = "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {name: scored}\nspec:\n  \
    inputs: {orders: shop.public.orders}\n  processors:\n    - name: scored\n      processor: \
    fraud-score@1\n      inputs: [orders]\n      config: {threshold: 1024}\n    - name: levels\n      sql: \
    SELECT id, qty, CAST(score * 1024 AS BIGINT) AS level FROM scored\n  sinks:\n    - name: out\n      \
    from: levels\n      kafka: {topic: mesh.scored}\n";

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, qty int)";

struct Site {
    database: Database,
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Site {
    async fn open() -> Self {
        let database = Database::new().await;
        database.execute(TABLE).await;
        database.execute("INSERT INTO orders SELECT g, g FROM generate_series(1, 20) g").await;
        let folder = tempfile::tempdir().unwrap();
        let daemon = up(folder.path(), &database).await;
        let site = Self { database, folder, daemon };
        eventually("the table has its topic", async || {
            (site.hand("apply").0 == Some(0)).then_some(())
        })
        .await;
        site.holds("SELECT id, qty, 0 AS level FROM orders").await;
        site
    }

    fn hand(&self, command: &str) -> (Option<i32>, String) {
        with_documents(&self.daemon, self.folder.path(), command, SCORED)
    }

    async fn holds(&self, sql: &str) {
        equals(&self.daemon, "mesh.scored", &rows(&self.database, sql).await).await;
    }

    fn out(&self, arguments: &[&str]) -> String {
        let output = self.daemon.command(arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }
}

async fn up(folder: &std::path::Path, database: &Database) -> Daemon {
    let config = configuration(database, &["public.orders"], "");
    let daemon = Daemon::start_binary(&binary(), folder, &config, &["up"], &[]).await;
    daemon.streaming().await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_fails_on_the_first_new_records_is_rolled_back() {
    let mut site = Site::open().await;
    // One of the rows has a value that the processor refuses, as soon as it gets it.
    site.database
        .execute(
            "ALTER TABLE orders ADD COLUMN total double precision DEFAULT 512;
             UPDATE orders SET total = -1 WHERE id = 3;
             UPDATE orders SET qty = qty + 1",
        )
        .await;
    let told = eventually("it is told", async || {
        let report = site.out(&["describe", "pipeline", "scored"]);
        report.contains("its total is negative").then_some(report)
    })
    .await;
    assert!(told.contains("running") && told.contains("resume"), "{told}");
    let before = "SELECT id, qty, 0 AS level FROM orders";
    site.holds(before).await;
    let upgrades = site.out(&["upgrades", "scored"]);
    assert!(upgrades.contains("rolled_back: the plan that it was to get failed"), "{upgrades}");
    assert!(upgrades.contains("stays"), "{upgrades}");

    // It is remembered over a kill, and what comes goes on as before.
    site.daemon.kill();
    site.daemon = up(site.folder.path(), &site.database).await;
    site.database.execute("UPDATE orders SET total = 256, qty = qty + 1").await;
    site.holds(before).await;
    let told = site.out(&["describe", "pipeline", "scored"]);
    assert!(told.contains("its total is negative"), "{told}");

    // Whoever applies it takes the plan.
    applied(&site.daemon, site.folder.path(), SCORED);
    site.database.execute("UPDATE orders SET qty = qty + 1").await;
    is(&site.daemon, "scored", "running").await;
    site.holds("SELECT id, qty, 256 AS level FROM orders").await;
    let told = site.out(&["describe", "pipeline", "scored"]);
    assert!(!told.contains("negative"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_fails_on_nothing_is_taken() {
    let site = Site::open().await;
    site.database.execute("ALTER TABLE orders ADD COLUMN total double precision DEFAULT 512").await;
    site.database.execute("UPDATE orders SET qty = qty + 1").await;
    site.holds("SELECT id, qty, 512 AS level FROM orders").await;
    let upgrades = site.out(&["upgrades", "scored"]);
    assert!(upgrades.contains("upgraded") && !upgrades.contains("rolled_back"), "{upgrades}");
}
