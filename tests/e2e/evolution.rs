//! What changes of a table make of the pipelines that read it: each outcome as it is stated, and the
//! topics equal to the same SQL in the database wherever a pipeline goes on.

use crate::pipelines::{
    applied, is, keeps_tombstones, pipeline, rows, streaming, verified, with_documents,
};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::equals;

pub(crate) const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, status varchar(10), qty int, \
                     note text)";
const TOPIC: &str = "shop.public.orders";

struct Site {
    database: Database,
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Site {
    async fn open(change: impl Fn(&str) -> String) -> Self {
        let database = Database::new().await;
        database.execute(TABLE).await;
        let seed =
            "INSERT INTO orders SELECT g, 'open', g, 'note ' || g FROM generate_series(1, 50) g";
        database.execute(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let daemon = streaming(&database, folder.path(), change).await;
        let site = Self { database, folder, daemon };
        eventually("the table has its topic", async || {
            let probe = pipeline("probe", TOPIC, "SELECT id FROM rows");
            let (code, _) = with_documents(&site.daemon, site.folder.path(), "plan", &probe);
            (code != Some(2)).then_some(())
        })
        .await;
        site
    }

    fn apply(&self, texts: &[String]) {
        applied(&self.daemon, self.folder.path(), &texts.join("---\n"));
    }

    /// Changes the table, and then each of its rows.
    async fn change(&self, ddl: &str) {
        self.database.execute(ddl).await;
        self.touch().await;
    }

    async fn touch(&self) {
        self.database.execute("UPDATE orders SET status = 's' || length(status)").await;
    }

    /// A pipeline runs, and its topic holds what this query says.
    async fn goes_on(&self, name: &str, sql: &str) {
        is(&self.daemon, name, "running").await;
        let expected = rows(&self.database, sql).await;
        equals(&self.daemon, &format!("mesh.{name}"), &expected).await;
        verified(&self.daemon, name).await;
    }

    /// What is said of a change before it is made.
    fn would(&self, change: &[&str], code: i32, says: &str) {
        let of = ["impact", "--source", "shop", "--table", "public.orders"];
        let output = self.daemon.command(&[&of, change].concat());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{change:?}: {said}");
        assert!(said.contains(says), "{change:?}: {said}");
    }

    async fn held(&self, name: &str, because: &str) {
        let report = is(&self.daemon, name, "held").await;
        assert!(report["reasons"].to_string().contains(because), "{report}");
    }
}

fn manual() -> String {
    let text = pipeline("manual", TOPIC, "SELECT * FROM rows");
    text.replace("spec:\n", "spec:\n  evolution: manual\n")
}

async fn each_change_of_a_table(change: impl Fn(&str) -> String) {
    let site = Site::open(change).await;
    let pinned = pipeline("pinned", TOPIC, "SELECT * FROM rows");
    site.apply(&[
        pipeline("all", TOPIC, "SELECT * FROM rows"),
        pipeline("chained", "mesh.all", "SELECT * FROM rows"),
        pipeline("some", TOPIC, "SELECT id, qty FROM rows"),
        pipeline("noted", TOPIC, "SELECT id, note FROM rows"),
        pinned.replace("spec:\n", "spec:\n  evolution: pinned\n"),
        manual(),
    ]);
    let star = "SELECT * FROM orders";
    for name in ["all", "chained", "pinned", "manual"] {
        site.goes_on(name, star).await;
    }

    site.would(&["--add", "colour=text"], 0, "upgraded   all");
    // A column that is new, with a default: it flows on where a star takes it.
    site.change("ALTER TABLE orders ADD COLUMN colour text DEFAULT 'red'").await;
    // Not a row of it goes through a plan that does not know it.
    for name in ["all", "chained"] {
        site.goes_on(name, star).await;
    }
    let without = "SELECT id, status, qty, note FROM orders";
    site.goes_on("pinned", without).await;
    site.goes_on("manual", without).await;
    let offered = is(&site.daemon, "manual", "running").await;
    assert!(offered["reasons"].to_string().contains("evolution: manual"), "{offered}");
    site.apply(&[manual()]);
    site.touch().await;
    site.goes_on("manual", star).await;

    site.would(&["--type", "status=varchar(100)"], 0, "unaffected some");
    // A longer one, and one that nobody reads, change nothing.
    site.change("ALTER TABLE orders ALTER COLUMN status TYPE varchar(100)").await;
    site.goes_on("some", "SELECT id, qty FROM orders").await;
    site.goes_on("all", star).await;

    site.would(&["--rename", "note=remark"], 1, "held       noted (sales)");
    // Under another name it is not what was read: null would stand for it.
    site.change("ALTER TABLE orders RENAME COLUMN note TO remark").await;
    site.held("noted", "remark").await;
    keeps_tombstones(&site.daemon, TOPIC, "for who waits", |ms| ms > 86_400_000).await;
    site.goes_on("some", "SELECT id, qty FROM orders").await;
    site.apply(&[pipeline("noted", TOPIC, "SELECT id, remark AS note FROM rows")]);
    site.goes_on("noted", "SELECT id, remark AS note FROM orders").await;

    site.would(&["--type", "qty=text"], 1, "go on in shop.public.orders.g2");
    // Another type closes the topic. Who reads none of it goes on in the next one; who would write it
    // as another type is held.
    site.change("ALTER TABLE orders ALTER COLUMN qty TYPE text").await;
    eventually("it has gone over", async || {
        let report = site.daemon.get("/v1/pipelines/noted").await;
        report["inputs"].to_string().contains("shop.public.orders.g2").then_some(())
    })
    .await;
    site.touch().await;
    site.goes_on("noted", "SELECT id, remark AS note FROM orders").await;
    site.held("some", "qty").await;

    // Another key makes other keys of what is passed on.
    site.change("ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (id, status)")
        .await;
    site.held("noted", "key").await;
    let records = site.daemon.command(&["upgrades", "noted"]);
    let records = String::from_utf8(records.stdout).unwrap();
    let verdicts: Vec<&str> =
        records.lines().filter_map(|line| line.split("Z  ").nth(1)?.split(':').next()).collect();
    assert_eq!(verdicts, ["held", "moved", "held"], "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_table_comes_out_as_it_is_stated() {
    each_change_of_a_table(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_table_over_kafka_comes_out_as_it_is_stated() {
    each_change_of_a_table(|config| on_kafka(config, "")).await;
}

/// The table's schema is, word for word, what it was before the column was added.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_was_added_and_is_dropped_again_is_a_change() {
    let site = Site::open(str::to_owned).await;
    site.apply(&[pipeline("all", TOPIC, "SELECT * FROM rows")]);
    let star = "SELECT * FROM orders";
    site.goes_on("all", star).await;
    site.change("ALTER TABLE orders ADD COLUMN colour text").await;
    site.goes_on("all", star).await;
    site.apply(&[pipeline("coloured", TOPIC, "SELECT id, colour FROM rows")]);
    site.goes_on("coloured", "SELECT id, colour FROM orders").await;

    site.change("ALTER TABLE orders DROP COLUMN colour").await;
    site.held("coloured", "colour").await;
    site.goes_on("all", star).await;

    // And once more: it comes again, word for word too.
    site.change("ALTER TABLE orders ADD COLUMN colour text").await;
    site.goes_on("coloured", "SELECT id, colour FROM orders").await;
    site.goes_on("all", star).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_output_the_registry_refuses_is_not_taken() {
    let site = Site::open(str::to_owned).await;
    // A version of its topic's values has a number where the table will have a text.
    let before = "SELECT *, qty AS extra FROM rows";
    site.apply(&[pipeline("wide", TOPIC, before)]);
    site.goes_on("wide", "SELECT *, qty AS extra FROM orders").await;
    site.apply(&[pipeline("wide", TOPIC, "SELECT * FROM rows")]);
    let without = "SELECT id, status, qty, note FROM orders";
    eventually("the other plan runs", async || {
        site.touch().await;
        let found = crate::support::topic::records(&site.daemon, "mesh.wide");
        let expected = rows(&site.database, without).await;
        (crate::support::topic::fold(&found) == expected).then_some(())
    })
    .await;
    site.change("ALTER TABLE orders ADD COLUMN extra text").await;
    eventually("it is told why it stays as it is", async || {
        let report = is(&site.daemon, "wide", "running").await;
        let reasons = report["reasons"].to_string();
        (reasons.contains("mesh.wide") && reasons.contains("extra")).then_some(())
    })
    .await;
    site.touch().await;
    site.goes_on("wide", without).await;
    let records = site.daemon.command(&["upgrades", "wide"]).stdout;
    let records = String::from_utf8(records).unwrap();
    assert!(records.contains("stays: "), "{records}");
}
