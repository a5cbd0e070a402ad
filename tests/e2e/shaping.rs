//! What is captured of a database: tables and columns by pattern, masked columns, partitioned tables
//! by root or leaf.

use crate::support::daemon::{Daemon, configuration, refused_up, verified, with};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{fold, records};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::Path;

/// What no topic, state or log may hold.
const SECRET: &str = "TOPSECRET";

/// Waits until a topic's latest rows are what the query gives, one JSON object a row.
async fn same(daemon: &Daemon, topic: &str, database: &Database, query: &str) -> Vec<Json> {
    let rows = database.client.query(query, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| {
        serde_json::from_str::<Json>(&row.get::<_, String>(0)).unwrap().to_string()
    };
    let expected: BTreeSet<String> = rows.iter().map(row).collect();
    let mut last = BTreeSet::new();
    let wait = eventually("the topic's rows are the table's", async || {
        let found = records(daemon, topic);
        last = fold(&found).values().map(sorted).collect();
        (last == expected).then_some(found)
    });
    tokio::time::timeout(crate::support::PATIENCE / 2, wait)
        .await
        .unwrap_or_else(|_| panic!("the topic has {last:?}, the table {expected:?}"))
}

/// With its keys in the order of `jsonb`: by length, then by name.
fn sorted(row: &Json) -> String {
    let mut cells: Vec<_> = row.as_object().unwrap().iter().collect();
    cells.sort_by_key(|(name, _)| (name.len(), (*name).clone()));
    let cells = cells.into_iter().map(|(name, cell)| (name.clone(), cell.clone()));
    Json::Object(cells.collect()).to_string()
}

fn jsonb(table: &str) -> String {
    format!("SELECT to_jsonb(t)::text FROM {table} t")
}

/// The tables that are verified, by name.
fn captured(daemon: &Daemon) -> Vec<String> {
    let said = verified(daemon);
    let tables = said["tables"].as_array().unwrap().iter();
    tables.map(|table| table["table"]["table"].as_str().unwrap().to_owned()).collect()
}

/// Whether any file in a folder has these bytes.
fn has_bytes(folder: &Path, wanted: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return has_bytes(&path, wanted);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes())
    })
}

async fn refused(database: &Database, tables: &[&str], more: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(database, tables, more)).await;
    daemon.stopped_with().await
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "«{word}» is missing in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_matched_by_pattern_and_one_that_is_made_later_is_found() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE SCHEMA sales; CREATE SCHEMA hidden;
             CREATE TABLE sales.orders (id int PRIMARY KEY, n int);
             CREATE TABLE sales.items (id int PRIMARY KEY, n int);
             CREATE TABLE sales.orders_log (n int);
             CREATE TABLE hidden.orders (id int PRIMARY KEY, n int);
             CREATE TABLE users (id int PRIMARY KEY, n int);
             CREATE VIEW sales.seen AS SELECT * FROM sales.orders;
             INSERT INTO sales.orders SELECT g, g FROM generate_series(1, 10) g;
             INSERT INTO sales.items SELECT g, g FROM generate_series(1, 10) g",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config =
        configuration(&database, &["public.users", "sales.*"], "exclude_tables = [\"*.*_log\"]");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE sales.items SET n = n + 1; INSERT INTO users VALUES (1, 1)").await;
    assert_eq!(captured(&daemon), ["users", "items", "orders"]);
    database
        .execute(
            "CREATE TABLE sales.bills (id int PRIMARY KEY, n int);
             INSERT INTO sales.bills SELECT g, g FROM generate_series(1, 5) g",
        )
        .await;
    let found = daemon.logged("a table is there that the settings mean").await;
    assert_eq!(found["table"], "sales.bills");
    same(&daemon, "shop.sales.bills", &database, &jsonb("sales.bills")).await;
    database.execute("UPDATE sales.bills SET n = 9 WHERE id = 3").await;
    same(&daemon, "shop.sales.bills", &database, &jsonb("sales.bills")).await;
    assert_eq!(captured(&daemon), ["users", "bills", "items", "orders"]);
    assert!(records(&daemon, "shop.hidden.orders").is_empty());
    // One that is dropped is captured no more, and another of its name is another table.
    daemon.kill();
    database.execute("DROP TABLE sales.bills").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert_eq!(captured(&daemon), ["users", "items", "orders"]);
    database
        .execute("CREATE TABLE sales.bills (id int PRIMARY KEY, n int); INSERT INTO sales.bills VALUES (50, 1)")
        .await;
    eventually("it is published", async || {
        let published =
            "SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'bills'";
        (database.text(published).await == "1").then_some(())
    })
    .await;
    database.execute("INSERT INTO sales.bills VALUES (51, 1)").await;
    same(&daemon, "shop.sales.bills", &database, &jsonb("sales.bills")).await;
    assert_eq!(captured(&daemon), ["users", "bills", "items", "orders"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_matched_and_cannot_be_captured_is_told_with_what_to_do() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE loose (n int);
             CREATE UNLOGGED TABLE fast (id int PRIMARY KEY)",
        )
        .await;
    let error = refused(&database, &["public.*"], "").await;
    assert_says(
        &error,
        &[
            "\"loose\" has no replica identity",
            "\"fast\" is no ordinary",
            "postgres.exclude_tables",
        ],
    );
    let error = refused(&database, &["other.*"], "").await;
    assert_says(&error, &["no table matches postgres.tables"]);
    let error = refused(&database, &["public.*"], "exclude_tables = [\"public.*\"]").await;
    assert_says(&error, &["no table matches postgres.tables"]);
}

/// A role that may read these columns only.
async fn role_for(database: &Database, columns: &str) -> String {
    let role = format!("{}_narrow", database.name);
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ({columns}) ON users TO {role};
             CREATE PUBLICATION {} FOR TABLE users",
            database.name
        ))
        .await;
    role
}

async fn columns_that_are_left_out(version: u32, identity: &str) {
    let database = Database::on_version(version).await;
    database
        .execute(&format!(
            "CREATE TABLE users (password text, id int PRIMARY KEY, secret_key text, name text,
                                 rights aclitem, n int);
             ALTER TABLE users ALTER secret_key SET STORAGE EXTERNAL;
             ALTER TABLE users REPLICA IDENTITY {identity};
             INSERT INTO users SELECT '{SECRET}', g, repeat('{SECRET}', 500), 'name ' || g, NULL, g
             FROM generate_series(1, 50) g"
        ))
        .await;
    let role = role_for(&database, "id, name, n").await;
    let lines = "exclude_columns = [\"public.users.password\", \"*.*.secret_*\", \"*.*.rights\"]";
    let config = configuration(&database, &["public.users"], lines)
        .replace("user = \"postgres\"", &format!("user = \"{role}\""));
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(&format!(
            "INSERT INTO users VALUES ('{SECRET}', 100, NULL, NULL, NULL, NULL);
             UPDATE users SET n = n + 1 WHERE id <= 20;
             UPDATE users SET password = '{SECRET}2', secret_key = '{SECRET}3' WHERE id <= 5;
             UPDATE users SET id = id + 1000 WHERE id = 7;
             DELETE FROM users WHERE id = 8"
        ))
        .await;
    let query = "SELECT (to_jsonb(t) - 'password' - 'secret_key' - 'rights')::text FROM users t";
    let found = same(&daemon, "shop.public.users", &database, query).await;
    let last = found.iter().rfind(|record| record["key"] == json!({"id": 15})).unwrap();
    assert_eq!(last["value"]["op"], "u", "a large value that is left out is not missed");
    verified(&daemon);
    daemon.kill();
    database.execute("UPDATE users SET name = 'new' WHERE id = 1").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // The log describes the table anew, with a column more.
    database.execute("ALTER TABLE users ADD more int; UPDATE users SET more = 1").await;
    database.execute(&format!("GRANT SELECT (more) ON users TO {role}")).await;
    same(&daemon, "shop.public.users", &database, query).await;
    verified(&daemon);
    assert!(!has_bytes(folder.path(), SECRET), "it is kept somewhere");
    let told = records(&daemon, "shop.public.users");
    assert!(told.iter().all(|record| !record.to_string().contains(SECRET)));
    assert!(!daemon.log_text().contains(SECRET));
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_left_out_never_leave_the_process() {
    columns_that_are_left_out(15, "DEFAULT").await;
    columns_that_are_left_out(15, "FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_left_out_on_the_oldest_and_the_newest_postgresql() {
    columns_that_are_left_out(14, "FULL").await;
    columns_that_are_left_out(18, "DEFAULT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_included_are_all_there_is_beside_the_key() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE users (id int, part int, name text, age int, PRIMARY KEY (part, id));
             CREATE TABLE orders (id int PRIMARY KEY, n int);
             INSERT INTO users SELECT g, g % 3, 'n' || g, g FROM generate_series(1, 20) g;
             INSERT INTO orders VALUES (1, 1)",
        )
        .await;
    let lines = "include_columns = [\"public.users.na*\"]";
    let config = configuration(&database, &["public.*"], lines);
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE users SET name = 'x', age = 0 WHERE id = 3").await;
    let query = "SELECT (to_jsonb(t) - 'age')::text FROM users t";
    same(&daemon, "shop.public.users", &database, query).await;
    same(&daemon, "shop.public.orders", &database, &jsonb("orders")).await;
    verified(&daemon);
    let read = ["snapshot", "start", "shop", "--table", "public.users", "--wait"];
    assert!(daemon.command(&read).status.success());
    verified(&daemon);
}

const MASKS: &str = "
[[source.postgres.mask]]
columns = [\"*.*.email\", \"*.*.phone\"]
with = \"hash\"
salt = \"pepper\"
[[source.postgres.mask]]
columns = [\"*.users.city\", \"*.users.code\"]
with = \"truncate\"
length = 3
[[source.postgres.mask]]
columns = [\"public.users.note\", \"public.users.kind\"]
with = \"redact\"";

async fn masked_columns(version: u32, identity: &str) {
    let database = Database::on_version(version).await;
    database
        .execute(&format!(
            "CREATE DOMAIN address AS varchar(40) CHECK (VALUE LIKE '%@%');
             CREATE TABLE users (id int PRIMARY KEY, email address, city text, code char(5),
                                 note text, kind name, n int);
             ALTER TABLE users ALTER note SET STORAGE EXTERNAL;
             ALTER TABLE users REPLICA IDENTITY {identity};
             INSERT INTO users SELECT g, '{SECRET}' || g || '@x', 'ünï {SECRET}', 'ab',
                                      repeat('{SECRET}', 500), '{SECRET}', g
             FROM generate_series(1, 30) g;
             INSERT INTO users (id) VALUES (50)"
        ))
        .await;
    let config = configuration(&database, &["public.users"], MASKS);
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(&format!(
            "INSERT INTO users VALUES (100, '{SECRET}@y', 'a', 'abcde', '{SECRET}', '{SECRET}', 1);
             UPDATE users SET n = n + 1 WHERE id <= 10;
             UPDATE users SET email = NULL, note = '{SECRET}4' WHERE id = 3;
             UPDATE users SET id = 1000 WHERE id = 4;
             DELETE FROM users WHERE id = 5"
        ))
        .await;
    let query = "SELECT jsonb_build_object('id', id, 'n', n, 'city', left(city, 3),
        'code', left(format('%s', code), 3) || CASE WHEN code IS NULL THEN NULL ELSE '' END,
        'email', encode(sha256(convert_to('pepper' || email, 'UTF8')), 'hex'),
        'note', CASE WHEN note IS NOT NULL THEN '***' END,
        'kind', CASE WHEN kind IS NOT NULL THEN '***' END)::text FROM users";
    same(&daemon, "shop.public.users", &database, query).await;
    verified(&daemon);
    // Rows that were not written since have the constant, masked.
    database.execute(&format!("ALTER TABLE users ADD phone varchar(20) DEFAULT '{SECRET}5'")).await;
    database.execute("UPDATE users SET n = 7 WHERE id = 9").await;
    let query = &query.replace(
        "'kind',",
        "'phone', encode(sha256(convert_to('pepper' || phone, 'UTF8')), 'hex'), 'kind',",
    );
    eventually("the row comes with the column", async || {
        let told = records(&daemon, "shop.public.users");
        told.iter().any(|record| record["value"]["after"]["phone"].is_string()).then_some(())
    })
    .await;
    verified(&daemon);
    daemon.kill();
    database.execute("UPDATE users SET city = 'xyzzy' WHERE id = 10").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    assert!(daemon.command(&["snapshot", "start", "shop", "--wait"]).status.success());
    same(&daemon, "shop.public.users", &database, query).await;
    verified(&daemon);
    let told = records(&daemon, "shop.public.users");
    assert!(told.iter().all(|record| !record.to_string().contains(SECRET)));
    assert!(!has_bytes(&folder.path().join("data"), SECRET), "it is kept somewhere");
    assert!(!has_bytes(&folder.path().join("data"), "pepper"), "the salt is kept somewhere");
    assert!(!daemon.log_text().contains("pepper") && !daemon.log_text().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_columns_are_masked_in_log_snapshot_and_verify() {
    masked_columns(15, "DEFAULT").await;
    masked_columns(15, "FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_masked_on_the_oldest_and_the_newest_postgresql() {
    masked_columns(14, "DEFAULT").await;
    masked_columns(18, "FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_is_not_masked() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE users (id int PRIMARY KEY, note text, n int);
             ALTER TABLE users ALTER note SET STORAGE EXTERNAL;
             INSERT INTO users VALUES (1, repeat('large', 2000), 1)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let lines = format!("toast = \"placeholder\"\n{MASKS}");
    let daemon =
        Daemon::up(folder.path(), &configuration(&database, &["public.users"], &lines)).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("UPDATE users SET n = 2").await;
    let last = eventually("the update", async || {
        records(&daemon, "shop.public.users").into_iter().find(|r| r["value"]["op"] == "u")
    })
    .await;
    assert_eq!(last["value"]["after"]["note"], "__debezium_unavailable_value");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_columns_than_before_are_followed_after_a_restart() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE users (id int PRIMARY KEY, note text, email text);
             INSERT INTO users SELECT g, 'n' || g, 'e' || g FROM generate_series(1, 10) g",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let read = ["snapshot", "start", "shop", "--wait"];
    for lines in ["", MASKS, "exclude_columns = [\"*.*.note\"]", MASKS, ""] {
        let config = configuration(&database, &["public.users"], lines);
        let mut daemon = Daemon::up(folder.path(), &config).await;
        daemon.streaming().await;
        database.execute("UPDATE users SET note = note || '!' WHERE id < 3").await;
        assert!(daemon.command(&["snapshot", "status", "shop", "--wait"]).status.success());
        assert!(daemon.command(&read).status.success());
        verified(&daemon);
        assert!(daemon.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_cannot_be_left_out_or_masked_are_named() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE users (id int PRIMARY KEY, name text, n int, doc json);
             CREATE TABLE loose (a int, b text);
             ALTER TABLE loose REPLICA IDENTITY FULL",
        )
        .await;
    let mask = |columns: &str| {
        format!("[[source.postgres.mask]]\ncolumns = [{columns}]\nwith = \"redact\"")
    };
    for (table, lines, words) in [
        (
            "public.users",
            "exclude_columns = [\"*.*.id\"]".to_owned(),
            vec!["\"users\" has the column \"id\"", "of the key", "postgres.exclude_columns"],
        ),
        (
            "public.loose",
            "exclude_columns = [\"*.*.b\"]".to_owned(),
            vec!["\"loose\" has the column \"b\"", "without a key"],
        ),
        (
            "public.loose",
            "include_columns = [\"*.*.a\"]".to_owned(),
            vec!["\"loose\" has the column \"b\"", "without a key"],
        ),
        (
            "public.users",
            mask("\"*.users.id\", \"*.*.n\", \"*.*.doc\""),
            vec!["cannot be masked", "\"n\" of type integer", "\"doc\" of type json", "\"id\""],
        ),
    ] {
        let error = refused(&database, &[table], &lines).await;
        assert_says(&error, &words);
    }
    let role = role_for(&database, "id, name").await;
    let config = configuration(&database, &["public.users"], "exclude_columns = [\"*.*.doc\"]")
        .replace("user = \"postgres\"", &format!("user = \"{role}\""));
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    let grant = "GRANT SELECT (\"id\", \"name\", \"n\") ON \"public\".\"users\"";
    assert_says(&daemon.stopped_with().await, &["may not read", grant]);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_matches_no_column_is_warned_of() {
    let database = Database::new().await;
    database.execute("CREATE TABLE users (id int PRIMARY KEY, password text)").await;
    let lines = "exclude_columns = [\"public.users.pasword\"]";
    let folder = tempfile::tempdir().unwrap();
    let daemon =
        Daemon::up(folder.path(), &configuration(&database, &["public.users"], lines)).await;
    let warned = daemon.logged("no column of a captured table is of this pattern").await;
    assert_eq!(warned["pattern"], "public.users.pasword");
}

#[test]
fn a_mask_that_lacks_what_it_needs_is_not_taken() {
    let source = "[[source]]\nname = \"s\"\n[source.postgres]\ndatabase = \"d\"\nuser = \"u\"\n\
                  tables = [\"public.*\"]\n";
    for (lines, words) in [
        ("exclude_columns = [\"password\"]", "postgres.exclude_columns: each must be"),
        ("exclude_tables = [\"users\"]", "postgres.exclude_tables: each must be schema.table"),
        ("mask = [{columns = [\"a.b.c\"], with = \"hash\"}]", "hash needs a salt"),
        ("mask = [{columns = [\"a.b.c\"], with = \"truncate\"}]", "a length of 1 to 65535"),
        ("mask = [{columns = [\"a.b.c\"], with = \"md5\"}]", "`hash`, `truncate`, `redact`"),
        ("partitions = \"branch\"", "`root` or `leaf`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tidemesh.toml"), format!("{source}{lines}")).unwrap();
        let error = refused_up(folder.path());
        assert!(error.contains(words), "{lines}: {error}");
    }
}

/// By month; the second month's table is partitioned again, and the third's was made elsewhere, with
/// its columns in another order and one dropped.
const EVENTS: &str = "
CREATE TABLE events (id int, at date, note text, n int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')
    PARTITION BY HASH (id);
CREATE TABLE events_2a PARTITION OF events_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2b PARTITION OF events_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_3 (n int, gone text, note text, at date NOT NULL, id int NOT NULL);
ALTER TABLE events_3 DROP gone, ADD PRIMARY KEY (id, at);
ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
ALTER TABLE events ALTER note SET STORAGE EXTERNAL;
INSERT INTO events SELECT g, '2024-01-01'::date + g % 90, 'note ' || g, g
FROM generate_series(1, 300) g;";

/// What is done to it while it is captured.
const CHANGES: &str = "
INSERT INTO events SELECT g, '2024-01-01'::date + g % 90, repeat('large', 1000), g
FROM generate_series(400, 450) g;
UPDATE events SET n = n + 1 WHERE id % 3 = 0;
UPDATE events SET at = at + 31 WHERE at < '2024-01-10';
DELETE FROM events WHERE id % 10 = 1;
INSERT INTO events_2a SELECT id, at, 'by the leaf', 1 FROM
    (SELECT g AS id, '2024-02-05'::date AS at FROM generate_series(500, 520) g) s
    WHERE satisfies_hash_partition('events_2'::regclass, 2, 0, id);";

async fn partitioned_by_root(version: u32, identity: &str) {
    const TOPIC: &str = "shop.public.events";
    let database = Database::on_version(version).await;
    database.execute(EVENTS).await;
    database.execute(&format!("ALTER TABLE events REPLICA IDENTITY {identity}")).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.*"], "exclude_columns = [\"*.*.nothing\"]");
    let config = with(&config, "snapshot.chunk_rows = 50");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    same(&daemon, TOPIC, &database, &jsonb("events")).await;
    database.execute(CHANGES).await;
    same(&daemon, TOPIC, &database, &jsonb("events")).await;
    assert_eq!(captured(&daemon), ["events"]);
    // A partition that is made later, and a column of which its rows have a constant.
    database
        .execute(
            "CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM ('2024-04-01') TO ('2024-05-01');
             INSERT INTO events VALUES (600, '2024-04-04', 'new', 1);
             ALTER TABLE events ADD state text DEFAULT 'open';
             UPDATE events SET state = 'shut' WHERE id < 20",
        )
        .await;
    eventually("the rows come with the column", async || {
        let told = records(&daemon, TOPIC);
        told.iter().any(|record| record["value"]["after"]["state"] == "shut").then_some(())
    })
    .await;
    verified(&daemon);
    daemon.kill();
    database
        .execute("DELETE FROM events WHERE id = 300; UPDATE events SET n = 0 WHERE id = 299")
        .await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert_eq!(captured(&daemon), ["events"]);
    assert!(daemon.command(&["snapshot", "start", "shop", "--wait"]).status.success());
    same(&daemon, TOPIC, &database, &jsonb("events")).await;
    for leaf in ["events_1", "events_2", "events_2a", "events_3"] {
        assert!(records(&daemon, &format!("shop.public.{leaf}")).is_empty(), "{leaf}");
    }
    database.execute("TRUNCATE events; INSERT INTO events VALUES (1, '2024-01-01', 'x', 1)").await;
    same(&daemon, TOPIC, &database, &jsonb("events")).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_one_table_by_its_root() {
    partitioned_by_root(15, "DEFAULT").await;
    // Its partitions log their keys alone.
    partitioned_by_root(15, "FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_one_table_on_the_oldest_and_the_newest_postgresql() {
    partitioned_by_root(14, "DEFAULT").await;
    partitioned_by_root(18, "DEFAULT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_partitioned_table_is_read_in_parts() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE events (id int PRIMARY KEY, n int) PARTITION BY HASH (id);
             CREATE TABLE events_a PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE events_b PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             INSERT INTO events SELECT g, g FROM generate_series(1, 120000) g;
             ANALYZE events_a, events_b",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.events"], ""), "snapshot.parallel = 3");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE events SET n = 0 WHERE id % 1000 = 0").await;
    let said = verified(&daemon);
    assert_eq!(said["tables"][0]["rows"], 120_000, "{said}");
    let report = daemon.described()["snapshot"]["tables"][0].clone();
    assert_eq!(report["ranges"].as_array().map(Vec::len), Some(3), "{report}");
    assert_eq!(report["rows"], 120_000, "{report}");
}

async fn partitioned_by_leaf(version: u32) {
    let database = Database::on_version(version).await;
    database.execute(EVENTS).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(
        &database,
        &["public.events"],
        "partitions = \"leaf\"\nexclude_tables = [\"public.events_2b\"]",
    );
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute(CHANGES).await;
    assert_eq!(captured(&daemon), ["events_1", "events_2a", "events_3"]);
    for leaf in ["events_1", "events_2a", "events_3"] {
        same(&daemon, &format!("shop.public.{leaf}"), &database, &jsonb(leaf)).await;
    }
    assert!(records(&daemon, "shop.public.events_2b").is_empty());
    database
        .execute(
            "CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM ('2024-04-01') TO ('2024-05-01');
             INSERT INTO events VALUES (600, '2024-04-04', 'new', 1)",
        )
        .await;
    daemon.logged("a table is there that the settings mean").await;
    same(&daemon, "shop.public.events_4", &database, &jsonb("events_4")).await;
    assert_eq!(captured(&daemon), ["events_1", "events_2a", "events_3", "events_4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_stands_for_its_leaves_if_they_are_wanted() {
    for version in [14, 15, 18] {
        partitioned_by_leaf(version).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_tables_that_cannot_be_captured_so_are_told_with_what_to_do() {
    let database = Database::new().await;
    database.execute(EVENTS).await;
    let error = refused(&database, &["public.events", "public.events_1"], "").await;
    assert_says(&error, &["a partition is named beside", "partition=public.events_1", "leaf"]);
    let name = &database.name;
    database.execute(&format!("CREATE PUBLICATION {name} FOR TABLE events")).await;
    let error = refused(&database, &["public.events"], "").await;
    let statement = format!("ALTER PUBLICATION \"{name}\" SET (publish_via_partition_root = true)");
    assert_says(&error, &["tells partitions' rows as their own", &statement]);
    database.execute(&statement).await;
    let error = refused(&database, &["public.events_1"], "").await;
    assert_says(&error, &["\"events_1\" as those of the table", "root = false"]);
    let error = refused(&database, &["public.events"], "partitions = \"leaf\"").await;
    assert_says(&error, &["\"events_3\" as those of the table", "root = false"]);
    database
        .execute(&format!(
            "DROP PUBLICATION {name};
             ALTER TABLE events_1 REPLICA IDENTITY NOTHING;
             CREATE TABLE loose (id int) PARTITION BY HASH (id);
             ALTER TABLE loose REPLICA IDENTITY FULL"
        ))
        .await;
    let error = refused(&database, &["public.*"], "").await;
    assert_says(
        &error,
        &[
            "the partition \"public\".\"events_1\" of \"public\".\"events\" has another",
            "the partitioned table \"public\".\"loose\" has no primary key",
        ],
    );
}
