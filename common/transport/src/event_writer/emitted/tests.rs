//! Events of applications, over an embedded log.

use super::*;
use crate::{
    EmbeddedConfig, EmbeddedTransport, FetchLimit, Reader, RegistryClient, Start, Subscription,
};
use proptest::prelude::*;
use std::time::Duration;
use tidemesh_avro::emitted::EmittedHead;
use tidemesh_model::{EventFormat, Position, SourceBlock};

const KEY: &[u8] = b"\0\0\0\0\x01key";
const VALUE: &[u8] = b"\0\0\0\0\x02value";

fn writer(patterns: &[&str], known: OutboxTopics, partitions: u32) -> EventWriter {
    let block = SourceBlock {
        connector: "postgresql",
        name: "shop".into(),
        database: "db".into(),
        fields: &[],
    };
    // Nobody listens there: events need no registry.
    let registry = RegistryClient::new("http://127.0.0.1:9").unwrap();
    let topics = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    let tables = [TablePattern::of("postgres.tables", "public.*").unwrap()];
    let config = TopicConfig { partitions, ..TopicConfig::default() };
    EventWriter::new(block, EventFormat::default(), config, registry).with_emitted(
        Some(EmitSettings { topics }),
        known,
        &tables,
    )
}

fn origin(transaction: u64) -> Origin<'static> {
    let position = Position { epoch: 1, commit: 7, ordinal: 3 };
    Origin { position, transaction, committed_at_us: 9_000_000, block: &[] }
}

fn content(
    topic: &str,
    key: Option<&[u8]>,
    place: EmittedPlace<'_>,
    headers: &[(&str, &[u8])],
) -> Vec<u8> {
    let mut out = Vec::new();
    EmittedHead::write(1234, place, headers, &mut out).unwrap();
    Emitted::write(topic, key, Some(VALUE), &mut out).unwrap();
    out
}

/// An event with this time and these parts.
fn of_parts(at_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    EmittedHead::write(at_ms, EmittedPlace::ByKey, &[], &mut out).unwrap();
    Emitted::write("t", key, value, &mut out).unwrap();
    out
}

fn plain(topic: &str) -> Vec<u8> {
    content(topic, Some(KEY), EmittedPlace::ByKey, &[])
}

struct Log {
    _folder: tempfile::TempDir,
    log: EmbeddedTransport,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
        Self { _folder: folder, log }
    }

    /// Prepares and writes a message as a source does.
    async fn take(&self, writer: &mut EventWriter, content: &[u8]) -> Result<()> {
        if let Some(topic) = writer.emitted_topic_missing(content) {
            writer.prepare_emitted_topic(&self.log, topic).await.unwrap();
        }
        writer.emitted(&origin(5), content)
    }
}

#[tokio::test]
async fn an_event_arrives_byte_for_byte_with_its_place_in_the_log() {
    let log = Log::new();
    let mut events = writer(&["shop.events.*"], OutboxTopics::default(), 3);
    let many: Vec<String> = (0..20).map(|n| format!("h{n}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let few = [("__idempotency_key", &b"order-7"[..]), ("trace", b"\xff")];
    for headers in [&few[..], &many] {
        let message = content("shop.events.orders", Some(KEY), EmittedPlace::ByKey, headers);
        log.take(&mut events, &message).await.unwrap();
    }
    let (append, counts) = events.finish();
    assert_eq!((counts.events, counts.records), (2, 2));
    log.log.append(append).await.unwrap();
    let topics = vec!["shop.events.orders".to_owned()];
    let from_the_first = Subscription { topics, group: None, start: Start::Earliest };
    let mut reader = log.log.subscribe(from_the_first).await.unwrap();
    let limit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(5) };
    let batches = reader.poll(limit).await.unwrap();
    let records: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.iter().map(|record| (batch.partition, record.unwrap().1)))
        .collect();
    for ((partition, record), headers) in records.iter().zip([&few[..], &many]) {
        assert_eq!(*partition, partition_of(KEY, 3));
        assert_eq!((record.key, record.value), (Some(KEY), Some(VALUE)));
        assert_eq!(record.timestamp_ms, 1234, "the event's time, not the commit's");
        let position = origin(5).position.to_bytes();
        let expected: Vec<(&str, &[u8])> =
            once((POSITION_HEADER, &position[..])).chain(headers.iter().copied()).collect();
        assert_eq!(record.headers().collect::<Vec<_>>(), expected);
    }
    assert_eq!(records.len(), 2);
}

#[tokio::test]
async fn a_place_decides_the_partition() {
    let log = Log::new();
    let mut events = writer(&["t"], OutboxTopics::default(), 4);
    for (place, key) in [
        (EmittedPlace::Partition(3), Some(KEY)),
        (EmittedPlace::By(b"x"), Some(KEY)),
        (EmittedPlace::ByKey, None),
        (EmittedPlace::ByKey, None),
    ] {
        log.take(&mut events, &content("t", key, place, &[])).await.unwrap();
    }
    let (append, _) = events.finish();
    let mut expected = vec![3, partition_of(b"x", 4), 0, 1];
    expected.sort_unstable();
    expected.dedup();
    let partitions: Vec<u32> = append.batches.iter().map(|batch| batch.partition).collect();
    assert_eq!(partitions, expected);
    let beyond = content("t", None, EmittedPlace::Partition(4), &[]);
    let error = log.take(&mut events, &beyond).await.unwrap_err();
    assert!(error.to_string().contains("no such partition"), "{error}");
    assert!(error.to_string().contains("partitions=4"), "{error}");
}

#[tokio::test]
async fn what_may_not_be_written_is_refused_with_its_reason() {
    let log = Log::new();
    let mut events = writer(&["*"], OutboxTopics::default(), 1);
    let unframed = {
        let mut out = Vec::new();
        EmittedHead::write(0, EmittedPlace::ByKey, &[], &mut out).unwrap();
        Emitted::write("t", Some(b"key"), Some(VALUE), &mut out).unwrap();
        out
    };
    let with_header = |name| content("t", None, EmittedPlace::ByKey, &[(name, b"")]);
    for (message, reason) in [
        (plain("__consumer_offsets"), "the platform's or could be a table's"),
        (plain("_tidemesh.checkpoints"), "the platform's"),
        (plain("shop.public.orders"), "could be a table's"),
        (plain("shop.public.orders.g2"), "could be a table's"),
        (plain("a b"), "no topic can be called"),
        (plain(""), "no topic can be called"),
        (unframed, "its key or value is not framed"),
        (with_header("tidemesh.position"), "a header that is the platform's"),
        (with_header("__emitter"), "a header that is the platform's"),
        (b"hello".to_vec(), "does not have the form of one"),
        (Vec::new(), "does not have the form of one"),
    ] {
        let error = log.take(&mut events, &message).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    let error = events.emitted(&origin(0), &plain("t")).unwrap_err();
    assert!(error.to_string().contains("not part of a transaction"), "{error}");
    assert_eq!(events.finish().1.records, 0);
    // Of another schema than those that are captured.
    log.take(&mut events, &plain("shop.events.orders")).await.unwrap();
}

#[tokio::test]
async fn what_a_broker_would_refuse_is_refused_before() {
    const NOW_MS: i64 = 1_700_000_000_000;
    let log = Log::new();
    let compacted = TopicConfig { cleanup_policy: CleanupPolicy::Compact, ..Default::default() };
    log.log.create_topic("compacted", &compacted).await.unwrap();
    let mut events = writer(&["*"], OutboxTopics::default(), 1);
    events.begin(NOW_MS * 1000);
    let hour_ms = 3_600_000;
    for (message, reason) in [
        (of_parts(-1, Some(KEY), Some(VALUE)), "before 1970"),
        (of_parts(i64::MAX, Some(KEY), Some(VALUE)), "more than an hour ahead"),
        (of_parts(NOW_MS + hour_ms + 1, Some(KEY), Some(VALUE)), "more than an hour ahead"),
        (content("compacted", None, EmittedPlace::ByKey, &[]), "it has no key"),
    ] {
        let error = log.take(&mut events, &message).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert!(error.to_string().contains("topic="), "{error}");
    }
    // As a row may be.
    let empty = Emitted { head: EmittedHead::default(), topic: "t", key: None, value: None };
    let error = events.write_emitted(&origin(5), &empty).unwrap_err();
    assert!(error.to_string().contains("neither key nor value"), "{error}");
    assert_eq!(events.finish().1.records, 0);
    for message in [
        of_parts(0, Some(KEY), None),
        of_parts(NOW_MS + hour_ms, None, Some(VALUE)),
        plain("compacted"),
    ] {
        log.take(&mut events, &message).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_of_a_later_form_is_no_wrong_one() {
    let log = Log::new();
    let mut events = writer(&["*"], OutboxTopics::default(), 1);
    let mut later = plain("t");
    later[0] = 2;
    let error = log.take(&mut events, &later).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion, "{error}");
    assert!(!events.is_dead_letter(&error));
}

#[tokio::test]
async fn partitions_that_a_topic_gets_meanwhile_are_known_once_an_event_names_one() {
    let log = Log::new();
    let mut two = writer(&["*"], OutboxTopics::default(), 2);
    log.take(&mut two, &plain("t")).await.unwrap();
    log.take(&mut two, &plain("other")).await.unwrap();
    // As if it had had one fewer when it was asked for.
    let ready = two.emitted.as_mut().unwrap().ready.get_mut("t").unwrap();
    (ready.partitions, ready.outputs) = (1, ready.outputs[..1].into());
    let in_second = content("t", Some(KEY), EmittedPlace::Partition(1), &[]);
    assert_eq!(two.emitted_topic_missing(&in_second), Some("t"));
    log.take(&mut two, &in_second).await.unwrap();
    assert_eq!(two.emitted_topic_missing(&in_second), None);
    let beyond = content("t", Some(KEY), EmittedPlace::Partition(2), &[]);
    let error = log.take(&mut two, &beyond).await.unwrap_err();
    assert!(error.to_string().contains("partitions=2"), "{error}");
    let (append, _) = two.finish();
    let of_t = append.batches.iter().filter(|batch| *batch.topic == *"t");
    assert!(of_t.map(|batch| batch.partition).any(|partition| partition == 1));
}

#[tokio::test]
async fn a_topic_that_the_settings_do_not_name_is_not_made() {
    let log = Log::new();
    let mut events = writer(&["shop.events.*"], OutboxTopics::default(), 1);
    let error = log.take(&mut events, &plain("other.topic")).await.unwrap_err();
    assert!(error.to_string().contains("source.emit.topics does not name"), "{error}");
    assert!(error.to_string().contains("topic=other.topic"), "{error}");
    assert_eq!(log.log.topic("other.topic").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_thousand_topics_are_counted_over_restarts() {
    let log = Log::new();
    let mut known = OutboxTopics::default();
    for topic in 0..999 {
        known.insert(&format!("t{topic}"));
    }
    let mut events = writer(&["*"], known, 1);
    log.take(&mut events, &plain("new")).await.unwrap();
    let error = log.take(&mut events, &plain("newer")).await.unwrap_err();
    assert!(error.to_string().contains("more than 1000"), "{error}");
    log.take(&mut events, &plain("t7")).await.unwrap();
    let items = events.take_items().unwrap();
    let mut items = BTreeMap::from_iter(items.into_iter().map(|i| (i.key, i.value.unwrap())));
    assert_eq!(items.keys().collect::<Vec<_>>(), ["emitted/new"], "what is known is stored");
    assert!(OutboxTopics::take(&mut items).unwrap() == OutboxTopics::default());
    let mut again = OutboxTopics::take_emitted(&mut items).unwrap();
    assert!(items.is_empty() && !again.insert("new"));
}

#[test]
fn a_source_without_emit_takes_none() {
    let mut events = writer(&["*"], OutboxTopics::default(), 1);
    assert!(events.takes_emitted());
    events = events.with_emitted(None, OutboxTopics::default(), &[]);
    assert!(!events.takes_emitted() && events.emitted_topic_missing(&plain("t")).is_none());
    assert!(events.emitted(&origin(5), &plain("t")).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        place in 0usize..40,
        byte in any::<u8>(),
    ) {
        let mut events = writer(&["*"], OutboxTopics::default(), 1);
        let mut changed = plain("t");
        let place = place % changed.len();
        changed[place] = byte;
        for bytes in [bytes, changed] {
            let _ = events.emitted_topic_missing(&bytes);
            let error = events.emitted(&origin(5), &bytes).unwrap_err();
            let is_later = matches!(bytes.first(), Some(2..=15));
            let expected = if is_later { ErrorKind::NewerVersion } else { ErrorKind::Unsupported };
            prop_assert_eq!(error.kind(), expected);
            events.emitted_letter(&origin(5), &bytes, &error).unwrap();
        }
    }
}
