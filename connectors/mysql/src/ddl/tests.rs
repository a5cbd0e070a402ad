//! Statements at a real server, and what its log's reader makes of them.

use super::*;
use crate::tests::{Server, Stream};

fn name(table: &str) -> TableName {
    TableName::new("d", table)
}

fn rename((from, to): &(&str, &str)) -> Rename {
    Rename { from: name(from), to: name(to) }
}

/// Names that are given to others, and what stands under the captured ones then.
type Case = (&'static [(&'static str, &'static str)], &'static [(&'static str, Stands)]);

#[test]
fn a_name_has_the_same_rows_behind_an_online_change_alone() {
    use Stands::{Nothing, OtherRows, SameRows};
    let cases: &[Case] = &[
        (&[("t", "_t_del"), ("_t_gho", "t")], &[("t", SameRows)]),
        (&[("t", "_t_old"), ("_t_new", "t")], &[("t", SameRows)]),
        (&[("t", "_t_old"), ("___t_new", "t")], &[("t", SameRows)]),
        (&[("_u", "__u_old"), ("__u_new", "_u")], &[("_u", SameRows)]),
        (&[("t", "old"), ("new", "t")], &[("t", OtherRows)]),
        (&[("t", "old"), ("_u_gho", "t")], &[("t", OtherRows)]),
        (&[("t", "old"), ("t_new", "t")], &[("t", OtherRows)]),
        (&[("t", "old")], &[("t", Nothing)]),
        (&[("t", "x"), ("_u", "t"), ("x", "_u")], &[("t", OtherRows), ("_u", OtherRows)]),
        (&[("_gone_gho", "gone")], &[("gone", OtherRows)]),
        (&[("a", "b")], &[]),
    ];
    let captured = [name("t"), name("_u"), name("gone")];
    for (renames, wanted) in cases {
        let renames: Vec<Rename> = renames.iter().map(rename).collect();
        let found =
            renamed(&renames, |name| captured.contains(name), |table| *table != name("gone"));
        let wanted: Vec<_> = wanted.iter().map(|(table, stands)| (name(table), *stands)).collect();
        let mut found: Vec<_> = found.into_iter().map(|(name, is)| (name.clone(), is)).collect();
        found.sort_by_key(|(name, _)| !wanted.iter().any(|(first, _)| first == name));
        assert_eq!(found.len(), wanted.len(), "{renames:?}");
        assert!(wanted.iter().all(|one| found.contains(one)), "{renames:?}: {found:?}");
    }
}

#[test]
fn stored_tables_come_back() {
    let mut dropped = Dropped::read(&BTreeMap::new()).unwrap();
    let item = dropped.add([name("t")]).unwrap().unwrap();
    assert_eq!(dropped.add([name("t")]).unwrap(), None);
    let mut suspects = Suspects::default();
    let altered = |gone: &[&str]| {
        vec![Altered { table: name("u"), gone: gone.iter().map(|&name| name.to_owned()).collect() }]
    };
    suspects.add(altered(&["a"])).unwrap();
    assert_eq!(suspects.add(altered(&["a"])).unwrap(), None);
    let other = suspects.add(altered(&["b"])).unwrap().unwrap();
    let items = [item, other].map(|item| (item.key, item.value.unwrap()));
    let items = BTreeMap::from(items);
    assert_eq!(Dropped::read(&items).unwrap(), dropped);
    let suspects = Suspects::read(&items).unwrap();
    assert_eq!(suspects.gone(&name("u")).unwrap(), ["a", "b"]);
    assert!(dropped.remove(&name("t")).unwrap().is_some());
    assert_eq!(dropped.remove(&name("t")).unwrap(), None);
    // As one before columns' names were stored with it.
    let stored = serde_json::json!({"version": 1, "tables": [name("v")]});
    let items = BTreeMap::from([(SUSPECTS_KEY.to_owned(), stored.to_string().into_bytes())]);
    assert_eq!(Suspects::read(&items).unwrap().gone(&name("v")).unwrap(), [""; 0]);
}

/// Runs a statement as a session of this charset writes it: it is converted into its bytes.
async fn run_in(stream: &Stream, charset: &str, statement: &str) {
    let charset = format!("SET character_set_client = {charset}");
    let statement = format!("SET @s = '{statement}'");
    stream.run(&[&statement, &charset, "PREPARE p FROM @s", "EXECUTE p"]).await;
}

#[tokio::test]
async fn a_statement_is_read_in_its_sessions_charset() {
    let server = Server::shared().await;
    for (charset, table) in
        [("utf8mb4", "表"), ("latin1", "été"), ("sjis", "表"), ("gbk", "誠简"), ("cp1251", "щ")]
    {
        let create = format!("CREATE TABLE `{table}` (id INT PRIMARY KEY)");
        let database = format!("ddl_in_{charset}");
        let mut stream = Stream::of(&server, &database, &[&create], &[table]).await;
        run_in(&stream, charset, &format!("TRUNCATE TABLE `{table}`")).await;
        assert_eq!(stream.read().await, [format!("t {table}")], "{charset}");
        // A server writes this one anew.
        run_in(&stream, charset, &format!("DROP TABLE `{table}`")).await;
        stream.run(&[&create, &format!("INSERT INTO `{table}` VALUES (7)")]).await;
        let told = stream.read().await;
        let wanted = [format!("replaced {table}"), format!("c {table} [Int32(7)]")];
        assert_eq!(told, wanted, "{charset}");
    }
}

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY)";

#[tokio::test]
async fn another_table_under_a_captured_name_is_read_anew() {
    let server = Server::shared().await;
    let mut stream = Stream::of(&server, "ddl_renames", &[TABLE], &["t"]).await;
    stream.run(&["INSERT INTO t VALUES (1)", "CREATE TABLE filled LIKE t"]).await;
    stream.run(&["INSERT INTO filled VALUES (2), (3)"]).await;
    assert_eq!(stream.read().await, ["c t [Int32(1)]"]);
    stream.run(&["RENAME TABLE t TO away, filled TO t"]).await;
    assert_eq!(stream.read().await, ["replaced t"]);
    stream.run(&["INSERT INTO t VALUES (4)"]).await;
    assert_eq!(stream.read().await, ["c t [Int32(4)]"]);
    // By another statement, one that was renamed away before, and back.
    stream.run(&["ALTER TABLE t RENAME TO other", "INSERT INTO other VALUES (5)"]).await;
    assert_eq!(stream.read().await, [""; 0]);
    stream.run(&["ALTER TABLE other RENAME t"]).await;
    stream.restart().await;
    stream.run(&["INSERT INTO t VALUES (6)"]).await;
    assert_eq!(stream.read().await, ["replaced t", "c t [Int32(6)]"]);
    // One that is made where another was renamed away is read anew from its first row on.
    stream.run(&["RENAME TABLE t TO third", TABLE]).await;
    assert_eq!(stream.read().await, [""; 0]);
    stream.run(&["INSERT INTO t VALUES (7)"]).await;
    assert_eq!(stream.read().await, ["replaced t", "c t [Int32(7)]"]);
}

#[tokio::test]
async fn the_copy_of_an_online_change_is_the_same_table() {
    let server = Server::shared().await;
    let mut stream = Stream::of(&server, "ddl_online", &[TABLE], &["t"]).await;
    stream
        .run(&[
            "INSERT INTO t VALUES (1)",
            "CREATE TABLE _t_gho LIKE t",
            "INSERT INTO _t_gho VALUES (1)",
            "RENAME TABLE t TO _t_del, _t_gho TO t",
            "INSERT INTO t VALUES (2)",
        ])
        .await;
    assert_eq!(stream.read().await, ["c t [Int32(1)]", "c t [Int32(2)]"]);
}

#[tokio::test]
async fn a_table_that_the_log_never_described_is_replaced_too() {
    let server = Server::shared().await;
    let table = "CREATE TABLE t (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS \
                 THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)";
    let rows = "INSERT INTO t VALUES (1), (11)";
    let mut stream = Stream::of(&server, "ddl_partitions", &[table, rows], &["t"]).await;
    stream.run(&["ALTER TABLE t DROP PARTITION p0"]).await;
    assert_eq!(stream.read().await, ["replaced t"]);
    stream.run(&["CREATE TABLE u (id INT PRIMARY KEY)", "DROP TABLE t"]).await;
    stream.run(&["RENAME TABLE u TO t"]).await;
    assert_eq!(stream.read().await, ["replaced t"]);
}

#[tokio::test]
async fn what_the_log_does_not_tell_is_asked_anew_behind_a_restart() {
    let server = Server::shared().await;
    let table = "CREATE TABLE t (id INT PRIMARY KEY, a BINARY(16), j LONGTEXT CHARACTER SET utf8mb4 \
                 COLLATE utf8mb4_bin)";
    let mut stream = Stream::of(&server, "ddl_suspects", &[table], &["t"]).await;
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let bytes = "00112233445566778899aabbccddeeff";
    stream.run(&[&format!("INSERT INTO t VALUES (1, X'{bytes}', '[]')")]).await;
    let told = stream.read().await;
    assert!(told[0].contains("Bytes(["), "{told:?}");
    stream.run(&["ALTER TABLE t MODIFY a UUID"]).await;
    assert_eq!(stream.read().await, [""; 0]);
    stream.restart().await;
    stream.run(&[&format!("INSERT INTO t VALUES (2, '{uuid}', '[]')")]).await;
    let told = stream.read().await;
    assert_eq!(told[0], "rewritten t");
    assert!(told[1].contains("Uuid(["), "{told:?}");
    // What was asked stays with the place.
    stream.restart().await;
    stream.run(&[&format!("INSERT INTO t VALUES (3, '{uuid}', '[]')")]).await;
    let told = stream.read().await;
    assert!(told.len() == 1 && told[0].contains("Uuid(["), "{told:?}");
    // Of a suspect that is truncated before its next row, too.
    stream.run(&["ALTER TABLE t MODIFY a BINARY(16)", "TRUNCATE t"]).await;
    stream.run(&[&format!("INSERT INTO t VALUES (1, X'{bytes}', '[]')")]).await;
    let told = stream.read().await;
    assert!(told.last().unwrap().contains("Bytes(["), "{told:?}");
}

#[tokio::test]
async fn what_is_read_anew_is_so_with_the_place_behind_it() {
    let server = Server::shared().await;
    let partitioned = "CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES \
                       LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)";
    let mut stream = Stream::of(&server, "ddl_places", &[TABLE, partitioned], &["t", "p"]).await;
    stream.run(&["INSERT INTO t VALUES (1)", "INSERT INTO p VALUES (1), (11)"]).await;
    stream.run(&["CREATE TABLE filled LIKE t"]).await;
    let rows = ["c t [Int32(1)]", "c p [Int32(1)]", "c p [Int32(11)]"];
    assert_eq!(stream.read_restarting().await, rows);
    stream
        .run(&["RENAME TABLE t TO away, filled TO t", "ALTER TABLE p TRUNCATE PARTITION p0"])
        .await;
    assert_eq!(stream.read_restarting().await, ["replaced t", "replaced p"]);
    assert_eq!(stream.read_restarting().await, [""; 0]);
}

#[tokio::test]
async fn a_column_whose_old_rows_have_what_no_schema_says_has_its_table_read_anew() {
    let server = Server::shared().await;
    let mut stream = Stream::of(&server, "ddl_filled", &[TABLE], &["t"]).await;
    stream.run(&["INSERT INTO t VALUES (1)"]).await;
    assert_eq!(stream.read().await, ["c t [Int32(1)]"]);
    let mut id = 1;
    for (change, is_filled) in [
        ("ADD a DATETIME DEFAULT CURRENT_TIMESTAMP", true),
        ("ADD b VARCHAR(40) DEFAULT (UUID())", true),
        ("ADD c INT AS (id + 1) STORED", true),
        ("ADD d BIT(3) DEFAULT b'101'", true),
        ("ADD e INT", false),
        ("ADD f INT DEFAULT 7", false),
        ("ADD g INT NOT NULL DEFAULT 7", false),
        ("DROP COLUMN e", false),
        // Another one than was there before, of which older records tell.
        ("ADD e INT", true),
        ("DROP COLUMN e, ADD COLUMN e INT", true),
        ("RENAME COLUMN e TO f, RENAME COLUMN f TO e", true),
        ("CHANGE f h INT", true),
        ("CHANGE h H INT, ADD INDEX (H)", true),
    ] {
        id += 1;
        let alter = format!("ALTER TABLE t {change}");
        stream.run(&[&alter, &format!("INSERT INTO t (id) VALUES ({id})")]).await;
        let told = stream.read().await;
        let found = told.first().is_some_and(|first| first == "rewritten t");
        assert_eq!(found, is_filled, "{change}: {told:?}");
    }
    // By two statements, and a restart between.
    stream.run(&["ALTER TABLE t DROP COLUMN e"]).await;
    assert_eq!(stream.read().await, [""; 0]);
    stream.restart().await;
    stream.run(&["ALTER TABLE t ADD COLUMN e INT", "INSERT INTO t (id) VALUES (100)"]).await;
    assert_eq!(stream.read().await[0], "rewritten t");
}

#[tokio::test]
async fn rows_that_do_not_fit_are_gone_without_a_word() {
    let server = Server::shared().await;
    let table = "CREATE TABLE t (id INT PRIMARY KEY, a INT)";
    let mut stream = Stream::of(&server, "ddl_ignore", &[table], &["t"]).await;
    stream.run(&["INSERT INTO t VALUES (1, 1), (2, 1)"]).await;
    assert_eq!(stream.read().await.len(), 2);
    stream.run(&["ALTER IGNORE TABLE t ADD UNIQUE (a)"]).await;
    assert_eq!(stream.read().await, ["replaced t"]);
}

#[tokio::test]
async fn a_table_that_went_while_nothing_was_read_is_another_one_when_it_comes_again() {
    let server = Server::shared().await;
    let mut stream = Stream::of(&server, "ddl_unseen", &[TABLE], &["t"]).await;
    stream.means(&["*"]);
    stream.restart().await;
    stream.run(&["INSERT INTO t VALUES (1)"]).await;
    assert_eq!(stream.read().await, ["c t [Int32(1)]"]);
    stream.run(&["DROP TABLE t"]).await;
    stream.restart().await;
    assert_eq!(stream.read().await, [""; 0]);
    stream.run(&[TABLE]).await;
    stream.restart().await;
    stream.run(&["INSERT INTO t VALUES (2)"]).await;
    assert_eq!(stream.read().await, ["replaced t", "c t [Int32(2)]"]);
}
