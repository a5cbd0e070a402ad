//! What the run loop notes of its tables, and a task beside it that announces that: when a schema is
//! another one, and else every few seconds at most, so that the path of events has no part in it.

use crate::clock::now_us;
use crate::{Connector, SourceStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidemesh_model::{Result, TableName};
use tidemesh_transport::{
    ANNOUNCED_MAX, Announced, Append, Prepared, Transport, announce, announced_by, withdraw,
};

/// How often it is looked for what is new.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a table that moves is announced, by its figures.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// How often one that does not is, so that it is seen up to when its log was read.
const SIGN_EVERY: Duration = Duration::from_secs(30);

/// The tables that a source has written to in this process, by their topics.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<BTreeMap<String, Note>>);

#[derive(Debug)]
struct Note {
    announced: Announced,
    /// Whether its topic or its schemas are others than those that were announced.
    is_new: bool,
    records: u64,
    newest_at_us: i64,
    /// When it was announced last, and how many records there were.
    told: Option<(Instant, u64)>,
}

/// How many records of each topic an append has.
pub(crate) type TopicCounts = Vec<(Arc<str>, u64)>;

/// Counts an append's records.
pub(crate) fn topic_counts(append: &Append) -> TopicCounts {
    let batches = append.batches.iter();
    batches.map(|batch| (Arc::clone(&batch.topic), u64::from(batch.records.count()))).collect()
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tables were made ready with these schemas.
    pub(crate) fn prepared(&self, source: &str, prepared: Vec<Prepared>) {
        if prepared.is_empty() {
            return;
        }
        let mut notes = self.lock();
        for Prepared { table, topic, key, ids } in prepared {
            let table = table.to_string();
            // A table goes to one topic.
            notes.retain(|other, note| note.announced.table != table || *other == topic);
            if notes.len() >= ANNOUNCED_MAX {
                continue;
            }
            let note = notes.entry(topic.clone()).or_insert_with(|| Note {
                announced: Announced::new(source, &table),
                is_new: true,
                records: 0,
                newest_at_us: 0,
                told: None,
            });
            let before = (note.announced.key_schema, note.announced.value_schema);
            note.is_new |= before != (ids.key, ids.value);
            note.announced.topic = topic;
            (note.announced.key, note.announced.key_schema) = (key, ids.key);
            note.announced.value_schema = ids.value;
        }
    }

    /// Goes on from what was announced of a source before, of the tables that it captures still; answers
    /// what is to be withdrawn.
    fn remember(
        &self,
        before: Vec<Announced>,
        tables: &[TableName],
        now: Instant,
    ) -> Vec<Announced> {
        let captured = |table: &Announced| tables.iter().any(|one| one.to_string() == table.table);
        let (kept, gone): (Vec<_>, Vec<_>) = before.into_iter().partition(captured);
        let mut notes = self.lock();
        for announced in kept {
            if notes.values().any(|note| note.announced.table == announced.table) {
                continue;
            }
            let (told, newest_at_us) = (Some((now, 0)), microseconds(announced.newest_at_ms));
            let topic = announced.topic.clone();
            notes.insert(topic, Note { announced, is_new: false, records: 0, newest_at_us, told });
        }
        gone
    }

    /// An append is durable, up to where the database wrote at this time.
    pub(crate) fn appended(&self, counts: &[(Arc<str>, u64)], at_us: i64) {
        if counts.is_empty() {
            return;
        }
        let mut notes = self.lock();
        for (topic, records) in counts {
            if let Some(note) = notes.get_mut(&**topic) {
                note.records += records;
                note.newest_at_us = note.newest_at_us.max(at_us);
            }
        }
    }

    /// What is to be announced now.
    fn due(&self, now: Instant, read_to_us: i64) -> Vec<Announced> {
        let mut notes = self.lock();
        notes.values_mut().filter_map(|note| note.due(now, read_to_us)).collect()
    }

    /// It could not be announced: it is once more due.
    fn failed(&self, tables: &[Announced]) {
        let mut notes = self.lock();
        for table in tables {
            if let Some(note) = notes.get_mut(&table.topic) {
                note.is_new = true;
            }
        }
    }
}

impl Note {
    fn due(&mut self, now: Instant, read_to_us: i64) -> Option<Announced> {
        let (told_at, told) = self.told.unwrap_or((now, self.records));
        let since = now.saturating_duration_since(told_at);
        let is_moving = self.records > told || self.announced.rate_milli > 0;
        let pause = if is_moving { FIGURES_EVERY } else { SIGN_EVERY };
        if !self.is_new && self.told.is_some() && since < pause {
            return None;
        }
        // Over less than a second nothing can be told; what was said stands.
        if let Some(since_ms) = u64::try_from(since.as_millis()).ok().filter(|ms| *ms >= 1000) {
            self.announced.rate_milli = (self.records - told).saturating_mul(1_000_000) / since_ms;
        }
        self.announced.newest_at_ms = milliseconds(self.newest_at_us);
        self.announced.read_to_ms = milliseconds(read_to_us);
        self.announced.at_ms = milliseconds(now_us());
        (self.is_new, self.told) = (false, Some((now, self.records)));
        Some(self.announced.clone())
    }
}

fn milliseconds(us: i64) -> u64 {
    us.max(0).unsigned_abs() / 1000
}

fn microseconds(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// Announces what a source notes.
pub(crate) struct Announcer<C, T> {
    pub(crate) connector: Arc<C>,
    pub(crate) transport: Arc<T>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) status: Arc<SourceStatus>,
}

impl<C: Connector, T: Transport> Announcer<C, T> {
    /// Announces what is noted while the source streams, for ever; cancel-safe. What cannot be announced
    /// is tried again.
    pub(crate) async fn keep_announcing(self) {
        let (mut remembered, mut troubled) = (false, false);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.status.streams() {
                continue;
            }
            let done = self.announce(&mut remembered).await;
            if let (Err(error), false) = (&done, troubled) {
                let (source, error) = (self.status.name(), error.report());
                tracing::warn!(source, error, "tables cannot be announced; it is tried again");
            }
            troubled = done.is_err();
        }
    }

    async fn announce(&self, remembered: &mut bool) -> Result<()> {
        if !*remembered {
            let before = announced_by(self.transport.as_ref(), self.status.name()).await?;
            // The tables are those that were found for this session.
            let gone = self.notes.remember(before, &self.connector.tables(), Instant::now());
            withdraw(self.transport.as_ref(), &gone, now_us() / 1000).await?;
            *remembered = true;
        }
        let tables = self.notes.due(Instant::now(), self.status.read_to_us());
        if tables.is_empty() {
            return Ok(());
        }
        let announced = announce(self.transport.as_ref(), &tables).await;
        if announced.is_err() {
            self.notes.failed(&tables);
        }
        announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_avro::envelope::SchemaIds;

    fn prepared(topic: &str, value: u32) -> Vec<Prepared> {
        let (table, key) = (TableName::new("s", "t"), vec!["id".to_owned()]);
        vec![Prepared { table, topic: topic.into(), key, ids: SchemaIds { key: 1, value } }]
    }

    #[test]
    fn schemas_are_announced_at_once_and_figures_seldom() {
        let (notes, now) = (Notes::default(), Instant::now());
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        notes.prepared("shop", prepared("t", 7));
        let told = notes.due(at(0), 5_000);
        assert_eq!((told[0].value_schema, told[0].read_to_ms, told[0].rate_milli), (7, 5, 0));
        notes.appended(&[("t".into(), 10), ("other".into(), 1)], 9_000);
        assert!(notes.due(at(1), 0).is_empty());
        let told = notes.due(at(5), 0);
        assert_eq!((told[0].rate_milli, told[0].newest_at_ms), (2_000, 9));
        assert!(notes.due(at(9), 0).is_empty());
        assert_eq!(notes.due(at(10), 0)[0].rate_milli, 0, "it rests");
        assert!(notes.due(at(20), 0).is_empty());
        assert_eq!(notes.due(at(40), 0).len(), 1, "a sign of life");

        notes.prepared("shop", prepared("t", 8));
        let told = notes.due(at(41), 0);
        assert_eq!(told[0].value_schema, 8);
        notes.failed(&told);
        assert_eq!(notes.due(at(42), 0).len(), 1);
        let mut other = Announced::new("shop", "s.u");
        other.topic = "u".into();
        let before = vec![Announced::new("shop", "s.t"), other, Announced::new("shop", "s.gone")];
        let tables = [TableName::new("s", "t"), TableName::new("s", "u")];
        let gone = notes.remember(before, &tables, at(42));
        assert_eq!((gone.len(), gone[0].table.as_str()), (1, "s.gone"));
        let due: Vec<String> = notes.due(at(72), 0).into_iter().map(|one| one.topic).collect();
        assert_eq!(due, ["t", "u"], "what was announced before is signed for too");
        notes.prepared("shop", prepared("t.g2", 9));
        let told = notes.due(at(73), 0);
        assert_eq!((told.len(), told[0].topic.as_str()), (1, "t.g2"));
    }
}
