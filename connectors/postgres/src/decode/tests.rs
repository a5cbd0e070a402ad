//! Messages that are written here byte by byte as chapter 54.9 has them, whole, cut and spoiled.

use super::*;
use proptest::prelude::*;

/// A cell: its kind and its bytes.
type Written = (u8, Vec<u8>);

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

fn tuple(out: &mut Vec<u8>, cells: &[Written]) {
    out.extend_from_slice(&u16::try_from(cells.len()).unwrap().to_be_bytes());
    for (kind, bytes) in cells {
        out.push(*kind);
        if matches!(kind, b't' | b'b') {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// An insert, update or delete: `old` is the old row's kind and cells.
fn row_message(kind: u8, old: Option<(u8, &[Written])>, new: Option<&[Written]>) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&42_u32.to_be_bytes());
    if let Some((kind, cells)) = old {
        out.push(kind);
        tuple(&mut out, cells);
    }
    if let Some(cells) = new {
        out.push(b'N');
        tuple(&mut out, cells);
    }
    out
}

fn relation_message(columns: &[(String, u32, i32)]) -> Vec<u8> {
    let mut out = vec![b'R'];
    out.extend_from_slice(&42_u32.to_be_bytes());
    name(&mut out, "public");
    name(&mut out, "orders");
    out.push(b'd');
    out.extend_from_slice(&u16::try_from(columns.len()).unwrap().to_be_bytes());
    for (column, type_oid, modifier) in columns {
        out.push(1);
        name(&mut out, column);
        out.extend_from_slice(&type_oid.to_be_bytes());
        out.extend_from_slice(&modifier.to_be_bytes());
    }
    out
}

fn read_back(found: Tuple<'_>) -> Result<Vec<Written>> {
    let mut cells = found.cells();
    let mut all = Vec::new();
    for _ in 0..found.columns() {
        all.push(match cells.next()? {
            Cell::Null => (b'n', Vec::new()),
            Cell::Unchanged => (b'u', Vec::new()),
            Cell::Text(bytes) => (b't', bytes.to_vec()),
            Cell::Binary(bytes) => (b'b', bytes.to_vec()),
        });
    }
    cells.end()?;
    Ok(all)
}

/// Decodes and walks over all that it holds.
fn walk(message: &[u8]) -> Result<()> {
    match decode(message)? {
        Message::Insert { new, .. } => drop(read_back(new)?),
        Message::Update { old, new, .. } => {
            if let Some(old) = old {
                read_back(old.tuple)?;
            }
            read_back(new)?;
        }
        Message::Delete { old, .. } => drop(read_back(old.tuple)?),
        Message::Truncate(truncate) => drop(truncate.relations().collect::<Vec<_>>()),
        _ => {}
    }
    Ok(())
}

fn some_cells() -> impl Strategy<Value = Vec<Written>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..9);
    let cell = prop_oneof![
        Just((b'n', Vec::new())),
        Just((b'u', Vec::new())),
        bytes().prop_map(|bytes| (b't', bytes)),
        bytes().prop_map(|bytes| (b'b', bytes)),
    ];
    prop::collection::vec(cell, 0..6)
}

fn some_columns() -> impl Strategy<Value = Vec<(String, u32, i32)>> {
    prop::collection::vec(("[a-zé]{1,8}", any::<u32>(), any::<i32>()), 0..5)
}

/// A message that is right.
fn some_message() -> impl Strategy<Value = Vec<u8>> {
    let old_kind = prop_oneof![Just(b'O'), Just(b'K')];
    let fixed = |kind: u8, length: usize| {
        prop::collection::vec(any::<u8>(), length).prop_map(move |mut body| {
            body.insert(0, kind);
            body
        })
    };
    prop_oneof![
        some_cells().prop_map(|new| row_message(b'I', None, Some(&new))),
        some_cells().prop_map(|new| row_message(b'U', None, Some(&new))),
        (old_kind.clone(), some_cells(), some_cells()).prop_map(|(kind, old, new)| row_message(
            b'U',
            Some((kind, &old)),
            Some(&new)
        )),
        (old_kind, some_cells()).prop_map(|(kind, old)| row_message(
            b'D',
            Some((kind, &old)),
            None
        )),
        some_columns().prop_map(|columns| relation_message(&columns)),
        prop::collection::vec(any::<u32>(), 0..4).prop_map(|oids| {
            let mut out = vec![b'T'];
            out.extend_from_slice(&u32::try_from(oids.len()).unwrap().to_be_bytes());
            out.push(0);
            oids.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
            out
        }),
        ("[a-z]{0,9}", prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(prefix, content)| {
            let mut out = vec![b'M', 1];
            out.extend_from_slice(&7_u64.to_be_bytes());
            name(&mut out, &prefix);
            out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
            out.extend_from_slice(&content);
            out
        }),
        fixed(b'B', 20),
        fixed(b'C', 25),
    ]
}

#[test]
fn a_transactions_ends_carry_positions_and_the_clock_of_1970() {
    let mut begin = vec![b'B'];
    begin.extend_from_slice(&0x10_u64.to_be_bytes());
    begin.extend_from_slice(&5_i64.to_be_bytes());
    begin.extend_from_slice(&77_u32.to_be_bytes());
    let expected = Begin { commit_lsn: 0x10, committed_at_us: EPOCH_2000_US + 5, xid: 77 };
    assert_eq!(decode(&begin).unwrap(), Message::Begin(expected));
    let mut commit = vec![b'C', 0];
    commit.extend_from_slice(&0x10_u64.to_be_bytes());
    commit.extend_from_slice(&0x40_u64.to_be_bytes());
    commit.extend_from_slice(&5_i64.to_be_bytes());
    let expected = Commit { commit_lsn: 0x10, end_lsn: 0x40 };
    assert_eq!(decode(&commit).unwrap(), Message::Commit(expected));
}

#[test]
fn an_error_names_the_message_and_the_offset() {
    let mut insert = row_message(b'I', None, Some(&[(b'b', b"abc".to_vec())]));
    insert.pop();
    let error = walk(&insert).unwrap_err().report();
    for word in ["ends early", "message=tuple", "offset=", "left=2"] {
        assert!(error.contains(word), "«{word}» is missing in: {error}");
    }
    assert!(decode(b"").is_err() && decode(b"?").is_err());
}

#[test]
fn a_count_that_the_message_cannot_hold_makes_no_room() {
    let mut relation = relation_message(&[]);
    let length = relation.len();
    relation[length - 2..].copy_from_slice(&u16::MAX.to_be_bytes());
    assert!(decode(&relation).is_err());
    let truncate = [b'T', 0xff, 0xff, 0xff, 0xff, 0];
    assert!(decode(&truncate).is_err());
}

proptest! {
    #[test]
    fn rows_come_back(old in some_cells(), new in some_cells()) {
        let message = row_message(b'U', Some((b'O', &old)), Some(&new));
        prop_assert_eq!(row_relation(&message), Some(42));
        let Message::Update { relation: 42, old: Some(found), new: now } = decode(&message).unwrap()
        else {
            panic!("it is an update");
        };
        prop_assert!(found.full);
        prop_assert_eq!(read_back(found.tuple).unwrap(), old);
        prop_assert_eq!(read_back(now).unwrap(), new.clone());
        for (index, (kind, _)) in new.iter().enumerate() {
            let null = matches!(now.cell(index).unwrap(), Cell::Null);
            prop_assert_eq!(null, *kind == b'n');
        }
    }

    #[test]
    fn relations_come_back(columns in some_columns()) {
        let message = relation_message(&columns);
        let Message::Relation(found) = decode(&message).unwrap() else {
            panic!("it is a relation");
        };
        prop_assert_eq!((found.schema, found.table), ("public", "orders"));
        let found: Vec<_> =
            found.columns.iter().map(|c| (c.name.to_owned(), c.type_oid, c.type_modifier)).collect();
        prop_assert_eq!(found, columns);
    }

    #[test]
    fn what_is_right_is_taken_and_no_piece_of_it_is(message in some_message()) {
        prop_assert!(walk(&message).is_ok());
        for length in 0..message.len() {
            prop_assert!(walk(&message[..length]).is_err(), "cut to {}", length);
        }
        let longer = [&message[..], b"n"].concat();
        prop_assert!(walk(&longer).is_err());
    }

    #[test]
    fn what_is_spoiled_is_read_or_refused(
        mut message in some_message(),
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (place, byte) in spoiled {
            *place.get_mut(&mut message) = byte;
        }
        let _ = walk(&message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = walk(&bytes);
    }
}
