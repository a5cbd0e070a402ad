//! Claims about a log that is read without a stop between: what comes, in which order, in which batches.

use super::bench::{
    Bench, Login, PATIENCE, POLL_INTERVAL, Session, eventually, make_table, soon, write,
};
use super::reading::{FIRST_EPOCH, LARGE, Reading, SINGLE, Told, lines};
use crate::{BatchLimit, Connector, Source};
use std::time::Duration;
use tidemesh_model::{ErrorKind, Value};
use tokio::time::Instant;

/// The first batch states the place from which the log is read: without events, at once, of the epoch that
/// was given. What was written before does not come, what is written behind it does.
pub async fn a_start_states_its_place_first<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    write(bench, &["INSERT INTO a VALUES (1, 'before')"]).await;
    let connector = bench.connector(&["a"], Login::Right);
    connector.discover().await.unwrap();
    let source = connector.open(None, FIRST_EPOCH).await.unwrap();
    let mut reading = Reading::new(source);
    let patient = BatchLimit { wait_max: PATIENCE, ..LARGE };
    let first = soon("the first batch", reading.next(patient)).await;
    assert!(first.told.is_empty(), "{first:?}");
    assert_eq!(first.end.epoch, FIRST_EPOCH);
    let place = reading.checkpoint();
    write(bench, &["INSERT INTO a VALUES (2, 'behind')"]).await;
    assert_eq!(lines(&reading.rest(bench, "a", 3).await), ["a c 2: 2 behind"]);
    reading.source.close().await.unwrap();
    let mut again = Reading::resume(&connector, &place).await;
    let told = again.rest(bench, "a", 4).await;
    assert_eq!(lines(&told), ["a c 2: 2 behind", "a c 3: 3 rest"]);
    again.source.close().await.unwrap();
}

/// Transactions come in the order in which they were committed, each as a whole, and their rows in the order
/// in which they were written. What was rolled back does not come, nor what is of other tables.
pub async fn what_is_written_comes_in_commit_order<B: Bench>(bench: &B) {
    for table in ["a", "b", "other"] {
        make_table(bench, table).await;
    }
    let connector = bench.connector(&["a", "b"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let (mut one, mut two) = (bench.session().await, bench.session().await);
    one.run(
        "BEGIN; INSERT INTO a VALUES (1, 'one'), (2, 'two'); INSERT INTO other VALUES (1, 'x')",
    )
    .await;
    two.run("BEGIN; INSERT INTO a VALUES (3, 'three'); INSERT INTO b VALUES (3, 'drei')").await;
    two.run("UPDATE b SET id = 4 WHERE id = 3; COMMIT").await;
    one.run("SAVEPOINT s; INSERT INTO a VALUES (5, 'no'); ROLLBACK TO SAVEPOINT s").await;
    one.run("UPDATE a SET note = NULL WHERE id = 2; DELETE FROM a WHERE id = 1; COMMIT").await;
    two.run("BEGIN; INSERT INTO a VALUES (6, 'no'); ROLLBACK").await;
    let told = reading.rest(bench, "b", 9).await;
    let expected = [
        "a c 3: 3 three",
        "b c 3: 3 drei",
        "b u 3>4: 4 drei",
        "a c 1: 1 one",
        "a c 2: 2 two",
        "a u 2: 2 null",
        "a d 1",
    ];
    assert_eq!(lines(&told), expected);
    let of = |transactions: &[u64]| transactions.iter().all(|t| *t == transactions[0]);
    let transactions: Vec<u64> = told.iter().map(|seen| seen.transaction).collect();
    assert!(of(&transactions[..3]) && of(&transactions[3..]), "{transactions:?}");
    assert_ne!(transactions[0], transactions[3]);
    assert!(told.iter().all(|seen| seen.committed_at_us > 0), "{told:?}");
    reading.source.close().await.unwrap();
}

/// A transaction's end is told behind its events, and before those of the next one.
pub async fn a_transactions_end_is_told_behind_its_events<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let transaction =
        |id: usize| format!("BEGIN; INSERT INTO a VALUES ({id}, 'x'), ({}, 'x'); COMMIT", id + 1);
    write(bench, &[&transaction(1), &transaction(3)]).await;
    let mut left = 2;
    let mut open = None;
    reading
        .until(SINGLE, |batch| {
            for told in &batch.told {
                match told {
                    Told::Change(seen) => {
                        let of = *open.get_or_insert(seen.transaction);
                        assert_eq!(of, seen.transaction, "the one before has not ended");
                    }
                    // Others' transactions end, too.
                    Told::Commit { transaction } if open == Some(*transaction) => {
                        (open, left) = (None, left - 1);
                    }
                    _ => {}
                }
            }
            left == 0
        })
        .await;
    reading.source.close().await.unwrap();
}

/// Where nothing comes a batch without events does, within its time, as often as it is asked for.
pub async fn an_idle_log_gives_empty_batches<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    for wait_ms in [0, 1, 100] {
        let limit = BatchLimit { wait_max: Duration::from_millis(wait_ms), ..LARGE };
        assert!(soon("an empty batch", reading.next(limit)).await.is_empty());
    }
    assert!(reading.rest(bench, "a", 1).await.is_empty());
    reading.source.close().await.unwrap();
}

/// A batch has no more bytes than it may; an event that is larger comes alone, whatever stands before it.
pub async fn a_batch_keeps_to_its_bytes<B: Bench>(bench: &B) {
    const BYTES_MAX: usize = 16_000;
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let row = |id: usize| {
        let length = if id.is_multiple_of(10) { 3 * BYTES_MAX } else { BYTES_MAX / 10 };
        format!("INSERT INTO a VALUES ({id}, REPEAT('x', {length}))")
    };
    let rows: Vec<String> = (1..40).map(row).collect();
    write(bench, &[&format!("BEGIN; {}; COMMIT", rows.join("; "))]).await;
    // All of it is on its way before the first batch is cut.
    let patient = BatchLimit { bytes_max: BYTES_MAX, wait_max: PATIENCE };
    let mut left = rows.len();
    let batches = reading
        .until(patient, |batch| {
            left -= batch.changes().count();
            left == 0
        })
        .await;
    let mut several = 0;
    for batch in batches {
        let bytes =
            batch.changes().filter_map(|seen| seen.after.as_ref()).map(|row| match &row[1] {
                Value::Text(text) => text.len(),
                other => panic!("{other:?}"),
            });
        let (sum, count) = (bytes.sum::<usize>(), batch.changes().count());
        assert!(sum <= BYTES_MAX || count == 1, "{count} events of {sum} bytes");
        several += usize::from(count > 1);
    }
    assert!(several > 0, "no batch has several events");
    reading.source.close().await.unwrap();
}

/// Dropped calls lose nothing and repeat nothing, wherever they are dropped: while the log is read, and
/// while something is asked because a table has changed.
pub async fn a_dropped_call_loses_nothing<B: Bench>(bench: &B) {
    const ROWS: usize = 120;
    /// Short ones are dropped wherever they are; the longest lets come to an end what is begun anew each
    /// time.
    const WAITS_US: [u64; 8] = [0, 50, 0, 200, 1_000, 0, 4_000, 2_000_000];
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let mut session = bench.session().await;
    let writing = async {
        for id in 0..ROWS {
            if id % 40 == 20 {
                session.run(&format!("ALTER TABLE a ADD COLUMN c{id} INT")).await;
            }
            session.run(&format!("INSERT INTO a (id, note) VALUES ({id}, 'x')")).await;
        }
    };
    let deadline = Instant::now() + PATIENCE;
    let reading_all = async {
        let mut ids = Vec::new();
        for wait_us in WAITS_US.iter().cycle() {
            assert!(Instant::now() < deadline, "only these came: {ids:?}");
            let wait = Duration::from_micros(*wait_us);
            let call = reading.source.next_batch(SINGLE);
            let Ok(batch) = tokio::time::timeout(wait, call).await else { continue };
            let batch = reading.take(&batch.unwrap());
            ids.extend(batch.changes().filter_map(|seen| seen.key.clone()));
            if ids.len() >= ROWS {
                return ids;
            }
        }
        ids
    };
    let (ids, ()) = tokio::join!(reading_all, writing);
    let expected: Vec<_> = (0..i32::try_from(ROWS).unwrap()).map(|id| [Value::Int32(id)]).collect();
    assert_eq!(ids, expected);
    reading.source.close().await.unwrap();
}

/// Any end may be confirmed, in any order and again, and reading goes on; what was confirmed last is where a
/// later session goes on.
pub async fn any_end_may_be_confirmed<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    let first = reading.end;
    write(bench, &["BEGIN; INSERT INTO a VALUES (1, 'x'), (2, 'x'), (3, 'x'); COMMIT"]).await;
    let mut ends = vec![first];
    let mut left = 3;
    reading
        .until(SINGLE, |batch| {
            ends.push(batch.end);
            left -= batch.changes().count();
            left == 0
        })
        .await;
    let middle = ends[ends.len() / 2];
    for end in [middle, first, middle, reading.end, reading.end, first] {
        reading.source.confirm(end).await.unwrap();
    }
    assert!(reading.rest(bench, "a", 4).await.is_empty());
    let checkpoint = reading.checkpoint();
    reading.source.confirm(checkpoint.position).await.unwrap();
    reading.source.close().await.unwrap();
    let mut again = Reading::resume(&connector, &checkpoint).await;
    assert!(again.rest(bench, "a", 5).await.is_empty());
    again.source.close().await.unwrap();
}

/// What was written and not read is told in bytes, and falls to nothing as it is read.
pub async fn what_is_behind_falls_to_nothing<B: Bench>(bench: &B) {
    const BYTES: u64 = 4_000_000;
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    // Not all of it is made small by a table that compresses.
    let row = |id| {
        let text: String = (0..250_u64).map(|n| format!("{:08x}", (id * 251 + n) << 3)).collect();
        format!("({id}, '{text}{text}')")
    };
    let rows: Vec<String> = (0..BYTES / 4000).map(row).collect();
    write(bench, &[&format!("INSERT INTO a VALUES {}", rows.join(", "))]).await;
    eventually("the lag is told", async || (reading.source.lag_bytes() > BYTES / 20).then_some(()))
        .await;
    let deadline = Instant::now() + PATIENCE;
    let quick = BatchLimit { wait_max: POLL_INTERVAL, ..LARGE };
    while reading.source.lag_bytes() > 0 {
        assert!(Instant::now() < deadline, "{} bytes are left", reading.source.lag_bytes());
        reading.next(quick).await;
    }
    reading.source.close().await.unwrap();
}

/// A connection that was cut is told as `Unavailable`; behind the last end nothing is lost, and nothing comes
/// twice.
pub async fn a_cut_connection_is_told_and_loses_nothing<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    write(bench, &["INSERT INTO a VALUES (1, 'x')"]).await;
    assert_eq!(reading.changes(LARGE, 1).await.len(), 1);
    bench.cut().await;
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        match reading.source.next_batch(LARGE).await {
            Ok(batch) => assert!(reading.take(&batch).is_empty()),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "the end of the connection is not told");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    write(bench, &["INSERT INTO a VALUES (2, 'x')"]).await;
    let mut again = Reading::resume(&connector, &reading.checkpoint()).await;
    assert_eq!(lines(&again.rest(bench, "a", 3).await), ["a c 2: 2 x"]);
    again.source.close().await.unwrap();
}
