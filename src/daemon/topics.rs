//! The log's topics, as the controller has them keep their records, and what pipelines have read of them.

use futures_util::future::{BoxFuture, FutureExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_controller::TopicKeeper;
use tidemesh_model::Result;
use tidemesh_processors::PipelineJob;
use tidemesh_transport::{
    FetchLimit, Reader, Retention, Start, Subscription, TopicInfo, Transport,
};

/// By how many of a partition's last records the size of a topic's records is told.
const SAMPLE_RECORDS_MAX: u64 = 100;

/// About the most bytes that are read for that, and how long they are waited for.
const SAMPLE: FetchLimit = FetchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_secs(2) };

/// Over a transport.
pub(super) struct Topics<T>(pub(super) Arc<T>);

impl<T: Transport> Topics<T> {
    /// The mean of what comes first of the last records; 0 if nothing does.
    async fn mean_bytes(&self, topic: &TopicInfo) -> Result<u64> {
        let at = |place: u32, begin: u64, end: u64| {
            ((topic.name.clone(), place), end.saturating_sub(SAMPLE_RECORDS_MAX).max(begin))
        };
        let partitions = (0..).zip(&topic.partitions);
        let start =
            Start::Offsets(partitions.map(|(place, of)| at(place, of.begin, of.end)).collect());
        let subscription = Subscription { topics: vec![topic.name.clone()], group: None, start };
        let mut reader = self.0.subscribe(subscription).await?;
        let (mut bytes, mut records) = (0_u64, 0_u64);
        for batch in reader.poll(SAMPLE).await? {
            bytes += batch.bytes.len() as u64;
            records += batch.iter().count() as u64;
        }
        Ok(bytes / records.max(1))
    }
}

impl<T: Transport> TopicKeeper for Topics<T> {
    fn topic<'k>(&'k self, topic: &'k str) -> BoxFuture<'k, Result<TopicInfo>> {
        self.0.topic(topic).boxed()
    }

    fn keep<'k>(&'k self, topic: &'k str, retention: Retention) -> BoxFuture<'k, Result<()>> {
        async move { self.0.set_retention(topic, &retention).await.map(drop) }.boxed()
    }

    fn record_bytes<'k>(&'k self, topic: &'k TopicInfo) -> BoxFuture<'k, Result<u64>> {
        self.mean_bytes(topic).boxed()
    }

    fn committed<'k>(
        &'k self,
        pipeline: &'k str,
    ) -> BoxFuture<'k, Result<BTreeMap<(String, u32), u64>>> {
        async move { self.0.committed(&PipelineJob::id_of(pipeline)).await }.boxed()
    }
}
