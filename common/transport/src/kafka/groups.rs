//! What consumer groups have committed.

use super::config::KafkaConfig;
use super::error::{Quiet, failed};
use super::topics::{Topics, blocking};
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most groups of a cluster that are asked what they have committed in a topic.
const GROUPS_MAX: usize = 2_000;

/// How many are asked at once: each by a client of its own, for the library asks for its own group.
const ASKED_AT_ONCE: usize = 8;

/// The offsets that a group, by its name in the cluster, has committed in these topics, each with how
/// many partitions it has.
pub(super) async fn committed(
    config: &KafkaConfig,
    group: String,
    topics: Vec<(String, u32)>,
) -> Result<BTreeMap<(String, u32), u64>> {
    let config = config.clone();
    blocking(move || committed_now(&config, &group, &topics)).await?
}

fn committed_now(
    config: &KafkaConfig,
    group: &str,
    topics: &[(String, u32)],
) -> Result<BTreeMap<(String, u32), u64>> {
    let doing = "read committed offsets";
    let properties = config.consumer(Some(group));
    let consumer = BaseConsumer::from_config_and_context(&properties, Quiet::default())
        .map_err(|error| failed(error, doing))?;
    let explain = |error| consumer.context().told.explain(error, doing);
    let mut asked = TopicPartitionList::new();
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            asked.add_partition(&format!("{}{topic}", config.prefix), partition);
        }
    }
    let found = consumer.committed_offsets(asked, config.request_timeout).map_err(explain)?;
    let known = found.elements().into_iter().filter_map(|element| {
        let Offset::Offset(offset) = element.offset() else { return None };
        let topic = element.topic().strip_prefix(config.prefix.as_str())?.to_owned();
        let partition = u32::try_from(element.partition()).ok()?;
        Some(((topic, partition), u64::try_from(offset).ok()?))
    });
    Ok(known.collect())
}

/// What each group of the cluster has committed in a topic.
pub(super) async fn consumption(
    config: &KafkaConfig,
    topics: &Topics,
    topic: &str,
) -> Result<BTreeMap<(String, u32), u64>> {
    let place = vec![(topic.to_owned(), topics.partitions_led(topic).await?)];
    let groups = topics.groups().await?;
    if groups.len() > GROUPS_MAX {
        return Err(Error::new(ErrorKind::TooLarge, "ask consumer groups")
            .because("the cluster has more groups than can be asked")
            .with("groups", groups.len())
            .with("groups_max", GROUPS_MAX)
            .help(
                "delete groups that nobody uses: kafka-consumer-groups.sh --delete --group NAME",
            ));
    }
    let asked = groups.into_iter().map(|group| {
        let place = place.clone();
        async move { Ok((group.clone(), committed(config, group, place).await?)) }
    });
    let mut found = BTreeMap::new();
    let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
    while let Some((group, offsets)) = answers.try_next().await? {
        found.extend(offsets.into_iter().map(|((_, p), offset)| ((group.clone(), p), offset)));
    }
    Ok(found)
}
