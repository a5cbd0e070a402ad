//! Events that are written here byte by byte, whole, cut and spoiled. What only MySQL 8 sends is
//! constructed by its source (named at each): no real MySQL 8 was at hand. What MariaDB sends is
//! recorded, see `relation/tests.rs`.

use super::*;
use crate::frame::tests::event;
use crate::frame::{Flavor, Framer, HEADER_BYTES};
use crate::types::Wire;
use proptest::prelude::*;

/// An event of this kind and body, without a checksum, decoded.
pub(crate) fn with_message<T>(
    kind: EventKind,
    body: &[u8],
    take: impl FnOnce(Result<Message<'_>>) -> T,
) -> T {
    let bytes = event(kind, 0, body, false);
    let event = Framer::nested(&bytes).unwrap();
    take(decode(event, &mut Vec::new()))
}

/// A table's description, as a server writes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    pub(crate) types: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) nullable: Vec<u8>,
    pub(crate) optional: Vec<u8>,
}

impl Written {
    pub(crate) fn field(mut self, field: u8, value: &[u8]) -> Self {
        self.optional.push(field);
        self.optional.push(u8::try_from(value.len()).unwrap());
        self.optional.extend_from_slice(value);
        self
    }

    pub(crate) fn names(self, names: &[&str]) -> Self {
        let mut value = Vec::new();
        for name in names {
            value.push(u8::try_from(name.len()).unwrap());
            value.extend_from_slice(name.as_bytes());
        }
        self.field(4, &value)
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 4];
        body.extend_from_slice(b"shop\0\x06orders\0");
        for part in [&self.types, &self.metadata] {
            body.push(u8::try_from(part.len()).unwrap());
            body.extend_from_slice(part);
        }
        let nullable = self.types.len().div_ceil(8);
        body.extend(self.nullable.iter().copied().chain(std::iter::repeat(0)).take(nullable));
        body.extend_from_slice(&self.optional);
        body
    }
}

/// `id INT, note VARCHAR(20)`, the second nullable.
fn table() -> Written {
    let written = Written {
        types: vec![3, 15],
        metadata: vec![80, 0],
        nullable: vec![2],
        ..Written::default()
    };
    written.field(1, &[0x80]).field(2, &[45]).names(&["id", "note"]).field(8, &[0])
}

fn wires() -> Vec<Wire> {
    vec![Wire::Fixed(4), Wire::Behind(1)]
}

/// The head of an event with rows of two columns.
fn rows_head(has_extra: bool, extra: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    if has_extra {
        body.extend_from_slice(&u16::try_from(extra.len() + 2).unwrap().to_le_bytes());
        body.extend_from_slice(extra);
    }
    body.push(2);
    body
}

fn cells(image: Image<'_>, wires: &[Wire]) -> Vec<Option<Vec<u8>>> {
    let mut cells = image.cells();
    let read = wires.iter().map(|wire| match cells.next(*wire).unwrap() {
        Cell::Value(bytes) | Cell::Diff(bytes) => Some(bytes.to_vec()),
        Cell::Null | Cell::Absent => None,
    });
    read.collect()
}

#[test]
fn a_table_has_columns_signs_charsets_names_and_a_key() {
    with_message(kinds::TABLE_MAP, &table().body(), |message| {
        let Message::TableMap(map) = message.unwrap() else { panic!() };
        assert_eq!((map.id, map.database, map.table), (7, &b"shop"[..], &b"orders"[..]));
        let columns: Vec<_> = map.columns().collect();
        let expected = [
            ColumnShape { code: type_codes::LONG, metadata: 0, nullable: false },
            ColumnShape { code: type_codes::VARCHAR, metadata: 80, nullable: true },
        ];
        assert_eq!(columns, expected);
        let optional = map.optional(Flavor::MySql).unwrap();
        assert_eq!(optional.unsigned, [Some(true), None]);
        assert_eq!(optional.collations, [None, Some(45)]);
        assert_eq!(optional.names.unwrap(), [&b"id"[..], b"note"]);
        assert_eq!(
            optional.primary_key,
            [super::optional::PrimaryKeyPart { column: 0, prefix: 0 }]
        );
    });
}

/// By `Table_map_event` in MySQL 9.1's `rows_event.h`; no real MySQL 8 was at hand.
#[test]
fn mysqls_signs_leave_out_years_and_its_charsets_shapes() {
    let written = Written {
        types: vec![13, 3, 255, 252, 247 + 7, 242],
        metadata: vec![4, 2, 247, 1, 4],
        ..Written::default()
    };
    let written = written.field(1, &[0x80]).field(2, &[8, 0, 63]).field(6, &[1, 1, b'a']);
    let written = written.field(10, &[45]).field(12, &[0xbc]).field(13, &[3]).field(7, &[1]);
    with_message(kinds::TABLE_MAP, &written.body(), |message| {
        let Message::TableMap(map) = message.unwrap() else { panic!() };
        let codes: Vec<u8> = map.columns().map(|column| column.code.0).collect();
        assert_eq!(codes, [13, 3, 255, 252, 247, 242]);
        let optional = map.optional(Flavor::MySql).unwrap();
        assert_eq!(optional.unsigned, [None, Some(true), None, None, None, None]);
        assert_eq!(optional.collations, [None, None, None, Some(63), Some(45), None]);
        assert_eq!(optional.values[4], [b"a"]);
        assert_eq!(optional.visible, [true, false, true, true, true, true]);
        assert_eq!(optional.details, [None, None, Some(1), None, None, Some(3)]);
    });
}

#[test]
fn long_strings_hide_their_length_in_their_type() {
    let written = Written { types: vec![254], metadata: vec![0xce, 0xfc], ..Written::default() };
    with_message(kinds::TABLE_MAP, &written.body(), |message| {
        let Message::TableMap(map) = message.unwrap() else { panic!() };
        let expected = ColumnShape { code: type_codes::STRING, metadata: 1020, nullable: false };
        assert_eq!(map.columns().next(), Some(expected));
    });
}

#[test]
fn rows_of_both_versions_are_read() {
    // Two rows: (1, "ab") and (2, null).
    let rows = [0xff, 0b00, 1, 0, 0, 0, 2, b'a', b'b', 0b10, 2, 0, 0, 0];
    // NDB's data, then the partition.
    let extra = [0, 3, 0, 9, 1, 5, 0];
    for (kind, has_extra) in [(kinds::WRITE_ROWS_V1, false), (kinds::WRITE_ROWS, true)] {
        let mut body = rows_head(has_extra, &extra);
        body.extend_from_slice(&rows);
        with_message(kind, &body, |message| {
            let Message::Rows(rows) = message.unwrap() else { panic!() };
            assert!(rows.ends_statement && rows.operation == Operation::Insert);
            let wires = wires();
            let mut cursor = rows.cursor(&wires).unwrap();
            let mut found = Vec::new();
            while let Some(RowChange::Insert { after }) = cursor.next().unwrap() {
                found.push(cells(after, &wires));
            }
            let one = |number: u8| Some(vec![number, 0, 0, 0]);
            assert_eq!(found, [vec![one(1), Some(b"ab".to_vec())], vec![one(2), None]]);
        });
    }
}

#[test]
fn an_update_has_two_images_of_their_own_columns() {
    let mut body = rows_head(true, &[]);
    body.extend_from_slice(&[0b01, 0b10, 0b0, 1, 0, 0, 0, 0b0, 1, b'x']);
    with_message(kinds::UPDATE_ROWS, &body, |message| {
        let Message::Rows(rows) = message.unwrap() else { panic!() };
        let wires = wires();
        let mut cursor = rows.cursor(&wires).unwrap();
        let Some(RowChange::Update { before, after }) = cursor.next().unwrap() else { panic!() };
        assert_eq!(before.cell(0, &wires), Some(Cell::Value(&[1, 0, 0, 0])));
        assert_eq!(before.cell(1, &wires), Some(Cell::Absent));
        assert_eq!(after.cell(0, &wires), Some(Cell::Absent));
        assert_eq!(after.cell(1, &wires), Some(Cell::Value(b"x")));
        assert!(cursor.next().unwrap().is_none());
    });
}

/// By `unpack_row` in MySQL 9.1's `sql/rpl_record.cc`; no real MySQL 8 was at hand.
#[test]
fn a_partial_update_tells_which_documents_are_differences() {
    let wires = vec![Wire::Fixed(1), Wire::Json, Wire::Json];
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b001, 0b101];
    // The old row; options, differences in the second document, nulls, the new row.
    body.extend_from_slice(&[0b0, 1, 1, 0b10, 0b00, 2, 2, 0, 0, 0, 9, 9]);
    with_message(kinds::PARTIAL_UPDATE_ROWS, &body, |message| {
        let Message::Rows(rows) = message.unwrap() else { panic!() };
        let mut cursor = rows.cursor(&wires).unwrap();
        let Some(RowChange::Update { before, after }) = cursor.next().unwrap() else { panic!() };
        assert!(after.is_partial() && !before.is_partial());
        assert_eq!(after.cell(1, &wires), Some(Cell::Absent));
        assert_eq!(after.cell(2, &wires), Some(Cell::Diff(&[9, 9])));
    });
}

#[test]
fn a_row_of_nothing_but_defaults_has_no_bytes() {
    let mut body = rows_head(true, &[]);
    body.push(0);
    with_message(kinds::WRITE_ROWS, &body, |message| {
        let Message::Rows(rows) = message.unwrap() else { panic!() };
        let wires = wires();
        let mut cursor = rows.cursor(&wires).unwrap();
        assert!(matches!(cursor.next().unwrap(), Some(RowChange::Insert { .. })));
        assert!(cursor.next().unwrap().is_none());
    });
}

#[test]
fn a_cut_row_names_event_place_and_column() {
    let mut body = rows_head(false, &[]);
    body.extend_from_slice(&[0xff, 0b00, 1, 0, 0, 0, 200, b'a']);
    with_message(kinds::WRITE_ROWS_V1, &body, |message| {
        let Message::Rows(rows) = message.unwrap() else { panic!() };
        let error = rows.cursor(&wires()).unwrap().next().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let text = error.to_string();
        assert!(text.contains("event=WRITE_ROWS_V1, ends_at=5000, column=1"), "{text}");
        assert!(rows.cursor(&[Wire::Fixed(4)]).is_err());
    });
}

#[test]
fn a_statement_has_its_database_and_charset() {
    let mut body = 11_u32.to_le_bytes().to_vec();
    body.extend_from_slice(&[0, 0, 0, 0, 4, 0, 0]);
    let status = [4, 33, 0, 33, 0, 45, 0, 12, 1, b's', 0, 13, 1, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&u16::try_from(status.len()).unwrap().to_le_bytes());
    body.extend_from_slice(&status);
    body.extend_from_slice(b"shop\0DROP TABLE t");
    with_message(kinds::QUERY, &body, |message| {
        let Message::Query(query) = message.unwrap() else { panic!() };
        let expected = Query {
            thread: 11,
            error_code: 0,
            database: b"shop",
            sql: b"DROP TABLE t",
            charset: Some(33),
            sql_mode: Some(5),
            micros: Some(1),
        };
        assert_eq!(query, expected);
    });
}

#[test]
fn a_statements_text_is_of_its_sessions_charset() {
    let text = |charset, sql: &[u8]| {
        let (thread, error_code, sql_mode, micros) = (1, 0, None, None);
        let query = Query { thread, error_code, database: b"", sql, charset, sql_mode, micros };
        query.text().into_owned()
    };
    assert_eq!(text(Some(45), "DROP TABLE été".as_bytes()), "DROP TABLE été");
    assert_eq!(text(Some(8), b"DROP TABLE \xe9"), "DROP TABLE é");
    // The second byte of this character is a backslash, or a quote of names.
    assert_eq!(text(Some(13), b"DROP TABLE \x95\\"), "DROP TABLE 表");
    assert_eq!(text(Some(28), b"DROP TABLE `\x81`` "), "DROP TABLE `乣` ");
    // What is not of the charset, and a charset that is not known.
    assert_eq!(text(Some(11), "é".as_bytes()), "é");
    assert_eq!(text(Some(9999), "é".as_bytes()), "é");
    assert_eq!(text(None, b"\xff"), "\u{fffd}");
}

/// By `Gtid_event` in MySQL 9.1's `control_events.cpp`; no real MySQL 8 was at hand.
#[test]
fn a_transaction_of_mysql_has_an_id_and_times() {
    let mut body = vec![0];
    body.extend_from_slice(&[7; 16]);
    body.extend_from_slice(&5_u64.to_le_bytes());
    body.push(2);
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&((1_u64 << 55) | 9).to_le_bytes()[..7]);
    body.extend_from_slice(&8_u64.to_le_bytes()[..7]);
    body.extend_from_slice(&[252, 0, 1, 0, 0, 0, 0]);
    let read = |body: &[u8]| {
        with_message(kinds::GTID, body, |message| match message.unwrap() {
            Message::Gtid(gtid) => (gtid.uuid, gtid.number, gtid.committed_at_us, gtid.length),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read(&body), ([7; 16], 5, 9, 256));
    // As servers before 8.0 end it.
    assert_eq!(read(&body[..42]), ([7; 16], 5, 0, 0));
}

/// By `libs/mysql/serialization/readme.md` and `Gtid_event::define_fields` of MySQL 9.1; no real MySQL
/// 8 was at hand.
#[test]
fn a_tagged_transaction_is_a_message_of_fields() {
    let mut fields = vec![0, 0, 1 << 1];
    // A byte above 127 takes two.
    fields.extend_from_slice(&[7 << 1; 15]);
    fields.extend_from_slice(&[0b0000_0001 | (200 & 0x3f) << 2, 200 >> 6]);
    fields.extend_from_slice(&[2 << 1, 5 << 2, 3 << 1, 3 << 1]);
    fields.extend_from_slice(b"tag");
    fields.extend_from_slice(&[4 << 1, 0, 5 << 1, 0, 6 << 1, 9 << 1, 8 << 1, 100 << 1, 9 << 1, 2]);
    let message = |last_needed: u8| {
        let mut body = vec![1 << 1, u8::try_from(fields.len() + 3).unwrap() << 1, last_needed << 1];
        body.extend_from_slice(&fields);
        body
    };
    with_message(kinds::GTID_TAGGED, &message(0), |message| {
        let Message::Gtid(gtid) = message.unwrap() else { panic!() };
        let mut uuid = [7; 16];
        uuid[15] = 200;
        assert_eq!((gtid.uuid, gtid.tag, gtid.number), (uuid, &b"tag"[..], 5));
        assert_eq!((gtid.committed_at_us, gtid.originally_committed_at_us), (9, 9));
        assert_eq!(gtid.length, 100);
    });
    let unknown = with_message(kinds::GTID_TAGGED, &message(60), |m| m.unwrap_err().kind());
    assert_eq!(unknown, ErrorKind::Unsupported);
}

/// By `Gtid_set::encode` in MySQL 9.1's `sql/rpl_gtid_set.cc`; no real MySQL 8 was at hand.
#[test]
fn earlier_transactions_are_intervals_by_server_and_tag() {
    let read = |body: &[u8]| {
        with_message(kinds::PREVIOUS_GTIDS, body, |message| {
            let Message::PreviousGtids(previous) = message.unwrap() else { panic!() };
            let mut found = Vec::new();
            previous.each(|i| found.push((i.uuid[0], i.tag.to_vec(), i.first, i.end))).unwrap();
            found
        })
    };
    let mut plain = 1_u64.to_le_bytes().to_vec();
    plain.extend_from_slice(&[3; 16]);
    [1_u64, 1, 6].iter().for_each(|number| plain.extend_from_slice(&number.to_le_bytes()));
    assert_eq!(read(&plain), [(3, vec![], 1, 6)]);
    let mut tagged = vec![1, 1, 0, 0, 0, 0, 0, 1];
    tagged.extend_from_slice(&[3; 16]);
    tagged.extend_from_slice(&[2 << 1, b'a', b'b']);
    [1_u64, 4, 5].iter().for_each(|number| tagged.extend_from_slice(&number.to_le_bytes()));
    assert_eq!(read(&tagged), [(3, b"ab".to_vec(), 4, 5)]);
}

fn payload_body(compression: u8, bytes: &[u8], uncompressed: usize) -> Vec<u8> {
    let size = |field: u8, number: usize| {
        let number = u16::try_from(number).unwrap().to_le_bytes();
        [field, 3, 252, number[0], number[1]]
    };
    let mut body = size(1, bytes.len()).to_vec();
    match compression {
        255 => body.extend_from_slice(&[2, 9, 254, 255, 0, 0, 0, 0, 0, 0, 0]),
        other => body.extend_from_slice(&[2, 1, other]),
    }
    body.extend_from_slice(&size(3, uncompressed));
    body.push(0);
    body.extend_from_slice(bytes);
    body
}

/// By `codecs/binary.cpp` and `Transaction_payload_event` of MySQL 9.1; no real MySQL 8 was at hand.
#[test]
fn a_compressed_transaction_gives_its_events_one_by_one() {
    let mut events = event(kinds::QUERY, 0, &[0; 20], false);
    events.extend_from_slice(&event(kinds::XID, 0, &7_u64.to_le_bytes(), false));
    let packed = zstd::bulk::compress(&events, 3).unwrap();
    for body in [payload_body(0, &packed, events.len()), payload_body(255, &events, events.len())] {
        with_message(kinds::TRANSACTION_PAYLOAD, &body, |message| {
            let Message::Payload(payload) = message.unwrap() else { panic!() };
            let mut found = Vec::new();
            let mut events = payload.events(1024).unwrap();
            while let Some(event) = events.next().unwrap() {
                found.push(event.header.kind);
            }
            assert_eq!(found, [kinds::QUERY, kinds::XID]);
            let error = payload.events(30).unwrap().next().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
        });
    }
    let cut = payload_body(0, &packed, events.len() + 1);
    with_message(kinds::TRANSACTION_PAYLOAD, &cut, |message| {
        let Message::Payload(payload) = message.unwrap() else { panic!() };
        let mut events = payload.events(1024).unwrap();
        assert!(events.next().unwrap().is_some() && events.next().unwrap().is_some());
        assert_eq!(events.next().unwrap_err().kind(), ErrorKind::Malformed);
    });
}

#[test]
fn encrypted_bytes_are_refused() {
    with_message(kinds::MARIADB_START_ENCRYPTION, &[0; 17], |message| {
        assert_eq!(message.unwrap_err().kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn a_prepared_transaction_has_its_id() {
    let body = b"\0\x01\0\0\0\x02\0\0\0\x01\0\0\0abc";
    with_message(kinds::XA_PREPARE, body, |message| {
        let Message::XaPrepare(xid) = message.unwrap() else { panic!() };
        assert_eq!(xid, Xid { format: 1, global: b"ab", branch: b"c", is_one_phase: false });
    });
}

/// Reads all that a message holds.
pub(crate) fn walk(message: &Message<'_>, wires: &[Wire]) {
    match message {
        Message::Rows(rows) => {
            let Ok(mut cursor) = rows.cursor(wires) else { return };
            while let Ok(Some(change)) = cursor.next() {
                let images = match change {
                    RowChange::Insert { after } => [Some(after), None],
                    RowChange::Delete { before } => [Some(before), None],
                    RowChange::Update { before, after } => [Some(before), Some(after)],
                };
                for image in images.into_iter().flatten() {
                    let mut cells = image.cells();
                    wires.iter().for_each(|wire| assert!(cells.next(*wire).is_some()));
                }
            }
        }
        Message::TableMap(map) => {
            for flavor in [Flavor::MySql, Flavor::MariaDb] {
                let _ = map.optional(flavor);
            }
            map.columns().for_each(|column| assert!(Wire::of(column, 3) != Some(Wire::Behind(9))));
        }
        Message::Payload(payload) => {
            let Ok(mut events) = payload.events(4096) else { return };
            while let Ok(Some(_)) = events.next() {}
        }
        Message::PreviousGtids(previous) => drop(previous.each(|_| {})),
        Message::MariadbGtidList(list) => list.iter().for_each(drop),
        _ => {}
    }
}

fn every_body() -> Vec<Vec<u8>> {
    let mut rows = rows_head(false, &[]);
    rows.extend_from_slice(&[0xff, 0xff, 1, 0, 0, 0, 2, b'a', b'b']);
    vec![table().body(), rows, payload_body(0, b"abc", 9), vec![0; 40]]
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        kind: u8, bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        with_message_of_known(kind, &bytes);
    }

    #[test]
    fn spoiled_and_cut_events_are_read_or_refused(
        kind: u8, which in 0_usize..4, at: proptest::sample::Index, to: u8, cut: proptest::sample::Index,
    ) {
        let mut body = every_body().swap_remove(which);
        let length = body.len();
        body[at.index(length)] = to;
        body.truncate(cut.index(length + 1));
        with_message_of_known(kind, &body);
    }
}

/// As each kind that is known, and as all kinds with rows.
fn with_message_of_known(kind: u8, body: &[u8]) {
    let rows = [23, 24, 25, 30, 31, 32, 39, 166, 19, 40, 33, 42, 35, 162, 163];
    for kind in rows.into_iter().chain([kind]).map(EventKind) {
        let bytes = event(kind, 0, body, false);
        assert_eq!(bytes.len(), HEADER_BYTES + body.len());
        let Ok(event) = Framer::nested(&bytes) else { continue };
        let mut scratch = Vec::new();
        let Ok(message) = decode(event, &mut scratch) else { continue };
        for wires in [wires(), vec![Wire::Json, Wire::Behind(2)], vec![Wire::Fixed(0); 9]] {
            walk(&message, &wires);
        }
    }
}
