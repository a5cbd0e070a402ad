//! Claims about tables that are emptied, altered, or others than before.

use super::bench::{Bench, Login, make_table, write};
use super::reading::{LARGE, Reading, Seen, lines};
use crate::Source;
use std::sync::Arc;

/// A batch with a truncate tells nothing else.
pub async fn a_truncate_comes_alone<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let around = |id: usize| format!("INSERT INTO a VALUES ({id}, 'x')");
    write(bench, &[&around(1), "TRUNCATE TABLE a", &around(2), &around(3)]).await;
    let mut left = 4;
    let batches = reading
        .until(LARGE, |batch| {
            left -= batch.changes().count();
            left == 0
        })
        .await;
    let told: Vec<Vec<String>> =
        batches.iter().map(|batch| batch.changes().map(Seen::line).collect()).collect();
    assert_eq!(told.concat(), ["a c 1: 1 x", "a t", "a c 2: 2 x", "a c 3: 3 x"]);
    assert!(told.iter().any(|lines| lines == &["a t"]), "{told:?}");
    reading.source.close().await.unwrap();
}

/// Rows come with the schema that their table had when they were written, which is one `Arc` until the table
/// is altered, whatever becomes of others.
pub async fn a_schema_is_one_until_it_changes<B: Bench>(bench: &B) {
    for table in ["a", "b"] {
        make_table(bench, table).await;
    }
    let connector = bench.connector(&["a", "b"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let statements = [
        "INSERT INTO a VALUES (1, 'x')",
        "INSERT INTO b VALUES (1, 'x')",
        "ALTER TABLE a ADD COLUMN more INT",
        "INSERT INTO a VALUES (2, 'x', 2)",
        "INSERT INTO b VALUES (2, 'x')",
        "ALTER TABLE a DROP COLUMN note",
        "INSERT INTO a VALUES (3, 3)",
        "UPDATE a SET more = 1 WHERE id = 1",
        "INSERT INTO b VALUES (3, 'x')",
    ];
    write(bench, &statements).await;
    let told = reading.rest(bench, "b", 9).await;
    let of = |table: &str| -> Vec<&Seen> {
        told.iter().filter(|seen| seen.schema.name.table == table).collect()
    };
    let names = |seen: &&Seen| -> Vec<String> {
        seen.schema.fields.iter().map(|field| field.name.clone()).collect()
    };
    let (a, b) = (of("a"), of("b"));
    let columns: Vec<Vec<String>> = a.iter().map(names).collect();
    let expected = [&["id", "note"][..], &["id", "note", "more"], &["id", "more"], &["id", "more"]];
    assert_eq!(columns, expected);
    assert!(Arc::ptr_eq(&a[2].schema, &a[3].schema));
    assert!(b.iter().all(|seen| Arc::ptr_eq(&seen.schema, &b[0].schema)));
    assert!(a.iter().chain(&b).all(|seen| seen.schema.name.schema == bench.schema()));
    reading.source.close().await.unwrap();
}

/// A table that was dropped and made anew is told to be another before its first row.
pub async fn a_table_made_anew_replaces_the_old_one<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    write(bench, &["INSERT INTO a VALUES (1, 'old')"]).await;
    assert_eq!(reading.changes(LARGE, 1).await.len(), 1);
    let place = reading.checkpoint();
    reading.source.close().await.unwrap();
    write(bench, &["DROP TABLE a"]).await;
    make_table(bench, "a").await;
    let mut reading = Reading::resume(&connector, &place).await;
    write(bench, &["INSERT INTO a VALUES (1, 'new')"]).await;
    let batches = reading.until(LARGE, |batch| batch.changes().next().is_some()).await;
    let told: Vec<Seen> =
        batches.iter().flat_map(super::reading::Batch::changes).cloned().collect();
    assert_eq!(lines(&told), ["a c 1: 1 new"]);
    let replaced: Vec<_> = batches.iter().flat_map(|batch| &batch.replaced).collect();
    assert_eq!(replaced.len(), 1, "{batches:?}");
    assert!(Arc::ptr_eq(replaced[0], &told[0].schema), "{replaced:?}");
    // Not once more behind it.
    let place = reading.checkpoint();
    reading.source.close().await.unwrap();
    let mut reading = Reading::resume(&connector, &place).await;
    write(bench, &["INSERT INTO a VALUES (2, 'new')"]).await;
    let batches = reading.until(LARGE, |batch| batch.changes().next().is_some()).await;
    assert!(batches.iter().all(|batch| batch.replaced.is_empty()), "{batches:?}");
    reading.source.close().await.unwrap();
}
