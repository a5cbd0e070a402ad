//! DDL that changes rows without a word of them in the log: the table is read anew.

use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, log_alone, verified};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::topic::equals;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tidemesh_model::{ChangeBatch, SourceSettings};
use tidemesh_postgres::PostgresConnector;
use tidemesh_source::{BatchLimit, Connector, Source};

const TOPIC: &str = "shop.public.orders";

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n int, note text, ok bool)";

const FILL: &str = "INSERT INTO orders SELECT g, g, 'x', true FROM generate_series(1, 500) g";

#[tokio::test(flavor = "multi_thread")]
async fn a_column_whose_default_is_computed_for_each_row_is_read() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // The log must have told of the table before.
    database.execute("UPDATE orders SET n = 0 WHERE id = 1").await;
    verified(&daemon);
    database
        .execute(
            "ALTER TABLE orders ADD COLUMN serial bigint GENERATED ALWAYS AS IDENTITY,
                 ADD COLUMN chance text DEFAULT md5(random()::text);
             INSERT INTO orders (id, n) VALUES (1000, 1)",
        )
        .await;
    daemon.logged("was rewritten by DDL: it is read anew").await;
    tells_the_table(&database, &daemon).await;
    // While it is down, and with more DDL behind it.
    daemon.kill();
    database
        .execute(
            "ALTER TABLE orders ADD COLUMN later text DEFAULT md5(random()::text);
             UPDATE orders SET n = 0 WHERE id < 10;
             ALTER TABLE orders ADD COLUMN plain int DEFAULT 7;
             UPDATE orders SET n = 1 WHERE id < 5",
        )
        .await;
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    tells_the_table(&database, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_made_again_has_nothing_of_the_one_before() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // The log told nothing of the table before. The last column: the table looks as it did.
    verified(&daemon);
    database
        .execute(
            "ALTER TABLE orders DROP COLUMN ok;
             ALTER TABLE orders ADD COLUMN ok bool;
             INSERT INTO orders (id, n) VALUES (1000, 1)",
        )
        .await;
    daemon.logged("was rewritten by DDL: it is read anew").await;
    tells_the_table(&database, &daemon).await;
    // While it is down, with rows between.
    daemon.kill();
    database
        .execute(
            "ALTER TABLE orders DROP COLUMN note;
             UPDATE orders SET n = 0 WHERE id < 10;
             ALTER TABLE orders ADD COLUMN note text DEFAULT 'again';
             UPDATE orders SET n = 1 WHERE id < 5",
        )
        .await;
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    tells_the_table(&database, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_whose_values_are_made_others_under_its_type_is_read() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(
            "ALTER TABLE orders ALTER COLUMN note TYPE text USING upper(note);
             UPDATE orders SET n = 0 WHERE id = 1",
        )
        .await;
    daemon.logged("was rewritten by DDL: it is read anew").await;
    tells_the_table(&database, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_get_other_keys_leave_none_of_the_former() {
    let database = Database::new().await;
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, n int, note text)").await;
    database
        .execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1001, 1500) g")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(
            "ALTER TABLE orders DROP COLUMN id;
             ALTER TABLE orders ADD COLUMN id serial PRIMARY KEY;
             UPDATE orders SET n = 0 WHERE id < 10",
        )
        .await;
    tells_the_table(&database, &daemon).await;
    // While it is down, with rows of the former keys before it, and none behind.
    daemon.kill();
    database.execute("UPDATE orders SET n = 1 WHERE id < 10").await;
    database.execute("ALTER TABLE orders ALTER COLUMN id TYPE int USING id * 1000").await;
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    tells_the_table(&database, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_default_and_a_table_that_is_only_moved_are_not() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database
        .execute("INSERT INTO orders SELECT g, g, 'x', true FROM generate_series(1, 50) g")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "UPDATE orders SET n = n;
             ALTER TABLE orders ADD COLUMN plain int DEFAULT 7;
             UPDATE orders SET n = 5 WHERE id = 1",
        )
        .await;
    equals_by_key(&daemon, &database).await;
    database.execute("VACUUM FULL orders").await;
    database.execute("UPDATE orders SET n = 6 WHERE id = 1").await;
    let changed = equals_by_key(&daemon, &database).await;
    assert!(!daemon.log_text().contains("was rewritten"), "{changed}");
}

/// The topic comes to have what the table has, and `verify` finds no difference.
async fn tells_the_table(database: &Database, daemon: &Daemon) {
    equals(daemon, TOPIC, &rows(database, "orders").await).await;
    verified(daemon);
}

/// Waits until the topic has the row that was changed last; answers how many records it has.
async fn equals_by_key(daemon: &Daemon, database: &Database) -> usize {
    let told = rows(database, "orders").await;
    crate::support::eventually("the last change comes", async || {
        let records = crate::support::topic::records(daemon, TOPIC);
        let last = records.last()?["value"]["after"].clone();
        (Some(&last) == told.get("{\"id\":1}")).then_some(records.len())
    })
    .await
}

/// What a future comes to, unless it is still waiting when it was polled so many times; then it is
/// dropped.
async fn polled<F: Future>(future: F, times: u32) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_seen_though_the_call_that_looks_is_dropped_at_any_moment() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let settings: SourceSettings = toml::from_str(&format!(
        "name = \"shop\"\n[postgres]\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{}\"\n\
         user = \"postgres\"\ntables = [\"public.orders\"]\nslot = \"{}\"\npublication = \"{}\"",
        database.port, database.name, database.name, database.name
    ))
    .unwrap();
    let connector = PostgresConnector::new(&settings).unwrap();
    let mut source = connector.open(None, 1).await.unwrap();
    let limit = BatchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_secs(10) };
    database.execute("INSERT INTO orders VALUES (1, 1)").await;
    while source.next_batch(limit).await.unwrap().schemas().is_empty() {}
    database
        .execute(
            "ALTER TABLE orders ADD COLUMN chance text DEFAULT md5(random()::text);
             INSERT INTO orders (id, n) VALUES (2, 2)",
        )
        .await;
    let (mut times, mut rewritten) = (1, 0);
    loop {
        let Some(batch) = polled(source.next_batch(limit), times).await else {
            times += 1;
            continue;
        };
        times = 1;
        let batch = batch.unwrap();
        rewritten += batch.rewritten().len();
        if !batch.schemas().is_empty() {
            break;
        }
    }
    assert_eq!(rewritten, 1, "before the rows that follow it");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_seen_though_nobody_sees_the_commit_yet() {
    seen_though_held(
        "ALTER TABLE orders ADD COLUMN chance text DEFAULT md5(random()::text);
         INSERT INTO orders (id, n) VALUES (1000, 1)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_made_again_is_though_nobody_sees_the_commit_yet() {
    seen_though_held(
        "ALTER TABLE orders DROP COLUMN ok;
         ALTER TABLE orders ADD COLUMN ok bool;
         INSERT INTO orders (id, n) VALUES (1000, 1)",
    )
    .await;
}

/// A transaction with DDL, of which the log tells before anybody sees it, has the table read anew.
async fn seen_though_held(ddl: &'static str) {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    database
        .execute("INSERT INTO orders SELECT g, g, 'x', true FROM generate_series(1, 50) g")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET n = 0 WHERE id = 1").await;
    verified(&daemon);
    database.hold_commits().await;
    let held = database.execute_held(ddl).await;
    looks_for_the_commit(&database).await;
    database.let_commits_go().await;
    held.await.unwrap();
    tells_the_table(&database, &daemon).await;
}

/// Until the source, which the log has told of a commit, looks whether it is visible.
pub(crate) async fn looks_for_the_commit(database: &Database) {
    eventually("the log has told of it", async || {
        let looking = "SELECT count(*)::text FROM pg_stat_activity
                       WHERE query = 'SELECT pg_current_snapshot()::text'
                          OR (query LIKE '%FROM pg_locks%' AND pid <> pg_backend_pid())";
        (database.text(looking).await != "0").then_some(())
    })
    .await;
}
