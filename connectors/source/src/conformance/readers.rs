//! Claims about tables that are read beside a log that is read.

use super::bench::{Bench, Login, Session, make_table, named, soon, write};
use super::chunks::{rows_of, whole};
use super::reading::{LARGE, Reading, Told};
use crate::{Chunk, Connector, Source, TableReader, TableTexts, TextPart, TextRequest};
use std::sync::Arc;
use tidemesh_model::Value;

/// Marks that are written before the log is read up to them.
const UNREAD_MARKS: usize = 3;

/// Rows that are written between marks.
const MARKED_ROWS: usize = 5;

/// Marks come as they were written, where they stand between rows, in their order.
pub async fn marks_stand_in_the_log_where_they_were_written<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let mut reader = connector.reader().await.unwrap();
    let mut session = bench.session().await;
    let mut unread = Vec::new();
    for number in 0..UNREAD_MARKS {
        unread.push(format!("high 0123456789abcdef {number}"));
        soon("the mark", reader.mark(&unread[number])).await.unwrap();
    }
    // A low mark may be there once the log was read up to it.
    let writing = async {
        let mut expected = unread;
        for id in 0..MARKED_ROWS {
            let [low, high] = ["low", "high"].map(|kind| format!("{kind} 0123456789abcdef {id}"));
            soon("the mark", reader.mark(&low)).await.unwrap();
            session.run(&format!("INSERT INTO a VALUES ({id}, 'x')")).await;
            soon("the mark", reader.mark(&high)).await.unwrap();
            expected.extend([low, format!("a c {id}: {id} x"), high]);
        }
        expected
    };
    let mut told = Vec::new();
    let all = reading.until(LARGE, |batch| {
        told.extend(batch.told.iter().filter_map(|told| match told {
            Told::Change(seen) => Some(seen.line()),
            Told::Mark(_, text) => Some(text.clone()),
            Told::Commit { .. } => None,
        }));
        told.len() >= UNREAD_MARKS + 3 * MARKED_ROWS
    });
    let (expected, _) = tokio::join!(writing, all);
    assert_eq!(told, expected);
    reading.source.close().await.unwrap();
}

/// What the log told before a reader settles is in all that is read behind that, and said to be; what is not
/// committed is in none.
pub async fn a_settled_reader_has_what_the_log_told<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let mut reader = connector.reader().await.unwrap();
    let mut session = bench.session().await;
    for id in 0..20 {
        session.run(&format!("BEGIN; INSERT INTO a VALUES ({id}, 'x')")).await;
        let request = whole(named(bench, "a"));
        let chunk = reader.chunk(&request).await.unwrap();
        let before: Vec<Value> = (0..id).map(Value::Int32).collect();
        assert_eq!(ids(&chunk), before, "what is not committed is read");
        session.run("COMMIT").await;
        let told = reading.changes(LARGE, 1).await;
        soon("what is in progress ends", reader.settle()).await.unwrap();
        let transaction = told[0].transaction;
        assert!(reader.sees(&[transaction]).await.unwrap(), "{transaction} is not seen");
        let chunk = reader.chunk(&request).await.unwrap();
        assert_eq!(ids(&chunk).last(), Some(&Value::Int32(id)));
        assert!(chunk.sees(transaction), "{transaction} is not in the view");
    }
    reading.source.close().await.unwrap();
}

fn ids<K: Chunk>(chunk: &K) -> Vec<Value> {
    rows_of(chunk).into_iter().map(|mut row| row.swap_remove(0)).collect()
}

/// The log's rows, chunks and texts of a table have one schema, the same `Arc`, whichever comes first, until
/// the table is altered; and then another one.
pub async fn log_and_readers_share_a_schema<B: Bench>(bench: &B) {
    for table in ["a", "b"] {
        make_table(bench, table).await;
    }
    let connector = bench.connector(&["a", "b"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let mut readers = [connector.reader().await.unwrap(), connector.reader().await.unwrap()];
    // Of one table the log tells first, the other one is read before.
    let mut first = Vec::new();
    for reader in &mut readers {
        first.push(Arc::clone(reader.chunk(&whole(named(bench, "b"))).await.unwrap().schema()));
    }
    let rows = ["INSERT INTO a (id) VALUES (1)", "INSERT INTO b (id) VALUES (1)"];
    write(bench, &rows).await;
    let told = reading.changes(LARGE, 2).await;
    let [a, b] = [0, 1].map(|index: usize| &told[index].schema);
    assert!(first.iter().all(|schema| Arc::ptr_eq(schema, b)), "{first:?} {b:?}");
    for reader in &mut readers {
        let chunk = reader.chunk(&whole(named(bench, "a"))).await.unwrap();
        assert!(Arc::ptr_eq(chunk.schema(), a), "{:?} {a:?}", chunk.schema());
        let request = TextRequest {
            table: named(bench, "a"),
            part: TextPart::After(None),
            rows_max: 10,
            bytes_max: 1 << 20,
        };
        let texts = reader.texts(&request).await.unwrap();
        assert!(Arc::ptr_eq(&texts.schema, a), "{:?} {a:?}", texts.schema);
    }
    write(bench, &["ALTER TABLE a ADD COLUMN more INT", "ALTER TABLE b ADD COLUMN more INT"]).await;
    let b_altered = readers[0].chunk(&whole(named(bench, "b"))).await.unwrap();
    let rows = ["INSERT INTO a (id) VALUES (2)", "INSERT INTO b (id) VALUES (2)"];
    write(bench, &rows).await;
    let told = reading.changes(LARGE, 2).await;
    let [a_told, b_told] = [0, 1].map(|index: usize| &told[index].schema);
    assert!(!Arc::ptr_eq(a_told, a) && !Arc::ptr_eq(b_told, b));
    assert!(Arc::ptr_eq(b_altered.schema(), b_told), "{:?} {b_told:?}", b_altered.schema());
    for reader in &mut readers {
        for (table, told) in [("a", a_told), ("b", b_told)] {
            let chunk = reader.chunk(&whole(named(bench, table))).await.unwrap();
            assert!(Arc::ptr_eq(chunk.schema(), told), "{:?} {told:?}", chunk.schema());
        }
    }
    reading.source.close().await.unwrap();
}
