//! Tables read at a real server, beside what its log says of the same rows.

use super::*;
use crate::relation::TableFacts;
use crate::tests::{Logged, Server, logged};
use proptest::prelude::*;
use std::collections::HashMap;
use tidemesh_model::{MysqlTime, RowImage, Value, ZeroDates};
use tidemesh_source::{Chunk, RowVisitor, TableTexts, TextPart, TextRequest, TextRow};

const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// Keeps rows' values.
#[derive(Default)]
struct Kept(Vec<Vec<Value>>);

impl RowVisitor for Kept {
    fn row<R: RowImage>(&mut self, row: &R) -> Result<()> {
        self.0.push(Values::of(row)?);
        Ok(())
    }
}

async fn reader(server: &Server, types: &MysqlTypes, marks: Option<TableName>) -> MysqlReader {
    let mut settings = server.settings.clone();
    settings.zero_dates = types.zero_dates;
    settings.time = types.time;
    reader_of(&settings, marks).await
}

async fn reader_of(settings: &MysqlSettings, marks: Option<TableName>) -> MysqlReader {
    let source = serde_json::json!({ "name": "test", "mysql": settings });
    let mut config = Config::try_from(&serde_json::from_value(source).unwrap()).unwrap();
    config.watermarks = marks;
    MysqlReader::connect(&config, (Arc::default(), Arc::default())).await.unwrap()
}

/// All rows of a part, and the last keys of its chunks.
async fn part(
    reader: &mut MysqlReader,
    table: &TableName,
    part: &Part,
    rows_max: u32,
) -> (Vec<Vec<Value>>, Vec<Key>) {
    let (mut rows, mut keys) = (Kept::default(), Vec::new());
    let mut after = None;
    loop {
        let request = ChunkRequest {
            table: table.clone(),
            part: part.clone(),
            after: after.clone(),
            rows_max,
            bytes_max: CHUNK_BYTES,
        };
        let chunk = reader.chunk(&request).await.unwrap();
        assert!(chunk.rows() <= u64::from(rows_max));
        chunk.visit(&mut rows).unwrap();
        after = chunk.last_key().cloned();
        keys.extend(after.clone());
        if chunk.is_last() {
            return (rows.0, keys);
        }
        assert!(rows.0.len() < 10_000, "the chunks of {table} do not end");
    }
}

/// All rows of a table, by its plan's parts.
async fn whole(
    reader: &mut MysqlReader,
    table: &TableName,
    rows_max: u32,
) -> (Vec<Vec<Value>>, Vec<Key>) {
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for of_plan in reader.plan(table, 4).await.unwrap().parts {
        let (more, last) = part(reader, table, &of_plan, rows_max).await;
        rows.extend(more);
        keys.extend(last);
    }
    (rows, keys)
}

/// What the log says of tables.
async fn log(at: &Server, tables: &[TableName], types: &MysqlTypes) -> HashMap<TableName, Logged> {
    let mut sql = at.sql().await;
    let flavor = server::flavor(&mut sql).await.unwrap();
    let mut facts: HashMap<TableName, TableFacts> = HashMap::new();
    for table in tables {
        let found = catalog::table(&mut sql, flavor, table, types).await.unwrap().unwrap();
        facts.insert(table.clone(), found.facts().clone());
    }
    logged(at, &facts, types)
}

async fn types_tables(server: &Server, database: &str) -> Vec<TableName> {
    let mut sql = server.database(database).await;
    for statement in include_str!("../../testdata/types.sql").split_terminator(";\n") {
        sql.run(statement).await.unwrap();
    }
    ["numbers", "times", "strings", "charsets"].map(|name| TableName::new(database, name)).to_vec()
}

#[tokio::test]
async fn rows_of_every_type_are_those_of_the_log() {
    let server = Server::shared().await;
    let tables = types_tables(&server, "snapshot_types").await;
    for zero_dates in [ZeroDates::Text, ZeroDates::Null] {
        let types = MysqlTypes { zero_dates, ..MysqlTypes::default() };
        let log = log(&server, &tables, &types).await;
        let mut reader = reader(&server, &types, None).await;
        for table in &tables {
            let logged = &log[table];
            assert!(logged.rows.len() > 2);
            for rows_max in [1, 2, 7] {
                let (rows, _) = whole(&mut reader, table, rows_max).await;
                assert_eq!(rows.len(), logged.rows.len(), "{table}");
                let fields = &logged.relation.schema.fields;
                for (row, of_log) in rows.iter().zip(&logged.rows) {
                    for ((cell, of_log), field) in row.iter().zip(of_log).zip(fields) {
                        assert_eq!(cell, of_log, "{table} {}", field.name);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn the_servers_texts_are_those_of_the_logs_values() {
    let server = Server::shared().await;
    let tables = types_tables(&server, "snapshot_texts").await;
    for zero_dates in [ZeroDates::Text, ZeroDates::Null] {
        let types = MysqlTypes { zero_dates, ..MysqlTypes::default() };
        let log = log(&server, &tables, &types).await;
        let mut reader = reader(&server, &types, None).await;
        for table in &tables {
            let logged = &log[table];
            let texts = texts(&mut reader, table, 2).await;
            let fields = &logged.relation.schema.fields;
            assert_eq!(texts.len(), logged.rows.len());
            for (texts, row) in texts.iter().zip(&logged.rows) {
                for ((found, value), field) in texts.iter().zip(row).zip(fields) {
                    let ours = MysqlReader::text(field, value);
                    assert_eq!(found, &ours, "{table} {}", field.name);
                }
            }
        }
    }
}

async fn texts(reader: &mut MysqlReader, table: &TableName, rows_max: u32) -> Vec<TextRow> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (table, part) = (table.clone(), TextPart::After(after));
        let request = TextRequest { table, part, rows_max, bytes_max: CHUNK_BYTES };
        let rows = reader.texts(&request).await.unwrap();
        found.extend(rows.rows);
        match rows.last {
            Some(last) => after = Some(last),
            None => return found,
        }
    }
}

/// Keys of every type: columns, the key, rows.
const KEYS: &[(&str, &str, &str)] = &[
    ("a int", "a", "(-2147483648),(-1),(0),(1),(2147483647)"),
    (
        "a bigint unsigned",
        "a",
        "(0),(9223372036854775808),(18446744073709551615),(18446744073709551614)",
    ),
    (
        "a decimal(30,10)",
        "a",
        "(-1.5),(-1.4999999999),(0),(12345678901234567890.0123456789),(12345678901234567890.012345679)",
    ),
    ("a float", "a", "(-1.1),(0.1),(1.1),(16777216),(3.4e38),(1.1000001)"),
    ("a double", "a", "(-1.1),(5e-324),(0.1),(0.1000000000000001),(1.7e308)"),
    ("a year", "a", "(0),(1901),(2155)"),
    ("a bit(9)", "a", "(b'0'),(b'1'),(b'100000000'),(b'111111111')"),
    ("a date", "a", "('1000-01-01'),('2024-02-29'),('9999-12-31')"),
    (
        "a datetime(6)",
        "a",
        "('1000-01-01'),('2024-02-29 01:02:03.000001'),('2024-02-29 01:02:03.000002')",
    ),
    (
        "a timestamp(3)",
        "a",
        "('1970-01-01 00:00:01'),('2024-02-29 01:02:03.001'),('2024-02-29 01:02:03.002')",
    ),
    (
        "a time(2)",
        "a",
        "('-838:59:59'),('-00:00:00.01'),('00:00:00'),('00:00:00.01'),('838:59:59')",
    ),
    ("a varchar(20)", "a", "(''),('a'),('B'),('b a'),('ä z'),('Z'),('日本'),('it''s'),('x\\\\y')"),
    ("a char(9) collate utf8mb4_unicode_ci", "a", "('ss'),('ßa'),('Za'),('á'),('aa')"),
    ("a varchar(20) character set latin1", "a", "('é'),('F'),('z'),('ä'),('A b'),('')"),
    ("a varchar(20) character set gbk", "a", "('简体'),('繁體'),('a'),('Z'),('誠')"),
    ("a varchar(20) character set sjis", "a", "('表ソ'),('日本'),('ア'),('a')"),
    ("a varchar(20) character set utf16", "a", "('日本😀'),('a'),('Z')"),
    ("a varchar(20) collate utf8mb4_bin", "a", "('A'),('a'),('ab'),('b'),('B')"),
    ("a varchar(20) collate utf8mb4_nopad_bin", "a", "('A'),('a'),('a '),('b'),('B')"),
    ("a binary(4)", "a", "(x'00'),(x'01'),(x'0100ff'),(x'ffffffff')"),
    ("a varbinary(9)", "a", "(x''),(x'00'),(x'0000'),(x'27'),(x'ff')"),
    ("a enum('z','y','a')", "a", "('a'),('y'),('z')"),
    ("a set('z','y','a')", "a", "(''),('a'),('z'),('z,a'),('y')"),
    (
        "a uuid",
        "a",
        "('01234567-89ab-1def-8123-456789abcdef'),('ffffffff-ffff-7fff-bfff-000000000000'),
     ('00000000-0000-0000-0000-000000000000'),('01234567-89ab-1def-8123-456789abcdee')",
    ),
    ("a inet6", "a", "('::1'),('::'),('2001:db8::'),('::ffff:1.2.3.4')"),
    ("a inet4", "a", "('1.2.3.4'),('0.0.0.0'),('255.0.0.0')"),
    ("a text", "a(10)", "('b'),('A'),('c'),('')"),
    ("a varchar(9), b int", "a, b", "('x',2),('X',1),('y',-1),('',5),('x',-3)"),
    ("b int, a varchar(9)", "a, b", "(2,'x'),(1,'X'),(-1,'y'),(5,''),(-3,'x')"),
    (
        "a date, b time, c decimal(5,2)",
        "b, a, c",
        "('2024-01-01','-1:00:00',1.5),('2024-01-01','-1:00:00',-1.5),('2023-01-01','-1:00:00',1.5),('2024-01-01','1:00:00',0)",
    ),
];

#[tokio::test]
async fn keys_of_every_type_come_back_in_order_and_are_found() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_keys").await;
    let types = MysqlTypes::default();
    let mut tables = Vec::new();
    for (index, (columns, key, rows)) in KEYS.iter().enumerate() {
        let table = TableName::new("snapshot_keys", format!("k{index}"));
        let create = format!("CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))");
        sql.run(&create).await.unwrap_or_else(|error| panic!("{create}: {error}"));
        sql.run(&format!("INSERT INTO {table} VALUES {rows}")).await.unwrap();
        tables.push(table);
    }
    let log = log(&server, &tables, &types).await;
    let mut reader = reader(&server, &types, None).await;
    for (table, (columns, ..)) in tables.iter().zip(KEYS) {
        let (one_by_one, keys) = whole(&mut reader, table, 1).await;
        assert_eq!(sorted(&one_by_one), sorted(&log[table].rows), "{columns}");
        for rows_max in [2, 100] {
            let (rows, _) = whole(&mut reader, table, rows_max).await;
            assert_eq!(rows, one_by_one, "{columns}");
        }
        for (key, row) in keys.iter().zip(&one_by_one) {
            let wanted = Part::Keys(vec![key.clone()]);
            let (found, _) = part(&mut reader, table, &wanted, 9).await;
            assert_eq!(found, std::slice::from_ref(row), "{columns} {key:?}");
        }
        let all = Part::Keys(keys[..one_by_one.len()].to_vec());
        assert_eq!(part(&mut reader, table, &all, 2).await.0, one_by_one, "{columns}");
        let schema = &log[table].relation.schema;
        let rows: Vec<TextRow> = one_by_one
            .iter()
            .map(|row| {
                let cell = |place: &usize| MysqlReader::text(&schema.fields[*place], &row[*place]);
                schema.key.columns.iter().map(cell).collect()
            })
            .collect();
        let (part, bytes_max) = (TextPart::Keys(rows), CHUNK_BYTES);
        let request = TextRequest { table: table.clone(), part, rows_max: 99, bytes_max };
        assert_eq!(reader.texts(&request).await.unwrap().rows.len(), one_by_one.len());
    }
}

#[tokio::test]
async fn of_a_table_that_keeps_its_history_the_rows_that_hold_are_read() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_history").await;
    let types = MysqlTypes::default();
    let named = "a TIMESTAMP(6) GENERATED ALWAYS AS ROW START, z TIMESTAMP(6) GENERATED ALWAYS AS ROW END, \
                 PERIOD FOR SYSTEM_TIME(a, z)";
    for (name, columns) in [
        ("hidden", "id int primary key, v int".to_owned()),
        ("named", format!("id int primary key, v int, {named}")),
        ("keyless", "id int, v int".to_owned()),
    ] {
        let table = TableName::new("snapshot_history", name);
        sql.run(&format!("CREATE TABLE {table} ({columns}) WITH SYSTEM VERSIONING")).await.unwrap();
        sql.run(&format!("INSERT INTO {table} (id, v) VALUES (1, 1), (2, 2), (3, 3)"))
            .await
            .unwrap();
        sql.run(&format!("UPDATE {table} SET v = 20 WHERE id = 2")).await.unwrap();
        sql.run(&format!("DELETE FROM {table} WHERE id = 1")).await.unwrap();
        let logged = &log(&server, std::slice::from_ref(&table), &types).await[&table];
        let mut reader = reader(&server, &types, None).await;
        let opened = reader.open(&table).await.unwrap();
        assert_eq!(opened.relation.schema, logged.relation.schema, "{name}");
        assert_eq!(opened.order().is_some(), name != "keyless");
        reader.end().await.unwrap();
        let (rows, _) = whole(&mut reader, &table, if name == "keyless" { 9 } else { 1 }).await;
        let first: Vec<_> = rows.iter().map(|row| row[..2].to_vec()).collect();
        let row = |id, v| vec![Value::Int32(id), Value::Int32(v)];
        assert_eq!(first, [row(2, 20), row(3, 3)], "{name}");
        assert_eq!(texts(&mut reader, &table, 9).await.len(), 2, "{name}");
    }
}

/// What a server reads for five rows in the middle of a table of 2000, by its own count.
#[tokio::test]
async fn a_chunk_costs_its_own_rows_whatever_its_key_begins_with() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_costs").await;
    for (index, (column, value)) in [
        ("int", "seq % 4"),
        ("enum('d','c','b','a')", "1 + seq % 4"),
        ("set('x','y','z')", "seq % 8"),
        ("varchar(9) character set cp932", "seq % 4"),
        ("varchar(9)", "seq % 4"),
        ("bit(9)", "seq % 4"),
        ("year", "2000 + seq % 4"),
        ("decimal(9,2)", "seq % 4"),
        ("date", "date('2000-01-01') + interval seq % 4 day"),
        ("binary(2)", "seq % 4"),
    ]
    .iter()
    .enumerate()
    {
        let table = TableName::new("snapshot_costs", format!("t{index}"));
        sql.run(&format!("CREATE TABLE {table} (a {column}, b int, PRIMARY KEY (a, b))"))
            .await
            .unwrap();
        sql.run(&format!("INSERT INTO {table} SELECT {value}, seq FROM seq_1_to_2000"))
            .await
            .unwrap();
        let mut reader = reader(&server, &MysqlTypes::default(), None).await;
        let span = Part::Span { after: None, upto: None };
        let request = ChunkRequest {
            table: table.clone(),
            part: span.clone(),
            after: None,
            rows_max: 1300,
            bytes_max: CHUNK_BYTES,
        };
        let after = reader.chunk(&request).await.unwrap().last_key().cloned().unwrap();
        let opened = reader.open(&table).await.unwrap();
        let keys = opened.order().unwrap();
        let condition = sql::condition(&keys, &span, Some(&after)).unwrap();
        let query = sql::rows_query(&keys, &sql::cells(&opened.relation), &condition, 5);
        sql.run("FLUSH STATUS").await.unwrap();
        sql.run(&query).await.unwrap();
        let counts: Vec<(String, String)> =
            sql.all("SHOW SESSION STATUS LIKE 'Handler_read%'").await.unwrap();
        let read: u64 = counts.iter().map(|(_, count)| count.parse::<u64>().unwrap()).sum();
        assert!(read < 50, "{column}: {read} reads for {query}");
        reader.end().await.unwrap();
    }
}

/// Texts whose characters have two forms: bytes that stand at two places of an index are one text.
#[tokio::test]
async fn keys_of_texts_of_two_forms_are_read_each_once() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_forms").await;
    let types = MysqlTypes::default();
    for (charset, keys) in [
        ("cp932", &["815F", "5C", "81BE", "81CA", "879C", "EEF9", "FA54", "61"][..]),
        ("sjis", &["5C", "815F", "61"]),
        ("ujis", &["5C", "A1C0", "7E", "8FA2B7", "61"]),
        ("eucjpms", &["A1C1", "8FA2B7", "A2C0", "ADFC", "61"]),
        ("armscii8", &["27", "28", "A5", "FF", "61"]),
    ] {
        let table = TableName::new("snapshot_forms", charset);
        let create = format!(
            "CREATE TABLE {table} (a varchar(9) CHARACTER SET {charset} COLLATE {charset}_bin, b int, \
             PRIMARY KEY (a, b))"
        );
        sql.run(&create).await.unwrap();
        let rows: Vec<String> =
            keys.iter().map(|key| format!("(_{charset} X'{key}', 1)")).collect();
        sql.run(&format!("INSERT INTO {table} VALUES {}", rows.join(","))).await.unwrap();
        let mut reader = reader(&server, &types, None).await;
        let (all, keys) = whole(&mut reader, &table, 100).await;
        assert_eq!(all.len(), rows.len(), "{charset}");
        let (one_by_one, each) = whole(&mut reader, &table, 1).await;
        assert_eq!(one_by_one, all, "{charset}");
        assert_eq!(each.last(), keys.last(), "{charset}");
        let (found, _) = part(&mut reader, &table, &Part::Keys(each), 2).await;
        assert_eq!(found, all, "{charset}");
        assert_eq!(texts(&mut reader, &table, 1).await.len(), all.len(), "{charset}");
    }
}

fn sorted(rows: &[Vec<Value>]) -> Vec<String> {
    let mut sorted: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    sorted.sort();
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn chunks_of_any_size_and_parts_of_any_bounds_have_each_row_once(
        keys in prop::collection::btree_set((-4_i32..4, "[abAB é]{0,2}", -9_i64..9), 1..40),
        rows_max in 1_u32..9, bounds in prop::collection::btree_set(-6_i32..6, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::shared().await;
            let mut sql = server.database("snapshot_any").await;
            sql.run("CREATE TABLE t (a int, b varchar(9), c decimal(5,1), PRIMARY KEY (a, b, c))")
                .await
                .unwrap();
            let rows: Vec<String> =
                keys.iter().map(|(a, b, c)| format!("({a},'{b}',{c}.5)")).collect();
            sql.run(&format!("INSERT IGNORE INTO t VALUES {}", rows.join(","))).await.unwrap();
            let count: u64 = sql.row("SELECT COUNT(*) FROM t", ()).await.unwrap().unwrap();
            let mut reader = reader(&server, &MysqlTypes::default(), None).await;
            let table = TableName::new("snapshot_any", "t");
            let bounds = bounds.iter().map(|bound| vec![bound.to_string()]).collect();
            let mut found = Vec::new();
            for of_bounds in Part::spans(bounds, None) {
                found.extend(part(&mut reader, &table, &of_bounds, rows_max).await.0);
            }
            assert_eq!(found.len() as u64, count);
            let (whole, _) = whole(&mut reader, &table, 100).await;
            assert_eq!(found, whole);
        });
    }
}

#[tokio::test]
async fn a_large_table_is_planned_in_parts_that_are_all_of_it() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_parts").await;
    sql.run("CREATE TABLE t (a bigint, b varchar(5), PRIMARY KEY (a, b))").await.unwrap();
    sql.run("INSERT INTO t SELECT CAST(seq AS SIGNED) * 3 - 200000, 'x' FROM seq_1_to_150000")
        .await
        .unwrap();
    sql.run("ANALYZE TABLE t").await.unwrap();
    let table = TableName::new("snapshot_parts", "t");
    let mut reader = reader(&server, &MysqlTypes::default(), None).await;
    let plan = reader.plan(&table, 4).await.unwrap();
    assert_eq!(plan.parts.len(), 4);
    let mut rows = 0;
    for part in plan.parts {
        let mut after = None;
        loop {
            let (table, part, rows_max) = (table.clone(), part.clone(), 20_000);
            let request = ChunkRequest { table, part, after, rows_max, bytes_max: CHUNK_BYTES };
            let chunk = reader.chunk(&request).await.unwrap();
            rows += chunk.rows();
            after = chunk.last_key().cloned();
            if chunk.is_last() {
                break;
            }
        }
    }
    assert_eq!(rows, 150_000);
}

#[tokio::test]
async fn a_chunk_ends_with_its_bytes_and_goes_on_behind_them() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_bytes").await;
    sql.run("CREATE TABLE t (a int primary key, b longtext)").await.unwrap();
    sql.run("INSERT INTO t SELECT seq, repeat('x', 5000) FROM seq_1_to_40").await.unwrap();
    let table = TableName::new("snapshot_bytes", "t");
    let mut reader = reader(&server, &MysqlTypes::default(), None).await;
    let (mut after, mut rows, mut chunks) = (None, 0, 0);
    loop {
        let (table, part) = (table.clone(), Part::Span { after: None, upto: None });
        let request = ChunkRequest { table, part, after, rows_max: 100, bytes_max: 20_000 };
        let chunk = reader.chunk(&request).await.unwrap();
        (rows, chunks) = (rows + chunk.rows(), chunks + 1);
        after = chunk.last_key().cloned();
        if chunk.is_last() {
            break;
        }
    }
    assert_eq!(rows, 40);
    assert!((10..=14).contains(&chunks), "{chunks}");
    reader.settings.message_bytes_max = 4000;
    let part = Part::Span { after: None, upto: None };
    let request = ChunkRequest { table, part, after: None, rows_max: 1, bytes_max: 20_000 };
    let error = reader.chunk(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    reader.settings.message_bytes_max = 1024 * 1024;
    assert_eq!(reader.chunk(&request).await.unwrap().rows(), 1);
}

#[tokio::test]
async fn a_table_without_a_key_has_one_chunk_or_is_refused() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_keyless").await;
    sql.run("CREATE TABLE t (a int, b varchar(9))").await.unwrap();
    sql.run("INSERT INTO t VALUES (2, 'x'), (1, NULL), (2, 'x')").await.unwrap();
    sql.run("CREATE VIEW old AS SELECT * FROM t").await.unwrap();
    let table = TableName::new("snapshot_keyless", "t");
    let mut reader = reader(&server, &MysqlTypes::default(), None).await;
    let (rows, keys) = whole(&mut reader, &table, 100).await;
    assert_eq!((rows.len(), keys.len()), (3, 0));
    let part = Part::Span { after: None, upto: None };
    let request =
        ChunkRequest { table: table.clone(), part, after: None, rows_max: 9, bytes_max: 4 };
    let error = reader.chunk(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Prerequisite);
    assert!(error.help_text().unwrap().contains("primary key"), "{error}");
    assert_eq!(texts(&mut reader, &table, 9).await.len(), 3);
    let row = vec![Some("1".to_owned()), None];
    let (part, bytes_max) = (TextPart::Keys(vec![row.clone()]), CHUNK_BYTES);
    let request = TextRequest { table, part, rows_max: 9, bytes_max };
    assert_eq!(reader.texts(&request).await.unwrap().rows, [row]);
    let old = TableName::new("snapshot_keyless", "old");
    let error = reader.plan(&old, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = reader.plan(&TableName::new("snapshot_keyless", "none"), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn spans_of_time_and_texts_of_a_day_are_read_as_the_settings_say() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_times").await;
    sql.run("CREATE TABLE t (a time(3) primary key, b datetime)").await.unwrap();
    sql.run("INSERT INTO t VALUES ('10:00:00.5', NULL), ('23:59:59', '2024-02-29')").await.unwrap();
    let types = MysqlTypes { time: MysqlTime::TimeOfDay, ..MysqlTypes::default() };
    let table = TableName::new("snapshot_times", "t");
    let log = log(&server, std::slice::from_ref(&table), &types).await;
    let mut reader = reader(&server, &types, None).await;
    let (rows, keys) = whole(&mut reader, &table, 1).await;
    assert_eq!(rows, log[&table].rows);
    assert_eq!(keys[0], ["10:00:00.500"]);
}

#[tokio::test]
async fn what_is_left_out_is_not_read_and_what_is_masked_is_read_masked() {
    let server = Server::shared().await;
    let mut sql = server.database("snapshot_masks").await;
    sql.run("CREATE TABLE t (a int primary key, b varchar(9) character set latin1, c int, d text)")
        .await
        .unwrap();
    sql.run("INSERT INTO t VALUES (1, 'é', 2, 'x'), (2, NULL, 3, 'long')").await.unwrap();
    let mut settings = server.settings.clone();
    settings.exclude_columns = vec!["snapshot_masks.t.c".to_owned()];
    let masks = serde_json::json!([
        { "columns": ["snapshot_masks.t.b"], "with": "redact" },
        { "columns": ["snapshot_masks.t.d"], "with": "truncate", "length": 1 },
    ]);
    settings.mask = serde_json::from_value(masks).unwrap();
    let mut reader = reader_of(&settings, None).await;
    let table = TableName::new("snapshot_masks", "t");
    let (rows, keys) = whole(&mut reader, &table, 1).await;
    let text = |text: &str| Value::Text(text.to_owned());
    let first = [Value::Int32(1), text("***"), text("x")];
    assert_eq!(rows, [first, [Value::Int32(2), Value::Null, text("l")]]);
    assert_eq!(keys[..2], [["1"], ["2"]]);
    let some = |text: &str| Some(text.to_owned());
    let found = texts(&mut reader, &table, 9).await;
    assert_eq!(found, [[some("1"), some("***"), some("x")], [some("2"), None, some("l")]]);
}

#[tokio::test]
async fn a_mark_is_a_row_of_the_table_that_is_made_for_it() {
    let server = Server::shared().await;
    let mut sql = server.sql().await;
    sql.run("DROP DATABASE IF EXISTS snapshot_marks").await.unwrap();
    let types = MysqlTypes::default();
    let table = TableName::new("snapshot_marks", "marks");
    let mut reader = reader(&server, &types, Some(table.clone())).await;
    for mark in ["low a 1", "high a 1", "it's"] {
        reader.mark(mark).await.unwrap();
        let query = "SELECT id, mark FROM snapshot_marks.marks";
        let found: Vec<(u8, String)> = sql.rows(query, ()).await.unwrap();
        assert_eq!(found, [(1, mark.to_owned())]);
    }
    let log = log(&server, std::slice::from_ref(&table), &types).await;
    assert_eq!(log[&table].rows, [[Value::Int32(1), Value::Text("low a 1".to_owned())]]);
    let mut reader = self::reader(&server, &types, None).await;
    reader.mark("low b 1").await.unwrap();
    let query = "SELECT mark FROM snapshot_marks.marks";
    let found: Option<String> = sql.row(query, ()).await.unwrap();
    assert_eq!(found.as_deref(), Some("it's"), "nothing is written");
}
