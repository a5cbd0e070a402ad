//! Rows that a MariaDB 10.11.19 wrote (`testdata/README.md`), compared with the server's own text of
//! each value; and descriptions that are written here.

use super::*;
use crate::config::{TERMS, selection};
use crate::decode::tests::Written;
use crate::decode::{Message, Operation, RowChange, decode};
use crate::frame::{FILE_MAGIC, Frame, Framer, kinds, next_event};
use crate::types::NativeType;
use std::collections::HashMap;
use tidemesh_model::{DataType, MysqlTime, RecordType, UnsignedBigint, Value, Values, ZeroDates};
use tidemesh_source::Mask;

/// What a file of the log says, one line an event that matters.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Begin { is_standalone: bool, prepares: bool, completes: bool },
    Commit,
    Query(String),
    Prepared(Vec<u8>),
    Row { table: String, before: Option<Vec<Value>>, after: Option<Vec<Value>> },
}

/// What `information_schema` would add: found by the columns' names here.
fn facts(table: &str) -> TableFacts {
    let native = |name: &str, native| ColumnFacts {
        name: name.to_owned(),
        native: Some(native),
        ..ColumnFacts::default()
    };
    let mut columns = vec![
        native("j", NativeType::Json),
        native("u", NativeType::Uuid),
        native("i4", NativeType::Inet4),
        native("i6", NativeType::Inet6),
    ];
    if table == "old_times" {
        columns.clear();
        for digits in 0..7 {
            columns.extend(["dt", "ts", "tm"].map(|kind| ColumnFacts {
                name: format!("{kind}{digits}"),
                digits: Some(digits),
                ..ColumnFacts::default()
            }));
        }
    }
    TableFacts { columns }
}

/// A row before and after a change.
type Images = (Option<Vec<Value>>, Option<Vec<Value>>);

/// Reads a whole file, as the source would a stream.
struct Log {
    types: MysqlTypes,
    selection: Selection,
    flavor: Flavor,
    tables: HashMap<u64, Relation>,
    /// The last relation of each table, by name.
    relations: HashMap<String, Relation>,
    told: Vec<Told>,
    rotated_to: Option<String>,
}

impl Log {
    fn read(file: &[u8], types: MysqlTypes) -> Result<Self> {
        Self::read_selected(file, types, Selection::all(&TERMS))
    }

    fn read_selected(file: &[u8], types: MysqlTypes, selection: Selection) -> Result<Self> {
        let mut log = Self {
            types,
            selection,
            flavor: Flavor::MySql,
            tables: HashMap::new(),
            relations: HashMap::new(),
            told: Vec::new(),
            rotated_to: None,
        };
        let mut input = file.strip_prefix(&FILE_MAGIC).unwrap();
        let mut framer = Framer::default();
        while let Some(event) = next_event(&mut input)? {
            match framer.frame(event)? {
                Frame::FormatDescription(format) => log.flavor = format.flavor(),
                Frame::Rotate(rotate) => {
                    log.rotated_to = Some(String::from_utf8(rotate.file.to_vec()).unwrap());
                }
                Frame::Event(event) => log.message(&decode(event, &mut Vec::new())?)?,
                other => panic!("{other:?}"),
            }
        }
        Ok(log)
    }

    fn message(&mut self, message: &Message<'_>) -> Result<()> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match message {
            Message::TableMap(map) => {
                let facts = facts(&text(map.table));
                let relation =
                    Relation::new(map, self.flavor, &facts, &self.types, &self.selection)?;
                self.relations.insert(text(map.table), relation.clone());
                self.tables.insert(map.id, relation);
            }
            Message::Rows(rows) => {
                let relation = &self.tables[&rows.table];
                let mut cursor = rows.cursor(&relation.wires)?;
                while let Some(change) = cursor.next()? {
                    let row = |image, before| {
                        Values::of(&Row { relation, image, before, header: rows.header() })
                    };
                    let (before, after) = match change {
                        RowChange::Insert { after } => (None, Some(row(after, None)?)),
                        RowChange::Delete { before } => (Some(row(before, None)?), None),
                        RowChange::Update { before, after } => {
                            (Some(row(before, None)?), Some(row(after, Some(before))?))
                        }
                    };
                    let table = relation.schema.name.table.clone();
                    self.told.push(Told::Row { table, before, after });
                }
            }
            Message::MariadbGtid(gtid) => {
                assert_eq!((gtid.domain, gtid.server), (0, 101));
                self.told.push(Told::Begin {
                    is_standalone: gtid.is_standalone(),
                    prepares: gtid.prepares(),
                    completes: gtid.completes(),
                });
            }
            Message::Xid(_) => self.told.push(Told::Commit),
            Message::Query(query) => self.told.push(Told::Query(text(query.sql))),
            Message::XaPrepare(xid) => self.told.push(Told::Prepared(xid.global.to_vec())),
            _ => {}
        }
        Ok(())
    }

    fn rows(&self, of: &str) -> Vec<Images> {
        let rows = self.told.iter().filter_map(|told| match told {
            Told::Row { table, before, after } if table == of => {
                Some((before.clone(), after.clone()))
            }
            _ => None,
        });
        rows.collect()
    }
}

fn text_types() -> MysqlTypes {
    MysqlTypes { zero_dates: ZeroDates::Text, ..MysqlTypes::default() }
}

const TYPES: &[u8] = include_bytes!("../../testdata/types.bin");

/// A value as the server prints it.
fn server_text(value: &Value) -> String {
    match value {
        Value::Int32(value) => value.to_string(),
        Value::Int64(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        Value::Decimal { unscaled, scale } => decimal_text(unscaled, *scale as usize),
        Value::Uuid(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
        other => panic!("{other:?}"),
    }
}

fn decimal_text(unscaled: &[u8], scale: usize) -> String {
    let negative = unscaled[0] & 0x80 != 0;
    // Base 256 to base 10, by hand; the two's complement is undone first.
    let mut number: Vec<u8> = unscaled.iter().map(|b| if negative { !b } else { *b }).collect();
    if negative {
        let mut carry = true;
        for byte in number.iter_mut().rev() {
            (*byte, carry) = byte.overflowing_add(u8::from(carry));
        }
        if carry {
            number.insert(0, 1);
        }
    }
    let mut digits = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 10).unwrap();
            rest = value % 10;
        }
        digits.push(char::from(b'0' + u8::try_from(rest).unwrap()));
    }
    while digits.len() <= scale {
        digits.push('0');
    }
    let (whole, behind) = digits.split_at(scale);
    let (behind, whole): (String, String) =
        (behind.iter().rev().collect(), whole.iter().rev().collect());
    let sign = if negative { "-" } else { "" };
    if scale > 0 { format!("{sign}{behind}.{whole}") } else { format!("{sign}{behind}") }
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hex_text(hex: &str) -> String {
    String::from_utf8(unhex(hex)).unwrap()
}

/// Whether a value is what the server answered; `kind` is what it was asked for.
fn is_same(value: &Value, kind: &str, answer: &str, is_no_date: bool) -> bool {
    match (value, kind, answer) {
        // The server counts days of a month that has fewer; no calendar does.
        (Value::Null, "days" | "micros", _) => is_no_date,
        (Value::Null, _, answer) => answer == "NULL",
        (_, _, "NULL") => false,
        // A year that is none.
        (Value::Int32(0), "text", "30303030") => true,
        (value, "text" | "datetext", answer) => server_text(value) == hex_text(answer),
        (Value::Bytes(bytes), "bytes", answer) => *bytes == unhex(answer),
        (Value::Float32(value), "double", answer) => {
            f64::from(*value) == answer.parse::<f64>().unwrap()
        }
        (Value::Float64(value), "double", answer) => *value == answer.parse::<f64>().unwrap(),
        (Value::Date(days), "days", answer) => days.to_string() == answer,
        (Value::Timestamp(micros) | Value::TimestampTz(micros), "micros", answer) => {
            micros.to_string() == answer
        }
        (Value::Record(fields), "wkb", answer) => fields[0] == Value::Bytes(unhex(answer)),
        (Value::Record(fields), "srid", answer) => {
            fields[1] == Value::Int64(answer.parse().unwrap())
        }
        _ => false,
    }
}

/// Compares the values of the first rows with the lines of the kinds that are asked for; answers how
/// many there were.
fn compare(log: &Log, oracle: &str, kinds: &[&str]) -> usize {
    let mut seen = 0;
    let mut no_dates = Vec::new();
    for line in oracle.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [table, row, column, kind, answer] = parts[..] else { panic!("{line}") };
        let is_none = |text: &str| {
            ["0000-00", "2024-02-31", "2024-00", "2023-02-30"].iter().any(|no| text.starts_with(no))
        };
        // Behind a date's text come its numbers.
        if kind == "datetext" && (answer == "NULL" || is_none(&hex_text(answer))) {
            no_dates.push((table, row, column));
        }
        if !kinds.contains(&kind) {
            continue;
        }
        let place = log.relations[table].schema.column(column).unwrap();
        let rows = log.rows(table);
        let after = rows[row.parse::<usize>().unwrap()].1.as_ref().unwrap();
        assert_eq!(after[0], Value::Int32(row.parse().unwrap()));
        let is_no_date = no_dates.contains(&(table, row, column));
        assert!(is_same(&after[place], kind, answer, is_no_date), "{line}: {:?}", after[place]);
        seen += 1;
    }
    seen
}

#[test]
fn every_value_is_what_the_server_says() {
    let log = Log::read(TYPES, text_types()).unwrap();
    let oracle = include_str!("../../testdata/types.tsv");
    let kinds = ["text", "datetext", "bytes", "double", "wkb", "srid"];
    let seen = compare(&log, oracle, &kinds);
    assert!(seen > 450, "{seen}");
}

#[test]
fn every_date_is_the_servers_number_or_null() {
    let types = MysqlTypes { zero_dates: ZeroDates::Null, ..MysqlTypes::default() };
    let log = Log::read(TYPES, types).unwrap();
    let oracle = include_str!("../../testdata/types.tsv");
    let seen = compare(&log, oracle, &["days", "micros"]);
    assert!(seen > 90, "{seen}");
}

#[test]
fn mariadbs_older_times_are_what_the_server_says() {
    let log = Log::read(include_bytes!("../../testdata/old_times.bin"), text_types()).unwrap();
    let oracle = include_str!("../../testdata/old_times.tsv");
    let seen = compare(&log, oracle, &["datetext"]);
    assert!(seen > 100, "{seen}");
    let types: Vec<_> = log.relations["old_times"].schema.fields.iter().collect();
    assert_eq!(types[1].source_type, "datetime");
    assert_eq!(types[4].source_type, "datetime(1)");
}

#[test]
fn a_zero_date_stops_by_default_and_names_its_column() {
    let Err(error) = Log::read(TYPES, MysqlTypes::default()) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.report();
    assert!(text.contains("table=shop.times, column=dt0, event=WRITE_ROWS_V1"), "{text}");
    assert!(text.contains("zero_dates"), "{text}");
}

#[test]
fn schemas_have_the_databases_types_and_keys() {
    let log = Log::read(TYPES, text_types()).unwrap();
    let field = |table: &str, column: &str| {
        let schema = &log.relations[table].schema;
        schema.fields[schema.column(column).unwrap()].clone()
    };
    let types = |table: &str, column: &str| {
        let field = field(table, column);
        (field.source_type, field.data_type)
    };
    let decimal = DataType::Decimal { precision: 20, scale: 0 };
    assert_eq!(types("numbers", "bu"), ("bigint unsigned".to_owned(), decimal));
    assert_eq!(types("numbers", "mu"), ("mediumint unsigned".to_owned(), DataType::Int32));
    let decimal = DataType::Decimal { precision: 65, scale: 0 };
    assert_eq!(types("numbers", "dn"), ("decimal(65,0) unsigned".to_owned(), decimal));
    assert_eq!(types("numbers", "b10"), ("bit(10)".to_owned(), DataType::Text));
    assert_eq!(types("strings", "v"), ("varchar(20)".to_owned(), DataType::Text));
    assert_eq!(types("strings", "cl"), ("char(255)".to_owned(), DataType::Text));
    assert_eq!(types("strings", "bn"), ("binary(4)".to_owned(), DataType::Bytes));
    assert_eq!(types("strings", "vb"), ("varbinary(10)".to_owned(), DataType::Bytes));
    assert_eq!(types("strings", "vc"), ("varchar(10) compressed".to_owned(), DataType::Text));
    assert_eq!(types("strings", "lt").0, "longtext");
    assert_eq!(types("strings", "mb").0, "mediumblob");
    assert_eq!(types("strings", "j"), ("json".to_owned(), DataType::Json));
    assert_eq!(types("strings", "u"), ("uuid".to_owned(), DataType::Uuid));
    let labels = ["one", "zwö", "it's"].map(str::to_owned).to_vec();
    let expected = ("enum('one','zwö','it''s')".to_owned(), DataType::Enum { labels });
    assert_eq!(types("strings", "e"), expected);
    assert!(matches!(types("strings", "g").1, DataType::Record(RecordType { .. })));
    assert_eq!(
        (types("strings", "g").0, types("strings", "pt").0),
        ("geometry".into(), "point".into())
    );
    assert_eq!(types("charsets", "c_utf16").0, "varchar(30)");
    assert_eq!(types("charsets", "c_gbk").0, "varchar(30)");
    assert!(field("strings", "v").nullable && !field("strings", "id").nullable);
    let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
    assert_eq!(log.relations["strings"].schema.key, key);
}

#[test]
fn times_of_day_and_longs_are_a_choice() {
    let types = MysqlTypes {
        zero_dates: ZeroDates::Null,
        unsigned_bigint: UnsignedBigint::Long,
        time: MysqlTime::TimeOfDay,
    };
    let error = Log::read(TYPES, types).err().unwrap();
    assert!(error.to_string().contains("column=bu"), "{error}");
}

#[test]
fn a_relation_is_stored_and_comes_back() {
    let log = Log::read(TYPES, text_types()).unwrap();
    for relation in log.relations.values() {
        let stored = serde_json::to_string(relation).unwrap();
        assert_eq!(serde_json::from_str::<Relation>(&stored).unwrap(), *relation);
    }
}

fn int(value: i32) -> Value {
    Value::Int32(value)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[test]
fn changes_have_the_images_that_the_server_wrote() {
    let log = Log::read(include_bytes!("../../testdata/changes.bin"), text_types()).unwrap();
    let rows = log.rows("t");
    let row = |id, a: Option<&str>, b: Option<&str>, c| {
        let cell = |value: Option<&str>| value.map_or(Value::Null, text);
        Some(vec![int(id), cell(a), cell(b), int(c)])
    };
    let absent = Value::Absent;
    let expected = [
        (None, row(1, Some("one"), Some("b1"), 1)),
        (None, row(2, Some("two"), None, 2)),
        (None, row(3, Some("three"), Some("b3"), 3)),
        // The key changes in one event.
        (row(2, Some("two"), None, 2), row(20, Some("two"), None, 2)),
        // The row of the savepoint that was rolled back is not there.
        (None, row(4, Some("four"), Some("b4"), 4)),
        (row(1, Some("one"), Some("b1"), 1), row(1, Some("one"), Some("b1"), 2)),
        (row(3, Some("three"), Some("b3"), 3), row(3, Some("three"), Some("b3"), 4)),
        (row(4, Some("four"), Some("b4"), 4), row(4, Some("four"), Some("b4"), 5)),
        (row(20, Some("two"), None, 2), row(20, Some("two"), None, 3)),
        (row(3, Some("three"), Some("b3"), 4), None),
        // Minimal images.
        (
            Some(vec![int(1), absent.clone(), absent.clone(), absent.clone()]),
            // The key is in the old image alone.
            Some(vec![int(1), text("uno"), absent.clone(), absent.clone()]),
        ),
        (Some(vec![int(20), absent.clone(), absent.clone(), absent.clone()]), None),
    ];
    assert_eq!(rows[..expected.len()], expected);
    let rest = &rows[expected.len()..];
    assert_eq!(rest[0].1.as_ref().unwrap()[0], int(6));
    // Without the large value that did not change, and with the one that did.
    let unchanged = Some(vec![int(1), text("uno"), absent.clone(), int(9)]);
    assert_eq!(rest[1].1, unchanged);
    assert_eq!(rest[2].1.as_ref().unwrap()[2], text("new"));
    // A column more, after `a`.
    let seven = [int(7), text("seven"), text("2024-02-29"), text("b7"), int(7)];
    assert_eq!(rest[3].1.as_deref(), Some(&seven[..]));
}

#[test]
fn transactions_begin_and_end_as_the_server_wrote_them() {
    let log = Log::read(include_bytes!("../../testdata/changes.bin"), text_types()).unwrap();
    let at = |sql: &str| {
        let is_it = |told: &Told| matches!(told, Told::Query(query) if query.starts_with(sql));
        log.told.iter().position(is_it).unwrap_or_else(|| panic!("{sql}"))
    };
    let begin =
        |is_standalone, prepares, completes| Told::Begin { is_standalone, prepares, completes };
    // DDL stands alone, a truncate too.
    assert_eq!(log.told[at("create table t") - 1], begin(true, false, false));
    assert_eq!(log.told[at("truncate table t") - 1], begin(true, false, false));
    // A table without transactions is committed by a statement.
    let myisam =
        log.told.iter().position(|told| matches!(told, Told::Row { table, .. } if table == "m"));
    assert_eq!(log.told[myisam.unwrap() + 1], Told::Query("COMMIT".to_owned()));
    let prepared = log.told.iter().position(|told| matches!(told, Told::Prepared(_))).unwrap();
    assert_eq!(log.told[prepared], Told::Prepared(b"g".to_vec()));
    assert!(log.told[..prepared].contains(&begin(false, true, false)));
    assert_eq!(log.told[at("XA COMMIT") - 1], begin(true, false, true));
    assert!(log.told.contains(&Told::Commit) && log.rotated_to.is_some());
}

#[test]
fn compressed_events_are_those_that_were_packed() {
    let file = include_bytes!("../../testdata/compressed.bin");
    let mut packed = Vec::new();
    let (mut input, mut framer) = (&file[4..], Framer::default());
    while let Some(event) = next_event(&mut input).unwrap() {
        if let Frame::Event(event) = framer.frame(event).unwrap() {
            packed.push(event.header.kind);
        }
    }
    for kind in [
        kinds::MARIADB_QUERY_COMPRESSED,
        kinds::MARIADB_WRITE_ROWS_COMPRESSED_V1,
        kinds::MARIADB_UPDATE_ROWS_COMPRESSED_V1,
        kinds::MARIADB_DELETE_ROWS_COMPRESSED_V1,
    ] {
        assert!(packed.contains(&kind), "{kind}");
    }
    let log = Log::read(file, text_types()).unwrap();
    let rows = log.rows("t");
    assert_eq!(rows[0].1.as_ref().unwrap()[3], text(&"compress me ".repeat(100)));
    assert_eq!(rows[1].1.as_ref().unwrap()[0], int(10));
    assert_eq!(rows[2].1.as_ref().unwrap()[3], text(&"again ".repeat(100)));
    assert_eq!(rows[3].1, None);
    let is_create =
        |told: &Told| matches!(told, Told::Query(sql) if sql.starts_with("create table q"));
    assert!(log.told.iter().any(is_create));
}

#[test]
fn a_log_without_names_is_refused_with_the_statement_that_sets_them() {
    let file = include_bytes!("../../testdata/no_metadata.bin");
    let error = Log::read(file, text_types()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Prerequisite);
    let text = error.report();
    assert!(text.contains("SET GLOBAL binlog_row_metadata = FULL"), "{text}");
    assert!(text.contains("table=shop.m"), "{text}");
}

#[test]
fn a_log_without_checksums_is_read() {
    let file = include_bytes!("../../testdata/no_checksums.bin");
    let log = Log::read(file, text_types()).unwrap();
    assert_eq!(log.rows("m"), [(None, Some(vec![int(5), int(6)]))]);
}

#[test]
fn a_spoiled_byte_of_the_file_is_noticed() {
    let mut file = include_bytes!("../../testdata/changes.bin").to_vec();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    assert_eq!(Log::read(&file, text_types()).err().unwrap().kind(), ErrorKind::Malformed);
}

fn relation_of(written: &Written) -> Result<Relation> {
    let body = written.body();
    crate::decode::tests::with_message(kinds::TABLE_MAP, &body, |message| {
        let Message::TableMap(map) = message? else { panic!() };
        let (facts, types) = (TableFacts::default(), MysqlTypes::default());
        Relation::new(&map, Flavor::MySql, &facts, &types, &Selection::all(&TERMS))
    })
}

/// By MySQL 9.1's `rows_event.h`; no real MySQL 8 was at hand.
#[test]
fn a_collation_that_is_not_known_is_refused_with_what_to_do() {
    let written =
        Written { types: vec![15], metadata: vec![20, 0], ..Written::default() }.names(&["a"]);
    let error = relation_of(&written.clone().field(2, &[252, 0xff, 0xff])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.report();
    assert!(text.contains("column=a") && text.contains("collation 65535"), "{text}");
    assert!(relation_of(&written.field(2, &[252, 0xff, 0])).is_ok());
}

/// By MySQL 9.1's `rows_event.h` and `Field_vector`; no real MySQL was at hand.
#[test]
fn a_vector_has_its_length_and_a_multi_valued_index_is_refused() {
    let written = Written { types: vec![242], metadata: vec![4], ..Written::default() };
    let relation = relation_of(&written.names(&["v"]).field(13, &[3])).unwrap();
    assert_eq!(relation.schema.fields[0].source_type, "vector(3)");
    assert_eq!(relation.wires, [Wire::Behind(4)]);
    let written = Written { types: vec![244], ..Written::default() }.names(&["a"]);
    let error = relation_of(&written).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("table=shop.orders"), "{error}");
}

/// By MySQL 9.1's `rows_event.h` and `unpack_row`; no real MySQL 8 was at hand.
#[test]
fn a_partial_update_has_the_whole_new_document() {
    let written = Written { types: vec![1, 245], metadata: vec![4], ..Written::default() };
    let written = written.field(1, &[0]).names(&["id", "doc"]).field(8, &[0]);
    let relation = relation_of(&written).unwrap();
    assert_eq!(relation.schema.fields[1].data_type, DataType::Json);
    // {"a": 1}, and the replacement of $.a by 7.
    let document = [0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 1, 0, b'a'];
    let diff = [0, 3, b'$', b'.', b'a', 3, 5, 7, 0];
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 0b11, 0b11, 0, 1, 13, 0, 0, 0];
    body.extend_from_slice(&document);
    body.extend_from_slice(&[1, 0b1, 0, 1, 9, 0, 0, 0]);
    body.extend_from_slice(&diff);
    crate::decode::tests::with_message(kinds::PARTIAL_UPDATE_ROWS, &body, |message| {
        let Message::Rows(rows) = message.unwrap() else { panic!() };
        assert_eq!(rows.operation, Operation::PartialUpdate);
        let mut cursor = rows.cursor(&relation.wires).unwrap();
        let Some(RowChange::Update { before, after }) = cursor.next().unwrap() else { panic!() };
        let row = |image, before| {
            let row = Row { relation: &relation, image, before, header: rows.header() };
            Values::of(&row).unwrap()
        };
        assert_eq!(row(before, None)[1], text("{\"a\": 1}"));
        assert_eq!(row(after, Some(before))[1], text("{\"a\": 7}"));
        // Without the old document the new one is not in the log.
        assert_eq!(row(after, None)[1], Value::Absent);
    });
}

const CHANGES: &[u8] = include_bytes!("../../testdata/changes.bin");

/// What the settings say of columns.
fn selected(json: serde_json::Value) -> Selection {
    let mut all = serde_json::json!({"user": "u", "tables": ["*.*"]});
    all.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
    selection(&serde_json::from_value(all).unwrap()).unwrap()
}

#[test]
fn columns_that_are_left_out_are_passed_over_and_masked_ones_do_not_leave() {
    let settings = serde_json::json!({
        "exclude_columns": ["*.t.b"],
        "mask": [{"columns": ["*.t.a"], "with": "truncate", "length": 2}],
    });
    let log = Log::read_selected(CHANGES, text_types(), selected(settings)).unwrap();
    let rows = log.rows("t");
    let row = |id, a: &str, c| Some(vec![int(id), text(a), int(c)]);
    assert_eq!(rows[0], (None, row(1, "on", 1)));
    assert_eq!(rows[3], (row(2, "tw", 2), row(20, "tw", 2)));
    let relation = &log.relations["t"];
    let masked = relation.schema.column("a").unwrap();
    assert_eq!(relation.schema.fields[masked].source_type, "text");
    assert_eq!(relation.schema.column("b"), None);
    assert_eq!(relation.schema.key.columns, [0]);
    assert_eq!(relation.readers.len(), 5);
    assert_eq!(relation.kept().count(), 4);
}

#[test]
fn a_keys_column_moves_with_those_before_it_that_are_left_out() {
    let settings = serde_json::json!({"include_columns": ["*.t.c"]});
    let log = Log::read_selected(CHANGES, text_types(), selected(settings)).unwrap();
    let schema = &log.relations["t"].schema;
    let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "c"], "the key's column is there, whatever is included");
    assert_eq!(schema.key.origin, KeyOrigin::PrimaryKey);
}

#[test]
fn what_cannot_be_done_with_a_column_is_refused() {
    let mask = |column: &str| serde_json::json!([{"columns": [column], "with": "redact"}]);
    for (settings, remedy) in [
        (serde_json::json!({"exclude_columns": ["*.t.id"]}), "correct mysql.exclude_columns"),
        (serde_json::json!({"mask": mask("*.t.id")}), "correct mysql.mask"),
        (serde_json::json!({"mask": mask("*.t.c")}), "or leave the column out"),
    ] {
        let read = Log::read_selected(CHANGES, text_types(), selected(settings));
        let error = read.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        let report = error.report();
        assert!(report.contains(remedy) && report.contains("table="), "{report}");
    }
}

#[test]
fn a_default_is_masked_as_its_column_is() {
    let readers = Reader::samples();
    let texts = readers.iter().find(|reader| matches!(reader, Reader::Text(_))).unwrap();
    let reader = texts.masked(Mask::Redact).unwrap();
    let masked = default(Some(&text("secret")), &reader).unwrap();
    assert_eq!(masked, Some(text("***")));
    assert_eq!(default(Some(&int(1)), &reader).unwrap(), None);
    assert_eq!(default(Some(&int(1)), &Reader::Int32).unwrap(), Some(int(1)));
    assert_eq!(Reader::Json.masked(Mask::Redact), Err(Wrong::MaskOfNoText));
}
