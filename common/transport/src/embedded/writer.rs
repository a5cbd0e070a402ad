//! The one thread that writes: it takes all that waits, writes it as one batch of the storage,
//! syncs once, makes it visible and answers each.

use super::Shared;
use super::state::{State, StoredTopic, Topic, not_found, partition_value};
use super::store::{batch_value, partition_key, record_key, storage_error, text_key};
use crate::topic::check_topic_name;
use crate::{Append, Appended, GroupOffset, PartitionInfo, TopicConfig, TopicInfo, WriterEpoch};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// The most jobs that are written and synced together.
const JOBS_PER_SYNC_MAX: usize = 256;

/// One change of the log, and where its answer goes.
pub(super) struct Job {
    pub(super) work: Work,
    /// Its share of the bytes in flight, given back when it is answered.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What a job does.
pub(super) enum Work {
    Append(Append, oneshot::Sender<Result<Appended>>),
    CreateTopic(String, TopicConfig, oneshot::Sender<Result<TopicInfo>>),
    DeleteTopic(String, oneshot::Sender<Result<()>>),
    OpenWriter(String, oneshot::Sender<Result<WriterEpoch>>),
    /// Replaces batches that were cleaned: base offset and new value, none to remove it; then the
    /// partition's first offset.
    Rewrite(Rewrite, oneshot::Sender<Result<()>>),
}

/// Batches of one partition that a cleaning replaces.
pub(super) struct Rewrite {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) batches: Vec<(u64, Option<Vec<u8>>)>,
    pub(super) begin: u64,
    pub(super) bytes_freed: u64,
}

type Answer = Box<dyn FnOnce(Result<(), &Error>) + Send>;

/// Writes until every sender is gone.
pub(super) fn run(shared: &Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let mut failed: Option<Error> = None;
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < JOBS_PER_SYNC_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        if let Some(error) = &failed {
            group.into_iter().for_each(|job| job.work.refuse(again(error)));
            continue;
        }
        if let Err(error) = write(shared, group) {
            tracing::error!(error = error.report(), "the log cannot be written");
            failed = Some(error);
        }
    }
}

/// One round: all jobs into one batch of the storage.
fn write(shared: &Arc<Shared>, group: Vec<Job>) -> Result<()> {
    let mut round = Round {
        shared,
        state: shared.visible().as_ref().clone(),
        batch: shared.store.batch(),
        answers: Vec::with_capacity(group.len()),
    };
    let mut permits = Vec::with_capacity(group.len());
    for job in group {
        permits.push(job._permit);
        round.take(job.work);
    }
    let Round { state, batch, answers, .. } = round;
    let written =
        batch.commit().map_err(|error| storage_error(error, "append to the log", &shared.folder));
    if written.is_ok() {
        shared.publish(state);
    }
    for answer in answers {
        answer(written.as_ref().copied());
    }
    written
}

/// The round under construction: the state as it will be.
struct Round<'s> {
    shared: &'s Arc<Shared>,
    state: State,
    batch: fjall::OwnedWriteBatch,
    answers: Vec<Answer>,
}

impl Round<'_> {
    fn take(&mut self, work: Work) {
        match work {
            Work::Append(append, sender) => {
                let answer = self.append(append);
                self.answer(answer, sender);
            }
            Work::CreateTopic(name, config, sender) => {
                let answer = self.create_topic(&name, &config);
                self.answer(answer, sender);
            }
            Work::DeleteTopic(name, sender) => {
                let answer = self.delete_topic(&name);
                self.answer(answer, sender);
            }
            Work::OpenWriter(id, sender) => {
                let answer = self.open_writer(&id);
                self.answer(answer, sender);
            }
            Work::Rewrite(rewrite, sender) => {
                let answer = self.rewrite(rewrite);
                self.answer(answer, sender);
            }
        }
    }

    /// Answers once the round is durable, or says at once why the job was not taken.
    fn answer<T: Send + 'static>(&mut self, answer: Result<T>, sender: oneshot::Sender<Result<T>>) {
        // A caller that no longer waits is none of our business.
        match answer {
            Err(error) => drop(sender.send(Err(error))),
            Ok(value) => self.answers.push(Box::new(move |written| {
                drop(sender.send(written.map(|()| value).map_err(again)));
            })),
        }
    }

    fn append(&mut self, append: Append) -> Result<Appended> {
        let Append { writer, batches, state, offsets } = append;
        self.check(writer.as_ref(), &batches, &state, &offsets)?;
        let mut appended = Appended::default();
        for mut batch in batches {
            let Some(topic) = self.state.topics.get_mut(&*batch.topic) else {
                continue;
            };
            let Some(partition) = topic.partitions.get_mut(batch.partition as usize) else {
                continue;
            };
            let base = partition.end;
            let bytes = batch.records.as_bytes();
            partition.end += u64::from(batch.records.count());
            partition.bytes += bytes.len() as u64;
            let value = batch_value(base, partition.end, batch.records.count(), bytes);
            let meta = partition_value(partition);
            let store = &self.shared.store;
            self.batch.insert(&store.records, record_key(topic.id, batch.partition, base), value);
            self.batch.insert(&store.meta, partition_key(topic.id, batch.partition), meta);
            appended.base_offsets.push(base);
            batch.records.clear();
            appended.recycled.push(batch.records);
        }
        if let Some(writer) = &writer {
            state.into_iter().for_each(|item| self.set_item(&writer.id, item));
        }
        offsets.into_iter().for_each(|offset| self.set_offset(offset));
        Ok(appended)
    }

    /// All that can be wrong with an append, before any of it is taken.
    fn check(
        &self,
        writer: Option<&WriterEpoch>,
        batches: &[crate::PartitionBatch],
        state: &[StateItem],
        offsets: &[GroupOffset],
    ) -> Result<()> {
        if let Some(writer) = writer {
            let newest = self.state.epochs.get(&*writer.id).copied().unwrap_or(0);
            if newest != writer.epoch {
                return Err(Error::new(ErrorKind::Fenced, "append to the log")
                    .because("a newer instance of this writer has taken over")
                    .with("writer", &writer.id)
                    .with("epoch", writer.epoch)
                    .with("epoch_newest", newest));
            }
        } else if !state.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "append to the log")
                .because("state needs a writer"));
        }
        for batch in batches {
            self.check_partition(&batch.topic, batch.partition)?;
            if batch.records.is_empty() {
                return Err(Error::new(ErrorKind::Internal, "append to the log")
                    .because("a batch has no record")
                    .with("topic", &batch.topic));
            }
        }
        offsets.iter().try_for_each(|offset| self.check_partition(&offset.topic, offset.partition))
    }

    fn check_partition(&self, topic: &str, partition: u32) -> Result<()> {
        let partitions = self.state.topic(topic)?.config.partitions;
        if partition < partitions {
            return Ok(());
        }
        Err(not_found(topic).with("partition", partition).with("partitions", partitions))
    }

    fn set_item(&mut self, writer: &str, item: StateItem) {
        let meta = &self.shared.store.meta;
        let key = text_key(b's', &[writer, &item.key]);
        let items = self.state.items.entry(writer.to_owned()).or_default();
        match item.value {
            Some(value) => {
                self.batch.insert(meta, key, value.clone());
                items.insert(item.key, value);
            }
            None => {
                self.batch.remove(meta, key);
                items.remove(&item.key);
            }
        }
    }

    fn set_offset(&mut self, offset: GroupOffset) {
        let GroupOffset { group, topic, partition, offset } = offset;
        let key = text_key(b'g', &[&group, &topic, &partition.to_string()]);
        self.batch.insert(&self.shared.store.meta, key, offset.to_be_bytes());
        self.state.offsets.entry(group).or_default().insert((topic, partition), offset);
    }

    fn create_topic(&mut self, name: &str, config: &TopicConfig) -> Result<TopicInfo> {
        check_topic_name(name)?;
        config.validate()?;
        if !self.state.topics.contains_key(name) {
            let id = self.state.topic_id_next;
            self.state.topic_id_next += 1;
            let stored = StoredTopic { id, config: config.clone() };
            let value = serde_json::to_vec(&stored)
                .map_err(|e| Error::new(ErrorKind::Internal, "make a topic").caused_by(e))?;
            self.batch.insert(&self.shared.store.meta, text_key(b't', &[name]), value);
            let empty = PartitionInfo { begin: 0, end: 0, bytes: 0 };
            let partitions = vec![empty; config.partitions as usize];
            let topic = Topic { id, config: config.clone(), partitions };
            self.state.topics.insert(name.to_owned(), topic);
        }
        self.state.info(name)
    }

    fn delete_topic(&mut self, name: &str) -> Result<()> {
        let topic = self.state.topics.remove(name).ok_or_else(|| not_found(name))?;
        let store = &self.shared.store;
        self.batch.remove(&store.meta, text_key(b't', &[name]));
        for partition in 0..topic.config.partitions {
            self.batch.remove(&store.meta, partition_key(topic.id, partition));
        }
        for entry in store.records.prefix(topic.id.to_be_bytes()) {
            let key = entry
                .key()
                .map_err(|error| storage_error(error, "delete a topic", &self.shared.folder))?;
            self.batch.remove(&store.records, key);
        }
        for (group, offsets) in &mut self.state.offsets {
            offsets.retain(|(topic, partition), _| {
                if topic == name {
                    let key = text_key(b'g', &[group, topic, &partition.to_string()]);
                    self.batch.remove(&store.meta, key);
                }
                topic != name
            });
        }
        Ok(())
    }

    fn open_writer(&mut self, id: &str) -> Result<WriterEpoch> {
        if id.is_empty() || id.contains('\0') {
            return Err(Error::new(ErrorKind::Config, "open a writer")
                .because("a writer's id has at least one character and no zero byte"));
        }
        let epoch = self.state.epochs.entry(id.to_owned()).or_default();
        *epoch += 1;
        let key = text_key(b'w', &[id]);
        self.batch.insert(&self.shared.store.meta, key, epoch.to_be_bytes());
        Ok(WriterEpoch { id: id.into(), epoch: *epoch })
    }

    fn rewrite(&mut self, rewrite: Rewrite) -> Result<()> {
        let name = &rewrite.topic;
        let topic = self.state.topics.get_mut(name).ok_or_else(|| not_found(name))?;
        let Some(partition) = topic.partitions.get_mut(rewrite.partition as usize) else {
            return Err(not_found(name));
        };
        let store = &self.shared.store;
        for (base, value) in rewrite.batches {
            let key = record_key(topic.id, rewrite.partition, base);
            match value {
                Some(value) => self.batch.insert(&store.records, key, value),
                None => self.batch.remove(&store.records, key),
            }
        }
        partition.begin = partition.begin.max(rewrite.begin);
        partition.bytes = partition.bytes.saturating_sub(rewrite.bytes_freed);
        let key = partition_key(topic.id, rewrite.partition);
        self.batch.insert(&store.meta, key, partition_value(partition));
        Ok(())
    }
}

impl Work {
    fn refuse(self, error: Error) {
        match self {
            Self::Append(_, sender) => drop(sender.send(Err(error))),
            Self::CreateTopic(_, _, sender) => drop(sender.send(Err(error))),
            Self::DeleteTopic(_, sender) | Self::Rewrite(_, sender) => {
                drop(sender.send(Err(error)));
            }
            Self::OpenWriter(_, sender) => drop(sender.send(Err(error))),
        }
    }
}

/// The same failure for another caller.
fn again(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.operation()).because(error.report());
    for (name, value) in error.context() {
        copy = copy.with(name, value);
    }
    copy
}
