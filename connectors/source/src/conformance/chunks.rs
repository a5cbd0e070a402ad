//! Claims about tables that are read chunk by chunk, while nobody writes.

use super::bench::{Bench, Login, ReaderOf, make_table, named, reader_of, soon, write};
use super::reading::words;
use crate::{
    Chunk, ChunkRequest, Connector, Key, Part, RowVisitor, TableReader, TableTexts, TextPart,
    TextRequest,
};
use std::collections::BTreeSet;
use tidemesh_model::{ErrorKind, Result, RowImage, TableName, Value, Values};

/// All of a table.
pub(super) const WHOLE: Part = Part::Span { after: None, upto: None };

/// Chunks as large as the table.
pub(super) fn whole(table: TableName) -> ChunkRequest {
    ChunkRequest { table, part: WHOLE, after: None, rows_max: 100_000, bytes_max: 64 << 20 }
}

/// A key of these columns.
fn key(columns: &[&str]) -> Key {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

struct Rows(Vec<Vec<Value>>);

impl RowVisitor for Rows {
    fn row<R: RowImage>(&mut self, row: &R) -> Result<()> {
        self.0.push(Values::of(row)?);
        Ok(())
    }
}

/// A chunk's rows, which are as many as it says.
pub(super) fn rows_of<K: Chunk>(chunk: &K) -> Vec<Vec<Value>> {
    let mut rows = Rows(Vec::new());
    chunk.visit(&mut rows).unwrap();
    assert_eq!(rows.0.len() as u64, chunk.rows());
    assert!(!rows.0.is_empty() || chunk.last_key().is_none(), "a key of no row");
    rows.0
}

/// The rows of a part, chunk by chunk.
async fn read<R: TableReader>(reader: &mut R, mut request: ChunkRequest) -> Vec<Vec<Vec<Value>>> {
    let mut chunks = Vec::new();
    loop {
        let chunk = soon("a chunk", reader.chunk(&request)).await.unwrap();
        let rows = rows_of(&chunk);
        assert!(rows.len() <= request.rows_max as usize, "{} rows", rows.len());
        assert!(chunk.last_key().is_some() || chunk.is_last(), "nothing leads on");
        chunks.push(rows);
        if chunk.is_last() {
            return chunks;
        }
        request.after = chunk.last_key().cloned();
    }
}

fn told(rows: &[Vec<Value>]) -> Vec<String> {
    rows.iter().map(|row| words(row)).collect()
}

/// Chunks have no more rows than they may, each row once and in the order of the key; the last key leads to
/// the next one, and the last chunk says that it is.
pub async fn chunks_lead_through_a_table<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    // Not in the key's order, and with gaps.
    let row = |id: i32| format!("({id}, '{}')", id * 2);
    let ids: Vec<i32> = (-20..20).map(|n| n * 7).collect();
    let rows: Vec<String> = ids.iter().rev().map(|id| row(*id)).collect();
    write(bench, &[&format!("INSERT INTO a VALUES {}", rows.join(", "))]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let expected: Vec<String> = ids.iter().map(|id| format!("{id} {}", id * 2)).collect();
    for rows_max in [1, 3, 10, 40, 1000] {
        let request = ChunkRequest { rows_max, ..whole(named(bench, "a")) };
        assert_eq!(told(&read(&mut reader, request).await.concat()), expected, "{rows_max}");
    }
    // A span is open at its lower end and closed at its upper one.
    let part = Part::Span { after: Some(key(&["-21"])), upto: Some(key(&["14"])) };
    let request = ChunkRequest { rows_max: 2, part, ..whole(named(bench, "a")) };
    let expected = ["-14 -28", "-7 -14", "0 0", "7 14", "14 28"];
    assert_eq!(told(&read(&mut reader, request).await.concat()), expected);
}

/// A chunk has no more bytes than it may; a row that is larger comes alone, whatever stands before it.
pub async fn a_chunk_keeps_to_its_bytes<B: Bench>(bench: &B) {
    const BYTES_MAX: usize = 16 << 10;
    make_table(bench, "a").await;
    let row = |id: usize| {
        let length = if id.is_multiple_of(8) { 2 * BYTES_MAX } else { BYTES_MAX / 10 };
        format!("INSERT INTO a VALUES ({id}, REPEAT('x', {length}))")
    };
    let rows: Vec<String> = (1..40).map(row).collect();
    write(bench, &[&rows.join("; ")]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let request = ChunkRequest { bytes_max: BYTES_MAX, ..whole(named(bench, "a")) };
    let chunks = read(&mut reader, request).await;
    let length = |row: &Vec<Value>| match &row[1] {
        Value::Text(text) => text.len(),
        other => panic!("{other:?}"),
    };
    for rows in &chunks {
        let bytes: usize = rows.iter().map(length).sum();
        assert!(bytes <= BYTES_MAX || rows.len() == 1, "{} rows of {bytes} bytes", rows.len());
    }
    let ids: Vec<String> = chunks.concat().iter().map(|row| words(&row[..1])).collect();
    assert_eq!(ids, (1..40).map(|id: i32| id.to_string()).collect::<Vec<_>>());
}

/// Keys of several columns, and of texts of any characters, lead on as numbers do.
pub async fn chunks_lead_through_any_key<B: Bench>(bench: &B) {
    let statements = [
        "CREATE TABLE pairs (x INT, name VARCHAR(40), y INT, PRIMARY KEY (name, x))",
        "INSERT INTO pairs VALUES (2, 'a', 1), (1, 'b', 2), (1, 'a', 3), (-1, 'b', 4), (9, 'a b', 5)",
        "CREATE TABLE names (name VARCHAR(40) PRIMARY KEY)",
        "INSERT INTO names VALUES ('it''s'), (''), ('x,y'), ('\"q\"'), ('日本'), ('%_'), ('{1}'), ('ß?')",
    ];
    write(bench, &statements).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["pairs", "names"]).await;
    for rows_max in [1, 2, 100] {
        let request = ChunkRequest { rows_max, ..whole(named(bench, "pairs")) };
        let pairs = told(&read(&mut reader, request).await.concat());
        assert_eq!(pairs, ["1 a 3", "2 a 1", "9 a b 5", "-1 b 4", "1 b 2"], "{rows_max}");
        let request = ChunkRequest { rows_max, ..whole(named(bench, "names")) };
        let names = told(&read(&mut reader, request).await.concat());
        // Each database has an order of its own.
        let set: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names.len(), set.len(), "{names:?}");
        assert_eq!(set, BTreeSet::from(["it's", "", "x,y", "\"q\"", "日本", "%_", "{1}", "ß?"]));
    }
    let keys = [["b", "1"], ["a", "2"], ["a", "7"]].map(|columns| key(&columns));
    let part = Part::Keys(keys.to_vec());
    let request = ChunkRequest { part, ..whole(named(bench, "pairs")) };
    assert_eq!(told(&read(&mut reader, request).await.concat()), ["2 a 1", "1 b 2"]);
}

/// A plan has no more parts than it may; they lie end to end, and have each row once.
pub async fn parts_make_up_a_table<B: Bench>(bench: &B) {
    /// Doublings of one row: more rows than a table may have that is read in one part.
    const DOUBLINGS: u32 = 17;
    const ROWS: usize = 1 << DOUBLINGS;
    make_table(bench, "a").await;
    write(bench, &["INSERT INTO a VALUES (0, NULL)"]).await;
    let double = |n| format!("INSERT INTO a SELECT id + {}, note FROM a", 1_u32 << n);
    let statements: Vec<String> = (0..DOUBLINGS).map(double).collect();
    write(bench, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bench.analyze("a").await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    for parts_max in [1, 4] {
        let plan = reader.plan(&named(bench, "a"), parts_max).await.unwrap();
        assert!((1..=parts_max as usize).contains(&plan.parts.len()), "{plan:?}");
        assert!(plan.parts.len() > 1 || parts_max == 1, "{plan:?}");
        assert!((ROWS as u64 / 2..ROWS as u64 * 2).contains(&plan.rows_estimate), "{plan:?}");
        assert_eq!(plan.generation, None, "a key is no place of storage");
        let mut before = None;
        for part in &plan.parts {
            let Part::Span { after, upto } = part else { panic!("{part:?} is no span") };
            assert_eq!(after, &before, "{plan:?}");
            before.clone_from(upto);
        }
        let mut rows = Vec::new();
        for part in plan.parts {
            let request = ChunkRequest { rows_max: 20_000, part, ..whole(named(bench, "a")) };
            rows.extend(read(&mut reader, request).await.concat());
        }
        let is_next = |(id, row): (i32, &Vec<Value>)| row[0] == Value::Int32(id);
        assert_eq!(rows.len(), ROWS);
        assert!((0..).zip(&rows).all(is_next), "rows are missing, or not in order");
    }
}

/// A table without rows has one chunk, which says that it is the last and leads nowhere.
pub async fn a_table_without_rows_has_one_empty_chunk<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let plan = reader.plan(&named(bench, "a"), 4).await.unwrap();
    assert!((1..=4).contains(&plan.parts.len()), "{plan:?}");
    for part in plan.parts.into_iter().chain([WHOLE, Part::Keys(vec![key(&["1"])])]) {
        let request = ChunkRequest { part, ..whole(named(bench, "a")) };
        let chunk = reader.chunk(&request).await.unwrap();
        assert!(chunk.is_last() && chunk.last_key().is_none() && rows_of(&chunk).is_empty());
        assert_eq!(chunk.schema().fields.len(), 2);
    }
}

/// A table without a key is read, too, each of its rows as often as it has it; its chunks tell of which storage
/// they are, if the plan does. Of whole rows that are listed the texts come.
pub async fn a_table_without_a_key_is_read<B: Bench>(bench: &B) {
    let rows = "INSERT INTO bare VALUES (1, 'a'), (2, NULL), (1, 'a'), (NULL, 'b')";
    write(bench, &["CREATE TABLE bare (x INT, note TEXT)", rows]).await;
    bench.log_whole_rows("bare").await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["bare"]).await;
    let plan = reader.plan(&named(bench, "bare"), 4).await.unwrap();
    let mut rows = Vec::new();
    for part in plan.parts {
        let request = ChunkRequest { part, ..whole(named(bench, "bare")) };
        let chunk = reader.chunk(&request).await.unwrap();
        assert_eq!(chunk.generation(), plan.generation.as_deref());
        rows.extend(read(&mut reader, request).await.concat());
    }
    let mut told = told(&rows);
    told.sort_unstable();
    assert_eq!(told, ["1 a", "1 a", "2 null", "null b"]);
    let listed = vec![Some("2".to_owned()), None];
    let request = TextRequest {
        table: named(bench, "bare"),
        part: TextPart::Keys(vec![listed.clone()]),
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    assert_eq!(reader.texts(&request).await.unwrap().rows, [listed]);
}

/// Of listed keys the rows come that there are, each once, in the order of the key, chunk by chunk too.
pub async fn listed_keys_alone_are_read<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    write(bench, &["INSERT INTO a VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')"]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let part = Part::Keys(["5", "2", "9", "4", "2"].map(|id| key(&[id])).to_vec());
    for rows_max in [1, 2, 100] {
        let request = ChunkRequest { rows_max, part: part.clone(), ..whole(named(bench, "a")) };
        let rows = told(&read(&mut reader, request).await.concat());
        assert_eq!(rows, ["2 b", "4 d", "5 e"], "{rows_max}");
    }
}

/// Keys that the table cannot have are the request's mistake, and the reader goes on.
pub async fn a_key_that_the_table_cannot_have_is_refused<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    write(bench, &["INSERT INTO a VALUES (1, 'a')"]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    for wrong in [&["1", "2"][..], &["x"], &[]] {
        let part = Part::Keys(vec![key(wrong)]);
        let request = ChunkRequest { part, ..whole(named(bench, "a")) };
        match reader.chunk(&request).await {
            Ok(chunk) => panic!("{wrong:?} gives {} rows", chunk.rows()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config, "{wrong:?}: {}", error.report());
            }
        }
    }
    let chunk = reader.chunk(&whole(named(bench, "a"))).await.unwrap();
    assert_eq!(told(&rows_of(&chunk)), ["1 a"]);
}

/// A table that is not there is told by its name, and the reader goes on; one whose connection was cut is told
/// as `Unavailable`, and another one connects.
pub async fn a_reader_tells_what_it_cannot_read<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let connector = bench.connector(&["a", "gone"], Login::Right);
    let mut reader = connector.reader().await.unwrap();
    let gone = named(bench, "gone");
    for error in [
        reader.plan(&gone, 4).await.map(|_| ()).unwrap_err(),
        reader.chunk(&whole(gone.clone())).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.report());
        assert!(error.report().contains("gone"), "{}", error.report());
    }
    reader.plan(&named(bench, "a"), 4).await.unwrap();
    reader.chunk(&whole(named(bench, "a"))).await.unwrap();
    bench.cut().await;
    let error = soon("an error", reader.plan(&named(bench, "a"), 4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    let mut another = connector.reader().await.unwrap();
    another.plan(&named(bench, "a"), 4).await.unwrap();
}
