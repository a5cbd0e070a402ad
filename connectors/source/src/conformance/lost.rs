//! Claims about a log that does not hold what follows a checkpoint.

use super::bench::{Bench, Login, make_table, write};
use super::reading::{FIRST_EPOCH, LARGE, Reading};
use crate::{Checkpoint, Connector, Source};
use std::collections::BTreeMap;
use tidemesh_model::{ErrorKind, Position};

/// A place before all that is retained is lost, and the log is left as it was.
pub async fn a_place_before_the_log_is_lost<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let reading = Reading::start(&connector).await;
    let place = reading.checkpoint();
    reading.source.close().await.unwrap();
    let position = Position::before(FIRST_EPOCH, 1);
    is_lost(&connector, &Checkpoint { position, items: BTreeMap::new() }).await;
    Reading::resume(&connector, &place).await.source.close().await.unwrap();
}

/// What the database has discarded is lost, and a new start reads on.
pub async fn a_discarded_log_is_lost<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a"], Login::Right);
    let mut reading = Reading::start(&connector).await;
    write(bench, &["INSERT INTO a VALUES (1, 'x')"]).await;
    assert_eq!(reading.changes(LARGE, 1).await.len(), 1);
    let place = reading.checkpoint();
    reading.source.close().await.unwrap();
    write(bench, &["INSERT INTO a VALUES (2, 'x')"]).await;
    bench.discard_log().await;
    is_lost(&connector, &place).await;
    let mut reading = Reading::start(&connector).await;
    assert!(reading.rest(bench, "a", 3).await.is_empty());
    reading.source.close().await.unwrap();
}

async fn is_lost<C: Connector>(connector: &C, checkpoint: &Checkpoint) {
    connector.await_turn(|_| {}).await.unwrap();
    match connector.open(Some(checkpoint.clone()), FIRST_EPOCH).await {
        Ok(_) => panic!("{} is taken up", checkpoint.position),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PositionLost, "{}", error.report());
            assert!(error.help_text().is_some(), "{}", error.report());
        }
    }
}
