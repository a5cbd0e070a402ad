//! Loads the tables of lookups before the first record is processed: from their topics' first records
//! to where the topics end when the job starts, which is at least where an earlier run had come to.

use super::until::Until;
use super::work::{Round, Takes, Work, begin, next};
use super::{Ended, Offsets};
use crate::schemas::Schemas;
use tidemesh_model::Result;
use tidemesh_transport::{Reader, Start, Subscription, Transport};
use tokio::sync::watch;

impl<S: Schemas> Work<'_, S> {
    /// Loads the tables; answers what ended the job meanwhile.
    pub(super) async fn load<T: Transport>(
        &mut self,
        transport: &T,
        until: &mut watch::Receiver<Until>,
    ) -> Result<Option<Ended>> {
        let topics = self.job.topics(|place| self.flow.lookups.inputs().any(|of| of == place));
        if topics.is_empty() {
            return Ok(None);
        }
        let ends = ends(transport, &topics).await?;
        let subscription = Subscription { topics, group: None, start: Start::Earliest };
        let mut reader = transport.subscribe(subscription).await?;
        let mut is_idle = false;
        while !there(transport, &ends, &reader.positions(), is_idle).await? {
            if self.listen(until) {
                return Ok(Some(Ended::Stopped));
            }
            let fetched = next(&mut reader, until).await?;
            is_idle = fetched.is_empty();
            let mut round = Round::default();
            for batch in &fetched {
                self.take(batch, Takes::Tables, &mut round).await?;
            }
            let cannot = round.cannot.take();
            self.append(round, transport).await?;
            if let Some(cannot) = cannot {
                return Ok(Some(Ended::Cannot(cannot)));
            }
        }
        self.answer_for(&reader.positions(), transport).await?;
        Ok(None)
    }

    /// Notes how far the tables have come, and keeps it where no rows are read of the same topic.
    async fn answer_for<T: Transport>(&mut self, positions: &Offsets, transport: &T) -> Result<()> {
        let mut round = Round::default();
        for (place, position) in positions {
            let committed = self.committed.get(place).copied().unwrap_or_default();
            let offset = self.bounds.of(&place.0, place.1).max(committed).min(*position);
            self.loaded.insert(place.clone(), offset);
            if !self.job.reads_rows_of(&place.0) && offset > committed {
                round.offsets.insert(place.clone(), offset);
            }
        }
        self.append(round, transport).await
    }

    /// From where on a loaded job reads.
    pub(super) fn subscription(&self) -> Subscription {
        let mut offsets = self.committed.clone();
        for (place, offset) in &self.loaded {
            if !self.job.reads_rows_of(&place.0) {
                offsets.insert(place.clone(), *offset);
            }
        }
        let topics = self.job.topics(|_| true);
        Subscription { topics, group: None, start: Start::Offsets(offsets) }
    }
}

/// Behind the last record of each partition.
async fn ends<T: Transport>(transport: &T, topics: &[String]) -> Result<Offsets> {
    let mut ends = Offsets::new();
    for topic in topics {
        let partitions = transport.topic(topic).await?.partitions;
        ends.extend((0..).zip(partitions).map(|(place, of)| ((topic.clone(), place), of.end)));
    }
    Ok(ends)
}

/// Whether all partitions are read to their ends. Where the last records are gone nothing comes.
async fn there<T: Transport>(
    transport: &T,
    ends: &Offsets,
    positions: &Offsets,
    is_idle: bool,
) -> Result<bool> {
    for ((topic, partition), end) in ends {
        let position = positions.get(&(topic.clone(), *partition)).copied().unwrap_or_default();
        if position < *end && !(is_idle && begin(transport, topic, *partition).await? >= *end) {
            return Ok(false);
        }
    }
    Ok(true)
}
