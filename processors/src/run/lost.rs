//! Records that retention took before they were answered for: a job ends there and says so, and passes
//! over those alone of which somebody has accepted that they are gone. What goes after that is another loss,
//! which nobody has seen yet. A topic that is compacted keeps the latest of each key, and loses none in
//! this way.
//!
//! Where a job begins in a partition is made durable before it reads, also where nothing is there yet: what
//! comes and goes while the job is away is missed by that offset.

use super::work::{Round, Work};
use super::{Offsets, PipelineJob};
use crate::schemas::Schemas;
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_model::{CleanupPolicy, ErrorKind, Result};
use tidemesh_plan::upgrade;
use tidemesh_transport::{Append, FetchedBatch, Transport, WriterEpoch};

/// The most places where records are lost that a job tells of at a time. Whoever accepts those is told of the
/// others by the next run.
const LOST_MAX: usize = 10_000;

/// What of a job's losses was accepted: for each topic and partition the offset of the first record that was
/// there when somebody looked ([`Lost::begin`]).
pub type AcceptedLoss = BTreeMap<(String, u32), u64>;

/// Records of a partition that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first that is gone: up to it all is answered for.
    pub offset: u64,
    /// The first that is there.
    pub begin: u64,
}

impl PipelineJob {
    /// The topics from which records go by age and size, and what is gone of them that was not answered
    /// for. The job goes on behind a loss that is accepted, which is durable first.
    pub(super) async fn look_for_lost<T: Transport>(
        &self,
        transport: &T,
        writer: &WriterEpoch,
        committed: &mut Offsets,
    ) -> Result<(BTreeSet<String>, Vec<Lost>)> {
        let (mut retained, mut lost, mut first) = (BTreeSet::new(), Vec::new(), Vec::new());
        for topic in self.topics(|place| self.reads(place)) {
            let info = match transport.topic(&topic).await {
                // Whoever subscribes to it is told.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                info => info?,
            };
            if info.config.cleanup_policy != CleanupPolicy::Delete {
                continue;
            }
            let follows = followed_before(&topic, committed);
            for (partition, at) in (0..).zip(&info.partitions) {
                let (topic, begin) = (topic.clone(), at.begin);
                let answered = committed.get(&(topic.clone(), partition)).copied();
                // All of a topic that a table has gone on in is to be read.
                let offset = answered.unwrap_or(if follows { 0 } else { begin });
                if answered.is_none() {
                    first.push(((topic.clone(), partition), offset));
                }
                if offset < begin {
                    lost.push(Lost { topic, partition, offset, begin });
                }
            }
            retained.insert(topic);
        }
        self.commit(first, transport, writer, committed).await?;
        let (accepted, mut lost): (Vec<Lost>, Vec<Lost>) =
            lost.into_iter().partition(|lost| self.accepts(lost));
        let behind = accepted.into_iter().map(|lost| ((lost.topic, lost.partition), lost.begin));
        self.commit(behind.collect(), transport, writer, committed).await?;
        lost.truncate(LOST_MAX);
        Ok((retained, lost))
    }

    /// Whether all that is lost there was gone already when its loss was accepted.
    fn accepts(&self, lost: &Lost) -> bool {
        let accepted = self.accepted_loss.get(&(lost.topic.clone(), lost.partition));
        accepted.is_some_and(|begin| lost.begin <= *begin)
    }

    /// Makes durable where the job is in these partitions.
    pub(super) async fn commit<T: Transport>(
        &self,
        places: Vec<((String, u32), u64)>,
        transport: &T,
        writer: &WriterEpoch,
        committed: &mut Offsets,
    ) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let offset = |((topic, partition), offset): &((String, u32), u64)| {
            self.offset(topic, *partition, *offset)
        };
        let offsets = places.iter().map(offset).collect();
        let writer = Some(writer.clone());
        transport.append(Append { writer, offsets, ..Append::default() }).await?;
        committed.extend(places);
        Ok(())
    }
}

/// Whether a topic is one that a table has gone on in which was followed before.
pub(super) fn followed_before(topic: &str, committed: &Offsets) -> bool {
    let former = upgrade::former(topic);
    former.is_some_and(|former| committed.keys().any(|(topic, _)| *topic == former))
}

impl<S: Schemas> Work<'_, S> {
    /// Notes where a batch does not follow on what was taken before it.
    pub(super) fn note_gap(&self, batch: &FetchedBatch, first: u64, round: &mut Round) {
        if !self.retained.contains(batch.topic.as_ref()) {
            return;
        }
        let place = (batch.topic.to_string(), batch.partition);
        let before = round.offsets.get(&place).or_else(|| self.committed.get(&place)).copied();
        if let Some(before) = before.filter(|before| *before < first) {
            // The first one counts: what was taken behind it says nothing of it.
            round.gaps.entry(place).or_insert(before);
        }
    }

    /// What a round's gaps come to: what ends a transaction takes an offset too, and is no loss. If there is
    /// one, it is told of every partition, since the round is dropped.
    pub(super) async fn lost<T: Transport>(
        &mut self,
        round: &Round,
        transport: &T,
    ) -> Result<Vec<Lost>> {
        for ((topic, partition), offset) in &round.gaps {
            if super::work::begin(transport, topic, *partition).await? > *offset {
                return self.all_lost(round, transport).await;
            }
        }
        Ok(Vec::new())
    }

    async fn all_lost<T: Transport>(&mut self, round: &Round, transport: &T) -> Result<Vec<Lost>> {
        let mut lost = Vec::new();
        for topic in &self.retained {
            let info = transport.topic(topic).await?;
            for (partition, at) in (0..).zip(&info.partitions) {
                let place = (topic.clone(), partition);
                // A partition that was added since is known by its gap alone.
                let offset = self.committed.get(&place).or_else(|| round.gaps.get(&place));
                let offset = offset.copied().filter(|offset| *offset < at.begin);
                lost.extend(offset.map(|offset| {
                    let (topic, begin) = (topic.clone(), at.begin);
                    Lost { topic, partition, offset, begin }
                }));
            }
        }
        lost.truncate(LOST_MAX);
        Ok(lost)
    }
}
