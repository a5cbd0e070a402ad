//! The contract over a real Kafka, and what only a cluster can show: fencing between processes.
//!
//! `scripts/test` starts the broker and names it in the environment.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidemesh_model::{CleanupPolicy, ErrorKind, StateItem};
use tidemesh_transport::kafka::{Delivery, KafkaConfig, KafkaTransport};
use tidemesh_transport::{
    Append, FetchLimit, PartitionBatch, Reader, Records, Start, Subscription, TopicConfig,
    Transport, WriterEpoch,
};

static MESHES: AtomicU32 = AtomicU32::new(0);

/// A mesh of its own on the shared broker.
fn config() -> KafkaConfig {
    let servers = std::env::var("TIDEMESH_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("TIDEMESH_TEST_KAFKA is not set: start the broker and the tests with `scripts/test`")
    });
    let mut config = KafkaConfig::new(servers);
    let number = MESHES.fetch_add(1, Ordering::Relaxed);
    config.prefix = format!("t{}-{number}.", std::process::id());
    config.record_bytes_max = 16 << 20;
    config
}

mod exactly_once {
    use super::*;

    async fn make() -> (KafkaTransport, ()) {
        (KafkaTransport::new(&config()).unwrap(), ())
    }

    tidemesh_transport::conformance::conformance_tests!(make, in_a_cluster);

    /// A transport of another process on the same mesh.
    fn another(transport: &KafkaConfig) -> KafkaTransport {
        KafkaTransport::new(transport).unwrap()
    }

    fn append(writer: &WriterEpoch, number: u8) -> Append {
        let mut records = Records::default();
        records.push(1, Some(b"k"), &[], Some(&[number])).unwrap();
        let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
        let state = vec![StateItem { key: "n".into(), value: Some(vec![number]) }];
        Append { writer: Some(writer.clone()), batches, state, ..Append::default() }
    }

    /// Of what was submitted together, and may have joined one transaction, none is told durable behind one
    /// that cannot be, and what is there is what the state tells.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_submitted_with_one_that_is_too_large_fails_with_it() {
        let mut config = config();
        config.record_bytes_max = 1 << 20;
        let transport = another(&config);
        transport.create_topic("t", &TopicConfig::default()).await.unwrap();
        for place in 0..4 {
            let writer = transport.open_writer("w").await.unwrap();
            let mut under_way = Vec::new();
            for number in 0..4 {
                let mut next = append(&writer, 10 * place + number);
                if number == place {
                    let large = &mut next.batches[0].records;
                    large.push(1, None, &[], Some(&vec![0; 1 << 20])).unwrap();
                }
                under_way.push(transport.submit(next).await.unwrap());
            }
            let mut ends = Vec::new();
            for submitted in under_way {
                ends.push(submitted.await.map_err(|error| error.kind()).map(drop));
            }
            let whole = ends.iter().take_while(|end| end.is_ok()).count();
            assert!(whole <= usize::from(place), "{ends:?}");
            assert!(ends[whole..].iter().all(Result::is_err), "{ends:?}");
            assert_eq!(ends[whole], Err(ErrorKind::TooLarge));
            transport.open_writer("w").await.unwrap();
            let state = transport.state("w").await.unwrap();
            let told = state.get("n").map(|number| number[0]).filter(|n| n / 10 == place);
            assert_eq!(told.map_or(0, |number| usize::from(number % 10) + 1), whole, "{ends:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_of_another_process_fences_this_one() {
        let config = config();
        let (one, two) = (another(&config), another(&config));
        one.create_topic("t", &TopicConfig::default()).await.unwrap();
        let old = one.open_writer("w").await.unwrap();
        one.append(append(&old, 1)).await.unwrap();
        let new = two.open_writer("w").await.unwrap();
        assert_eq!(two.state("w").await.unwrap()["n"], [1]);
        two.append(append(&new, 2)).await.unwrap();
        let error = one.append(append(&old, 3)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
        assert_eq!(one.state("w").await.unwrap()["n"], [2]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_is_not_there_is_told_with_its_address() {
        let mut config = KafkaConfig::new("127.0.0.1:1");
        config.request_timeout = Duration::from_secs(2);
        let error = another(&config).open_writer("w").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.report().contains("127.0.0.1:1"), "{error:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_past_the_limit_is_told_by_its_topic() {
        let config = KafkaConfig { record_bytes_max: 1_048_588, ..config() };
        let transport = another(&config);
        transport.create_topic("t", &TopicConfig::default()).await.unwrap();
        let writer = transport.open_writer("w").await.unwrap();
        let mut large = append(&writer, 1);
        large.batches[0].records.push(1, None, &[], Some(&vec![0; 2 << 20])).unwrap();
        let error = transport.append(large).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        assert!(error.report().contains("kafka.record_bytes_max"), "{error:?}");
        assert!(transport.state("w").await.unwrap().is_empty(), "nothing of it is there");
        let end = transport.topic("t").await.unwrap().partitions[0].end;
        let (topics, start) = (vec!["t".to_owned()], Start::Earliest);
        let subscription = Subscription { topics, group: None, start };
        let mut reader = transport.subscribe(subscription).await.unwrap();
        while reader.progress().positions[&("t".to_owned(), 0)] < end {
            let limit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_millis(10) };
            assert!(reader.poll(limit).await.unwrap().is_empty());
        }
    }
}

/// More than a reader fetches ahead, in records of so many bytes.
const RECORDS: u64 = 40;
const RECORD_BYTES: usize = 1 << 20;

/// Deletes a partition's records before an offset, as retention does.
async fn delete_before(config: &KafkaConfig, topic: &str, offset: u64) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.bootstrap_servers);
    let admin: AdminClient<_> = client.create().unwrap();
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(offset).unwrap());
    list.add_partition_offset(&format!("{}{topic}", config.prefix), 0, offset).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    admin.delete_records(&list, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_a_gap_and_what_ends_a_transaction_is_none() {
    let config = config();
    let transport = KafkaTransport::new(&config).unwrap();
    let topic = TopicConfig { cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() };
    transport.create_topic("t", &topic).await.unwrap();
    let writer = transport.open_writer("w").await.unwrap();
    // Nothing that compression makes small.
    let mut number = 7_u64;
    let mut byte = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        number.to_be_bytes()[0]
    };
    let value: Vec<u8> = (0..RECORD_BYTES).map(|_| byte()).collect();
    for _ in 0..RECORDS {
        let mut records = Records::default();
        records.push(1, Some(b"k"), &[], Some(&value)).unwrap();
        let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
        let append = Append { writer: Some(writer.clone()), batches, ..Append::default() };
        transport.append(append).await.unwrap();
    }
    let subscription =
        Subscription { topics: vec!["t".into()], group: None, start: Start::Earliest };
    let mut reader = transport.subscribe(subscription).await.unwrap();
    let limit = FetchLimit { bytes_max: 1, wait_max: Duration::from_secs(10) };
    let (mut next, mut gaps, mut records) = (0, Vec::new(), 0);
    // Each record is a transaction, whose end takes an offset too.
    let last = 2 * (RECORDS - 1);
    while next <= last {
        for batch in reader.poll(limit).await.unwrap() {
            if batch.base_offset != next {
                gaps.push((next, batch.base_offset));
            }
            (next, records) = (batch.next_offset, records + batch.iter().count());
        }
        if records == 3 {
            assert!(gaps.is_empty(), "{gaps:?}");
            delete_before(&config, "t", last).await;
        }
    }
    let [(from, to)] = gaps[..] else { panic!("{gaps:?}") };
    assert!(from < last && to == last, "{from} {to}");
}

mod at_least_once {
    use super::*;

    async fn make() -> (KafkaTransport, ()) {
        let config = KafkaConfig { delivery: Delivery::AtLeastOnce, ..config() };
        (KafkaTransport::new(&config).unwrap(), ())
    }

    // Not what only transactions promise: that all of an append shows at once.
    tidemesh_transport::conformance::conformance_tests!(make:
        order_is_kept records_come_whole an_append_tells_its_offsets
        a_refused_append_leaves_nothing state_goes_with_the_records offsets_go_with_the_records
        writers_at_once_lose_nothing large_appends_wait_for_each_other a_large_append_comes_in_order
    );
}
