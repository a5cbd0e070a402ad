//! Claims about sessions that go on where an earlier one ended.

use super::bench::{Bench, Login, make_table, write};
use super::reading::{LARGE, Reading, SINGLE, Seen, lines};
use crate::{Checkpoint, Source};

/// Statements, each a transaction or none, and what comes of them.
const WRITTEN: &[(&str, &[&str])] = &[
    ("INSERT INTO a VALUES (1, 'one')", &["a c 1: 1 one"]),
    (
        "BEGIN; INSERT INTO a VALUES (2, 'two'), (3, NULL); INSERT INTO other VALUES (1, 'x'); \
         INSERT INTO b VALUES (1, 'uno'); UPDATE a SET note = 'zwei' WHERE id = 2; COMMIT",
        &["a c 2: 2 two", "a c 3: 3 null", "b c 1: 1 uno", "a u 2: 2 zwei"],
    ),
    ("BEGIN; INSERT INTO a VALUES (4, 'no'); ROLLBACK", &[]),
    (
        "BEGIN; INSERT INTO a VALUES (5, 'five'); SAVEPOINT s; INSERT INTO a VALUES (6, 'no'); \
         ROLLBACK TO SAVEPOINT s; UPDATE a SET id = 7 WHERE id = 5; COMMIT",
        &["a c 5: 5 five", "a u 5>7: 7 five"],
    ),
    ("TRUNCATE TABLE b", &["b t"]),
    (
        "BEGIN; DELETE FROM a WHERE id = 1; INSERT INTO b VALUES (1, 'due'); COMMIT",
        &["a d 1", "b c 1: 1 due"],
    ),
    ("ALTER TABLE a ADD COLUMN more INT", &[]),
    ("UPDATE a SET more = 1 WHERE id = 2", &["a u 2: 2 zwei 1"]),
    ("ALTER TABLE a DROP COLUMN note", &[]),
    (
        "BEGIN; INSERT INTO a VALUES (8, 8); INSERT INTO b VALUES (2, 'tre'); COMMIT",
        &["a c 8: 8 8", "b c 2: 2 tre"],
    ),
];

/// Every so many times it is another process that goes on.
const ANOTHER_EVERY: usize = 8;

/// Behind the end of any batch, within a transaction too, comes what came behind it the first time, each
/// event once and as it was; nothing at or before it comes again.
pub async fn every_end_is_a_place_to_go_on_from<B: Bench>(bench: &B) {
    for table in ["a", "b", "rests", "other"] {
        make_table(bench, table).await;
    }
    let tables = ["a", "b", "rests"];
    let connector = bench.connector(&tables, Login::Right);
    let mut reading = Reading::start(&connector).await;
    let mut places = vec![(reading.checkpoint(), 0)];
    let statements: Vec<&str> = WRITTEN.iter().map(|(sql, _)| *sql).collect();
    write(bench, &statements).await;
    let expected: Vec<&str> = WRITTEN.iter().flat_map(|(_, lines)| *lines).copied().collect();
    let mut told: Vec<Seen> = Vec::new();
    while told.len() < expected.len() {
        let batches = reading.until(SINGLE, |_| true).await;
        told.extend(batches.iter().flat_map(super::reading::Batch::changes).cloned());
        let place = (reading.checkpoint(), told.len());
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
    assert_eq!(lines(&told), expected);
    reading.source.close().await.unwrap();
    for (number, (place, count)) in places.iter().enumerate() {
        // As by the same process, and now and then by another one, which may have to wait for its turn.
        let of_new = bench.connector(&tables, Login::Right);
        let connector = if number % ANOTHER_EVERY == 1 { &of_new } else { &connector };
        goes_on(bench, connector, place, &told[*count..], number).await;
    }
}

/// Behind `place` come these events.
async fn goes_on<B: Bench>(
    bench: &B,
    connector: &B::Connector,
    place: &Checkpoint,
    expected: &[Seen],
    number: usize,
) {
    let mut reading = Reading::resume(connector, place).await;
    let mut told = reading.rest(bench, "rests", number).await;
    told.retain(|seen| seen.schema.name.table != "rests");
    assert_eq!(lines(&told), lines(expected), "behind {}", place.position);
    assert_eq!(told, expected, "behind {}", place.position);
    let idle =
        reading.next(crate::BatchLimit { wait_max: std::time::Duration::ZERO, ..LARGE }).await;
    assert!(idle.is_empty(), "{idle:?}");
    reading.source.close().await.unwrap();
}
