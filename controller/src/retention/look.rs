//! What became of kept topics: how much they have grown by, and whether they keep their records still. One
//! may have been made anew, or somebody may have set its retention: that is what it has again afterwards.

use super::budget::{growth, records};
use super::{Leases, RetentionLease, TopicKeeper, TopicSize, there};
use crate::controller::Controller;
use crate::topics::Registry;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_model::{CleanupPolicy, ErrorKind, Result};
use tidemesh_transport::{Retention, TopicInfo};
use tokio::time::Instant;

/// The most topics that are looked at in one round.
const LOOKS_MAX: usize = 20;

/// How long the size of a topic's records counts, where they have to be read for it.
const RECORD_BYTES_FOR: Duration = Duration::from_secs(300);

/// How long tombstones are kept, in milliseconds: as long as a Kafka topic can be told to.
const TOMBSTONES_MS: u64 = i64::MAX as u64;

/// What is known of kept topics since the process was started.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    looks: BTreeMap<String, Look>,
    /// Whether it was told that half of the budget is spent.
    pub(super) warned: bool,
}

/// About how many bytes a record has, and since when that is known.
type RecordBytes = (u64, Instant);

/// What was seen of a topic.
#[derive(Debug)]
struct Look {
    at: Instant,
    retention: Option<Retention>,
    /// By how many bytes it has grown since it is kept.
    growth_bytes: u64,
    record_bytes: Option<RecordBytes>,
}

impl Kept {
    /// How long a topic was seen to keep its records; none if it was not.
    pub(super) fn retention(&self, topic: &str) -> Option<Retention> {
        self.looks.get(topic)?.retention
    }

    pub(super) fn is_raised(&mut self, topic: &str, to: Retention) {
        if let Some(look) = self.looks.get_mut(topic) {
            look.retention = Some(to);
        }
    }

    /// By how many bytes a topic has grown since it is kept, as far as that was seen.
    pub(super) fn growth_bytes(&self, topic: &str) -> u64 {
        self.looks.get(topic).map_or(0, |look| look.growth_bytes)
    }

    fn record_bytes(&self, topic: &str) -> Option<RecordBytes> {
        let known = self.looks.get(topic)?.record_bytes;
        known.filter(|(_, since)| since.elapsed() < RECORD_BYTES_FOR)
    }

    /// The topics whose turn it is: those that were not looked at for the longest time.
    fn due(&self, leases: &Leases, every: Duration) -> Vec<String> {
        let kept = leases.iter().filter(|(_, lease)| !lease.let_go).map(|(topic, _)| topic);
        let at = |topic: &String| self.looks.get(topic).map(|look| look.at);
        let mut due: Vec<(Option<Instant>, &String)> =
            kept.map(|topic| (at(topic), topic)).collect();
        due.retain(|(at, _)| at.is_none_or(|at| at.elapsed() >= every));
        due.sort();
        due.truncate(LOOKS_MAX);
        due.into_iter().map(|(_, topic)| topic.clone()).collect()
    }
}

impl<R: Registry> Controller<R> {
    /// Looks at the topics whose turn it is, and notes in their leases what they are to have afterwards.
    pub(super) async fn look(&self, keeper: &dyn TopicKeeper, leases: &mut Leases) -> Result<()> {
        let is_kept = |topic: &String| leases.get(topic).is_some_and(|lease| !lease.let_go);
        self.kept().looks.retain(|topic, _| is_kept(topic));
        let due = self.kept().due(leases, self.config.look_at_kept_every);
        let mut trouble = Ok(());
        for topic in due {
            let Some(lease) = leases.get_mut(&topic) else { continue };
            let looked = there(self.look_at(keeper, &topic, lease).await);
            trouble = trouble.and(looked.map(drop).map_err(|error| error.with("topic", topic)));
        }
        trouble
    }

    async fn look_at(
        &self,
        keeper: &dyn TopicKeeper,
        topic: &str,
        lease: &mut RetentionLease,
    ) -> Result<()> {
        let at = Instant::now();
        let info = match keeper.topic(topic).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.saw(topic, Look::gone(at));
                return Ok(());
            }
            info => info?,
        };
        let now = info.config.retention();
        let own = own(&now, &lease.former);
        if own != lease.former {
            tracing::warn!(topic, "its retention was set meanwhile, which it has again afterwards");
            lease.former = own;
        }
        let known = self.kept().record_bytes(topic);
        let growth_bytes = self.kept().growth_bytes(topic);
        // It is to keep its records also if it cannot be told how large they are.
        self.saw(topic, Look { at, retention: Some(now), growth_bytes, record_bytes: known });
        let record_bytes = self.record_bytes(keeper, &info, known).await?;
        let growth_bytes = grown(&info, lease, record_bytes);
        self.saw(topic, Look { at, retention: Some(now), growth_bytes, record_bytes });
        Ok(())
    }

    fn saw(&self, topic: &str, look: Look) {
        self.kept().looks.insert(topic.to_owned(), look);
    }

    /// About how many bytes a record has, where it has to be asked.
    async fn record_bytes(
        &self,
        keeper: &dyn TopicKeeper,
        info: &TopicInfo,
        known: Option<RecordBytes>,
    ) -> Result<Option<RecordBytes>> {
        let counts = info.config.cleanup_policy == CleanupPolicy::Delete;
        if known.is_some() || !counts || bytes(info).is_some() {
            return Ok(known);
        }
        Ok(Some((keeper.record_bytes(info).await?, Instant::now())))
    }
}

impl Look {
    /// At a topic that is not there.
    fn gone(at: Instant) -> Self {
        Self { at, retention: None, growth_bytes: 0, record_bytes: None }
    }
}

/// By how many bytes a topic has grown since it was looked at first.
fn grown(info: &TopicInfo, lease: &mut RetentionLease, record_bytes: Option<RecordBytes>) -> u64 {
    if info.config.cleanup_policy == CleanupPolicy::Compact {
        lease.size = None;
        return 0;
    }
    let now = TopicSize { records: records(info), bytes: bytes(info) };
    let then = *lease.size.get_or_insert(now);
    growth(then, now, record_bytes.map_or(0, |(bytes, _)| bytes))
}

/// The bytes of a topic's records; none where that is not told.
fn bytes(info: &TopicInfo) -> Option<u64> {
    info.partitions.iter().map(|partition| partition.bytes).sum()
}

/// What a topic has that keeps all.
pub(super) fn raised(former: &Retention) -> Retention {
    Retention {
        retention_ms: None,
        retention_bytes: None,
        delete_retention_ms: former.delete_retention_ms.max(TOMBSTONES_MS),
    }
}

/// A topic's own settings, if it has these now and had those formerly: each that is not as it was raised
/// was set by somebody else.
pub(super) fn own(now: &Retention, former: &Retention) -> Retention {
    fn each<V: PartialEq>(now: V, raised: V, former: V) -> V {
        if now == raised { former } else { now }
    }
    let raised = raised(former);
    Retention {
        retention_ms: each(now.retention_ms, raised.retention_ms, former.retention_ms),
        retention_bytes: each(now.retention_bytes, raised.retention_bytes, former.retention_bytes),
        delete_retention_ms: each(
            now.delete_retention_ms,
            raised.delete_retention_ms,
            former.delete_retention_ms,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retention() -> impl Strategy<Value = Retention> {
        let few = || proptest::option::of(0..3_u64);
        (few(), few(), 0..3_u64).prop_map(|(retention_ms, retention_bytes, delete_retention_ms)| {
            Retention { retention_ms, retention_bytes, delete_retention_ms }
        })
    }

    proptest! {
        #[test]
        fn what_was_raised_or_never_was_is_set_back_to_what_it_had(former in retention()) {
            prop_assert_eq!(own(&raised(&former), &former), former);
            prop_assert_eq!(own(&former, &former), former);
        }

        #[test]
        fn what_somebody_has_set_stays(former in retention(), ms in 0..9_u64) {
            let set = Retention { retention_ms: Some(ms), ..raised(&former) };
            let expected = Retention { retention_ms: Some(ms), ..former };
            prop_assert_eq!(own(&set, &former), expected);
            // Looked at again once it is raised again, and then set back.
            prop_assert_eq!(own(&raised(&expected), &expected), expected);
        }
    }
}
