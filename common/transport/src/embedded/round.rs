//! One round of the writing thread: jobs become writes of the storage, changes of the state, and
//! answers that wait until both are durable. A job that is refused leaves nothing.

use super::Shared;
use super::batch::{self, Header, Piece};
use super::state::{Change, Partition, Puts, State, not_found};
use super::store::{Writes, record_key};
use super::writer::{Answer, Clear, Commit, CommitOffset, Rewrite, Work};
use crate::topic::check_topic_name;
use crate::{
    Append, Appended, GroupOffset, PartitionBatch, Retention, TopicConfig, TopicInfo, WriterEpoch,
};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};

/// The longest name of a writer or a group, in bytes.
const NAME_BYTES_MAX: usize = 249;

/// The longest key of a writer's state, in bytes.
const STATE_KEY_BYTES_MAX: usize = 4096;

/// The most bytes of one partition's records in one append.
const RECORDS_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Answers a job once its round is durable, or has failed.
pub(super) type Later = Box<dyn FnOnce(Result<(), &Error>) + Send>;

/// The round under construction.
pub(super) struct Round<'s> {
    shared: &'s Arc<Shared>,
    state: &'s mut State,
    writes: Writes,
    puts: Puts,
    changes: Vec<Change>,
    answers: Vec<Later>,
    now_ms: i64,
}

impl<'s> Round<'s> {
    pub(super) fn new(shared: &'s Arc<Shared>, state: &'s mut State) -> Self {
        Self {
            shared,
            state,
            writes: Vec::new(),
            puts: Puts::new(),
            changes: Vec::new(),
            answers: Vec::new(),
            now_ms: super::now_ms(),
        }
    }

    pub(super) fn finish(self) -> (Writes, Puts, Vec<Change>, Vec<Later>) {
        (self.writes, self.puts, self.changes, self.answers)
    }

    pub(super) fn take(&mut self, work: Work) {
        match work {
            Work::Append(append, pieces, answer) => {
                let done = self.append(append, &pieces);
                self.answer(done, answer);
            }
            Work::Commit(commit, answer) => {
                let done = self.commit(commit);
                self.answer(done, answer);
            }
            Work::CreateTopic(name, config, answer) => {
                let done = self.create_topic(&name, config);
                self.answer(done, answer);
            }
            Work::SetRetention(name, retention, answer) => {
                let done = self.set_retention(&name, retention);
                self.answer(done, answer);
            }
            Work::DeleteTopic(name, answer) => {
                let done = self.delete_topic(name);
                self.answer(done, answer);
            }
            Work::OpenWriter(id, answer) => {
                let done = self.open_writer(id);
                self.answer(done, answer);
            }
            Work::Rewrite(rewrite, answer) => {
                let done = self.rewrite(rewrite);
                self.answer(done, answer);
            }
            Work::Clear(clear, answer) => {
                let done = self.clear(clear);
                self.answer(done, answer);
            }
        }
    }

    /// Answers once the round is durable, or says at once why the job was not taken.
    fn answer<T: Send + 'static>(&mut self, done: Result<T>, answer: Answer<T>) {
        match done {
            Err(error) => drop(answer.send(Err(error))),
            Ok(value) => self.answers.push(Box::new(move |written| {
                drop(answer.send(written.map(|()| value).map_err(Error::again)));
            })),
        }
    }

    fn change(&mut self, change: Change) -> Result<()> {
        change.store(self.state, &mut self.puts)?;
        self.state.apply(&change);
        self.changes.push(change);
        Ok(())
    }

    fn append(&mut self, append: Append, pieces: &[Vec<Piece>]) -> Result<Appended> {
        let Append { writer, batches, state, offsets } = append;
        self.check(writer.as_ref(), &batches, &state, &offsets)?;
        let mut appended = Appended::default();
        for (mut batch, pieces) in batches.into_iter().zip(pieces) {
            appended.base_offsets.push(self.store(&batch, pieces)?);
            batch.records.clear();
            appended.recycled.push(batch.records);
        }
        if let Some(writer) = writer {
            for StateItem { key, value } in state {
                let value = value.map(Arc::from);
                self.change(Change::Item(Arc::clone(&writer.id), key.into(), value))?;
            }
        }
        offsets.into_iter().try_for_each(|offset| self.set_offset(offset))?;
        Ok(appended)
    }

    /// Stores a batch in its pieces; answers its first offset.
    fn store(&mut self, batch: &PartitionBatch, pieces: &[Piece]) -> Result<u64> {
        let (id, mut partition) = self.partition(&batch.topic, batch.partition)?;
        let base = partition.end;
        for piece in pieces {
            let header = Header {
                count: piece.count,
                base: partition.end,
                next: partition.end + u64::from(piece.count),
                timestamp_ms_max: piece.timestamp_ms_max,
                appended_at_ms: self.now_ms,
            };
            let value = batch::encode_piece(&header, batch.records.as_bytes(), piece);
            self.writes.push((record_key(id, batch.partition, header.base), Some(value)));
            partition.end = header.next;
        }
        partition.bytes += batch.records.len_bytes() as u64;
        self.change(Change::Partition(Arc::clone(&batch.topic), batch.partition, partition))?;
        Ok(base)
    }

    /// All that can be wrong with an append, before any of it is taken.
    fn check(
        &self,
        writer: Option<&WriterEpoch>,
        batches: &[PartitionBatch],
        state: &[StateItem],
        offsets: &[GroupOffset],
    ) -> Result<()> {
        match writer {
            Some(writer) => self.check_epoch(writer)?,
            None if !state.is_empty() => {
                return Err(Error::new(ErrorKind::Config, "append to the log")
                    .because("state needs a writer"));
            }
            None => {}
        }
        for batch in batches {
            self.partition(&batch.topic, batch.partition)?;
            if batch.records.len_bytes() > RECORDS_BYTES_MAX {
                return Err(Error::new(ErrorKind::TooLarge, "append to the log")
                    .because("one partition's records are past the limit")
                    .with("topic", &batch.topic)
                    .with("bytes", batch.records.len_bytes())
                    .with("records_bytes_max", RECORDS_BYTES_MAX));
            }
        }
        if let Some(item) = state.iter().find(|item| item.key.len() > STATE_KEY_BYTES_MAX) {
            return Err(Error::new(ErrorKind::TooLarge, "append to the log")
                .because("a state's key is past the limit")
                .with("bytes", item.key.len())
                .with("state_key_bytes_max", STATE_KEY_BYTES_MAX));
        }
        offsets.iter().try_for_each(|offset| {
            check_name("group", &offset.group)?;
            self.partition(&offset.topic, offset.partition).map(drop)
        })
    }

    fn check_epoch(&self, writer: &WriterEpoch) -> Result<()> {
        let newest = self.state.epochs.get(&writer.id).copied();
        if newest == Some(writer.epoch) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Fenced, "append to the log")
            .because("a newer instance of this writer has taken over")
            .with("writer", &writer.id)
            .with("epoch", writer.epoch)
            .with("epoch_newest", newest.unwrap_or(0)))
    }

    /// The topic's id and the partition.
    fn partition(&self, topic: &str, partition: u32) -> Result<(u32, Partition)> {
        let found = self.state.topic(topic)?;
        match found.partitions.get(partition as usize) {
            Some(info) => Ok((found.id, *info)),
            None => Err(not_found(topic)
                .with("partition", partition)
                .with("partitions", found.config.partitions)),
        }
    }

    fn set_offset(&mut self, offset: GroupOffset) -> Result<()> {
        let GroupOffset { group, topic, partition, offset } = offset;
        self.change(Change::Offset(group.into(), (topic.into(), partition), offset))
    }

    /// Commits what is still the member's own, of topics that are still there; then says if some
    /// was not.
    fn commit(&mut self, commit: Commit) -> Result<()> {
        let Commit { group, member, generation, offsets } = commit;
        let (mut lost, mut gone) = (0, None);
        for CommitOffset { topic_id, offset } in offsets {
            let place = (Arc::from(offset.topic.as_str()), offset.partition);
            let found = self.partition(&offset.topic, offset.partition).ok();
            if found.is_none_or(|(id, _)| topic_id != Some(id)) {
                gone = Some(offset.topic);
            } else if !self.shared.groups.owns(&group, member, generation, &place) {
                lost += 1;
            } else {
                self.set_offset(offset)?;
            }
        }
        if lost > 0 {
            return Err(Error::new(ErrorKind::Fenced, "commit offsets")
                .because("partitions went to another member of the group")
                .with("group", group)
                .with("partitions", lost));
        }
        match gone {
            Some(topic) => Err(not_found(&topic).because("it was removed").with("group", group)),
            None => Ok(()),
        }
    }

    fn create_topic(&mut self, name: &str, config: TopicConfig) -> Result<TopicInfo> {
        check_topic_name(name)?;
        config.validate()?;
        if !self.state.topics.contains_key(name) {
            let id = self.state.topic_id_next;
            self.change(Change::TopicMade(name.into(), id, config))?;
        }
        self.state.info(name)
    }

    fn set_retention(&mut self, name: &str, retention: Retention) -> Result<TopicInfo> {
        self.state.topic(name)?;
        self.change(Change::TopicKept(name.into(), retention))?;
        self.state.info(name)
    }

    fn delete_topic(&mut self, name: String) -> Result<()> {
        self.state.topic(&name)?;
        self.change(Change::TopicGone(name.into()))
    }

    fn open_writer(&mut self, id: String) -> Result<WriterEpoch> {
        check_name("writer", &id)?;
        let id: Arc<str> = id.into();
        let epoch = self.state.epochs.get(&id).copied().unwrap_or(0) + 1;
        self.change(Change::Epoch(Arc::clone(&id), epoch))?;
        Ok(WriterEpoch { id, epoch })
    }

    fn rewrite(&mut self, rewrite: Rewrite) -> Result<()> {
        let (id, mut partition) = self.partition(&rewrite.topic, rewrite.partition)?;
        if id != rewrite.topic_id {
            return Err(not_found(&rewrite.topic));
        }
        partition.begin = partition.begin.max(rewrite.begin);
        partition.bytes = partition.bytes.saturating_sub(rewrite.bytes_freed);
        if let Some((cleaned, bytes)) = rewrite.cleaned {
            partition.cleaned = cleaned;
            partition.cleaned_bytes = bytes;
        }
        self.writes.extend(rewrite.writes);
        self.change(Change::Partition(rewrite.topic, rewrite.partition, partition))
    }

    fn clear(&mut self, clear: Clear) -> Result<()> {
        self.writes.extend(clear.writes);
        if clear.done {
            self.change(Change::TopicCleared(clear.topic_id))?;
        }
        Ok(())
    }
}

/// Checks the name of a writer or group: it is part of a key of the storage.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<()> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains('\0') {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "use the log")
        .because(format!("a {what}'s name has 1 to {NAME_BYTES_MAX} bytes and no zero byte"))
        .with(what, name.escape_debug()))
}
