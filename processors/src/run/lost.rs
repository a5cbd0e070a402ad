//! Records that retention took before they were answered for: a job ends there and says so, and passes
//! over them only when it is told to. A topic that is compacted keeps the latest of each key, and loses
//! none in this way.
//!
//! Where a job begins in a partition is made durable before it reads, also where nothing is there yet: what
//! comes and goes while the job is away is missed by that offset.

use super::work::{Round, Work};
use super::{Offsets, PipelineJob};
use crate::schemas::Schemas;
use std::collections::BTreeSet;
use tidemesh_model::{CleanupPolicy, ErrorKind, Result};
use tidemesh_plan::upgrade;
use tidemesh_transport::{Append, FetchedBatch, Transport, WriterEpoch};

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
    /// for. If the loss is accepted, the job goes on behind it, which is durable first.
    pub(super) async fn look_for_lost<T: Transport>(
        &self,
        transport: &T,
        writer: &WriterEpoch,
        committed: &mut Offsets,
    ) -> Result<(BTreeSet<String>, Option<Lost>)> {
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
        if self.accept_loss && !lost.is_empty() {
            self.pass_over(&lost, transport, writer, committed).await?;
            lost.clear();
        }
        Ok((retained, lost.into_iter().next()))
    }

    async fn pass_over<T: Transport>(
        &self,
        lost: &[Lost],
        transport: &T,
        writer: &WriterEpoch,
        committed: &mut Offsets,
    ) -> Result<()> {
        let places = lost.iter().map(|lost| ((lost.topic.clone(), lost.partition), lost.begin));
        self.commit(places.collect(), transport, writer, committed).await
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

    /// What a round's gaps come to: what ends a transaction takes an offset too, and is no loss.
    pub(super) async fn lost<T: Transport>(
        &mut self,
        round: &Round,
        transport: &T,
    ) -> Result<Option<Lost>> {
        for ((topic, partition), offset) in &round.gaps {
            let begin = super::work::begin(transport, topic, *partition).await?;
            if begin > *offset {
                let (topic, partition, offset) = (topic.clone(), *partition, *offset);
                return Ok(Some(Lost { topic, partition, offset, begin }));
            }
        }
        Ok(None)
    }
}
