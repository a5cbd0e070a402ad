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
    let mut tables = StoredTables::suspects(&BTreeMap::new()).unwrap();
    let item = tables.add([name("t")]).unwrap().unwrap();
    assert_eq!(tables.add([name("t")]).unwrap(), None);
    let items = BTreeMap::from([(item.key, item.value.unwrap())]);
    assert_eq!(StoredTables::suspects(&items).unwrap(), tables);
    assert!(!StoredTables::dropped(&items).unwrap().has(&name("t")));
    assert!(tables.remove(&name("t")).unwrap().is_some());
    assert_eq!(tables.remove(&name("t")).unwrap(), None);
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
