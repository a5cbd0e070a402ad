use super::*;
use crate::decode::{Message, tests::with_message};
use crate::frame::kinds;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const TWO: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

fn mysql(text: &str) -> GtidSet {
    GtidSet::parse(Flavor::MySql, text).unwrap()
}

fn mariadb(text: &str) -> GtidSet {
    GtidSet::parse(Flavor::MariaDb, text).unwrap()
}

fn id(text: &str) -> TransactionId {
    let GtidSet::MariaDb(set) = mariadb(text) else { panic!() };
    TransactionId::MariaDb(set.positions().next().unwrap())
}

#[test]
fn a_set_is_read_in_any_order_and_case_and_printed_as_the_server_does() {
    let text = format!(
        " {}:7-9 : 1-3:tag_b:5,\n{ONE}:4:Tag_B:1-2:a:3-3,,\r\n {TWO}:1-18446744073709\n",
        ONE.to_uppercase()
    );
    let expected = format!("{ONE}:1-4:7-9:a:3:tag_b:1-2:5,{TWO}:1-18446744073709");
    assert_eq!(mysql(&text).to_string(), expected);
    assert_eq!(mysql("").to_string(), "");
    assert_eq!(mariadb("2-7-3, 0-1-4,0-2-9,\n").to_string(), "0-1-4,0-2-9,2-7-3");
    assert_eq!(mariadb("0-2-9,0-1-11").to_string(), "0-2-9,0-1-11", "the last stands last");
}

#[test]
fn a_text_that_is_no_set_is_refused() {
    for text in [
        "x",
        ONE,
        &format!("{ONE}:"),
        &format!("{ONE}:0"),
        &format!("{ONE}:1-"),
        &format!("{ONE}:5-3"),
        &format!("{ONE}:+5"),
        &format!("{ONE}:1:tag"),
        &format!("{ONE}:a-b:1"),
        &format!("{ONE}:{}:1", "t".repeat(33)),
        &format!("{ONE}:9223372036854775807"),
        &format!("{}:1", &ONE[1..]),
    ] {
        let error = GtidSet::parse(Flavor::MySql, text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{text}");
    }
    for text in ["0-1", "0-1-2-3", "0-1-x", "4294967296-1-1", "0--1", "0-1-+2"] {
        let error = GtidSet::parse(Flavor::MariaDb, text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{text}");
    }
    let long = " ".repeat(TEXT_BYTES_MAX + 1);
    let error = GtidSet::parse(Flavor::MySql, &long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn a_set_has_a_limit() {
    let GtidSet::MySql(mut set) = mysql("") else { panic!() };
    let origin = Origin::new([7; 16], b"").unwrap();
    let numbers = (0..INTERVALS_MAX as u64).map(|number| 2 * number + 1);
    numbers.for_each(|number| set.add(origin, number).unwrap());
    let error = set.add(origin, 2 * INTERVALS_MAX as u64 + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn transactions_are_added_as_the_log_has_them() {
    let mut set = GtidSet::empty(Flavor::MySql);
    let transaction = |number, tag| {
        let uuid = [0x3e; 16];
        TransactionId::of_mysql(&Gtid { uuid, tag, number, ..Gtid::default() })
    };
    assert_eq!(transaction(0, b""), None, "an anonymous one");
    for number in [1, 2, 5, 4, 3, 9] {
        set.add(transaction(number, b"").unwrap()).unwrap();
    }
    set.add(transaction(1, b"tag").unwrap()).unwrap();
    let uuid = "3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e";
    assert_eq!(set.to_string(), format!("{uuid}:1-5:9:tag:1"));
    assert!(set.contains(transaction(4, b"").unwrap()));
    assert!(!set.contains(transaction(4, b"tag").unwrap()));
    let mariadb = id("0-1-1");
    assert_eq!(set.add(mariadb).unwrap_err().kind(), ErrorKind::Internal);
    assert!(!set.contains(mariadb));
}

#[test]
fn a_server_that_took_over_has_what_the_one_before_had() {
    let ours = mariadb("0-1-100,5-1-7");
    let after = mariadb("0-1-100,0-2-105,5-1-7");
    assert!(ours.is_subset(&after));
    assert_eq!(after.difference(&ours).to_string(), "0-2-105");
    // Another history that is as long does not have it.
    let other = mariadb("0-2-200,5-1-7");
    assert_eq!(ours.difference(&other).to_string(), "0-1-100");
    let mut both = ours.clone();
    both.union(&after).unwrap();
    assert_eq!(both, after);
    let GtidSet::MariaDb(after) = after else { panic!() };
    assert_eq!(after.connect_state(), "0-2-105,5-1-7");
}

#[test]
fn what_was_purged_must_have_been_read() {
    let purged = mysql(&format!("{ONE}:1-5"));
    assert!(!mysql(&format!("{ONE}:1-9")).is_behind(&purged));
    let ours = mysql(&format!("{ONE}:1-3"));
    assert_eq!(ours.lacks_of(&purged).to_string(), format!("{ONE}:4-5"));
    let purged = mariadb("0-1-50");
    assert!(!mariadb("0-2-60").is_behind(&purged), "numbers rise whoever writes");
    assert!(mariadb("0-1-49").is_behind(&purged) && mariadb("").is_behind(&purged));
    assert!(!mariadb("0-1-50,3-1-1").is_behind(&purged));
}

#[test]
fn it_is_stored_with_its_flavour() {
    for set in [mysql(&format!("{ONE}:1-5:t:2")), mariadb("0-2-9,0-1-11")] {
        let stored = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<GtidSet>(&stored).unwrap(), set, "{stored}");
    }
    let stored = serde_json::to_string(&mariadb("0-1-4")).unwrap();
    assert_eq!(stored, r#"{"mariadb":"0-1-4"}"#);
    assert!(serde_json::from_str::<GtidSet>(r#"{"mysql":"0-1-4"}"#).is_err());
}

/// Bytes by hand after MySQL 9.1's `Gtid_set::encode`; no real MySQL 8 was at hand.
#[test]
fn the_wire_form_has_tags_only_where_there_are_some() {
    let GtidSet::MySql(set) = mysql(&format!("{ONE}:1-5:8")) else { panic!() };
    let uuid = [
        0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95,
        0x62,
    ];
    let numbers = |numbers: &[u64]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    };
    assert_eq!(set.encode(), [numbers(&[1]), uuid.to_vec(), numbers(&[2, 1, 6, 8, 9])].concat());
    let GtidSet::MySql(set) = mysql(&format!("{ONE}:1-5:ab:2")) else { panic!() };
    let expected = [
        vec![1, 2, 0, 0, 0, 0, 0, 1],
        [&uuid[..], &[0]].concat(),
        numbers(&[1, 1, 6]),
        [&uuid[..], &[4, b'a', b'b']].concat(),
        numbers(&[1, 2, 3]),
    ];
    assert_eq!(set.encode(), expected.concat());
}

fn origin(server: u8, tag: usize) -> Origin {
    let tag: &[u8] = [&b""[..], b"a", b"b_1"][tag];
    Origin::new([server; 16], tag).unwrap()
}

fn transactions() -> impl Strategy<Value = BTreeSet<(u8, usize, u64)>> {
    prop::collection::btree_set((0_u8..3, 0_usize..3, 1_u64..24), 0..60)
}

fn set_of(transactions: &BTreeSet<(u8, usize, u64)>) -> GtidSet {
    let mut set = GtidSet::empty(Flavor::MySql);
    for (server, tag, number) in transactions {
        set.add(TransactionId::MySql(origin(*server, *tag), *number)).unwrap();
    }
    set
}

/// Transactions of one domain, in its order: the servers that wrote them.
fn history() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1_u32..4, 1..20)
}

fn prefix(history: &[u32], length: usize) -> GtidSet {
    let mut set = GtidSet::empty(Flavor::MariaDb);
    for (server, sequence) in history.iter().zip(1..).take(length) {
        let id = MariadbId { domain: 0, server: *server, sequence };
        set.add(TransactionId::MariaDb(id)).unwrap();
    }
    set
}

proptest! {
    #[test]
    fn sets_are_those_of_their_members(one in transactions(), two in transactions()) {
        let (a, b) = (set_of(&one), set_of(&two));
        prop_assert_eq!(mysql(&a.to_string()), a.clone());
        prop_assert_eq!(a.is_subset(&b), one.is_subset(&two));
        let only: BTreeSet<_> = one.difference(&two).copied().collect();
        prop_assert_eq!(a.difference(&b), set_of(&only));
        prop_assert_eq!(b.is_behind(&a), !only.is_empty());
        let all: BTreeSet<_> = one.union(&two).copied().collect();
        let mut union = a.clone();
        union.union(&b).unwrap();
        prop_assert_eq!(union, set_of(&all));
        for (server, tag, number) in &all {
            let transaction = TransactionId::MySql(origin(*server, *tag), *number);
            prop_assert_eq!(a.contains(transaction), one.contains(&(*server, *tag, *number)));
        }
    }

    #[test]
    fn order_is_nothing_to_a_set(shuffled in transactions().prop_flat_map(|all| {
        Just(all.into_iter().collect::<Vec<_>>()).prop_shuffle()
    })) {
        let mut set = GtidSet::empty(Flavor::MySql);
        for (server, tag, number) in &shuffled {
            set.add(TransactionId::MySql(origin(*server, *tag), *number)).unwrap();
        }
        prop_assert_eq!(set, set_of(&shuffled.into_iter().collect()));
    }

    #[test]
    fn the_wire_form_is_what_the_log_has_before_a_file(members in transactions()) {
        let GtidSet::MySql(set) = set_of(&members) else { panic!() };
        let read = with_message(kinds::PREVIOUS_GTIDS, &set.encode(), |message| {
            let Message::PreviousGtids(previous) = message.unwrap() else { panic!() };
            MysqlGtids::before(&previous).unwrap()
        });
        prop_assert_eq!(read, set);
    }

    #[test]
    fn prefixes_of_a_history_are_told_apart(
        history in history(), one in 0_usize..20, two in 0_usize..20,
    ) {
        let (one, two) = (one.min(history.len()), two.min(history.len()));
        let (a, b) = (prefix(&history, one), prefix(&history, two));
        prop_assert_eq!(mariadb(&a.to_string()), a.clone());
        prop_assert_eq!(a.is_subset(&b), one <= two);
        prop_assert_eq!(a.is_behind(&b), one < two);
        let mut union = a.clone();
        union.union(&b).unwrap();
        prop_assert_eq!(union, prefix(&history, one.max(two)));
        for (server, sequence) in history.iter().zip(1_u64..) {
            let id = MariadbId { domain: 0, server: *server, sequence };
            prop_assert_eq!(a.contains(TransactionId::MariaDb(id)), sequence <= one as u64);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a-f:, \n_-]{0,80}|\\PC{0,40}") {
        for flavor in [Flavor::MySql, Flavor::MariaDb] {
            if let Ok(set) = GtidSet::parse(flavor, &text) {
                prop_assert_eq!(GtidSet::parse(flavor, &set.to_string()).unwrap(), set);
            }
        }
    }
}

/// As a MariaDB server writes it: the last of a domain stands behind its others.
#[test]
fn the_list_before_a_file_is_a_state() {
    let mut body = 3_u32.to_le_bytes().to_vec();
    for (domain, server, sequence) in [(0_u32, 2_u32, 9_u64), (0, 1, 11), (4, 1, 2)] {
        body.extend_from_slice(&domain.to_le_bytes());
        body.extend_from_slice(&server.to_le_bytes());
        body.extend_from_slice(&sequence.to_le_bytes());
    }
    let set = with_message(kinds::MARIADB_GTID_LIST, &body, |message| {
        let Message::MariadbGtidList(list) = message.unwrap() else { panic!() };
        MariadbGtids::before(list).unwrap()
    });
    assert_eq!(GtidSet::MariaDb(set), mariadb("0-2-9,0-1-11,4-1-2"));
}
