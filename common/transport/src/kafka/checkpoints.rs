//! Writers' state: a compacted topic of one partition, key `<writer>/<item>`, read to its end.
//!
//! To the end means past every transaction that is open when the reading begins: what this writer
//! has committed may stand behind records of another writer's open one, and is shown only when that
//! one has ended, at the latest when the broker ends it.

use super::config::KafkaConfig;
use super::error::Quiet;
use super::topics::{CHECKPOINTS, Topics, blocking};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};

/// How long one wait for a record takes before it is looked whether the end was reached.
const WAIT: Duration = Duration::from_millis(20);

/// How much longer than a transaction may be open the reading may stand still.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to do about a transaction that no broker ends (docs/kafka.md).
const HANGING: &str = "if it stays so with every broker up, a transaction hangs: find it by \
     kafka-transactions.sh find-hanging, and end it by kafka-transactions.sh abort";

/// Every item, by writer and key.
pub(super) type Items = BTreeMap<(String, String), Vec<u8>>;

/// The key of an item's record.
pub(super) fn record_key(writer: &str, item: &str) -> Vec<u8> {
    format!("{writer}/{item}").into_bytes()
}

/// Reads every writer's state.
///
/// # Errors
///
/// `Timeout` if a transaction stays open for longer than brokers let it; `Unavailable`, `Corrupt`.
pub(super) async fn read(config: &KafkaConfig, topics: &Topics) -> Result<Items> {
    topics.create_checkpoints().await?;
    let end = topics.checkpoints_end().await?;
    let config = config.clone();
    let topic = topics.full(CHECKPOINTS);
    blocking(move || read_to(&config, &topic, end)).await?
}

fn read_to(config: &KafkaConfig, topic: &str, end: u64) -> Result<Items> {
    let doing = "read the checkpoints";
    let context = Quiet::default();
    let consumer = BaseConsumer::from_config_and_context(&config.consumer(None), context)
        .map_err(|error| super::error::failed(error, doing))?;
    let explain = |error| consumer.context().told.explain(error, doing);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).map_err(explain)?;
    consumer.assign(&assignment).map_err(explain)?;
    let mut items = Items::new();
    let limit = config.transaction_timeout + PATIENCE;
    let (mut next, mut moved_at) = (0, Instant::now());
    while next < end {
        let before = next;
        match consumer.poll(WAIT) {
            Some(Ok(record)) => {
                next = u64::try_from(record.offset()).unwrap_or(0) + 1;
                take(&mut items, record.key(), record.payload())?;
            }
            Some(Err(error)) => return Err(explain(error)),
            // What ends a transaction has an offset and is no record.
            None => next = next.max(position(&consumer, topic)),
        }
        if next > before {
            moved_at = Instant::now();
        }
        if moved_at.elapsed() > limit {
            return Err(Error::new(ErrorKind::Timeout, doing)
                .because("the end does not come: a transaction stays open, or a broker is away")
                .help(HANGING)
                .with("offset", next)
                .with("end", end));
        }
    }
    Ok(items)
}

fn position<C: rdkafka::consumer::ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> u64 {
    let Ok(positions) = consumer.position() else { return 0 };
    match positions.find_partition(topic, 0).map(|partition| partition.offset()) {
        Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or(0),
        _ => 0,
    }
}

fn take(items: &mut Items, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
    let corrupt = || {
        Error::new(ErrorKind::Corrupt, "read the checkpoints")
            .because("a record's key is not <writer>/<item>")
    };
    let key = std::str::from_utf8(key.unwrap_or_default()).map_err(|_| corrupt())?;
    let (writer, item) = key.split_once('/').ok_or_else(corrupt)?;
    let place = (writer.to_owned(), item.to_owned());
    match value {
        Some(value) => items.insert(place, value.to_vec()),
        None => items.remove(&place),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_comes_back_by_its_key_and_goes_by_a_tombstone() {
        let mut items = Items::new();
        let key = record_key("shop", "snapshot/[\"a\",\"b/c\"]");
        take(&mut items, Some(&key), Some(b"1")).unwrap();
        let place = ("shop".to_owned(), "snapshot/[\"a\",\"b/c\"]".to_owned());
        assert_eq!(items.get(&place), Some(&b"1".to_vec()));
        take(&mut items, Some(&key), None).unwrap();
        assert!(items.is_empty());
        assert_eq!(take(&mut items, Some(b"x"), None).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
