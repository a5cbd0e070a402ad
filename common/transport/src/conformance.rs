//! The trait's contract as tests: every implementation is held to each claim.
//!
//! `conformance_tests!(make)` makes one test a claim; `make` is an async function that gives a fresh
//! transport and what must live as long as it does. Absent here: durability, which only whoever can
//! kill and restart an implementation can test. A claim fails by panicking.

#![allow(clippy::unwrap_used, reason = "these are tests, also where another crate compiles them")]

use crate::{
    Append, Committer, FetchLimit, FetchedBatch, GroupOffset, PartitionBatch, Reader, Records,
    Retention, Start, Subscription, TopicConfig, Transport, WriterEpoch,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_model::{ErrorKind, StateItem};

const WAIT: FetchLimit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(10) };
const NO_WAIT: FetchLimit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_millis(20) };

/// An append of `values` to one partition.
fn append(topic: &str, partition: u32, values: &[&str]) -> Append {
    let mut records = Records::default();
    for value in values {
        records.push(7, Some(value.as_bytes()), &[("h", b"x")], Some(value.as_bytes())).unwrap();
    }
    Append {
        batches: vec![PartitionBatch { topic: topic.into(), partition, records }],
        ..Append::default()
    }
}

async fn topic<T: Transport>(transport: &T, name: &str, partitions: u32) {
    let config = TopicConfig { partitions, ..TopicConfig::default() };
    transport.create_topic(name, &config).await.unwrap();
}

fn from(topic: &str, start: Start) -> Subscription {
    Subscription { topics: vec![topic.to_owned()], group: None, start }
}

fn in_group(topic: &str, group: &str) -> Subscription {
    Subscription {
        topics: vec![topic.to_owned()],
        group: Some(group.to_owned()),
        start: Start::Committed,
    }
}

/// Partition, offset and value of every record in the batches.
fn values(batches: &[FetchedBatch]) -> Vec<(u32, u64, String)> {
    let mut values = Vec::new();
    for batch in batches {
        for record in batch.iter() {
            let (offset, record) = record.unwrap();
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            values.push((batch.partition, offset, value));
        }
    }
    values
}

/// Reads until there are `count` records.
async fn read<R: Reader>(reader: &mut R, count: usize) -> Vec<(u32, u64, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        let batches = reader.poll(WAIT).await.unwrap();
        assert!(!batches.is_empty(), "only {} of {count} records came", found.len());
        found.extend(values(&batches));
    }
    found
}

/// Values alone, in order.
fn texts(found: &[(u32, u64, String)]) -> Vec<&str> {
    found.iter().map(|(_, _, value)| value.as_str()).collect()
}

/// Records of a partition keep their order and their offsets rise; those of one append by one.
pub async fn order_is_kept<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    for value in ["a", "b", "c"] {
        transport.append(append("t", 0, &[value, value])).await.unwrap();
    }
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, 6).await;
    let offsets: Vec<u64> = found.iter().map(|(_, offset, _)| *offset).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
    assert!(offsets.chunks(2).all(|pair| pair[0] + 1 == pair[1]), "{offsets:?}");
    assert_eq!(texts(&found).concat(), "aabbcc");
    assert!(reader.poll(NO_WAIT).await.unwrap().is_empty());
}

/// Key, headers, timestamp and a tombstone come as they were given.
pub async fn records_come_whole<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let mut records = Records::default();
    records.push(42, Some(b"k"), &[("a", b"1"), ("b", b"")], Some(b"v")).unwrap();
    records.push_tombstone(43, Some(b"k"), &[]).unwrap();
    let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
    transport.append(Append { batches, ..Append::default() }).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let batches = reader.poll(WAIT).await.unwrap();
    let found: Vec<_> = batches[0].iter().map(|record| record.unwrap().1).collect();
    assert_eq!(
        (found[0].timestamp_ms, found[0].key, found[0].value),
        (42, Some(&b"k"[..]), Some(&b"v"[..]))
    );
    assert_eq!(found[0].headers().collect::<Vec<_>>(), [("a", &b"1"[..]), ("b", &b""[..])]);
    assert_eq!((found[1].timestamp_ms, found[1].value), (43, None));
}

/// An append tells the first offset of each of its batches.
pub async fn an_append_tells_its_offsets<T: Transport>(transport: &T) {
    topic(transport, "t", 2).await;
    let first = transport.append(append("t", 1, &["a", "b"])).await.unwrap();
    let mut both = append("t", 0, &["c"]);
    both.batches.extend(append("t", 1, &["d"]).batches);
    let appended = transport.append(both).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, 4).await;
    let offset = |value: &str| found.iter().find(|(_, _, v)| v == value).unwrap().1;
    assert_eq!(first.base_offsets, [offset("a")]);
    assert_eq!(appended.base_offsets, [offset("c"), offset("d")]);
}

/// Nothing of an append that is refused is there: no record, no state, no offset.
pub async fn a_refused_append_leaves_nothing<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let writer = transport.open_writer("w").await.unwrap();
    let mut refused = append("t", 0, &["a"]);
    refused.batches.extend(append("t", 9, &["b"]).batches);
    refused.writer = Some(writer);
    refused.state = vec![StateItem { key: "k".into(), value: Some(b"v".to_vec()) }];
    let error = transport.append(refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(transport.topic("t").await.unwrap().partitions[0].end, 0);
    assert!(transport.state("w").await.unwrap().is_empty());
}

/// The newest epoch of a writer fences every older one.
pub async fn an_old_writer_is_fenced<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let old = transport.open_writer("w").await.unwrap();
    let new = transport.open_writer("w").await.unwrap();
    assert!(new.epoch > old.epoch);
    let by =
        |writer: &WriterEpoch| Append { writer: Some(writer.clone()), ..append("t", 0, &["a"]) };
    let error = transport.append(by(&old)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    transport.append(by(&new)).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    read(&mut reader, 1).await;
    assert!(reader.poll(NO_WAIT).await.unwrap().is_empty());
}

/// An append by a writer, whose state tells its number.
fn numbered(writer: &WriterEpoch, number: u8, append: Append) -> Append {
    let state = vec![StateItem { key: "n".into(), value: Some(vec![number]) }];
    Append { writer: Some(writer.clone()), state, ..append }
}

/// Appends that are submitted before the ones before them are durable keep their order, and each tells
/// its own offsets.
pub async fn what_is_submitted_keeps_its_order<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let writer = transport.open_writer("w").await.unwrap();
    let values: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let mut under_way = Vec::new();
    for (number, value) in (0..).zip(&values) {
        let next = numbered(&writer, number, append("t", 0, &[value]));
        under_way.push(transport.submit(next).await.unwrap());
    }
    let mut told = Vec::new();
    for submitted in under_way {
        told.extend(submitted.await.unwrap().base_offsets);
    }
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, values.len()).await;
    assert_eq!(texts(&found), values);
    assert_eq!(told, found.iter().map(|(_, offset, _)| *offset).collect::<Vec<_>>());
    assert_eq!(transport.state("w").await.unwrap()["n"], [39]);
}

/// Where one that was submitted fails, so do those behind it; what is there is what the state tells.
pub async fn what_is_submitted_behind_a_failure_fails<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let writer = transport.open_writer("w").await.unwrap();
    let mut appends = ["1", "2", "3", "4", "5"].map(|value| append("t", 0, &[value]));
    appends[2].batches[0].partition = 9;
    let mut under_way = Vec::new();
    for (number, append) in (1..).zip(appends) {
        match transport.submit(numbered(&writer, number, append)).await {
            Ok(submitted) => under_way.push(submitted),
            // Nobody submits more behind that.
            Err(_) => break,
        }
    }
    let mut succeeded = 0;
    let mut failed = false;
    for submitted in under_way {
        match submitted.await {
            Ok(_) if failed => panic!("one succeeded behind one that failed"),
            Ok(_) => succeeded += 1,
            Err(_) => failed = true,
        }
    }
    let writer = transport.open_writer("w").await.unwrap();
    let there = transport.state("w").await.unwrap().get("n").map_or(0, |number| number[0]);
    assert!((succeeded..=2).contains(&there), "{there} are there, {succeeded} succeeded");
    let next = numbered(&writer, there + 1, append("t", 0, &["next"]));
    transport.append(next).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, usize::from(there) + 1).await;
    let expected = [&["1", "2"][..usize::from(there)], &["next"]].concat();
    assert_eq!(texts(&found), expected);
}

/// A writer's state is set and removed with its appends and is its own.
pub async fn state_goes_with_the_records<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let writer = transport.open_writer("w").await.unwrap();
    let item = |key: &str, value: Option<&[u8]>| StateItem {
        key: key.to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    let with = |state: Vec<StateItem>| Append {
        writer: Some(writer.clone()),
        state,
        ..append("t", 0, &["a"])
    };
    transport.append(with(vec![item("a", Some(b"1")), item("b", Some(b"2"))])).await.unwrap();
    transport.append(with(vec![item("a", None), item("b", Some(b"3"))])).await.unwrap();
    let state = transport.state("w").await.unwrap();
    assert_eq!(state, BTreeMap::from([("b".to_owned(), b"3".to_vec())]));
    assert!(transport.state("other").await.unwrap().is_empty());
    assert_eq!(transport.writers().await.unwrap(), ["w"]);
}

/// A reader that waits is woken by an append, long before its wait runs out.
pub async fn a_waiting_reader_is_woken<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let (batches, appended) =
        tokio::join!(reader.poll(WAIT), transport.append(append("t", 0, &["a"])));
    appended.unwrap();
    assert_eq!(values(&batches.unwrap()), [(0, 0, "a".to_owned())]);
}

/// A reader begins where it says: at the end, or at an offset within a batch.
pub async fn a_reader_begins_where_it_says<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["a", "b", "c"])).await.unwrap();
    let mut latest = transport.subscribe(from("t", Start::Latest)).await.unwrap();
    let offsets = BTreeMap::from([(("t".to_owned(), 0), 1)]);
    let mut within = transport.subscribe(from("t", Start::Offsets(offsets))).await.unwrap();
    transport.append(append("t", 0, &["d"])).await.unwrap();
    assert_eq!(texts(&read(&mut latest, 1).await), ["d"]);
    assert_eq!(texts(&read(&mut within, 3).await).concat(), "bcd");
}

/// A group goes on where it has committed; what was read and not committed comes again.
pub async fn a_group_goes_on_where_it_committed<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["a"])).await.unwrap();
    let mut first = transport.subscribe(in_group("t", "g")).await.unwrap();
    read(&mut first, 1).await;
    first.commit().await.unwrap();
    transport.append(append("t", 0, &["b"])).await.unwrap();
    read(&mut first, 1).await;
    drop(first);
    assert_eq!(transport.committed("g").await.unwrap(), BTreeMap::from([(("t".to_owned(), 0), 1)]));
    let mut second = transport.subscribe(in_group("t", "g")).await.unwrap();
    assert_eq!(texts(&read(&mut second, 1).await), ["b"]);
}

/// Offsets that an append carries are committed with it.
pub async fn offsets_go_with_the_records<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let offsets =
        vec![GroupOffset { group: "g".into(), topic: "t".into(), partition: 0, offset: 1 }];
    transport.append(Append { offsets, ..append("t", 0, &["a"]) }).await.unwrap();
    assert_eq!(transport.committed("g").await.unwrap()[&("t".to_owned(), 0)], 1);
}

/// Who has committed in a topic is known, group by group, with where it is.
pub async fn a_topics_groups_are_known<T: Transport>(transport: &T) {
    topic(transport, "t", 2).await;
    topic(transport, "other", 1).await;
    assert!(transport.consumption("t").await.unwrap().is_empty());
    let error = transport.consumption("nothing").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let at = |group: &str, topic: &str, partition, offset| GroupOffset {
        group: group.into(),
        topic: topic.into(),
        partition,
        offset,
    };
    let offsets =
        vec![at("g", "t", 0, 1), at("g", "t", 1, 0), at("h", "t", 0, 0), at("i", "other", 0, 0)];
    transport.append(Append { offsets, ..append("t", 0, &["a"]) }).await.unwrap();
    let known = transport.consumption("t").await.unwrap();
    let told: Vec<(&str, u32, u64)> =
        known.iter().map(|((group, p), offset)| (group.as_str(), *p, *offset)).collect();
    let ends_with = |name: &str, (group, p, offset): (&str, u32, u64), place| {
        group.ends_with(name) && (p, offset) == place
    };
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(ends_with("g", told[0], (0, 1)) && ends_with("g", told[1], (1, 0)), "{told:?}");
    assert!(ends_with("h", told[2], (0, 0)), "{told:?}");
}

/// Members of a group share the partitions, and take over those of one that leaves.
pub async fn members_share_partitions<T: Transport>(transport: &T) {
    topic(transport, "t", 4).await;
    let mut one = transport.subscribe(in_group("t", "g")).await.unwrap();
    let mut two = transport.subscribe(in_group("t", "g")).await.unwrap();
    until_shared(&mut one, &mut two, 2).await;
    drop(two);
    for partition in 0..4 {
        transport.append(append("t", partition, &["a"])).await.unwrap();
    }
    assert_eq!(read(&mut one, 4).await.len(), 4);
    assert_eq!(one.positions().len(), 4);
}

/// Polls two members of a group, which get no record, until each has so many partitions.
async fn until_shared<R: Reader>(one: &mut R, two: &mut R, partitions: usize) {
    let deadline = tokio::time::Instant::now() + WAIT.wait_max;
    while one.positions().len() != partitions || two.positions().len() != partitions {
        assert!(tokio::time::Instant::now() < deadline, "the partitions are not shared");
        let (first, second) = tokio::join!(one.poll(NO_WAIT), two.poll(NO_WAIT));
        assert!(first.unwrap().is_empty() && second.unwrap().is_empty());
    }
    let mut all: Vec<_> = one.positions().into_keys().chain(two.positions().into_keys()).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 2 * partitions, "no partition is of both");
}

/// A topic that was removed is gone with its records; made again it begins anew.
pub async fn a_removed_topic_is_gone<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["a"])).await.unwrap();
    transport.delete_topic("t").await.unwrap();
    let gone = transport.topic("t").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone:?}");
    assert_eq!(transport.delete_topic("t").await.unwrap_err().kind(), ErrorKind::NotFound);
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["b"])).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    assert_eq!(read(&mut reader, 1).await, [(0, 0, "b".to_owned())]);
}

/// A topic that is there stays as it is; a bad name and bad numbers are refused.
pub async fn topics_are_made_once<T: Transport>(transport: &T) {
    topic(transport, "t", 3).await;
    topic(transport, "t", 5).await;
    assert_eq!(transport.topic("t").await.unwrap().partitions.len(), 3);
    let names: Vec<_> =
        transport.topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, ["t"]);
    let bad = transport.create_topic("a b", &TopicConfig::default()).await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Config);
    let none = TopicConfig { partitions: 0, ..TopicConfig::default() };
    assert_eq!(transport.create_topic("u", &none).await.unwrap_err().kind(), ErrorKind::Config);
}

/// How long records are kept can be set, and set back.
pub async fn a_topics_retention_can_be_set<T: Transport>(transport: &T) {
    topic(transport, "t", 2).await;
    let before = transport.topic("t").await.unwrap().config;
    let retention = Retention {
        retention_ms: Some(3_600_000),
        retention_bytes: Some(1 << 30),
        delete_retention_ms: before.delete_retention_ms * 3,
    };
    let expected = before.clone().with_retention(&retention);
    transport.set_retention("t", &retention).await.unwrap();
    // A cluster's brokers learn it one after the other.
    let kept = async || transport.topic("t").await.unwrap().config == expected;
    while !kept().await {
        tokio::task::yield_now().await;
    }
    let back = transport.set_retention("t", &before.retention()).await.unwrap();
    assert_eq!(back.config.partitions, 2);
    let missing = transport.set_retention("none", &retention).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

/// What is not there is told by its kind.
pub async fn what_is_not_there_is_told<T: Transport>(transport: &T) {
    let missing = transport.subscribe(from("none", Start::Earliest)).await.err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let error = transport.append(append("none", 0, &["a"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    topic(transport, "t", 1).await;
    let mut alone = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    assert_eq!(alone.commit().await.unwrap_err().kind(), ErrorKind::Config);
}

/// A record larger than a fetch asks for comes alone, whole.
pub async fn a_large_record_comes_alone<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let large = "x".repeat(3 << 20);
    transport.append(append("t", 0, &[&large])).await.unwrap();
    transport.append(append("t", 0, &["b"])).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let first = values(&reader.poll(WAIT).await.unwrap());
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].2.len(), 3 << 20);
    assert_eq!(texts(&read(&mut reader, 1).await), ["b"]);
}

/// Many writers at once lose nothing, and each one's records keep their order.
pub async fn writers_at_once_lose_nothing<T: Transport>(transport: &T) {
    const WRITERS: usize = 8;
    const APPENDS: usize = 25;
    topic(transport, "t", 1).await;
    let writing = (0..WRITERS).map(|writer| async move {
        for index in 0..APPENDS {
            let value = format!("{writer}-{index:02}");
            transport.append(append("t", 0, &[&value])).await.unwrap();
        }
    });
    futures_join(writing).await;
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, WRITERS * APPENDS).await;
    for writer in 0..WRITERS {
        let prefix = format!("{writer}-");
        let own: Vec<_> = found.iter().filter(|(_, _, v)| v.starts_with(&prefix)).collect();
        assert_eq!(own.len(), APPENDS);
        assert!(own.is_sorted_by_key(|(_, _, value)| value.clone()));
    }
}

/// Runs futures side by side on this task.
async fn futures_join<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// A call of `append` that was dropped neither tears nor blocks anything.
pub async fn a_dropped_append_tears_nothing<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    for _ in 0..20 {
        let call = transport.append(append("t", 0, &["a", "b"]));
        drop(tokio::time::timeout(Duration::ZERO, call).await);
    }
    transport.append(append("t", 0, &["last", "last"])).await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let mut found = Vec::new();
    while found.iter().filter(|(_, _, value)| value == "last").count() < 2 {
        found.extend(read(&mut reader, 1).await);
    }
    let mut pairs = found.chunks(2).map(|pair| (pair[0].2.as_str(), pair[1].2.as_str()));
    assert!(pairs.clone().all(|pair| pair == ("a", "b") || pair == ("last", "last")), "{found:?}");
    assert_eq!(pairs.next_back(), Some(("last", "last")));
}

/// A call of `open_writer` that was dropped, wherever it was, fences nobody who opens the writer after it.
pub async fn a_dropped_open_fences_nobody<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    for round in 0..12 {
        let call = transport.open_writer("w");
        drop(tokio::time::timeout(Duration::from_millis(round), call).await);
        let writer = Some(transport.open_writer("w").await.unwrap());
        for _ in 0..5 {
            let append = Append { writer: writer.clone(), ..append("t", 0, &["a"]) };
            transport.append(append).await.unwrap();
        }
    }
}

/// A writer that was never opened has no right to append, whatever epoch it says.
pub async fn a_writer_that_was_not_opened_is_fenced<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    for epoch in [0, 1] {
        let writer = Some(WriterEpoch { id: "w".into(), epoch });
        let error =
            transport.append(Append { writer, ..append("t", 0, &["a"]) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
    assert_eq!(transport.topic("t").await.unwrap().partitions[0].end, 0);
}

/// Whoever reads a record sees the state and the offsets of its append too.
pub async fn all_of_an_append_shows_at_once<T: Transport>(transport: &T) {
    const APPENDS: u64 = 50;
    topic(transport, "t", 1).await;
    let writer = transport.open_writer("w").await.unwrap();
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let writing = async {
        for number in 1..=APPENDS {
            let state = StateItem { key: "n".into(), value: Some(number.to_be_bytes().to_vec()) };
            let offset =
                GroupOffset { group: "g".into(), topic: "t".into(), partition: 0, offset: number };
            let append = Append {
                writer: Some(writer.clone()),
                state: vec![state],
                offsets: vec![offset],
                ..append("t", 0, &["a"])
            };
            transport.append(append).await.unwrap();
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < APPENDS {
            seen += values(&reader.poll(WAIT).await.unwrap()).len() as u64;
            let state = transport.state("w").await.unwrap()["n"].clone();
            assert!(u64::from_be_bytes(*state.first_chunk().unwrap()) >= seen);
            assert!(transport.committed("g").await.unwrap()[&("t".to_owned(), 0)] >= seen);
        }
    };
    tokio::join!(writing, reading);
}

/// Records of many partitions all come, each once, whatever the size of a fetch.
pub async fn many_partitions_all_come<T: Transport>(transport: &T) {
    const PARTITIONS: u32 = 64;
    topic(transport, "t", PARTITIONS).await;
    for round in 0..3 {
        let batches = (0..PARTITIONS).flat_map(|partition| {
            append("t", partition, &[&format!("{partition}-{round}")]).batches
        });
        let batches = batches.collect();
        transport.append(Append { batches, ..Append::default() }).await.unwrap();
    }
    for bytes_max in [1, 100, 1 << 20] {
        let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
        let mut found = Vec::new();
        while found.len() < 3 * PARTITIONS as usize {
            let batches = reader.poll(FetchLimit { bytes_max, ..WAIT }).await.unwrap();
            assert!(!batches.is_empty());
            found.extend(values(&batches));
        }
        // By partition, then offset: so the rounds of each are in their order.
        found.sort();
        let expected: Vec<String> = (0..PARTITIONS)
            .flat_map(|partition| (0..3).map(move |round| format!("{partition}-{round}")))
            .collect();
        assert_eq!(texts(&found), expected);
        assert!(reader.poll(NO_WAIT).await.unwrap().is_empty());
    }
}

/// A call of `poll` that was dropped loses no record.
pub async fn a_dropped_poll_loses_nothing<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let mut found = Vec::new();
    for number in 0..30 {
        transport.append(append("t", 0, &[&format!("{number:02}")])).await.unwrap();
        let wait = Duration::from_micros(number * 40);
        if let Ok(batches) = tokio::time::timeout(wait, reader.poll(WAIT)).await {
            found.extend(values(&batches.unwrap()));
        }
    }
    if found.len() < 30 {
        let rest = 30 - found.len();
        found.extend(read(&mut reader, rest).await);
    }
    let expected: Vec<String> = (0..30).map(|number| format!("{number:02}")).collect();
    assert_eq!(texts(&found), expected);
}

/// A commit after a dropped poll is of what was handed out, and does not wait for that poll: whoever
/// comes next in the group gets all the rest.
pub async fn a_commit_after_a_dropped_poll_is_of_what_was_given<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["a"])).await.unwrap();
    let mut one = transport.subscribe(in_group("t", "g")).await.unwrap();
    read(&mut one, 1).await;
    let dropped = tokio::time::timeout(Duration::from_millis(50), one.poll(WAIT)).await;
    assert!(dropped.is_err(), "there was nothing to read");
    let committed = tokio::time::timeout(WAIT.wait_max / 2, one.commit()).await;
    committed.expect("the commit waited for the dropped poll").unwrap();
    // Wakes whatever still waits in the dropped poll's name.
    let second = transport.append(append("t", 0, &["b"])).await.unwrap().base_offsets[0];
    one.commit().await.unwrap();
    let committed = transport.committed("g").await.unwrap()[&("t".to_owned(), 0)];
    assert!((1..=second).contains(&committed), "{committed}");
    drop(one);
    let mut two = transport.subscribe(in_group("t", "g")).await.unwrap();
    assert_eq!(texts(&read(&mut two, 1).await), ["b"]);
}

/// A member that lost a partition for a while, and did not poll meanwhile, commits nothing of its old
/// place: it begins where the group has come.
pub async fn a_partition_that_comes_back_begins_where_the_group_is<T: Transport>(transport: &T) {
    topic(transport, "t", 2).await;
    for partition in 0..2 {
        transport.append(append("t", partition, &["a"])).await.unwrap();
    }
    let mut one = transport.subscribe(in_group("t", "g")).await.unwrap();
    let mut two = transport.subscribe(in_group("t", "g")).await.unwrap();
    let own = read(&mut two, 1).await[0].0;
    two.commit().await.unwrap();
    drop(two);
    // The other side may hear of the leaving later than of this commit; it is refused all the same.
    assert_eq!(one.commit().await.unwrap_err().kind(), ErrorKind::Fenced);
    let place = ("t".to_owned(), own);
    assert_eq!(transport.committed("g").await.unwrap()[&place], 1, "not lowered");
    let found = read(&mut one, 1).await;
    assert_ne!(found[0].0, own, "the group has read that one");
    while !one.positions().contains_key(&place) {
        assert!(one.poll(NO_WAIT).await.unwrap().is_empty());
    }
    one.commit().await.unwrap();
    assert!(transport.committed("g").await.unwrap().into_values().all(|offset| offset == 1));
}

/// A reader of a removed topic commits nothing into the one that has taken its name.
pub async fn a_removed_topics_offsets_are_not_the_new_ones<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["a", "b", "c"])).await.unwrap();
    let mut reader = transport.subscribe(in_group("t", "g")).await.unwrap();
    read(&mut reader, 3).await;
    transport.delete_topic("t").await.unwrap();
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["new"])).await.unwrap();
    assert_eq!(reader.commit().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(transport.committed("g").await.unwrap().is_empty());
    drop(reader);
    let mut next = transport.subscribe(in_group("t", "g")).await.unwrap();
    assert_eq!(read(&mut next, 1).await, [(0, 0, "new".to_owned())]);
}

/// A group whose committed offset is beyond the end begins at the first record: it has read others.
pub async fn a_group_beyond_the_end_begins_anew<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let offsets =
        vec![GroupOffset { group: "g".into(), topic: "t".into(), partition: 0, offset: 100 }];
    transport.append(Append { offsets, ..append("t", 0, &["a"]) }).await.unwrap();
    let mut reader = transport.subscribe(in_group("t", "g")).await.unwrap();
    assert_eq!(read(&mut reader, 1).await, [(0, 0, "a".to_owned())]);
}

/// A member cannot commit for a partition that went to another; its new owner can.
pub async fn a_member_cannot_commit_what_it_lost<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    topic(transport, "u", 1).await;
    let both = |group: &str| Subscription {
        topics: vec!["t".to_owned(), "u".to_owned()],
        ..in_group("t", group)
    };
    transport.append(append("t", 0, &["a"])).await.unwrap();
    transport.append(append("u", 0, &["a"])).await.unwrap();
    let mut one = transport.subscribe(both("g")).await.unwrap();
    assert_eq!(read(&mut one, 2).await.len(), 2);
    let before = one.progress();
    let mut two = transport.subscribe(both("g")).await.unwrap();
    let mut again = Vec::new();
    while again.is_empty() || one.positions().len() != 1 {
        let (first, second) = tokio::join!(one.poll(NO_WAIT), two.poll(NO_WAIT));
        first.unwrap();
        again.extend(values(&second.unwrap()));
    }
    assert_eq!(again.len(), 1, "what was not committed comes again");
    let error = one.committer().commit(before).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    two.commit().await.unwrap();
    one.commit().await.unwrap();
    let committed = transport.committed("g").await.unwrap();
    // Behind a record may stand what ends its transaction.
    let (places, offsets): (Vec<_>, Vec<_>) = committed.into_iter().unzip();
    assert!(places.len() == 2 && offsets.iter().all(|o| (1..=2).contains(o)), "{offsets:?}");
}

/// A member that joins at the latest record skips none that the group has still to read.
pub async fn a_group_skips_nothing_when_a_member_joins<T: Transport>(transport: &T) {
    topic(transport, "t", 2).await;
    let latest = || Subscription { start: Start::Latest, ..in_group("t", "g") };
    transport.append(append("t", 0, &["before"])).await.unwrap();
    let mut one = transport.subscribe(latest()).await.unwrap();
    transport.append(append("t", 0, &["a"])).await.unwrap();
    transport.append(append("t", 1, &["b"])).await.unwrap();
    let mut two = transport.subscribe(latest()).await.unwrap();
    let mut found = Vec::new();
    while found.len() < 2 {
        let (first, second) = tokio::join!(one.poll(NO_WAIT), two.poll(NO_WAIT));
        found.extend(values(&first.unwrap()));
        found.extend(values(&second.unwrap()));
        // What one has read and not committed may come again to the other.
        found.sort();
        found.dedup();
    }
    assert_eq!(texts(&found), ["a", "b"]);
}

/// A reader of a topic that was removed is told, also when another has taken its name.
pub async fn a_reader_of_a_removed_topic_is_told<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    transport.delete_topic("t").await.unwrap();
    assert_eq!(reader.poll(WAIT).await.unwrap_err().kind(), ErrorKind::NotFound);
    topic(transport, "t", 1).await;
    transport.append(append("t", 0, &["a"])).await.unwrap();
    assert_eq!(reader.poll(WAIT).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A topic tells the bytes of its partitions, which rise with what is appended, or none at all.
pub async fn a_topic_tells_its_bytes<T: Transport>(transport: &T) {
    topic(transport, "t", 2).await;
    transport.append(append("t", 1, &[&"x".repeat(1000)])).await.unwrap();
    let partitions = transport.topic("t").await.unwrap().partitions;
    let Some(bytes) = partitions[1].bytes else { return };
    assert_eq!(partitions[0].bytes, Some(0));
    assert!((1000..3000).contains(&bytes), "{partitions:?}");
}

/// Appends of more bytes than are taken at a time wait, and all come through, in order.
pub async fn large_appends_wait_for_each_other<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let large = "x".repeat(6 << 20);
    let appending = (0..6).map(|_| async {
        transport.append(append("t", 0, &[&large])).await.unwrap();
    });
    futures_join(appending).await;
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, 6).await;
    assert!(found.iter().all(|(_, _, value)| value.len() == large.len()));
}

/// Of one append with many bytes all records come, in order, each with its offset.
pub async fn a_large_append_comes_in_order<T: Transport>(transport: &T) {
    topic(transport, "t", 1).await;
    let texts: Vec<String> =
        (0..12).map(|number| format!("{number:02}{}", "x".repeat(2 << 20))).collect();
    let values: Vec<&str> = texts.iter().map(String::as_str).collect();
    let appended = transport.append(append("t", 0, &values)).await.unwrap();
    assert_eq!(appended.base_offsets, [0]);
    let mut reader = transport.subscribe(from("t", Start::Earliest)).await.unwrap();
    let found = read(&mut reader, texts.len()).await;
    let expected: Vec<_> = (0..).zip(texts).map(|(offset, text)| (0, offset, text)).collect();
    assert!(found == expected, "the records are not those that were appended");
    let offsets = BTreeMap::from([(("t".to_owned(), 0), 7)]);
    let mut within = transport.subscribe(from("t", Start::Offsets(offsets))).await.unwrap();
    assert_eq!(read(&mut within, 5).await[0].1, 7);
}

/// One test a claim, over what `$make` gives: a transport, and what must live as long.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($make:path: $($claim:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $claim() {
            let (transport, _held) = $make().await;
            $crate::conformance::$claim(&transport).await;
        }
    )*};
    ($make:path) => {
        $crate::conformance::conformance_tests!($make, in_a_cluster);
        // Of transports that know a topic from one that has taken its name, and deal partitions anew
        // at once: in a cluster names are all there is, and members hear of it by their polls.
        $crate::conformance::conformance_tests!($make:
            a_partition_that_comes_back_begins_where_the_group_is
            a_removed_topics_offsets_are_not_the_new_ones
        );
    };
    ($make:path, in_a_cluster) => {
        $crate::conformance::conformance_tests!($make:
            order_is_kept records_come_whole an_append_tells_its_offsets
            what_is_submitted_keeps_its_order what_is_submitted_behind_a_failure_fails
            a_refused_append_leaves_nothing an_old_writer_is_fenced state_goes_with_the_records
            a_waiting_reader_is_woken a_reader_begins_where_it_says
            a_group_goes_on_where_it_committed offsets_go_with_the_records
            a_topics_groups_are_known
            members_share_partitions a_removed_topic_is_gone topics_are_made_once
            a_topics_retention_can_be_set what_is_not_there_is_told a_large_record_comes_alone
            writers_at_once_lose_nothing
            a_dropped_append_tears_nothing a_dropped_open_fences_nobody a_writer_that_was_not_opened_is_fenced
            all_of_an_append_shows_at_once many_partitions_all_come a_dropped_poll_loses_nothing
            a_member_cannot_commit_what_it_lost a_group_skips_nothing_when_a_member_joins
            a_reader_of_a_removed_topic_is_told a_topic_tells_its_bytes
            large_appends_wait_for_each_other a_large_append_comes_in_order
            a_commit_after_a_dropped_poll_is_of_what_was_given a_group_beyond_the_end_begins_anew
        );
    };
}
pub use crate::__conformance_tests as conformance_tests;
