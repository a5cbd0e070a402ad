//! Claims about tables as the database's own text.

use super::bench::{Bench, ReaderOf, make_table, named, reader_of, write};
use super::chunks::{rows_of, whole};
use crate::{
    ColumnForm, QueryColumn, QueryPart, QueryRequest, TableReader, TableTexts, TextPart,
    TextRequest, TextRow,
};
use tidemesh_model::{ErrorKind, RowTypes, TableName};

const ROWS_TABLE: &str = "CREATE TABLE a (id INT PRIMARY KEY, name VARCHAR(40), amount NUMERIC(10,2), \
     day DATE, big BIGINT, note TEXT)";

const ROWS: &str = "INSERT INTO a VALUES \
     (1, 'it''s', 1.5, '2024-02-29', -9000000000, NULL), \
     (2, '', -0.01, '1999-12-31', 0, 'two\nlines, \"q\"'), \
     (3, NULL, NULL, NULL, NULL, '日本')";

fn row(cells: &[Option<&str>]) -> TextRow {
    cells.iter().map(|cell| cell.map(str::to_owned)).collect()
}

fn rows() -> [TextRow; 3] {
    [
        row(&[
            Some("1"),
            Some("it's"),
            Some("1.50"),
            Some("2024-02-29"),
            Some("-9000000000"),
            None,
        ]),
        row(&[
            Some("2"),
            Some(""),
            Some("-0.01"),
            Some("1999-12-31"),
            Some("0"),
            Some("two\nlines, \"q\""),
        ]),
        row(&[Some("3"), None, None, None, None, Some("日本")]),
    ]
}

fn all(table: TableName) -> TextRequest {
    TextRequest { table, part: TextPart::After(None), rows_max: 100, bytes_max: 1 << 20 }
}

/// The texts are what was written, null for null; of listed keys alone, if they are listed.
pub async fn texts_are_what_was_written<B: Bench>(bench: &B) {
    write(bench, &[ROWS_TABLE, ROWS]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let texts = reader.texts(&all(named(bench, "a"))).await.unwrap();
    assert_eq!(texts.rows, rows());
    assert_eq!((texts.last, texts.schema.fields.len()), (None, 6));
    let keys = ["3", "1", "9"].map(|id| row(&[Some(id)])).to_vec();
    let listed = TextRequest { part: TextPart::Keys(keys), ..all(named(bench, "a")) };
    let [first, _, third] = rows();
    assert_eq!(reader.texts(&listed).await.unwrap().rows, [first, third]);
}

/// Texts lead through a table as chunks do, without a row more or less.
pub async fn texts_lead_through_a_table<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let values: Vec<String> = (0..30).map(|id| format!("({id}, 'x')")).collect();
    write(bench, &[&format!("INSERT INTO a VALUES {}", values.join(", "))]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    for rows_max in [1, 7, 30, 100] {
        let mut request = TextRequest { rows_max, ..all(named(bench, "a")) };
        let mut ids = Vec::new();
        loop {
            let texts = reader.texts(&request).await.unwrap();
            assert!(texts.rows.len() <= rows_max as usize);
            ids.extend(texts.rows.into_iter().map(|row| row[0].clone().unwrap()));
            let Some(last) = texts.last else { break };
            assert!(ids.len() <= 30, "it leads nowhere: {ids:?}");
            request.part = TextPart::After(Some(last));
        }
        assert_eq!(ids, (0..30).map(|id: i32| id.to_string()).collect::<Vec<_>>(), "{rows_max}");
    }
}

/// A chunk's values have the texts that the database gives, which it writes so again.
pub async fn a_value_has_the_text_of_the_database<B: Bench>(bench: &B) {
    write(bench, &[ROWS_TABLE, ROWS]).await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let chunk = reader.chunk(&whole(named(bench, "a"))).await.unwrap();
    let texts = reader.texts(&all(named(bench, "a"))).await.unwrap();
    let mut cells = Vec::new();
    for (values, texts) in rows_of(&chunk).iter().zip(texts.rows) {
        for ((field, value), text) in
            crate::Chunk::schema(&chunk).fields.iter().zip(values).zip(texts)
        {
            assert_eq!(<ReaderOf<B> as TableTexts>::text(field, value), text, "{field:?}");
            cells.extend(text.map(|text| (field.clone(), text)));
        }
    }
    let canonical = reader.canonical(&cells).await.unwrap();
    let expected: Vec<Option<String>> = cells.into_iter().map(|(_, text)| Some(text)).collect();
    assert_eq!(canonical, expected);
    assert!(reader.canonical(&[]).await.unwrap().is_empty());
}

/// What the database does not take as a query is `Unsupported`, and the reader goes on.
pub async fn a_query_that_is_none_is_unsupported<B: Bench>(bench: &B) {
    make_table(bench, "a").await;
    let mut reader: ReaderOf<B> = reader_of(bench, &["a"]).await;
    let request = QueryRequest {
        parts: vec![QueryPart::Text("SELEKT id FROM a".to_owned())],
        columns: vec![QueryColumn { name: "id".to_owned(), form: ColumnForm::Exact }],
        types: RowTypes::Avro,
    };
    let error = reader.query(&request, &mut |row| panic!("{row:?}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
    assert!(reader.texts(&all(named(bench, "a"))).await.unwrap().rows.is_empty());
}
