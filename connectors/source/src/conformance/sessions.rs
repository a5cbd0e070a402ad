//! Claims about finding tables, logging in, taking turns, and what is beside the log.

use super::bench::{
    Bench, Login, POLL_INTERVAL, ReaderOf, eventually, make_table, named, soon, write,
};
use super::reading::{FIRST_EPOCH, LARGE, Reading};
use crate::{BatchLimit, Connector, Source, now_us};
use std::sync::Arc;
use std::time::Instant;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::Notify;

/// Clocks of one machine, or of two that are kept.
const CLOCK_OFFSET_US_MAX: i64 = 10_000_000;

/// Tables are found anew whenever that is asked; where that fails, those stay that were found last.
pub async fn tables_are_found_by_patterns<B: Bench>(bench: &B) {
    for table in ["a1", "b1"] {
        make_table(bench, table).await;
    }
    let connector = bench.connector(&["a*", "b1"], Login::Right);
    assert_eq!(connector.tables(), [named(bench, "b1")], "those that are named");
    connector.discover().await.unwrap();
    assert_eq!(connector.tables(), [named(bench, "a1"), named(bench, "b1")]);
    make_table(bench, "a2").await;
    assert_eq!(connector.tables(), [named(bench, "a1"), named(bench, "b1")]);
    connector.discover().await.unwrap();
    assert_eq!(connector.tables(), ["a1", "a2", "b1"].map(|table| named(bench, table)));
    let connector = bench.connector(&["a*"], Login::Right);
    connector.discover().await.unwrap();
    write(bench, &["DROP TABLE a1", "DROP TABLE a2"]).await;
    let error = connector.discover().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Prerequisite, "{}", error.report());
    assert_eq!(connector.tables(), ["a1", "a2"].map(|table| named(bench, table)));
}

/// A start tells of all tables that are not there, at once, and leaves nothing behind.
pub async fn tables_that_are_not_there_are_told_all_at_once<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a", "gone", "never"], Login::Right);
    connector.discover().await.unwrap();
    let error = refused(connector.open(None, FIRST_EPOCH).await);
    assert_eq!(error.kind(), ErrorKind::Prerequisite, "{}", error.report());
    let report = error.report();
    assert!(report.contains("gone") && report.contains("never"), "{report}");
    assert_eq!(connector.drop_log().await.unwrap(), None, "it was made in vain");
    // What was wrong was mended: the same connector starts.
    make_table(bench, "gone").await;
    make_table(bench, "never").await;
    Reading::start(&connector).await.source.close().await.unwrap();
}

/// The error of what does not succeed.
fn refused<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it is not refused"),
        Err(error) => error,
    }
}

/// What each way to the database answers, by its name.
async fn all_ways<B: Bench>(bench: &B, login: Login) -> Vec<(&'static str, Error)> {
    let connector = bench.connector(&["a"], login);
    let reader: Result<ReaderOf<B>> = connector.reader().await;
    vec![
        ("discover", refused(connector.discover().await)),
        ("open", refused(connector.open(None, FIRST_EPOCH).await)),
        ("reader", refused(reader)),
        ("look", refused(connector.look().await)),
        ("await_turn", refused(connector.await_turn(|_| {}).await)),
    ]
}

/// Whoever is not let in is told so, on every way.
pub async fn a_login_that_is_refused_is_told<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    for (way, error) in all_ways(bench, Login::Refused).await {
        assert_eq!(error.kind(), ErrorKind::Authentication, "{way}: {}", error.report());
    }
}

/// A server that is away is told as that, on every way: it may come back.
pub async fn a_server_that_is_away_is_told<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    for (way, error) in all_ways(bench, Login::Away).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{way}: {}", error.report());
    }
}

/// While nobody reads the log a turn comes at once; while another instance does, it is told who, and the turn
/// comes when that one ends.
pub async fn a_turn_is_waited_for<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let [first, second] = [0; 2].map(|_| bench.connector(&["a"], Login::Right));
    let nobody = first.await_turn(|holder| panic!("{holder} is told to read"));
    soon("the first turn", nobody).await.unwrap();
    let reading = Reading::start(&first).await;
    let told = Arc::new(Notify::new());
    let telling = Arc::clone(&told);
    let mut turn = std::pin::pin!(second.await_turn(move |holder| {
        assert!(!holder.is_empty());
        telling.notify_one();
    }));
    tokio::select! {
        done = &mut turn => panic!("it is not waited for: {done:?}"),
        () = soon("who reads", told.notified()) => {}
    }
    reading.source.close().await.unwrap();
    soon("the second turn", turn).await.unwrap();
    Reading::start(&second).await.source.close().await.unwrap();
}

/// What a start made to keep the log can be removed, once nobody reads; then there is nothing more to be
/// removed, a checkpoint is lost if something was, and a new start begins.
pub async fn what_a_start_made_can_be_removed<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let [connector, other] = [0; 2].map(|_| bench.connector(&["a"], Login::Right));
    assert_eq!(connector.drop_log().await.unwrap(), None, "before a start");
    let reading = Reading::start(&connector).await;
    let place = reading.checkpoint();
    match other.drop_log().await {
        // Nothing keeps the log.
        Ok(name) => assert_eq!(name, None),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report()),
    }
    reading.source.close().await.unwrap();
    let dropped = connector.drop_log().await.unwrap();
    assert_eq!(connector.drop_log().await.unwrap(), None, "a second time");
    match connector.open(Some(place), FIRST_EPOCH).await {
        Ok(source) => {
            assert_eq!(dropped, None, "it goes on behind what is gone");
            source.close().await.unwrap();
        }
        Err(error) => {
            assert!(dropped.is_some());
            assert_eq!(error.kind(), ErrorKind::PositionLost, "{}", error.report());
        }
    }
    Reading::start(&connector).await.source.close().await.unwrap();
}

/// Vital signs are the same for as long as a connector lives; they are written by looking, without a session,
/// and by sessions.
pub async fn the_database_can_be_looked_at<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let vitals = connector.vitals();
    assert!(Arc::ptr_eq(&vitals, &connector.vitals()));
    connector.look().await.unwrap();
    let now = now_us();
    let offset_us = vitals.database_us(now) - now;
    assert!(offset_us.abs() < CLOCK_OFFSET_US_MAX, "{offset_us}");
    assert_eq!(vitals.slot(), None, "before a start nothing is kept");
    let made_at = Instant::now();
    let mut reading = Reading::start(&connector).await;
    let quick = BatchLimit { wait_max: POLL_INTERVAL, ..LARGE };
    eventually("the session hears of the database", async || {
        reading.next(quick).await;
        let since_made = made_at.elapsed();
        (vitals.silence() < since_made).then_some(())
    })
    .await;
    connector.look().await.unwrap();
    assert!(vitals.slot().is_none_or(|slot| slot.active), "{:?}", vitals.slot());
    assert!(Arc::ptr_eq(&vitals, &connector.vitals()));
    reading.source.close().await.unwrap();
}
