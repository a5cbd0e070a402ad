//! The topics beside those of tables: where transactions begin and end, heartbeats, messages that
//! applications wrote into the log, rows that cannot be encoded. Each is written only if it has a name.

use super::EventWriter;
use crate::{TopicConfig, Transport, check_topic_name};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use tidemesh_avro::envelope::{SchemaIds, SourceEncoder};
use tidemesh_avro::side::{SideKind, SideRecord, side_schemas};
use tidemesh_model::{CleanupPolicy, Origin, Result, TableSchema};

/// The names of the topics beside those of tables.
pub type SideNames = BTreeMap<SideKind, String>;

/// One of them, ready to be written.
#[derive(Debug, Clone, Copy)]
struct SideTopic {
    ids: SchemaIds,
    /// Its partition's place among the outputs.
    output: usize,
}

/// Those that are ready.
#[derive(Debug, Default)]
pub(super) struct SideTopics {
    topics: BTreeMap<SideKind, SideTopic>,
    names: Vec<String>,
    record: SideRecord,
    /// The encoder of blocks that are about no table.
    source: Option<SourceEncoder>,
    block: Vec<u8>,
}

/// The events of the transaction that is being read.
#[derive(Debug, Default)]
pub(super) struct TransactionCount {
    /// Events of each table, in the order of their first.
    tables: Vec<(Arc<TableSchema>, String, u64)>,
    total: u64,
    id: String,
}

impl TransactionCount {
    /// Counts an event; whether it is the transaction's first.
    fn count(&mut self, origin: &Origin<'_>, schema: &Arc<TableSchema>) -> (bool, u64) {
        let is_first = self.total == 0;
        if is_first {
            self.id.clear();
            // Writing to a text cannot fail.
            let _ = write!(self.id, "{}:{}", origin.transaction, origin.position.commit);
            self.tables.clear();
        }
        self.total += 1;
        let of_table = |(known, ..): &(Arc<TableSchema>, _, _)| {
            Arc::ptr_eq(known, schema) || known.name == schema.name
        };
        let index = self.tables.iter().position(of_table).unwrap_or_else(|| {
            self.tables.push((Arc::clone(schema), schema.name.to_string(), 0));
            self.tables.len() - 1
        });
        self.tables[index].2 += 1;
        (is_first, self.tables[index].2)
    }
}

impl EventWriter {
    /// Makes ready for the topics beside those of tables: they are made, their schemas registered.
    ///
    /// # Errors
    ///
    /// As [`EventWriter::prepare`]; `Config` for a name that no topic can have.
    pub async fn prepare_sides<T: Transport>(
        &mut self,
        transport: &T,
        names: &SideNames,
    ) -> Result<()> {
        for (kind, topic) in names {
            check_topic_name(topic)?;
            let (key, value) = side_schemas(*kind, &self.block);
            let subject = format!("{}{topic}", transport.topic_prefix());
            let ids = SchemaIds {
                key: self.registry.register(&format!("{subject}-key"), &key).await?,
                value: self.registry.register(&format!("{subject}-value"), &value).await?,
            };
            // Only a heartbeat says all that the ones before it said.
            let cleanup_policy = match kind {
                SideKind::Heartbeat => CleanupPolicy::Compact,
                SideKind::Transaction | SideKind::Message | SideKind::DeadLetter => {
                    CleanupPolicy::Delete
                }
            };
            let config = TopicConfig { partitions: 1, cleanup_policy, ..self.topic_config.clone() };
            transport.create_topic(topic, &config).await?;
            // One that is there may have more partitions: the first one has the order.
            let output = self.outputs.of(topic, 1);
            self.sides.topics.insert(*kind, SideTopic { ids, output });
            self.sides.names.push(topic.clone());
        }
        self.sides.source = Some(SourceEncoder::new(&self.block, "", ""));
        Ok(())
    }

    /// Whether a transaction's events are counted.
    #[inline]
    #[must_use]
    pub fn counts_transactions(&self) -> bool {
        self.has_side(SideKind::Transaction)
    }

    /// Counts an event that comes next; before the first one of a transaction its begin is written.
    ///
    /// # Errors
    ///
    /// `TooLarge` if a record cannot be.
    pub fn count_event(&mut self, schema: &Arc<TableSchema>, origin: &Origin<'_>) -> Result<()> {
        // Its records are an application's events, which have no envelope.
        if self.is_outbox(&schema.name) {
            return Ok(());
        }
        let (is_first, of_table) = self.transaction.count(origin, schema);
        if is_first {
            self.side(SideKind::Transaction, origin, |record, ids, count, _| {
                record.transaction_begins(ids, &count.id, origin.committed_at_us.div_euclid(1000));
            })?;
        }
        let order = self.buffers.order.get_or_insert_default();
        order.id.clone_from(&self.transaction.id);
        (order.total, order.of_table) = (self.transaction.total, of_table);
        Ok(())
    }

    /// Counts an event that is in the topics already.
    pub fn count_passed_over(&mut self, schema: &Arc<TableSchema>, origin: &Origin<'_>) {
        if !self.is_outbox(&schema.name) {
            self.transaction.count(origin, schema);
        }
    }

    /// The events that follow are of no transaction.
    pub fn end_order(&mut self) {
        self.buffers.order = None;
    }

    /// A transaction has ended: writes its end if it had events.
    ///
    /// # Errors
    ///
    /// `TooLarge` if a record cannot be.
    pub fn end_transaction(&mut self, origin: &Origin<'_>) -> Result<()> {
        self.end_order();
        if self.transaction.total == 0 {
            return Ok(());
        }
        self.side(SideKind::Transaction, origin, |record, ids, count, _| {
            let tables = count.tables.iter().map(|(_, name, events)| (name.as_str(), *events));
            let at_ms = origin.committed_at_us.div_euclid(1000);
            record.transaction_ends(ids, &count.id, at_ms, tables);
        })?;
        self.transaction.total = 0;
        Ok(())
    }

    /// Writes that the source is alive.
    ///
    /// # Errors
    ///
    /// `TooLarge` if a record cannot be.
    pub fn heartbeat(&mut self, origin: &Origin<'_>) -> Result<()> {
        let source = self.block.name.clone();
        self.side(SideKind::Heartbeat, origin, |record, ids, _, _| {
            record.heartbeat(ids, &source, origin.committed_at_us.div_euclid(1000));
        })
    }

    /// Writes an application's message.
    ///
    /// # Errors
    ///
    /// `TooLarge` if a record cannot be; `Internal` if the origin does not fit the source's block.
    pub fn message(&mut self, origin: &Origin<'_>, prefix: &str, content: &[u8]) -> Result<()> {
        self.sides.block.clear();
        if let Some(source) = &self.sides.source {
            source.write(origin, false, &mut self.sides.block)?;
        }
        let now_us = self.now_us;
        self.side(SideKind::Message, origin, |record, ids, _, block| {
            record.message(ids, prefix, content, block, now_us);
        })?;
        self.outputs.counts.events += 1;
        Ok(())
    }

    /// Whether records of a kind are written.
    pub(super) fn has_side(&self, kind: SideKind) -> bool {
        self.sides.topics.contains_key(&kind)
    }

    /// Whether a topic is one of these.
    pub(super) fn is_side_topic(&self, topic: &str) -> bool {
        self.sides.names.iter().any(|name| name == topic)
    }

    /// Writes a record of a kind, if it has a topic.
    pub(super) fn side(
        &mut self,
        kind: SideKind,
        origin: &Origin<'_>,
        fill: impl FnOnce(&mut SideRecord, SchemaIds, &TransactionCount, &[u8]),
    ) -> Result<()> {
        let Some(SideTopic { ids, output }) = self.sides.topics.get(&kind).copied() else {
            return Ok(());
        };
        let SideTopics { record, block, .. } = &mut self.sides;
        fill(record, ids, &self.transaction, block);
        self.outputs.push(output, origin, Some(&record.key), Some(&record.value))
    }
}
