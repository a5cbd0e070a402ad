//! Looks ahead over a batch for the topics that rows of an outbox and events of applications name, which are made before any of
//! the batch is encoded.

use crate::snapshot::{Chunk, RowVisitor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Change, ChangeVisitor, EMIT_PREFIX, Origin, Result, RowImage, TableSchema};
use tidemesh_transport::EventWriter;

/// Topics that are not ready, each with the schema of a row that names it: one for each kind of payload,
/// since a chunk may know another type of it than the log.
pub(crate) struct MissingTopics<'w> {
    events: &'w EventWriter,
    topics: BTreeMap<(String, bool), Arc<TableSchema>>,
    /// Topics of events that come as messages.
    emitted: BTreeSet<String>,
}

impl<'w> MissingTopics<'w> {
    pub(crate) fn new(events: &'w EventWriter) -> Self {
        Self { events, topics: BTreeMap::new(), emitted: BTreeSet::new() }
    }

    /// Looks at a chunk that waits for its high mark.
    pub(crate) fn chunk<K: Chunk>(&mut self, chunk: &K) -> Result<()> {
        let schema = Arc::clone(chunk.schema());
        chunk.visit(&mut Rows { topics: self, schema: &schema })
    }

    pub(crate) fn take_emitted(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.emitted)
    }

    pub(crate) fn into_topics(self) -> Vec<(String, Arc<TableSchema>)> {
        self.topics.into_iter().map(|((topic, _), schema)| (topic, schema)).collect()
    }

    fn row(&mut self, schema: &Arc<TableSchema>, row: &impl RowImage) {
        if let Some(topic) = self.events.outbox_topic_missing(schema, row) {
            self.topics.insert(topic, Arc::clone(schema));
        }
    }
}

impl ChangeVisitor for MissingTopics<'_> {
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        _: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        if let Change::Create { after } = &change
            && self.events.is_outbox(&schema.name)
        {
            self.row(schema, after);
        }
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn message(&mut self, _: &Origin<'_>, prefix: &str, content: &[u8]) -> Result<()> {
        if prefix == EMIT_PREFIX
            && let Some(topic) = self.events.emitted_topic_missing(content)
            && !self.emitted.contains(topic)
        {
            self.emitted.insert(topic.to_owned());
        }
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

/// The rows of a chunk.
struct Rows<'r, 'w> {
    topics: &'r mut MissingTopics<'w>,
    schema: &'r Arc<TableSchema>,
}

impl RowVisitor for Rows<'_, '_> {
    fn row<R: RowImage>(&mut self, row: &R) -> Result<()> {
        self.topics.row(self.schema, row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::{
        DataType, EventFormat, Field, KeyOrigin, RowKey, SourceBlock, SourceKind, TableName, Value,
    };
    use tidemesh_transport::{
        EmbeddedConfig, EmbeddedTransport, OutboxTopics, RegistryClient, TopicConfig,
    };

    /// An outbox's schema with a payload of this type.
    fn schema(payload: DataType) -> Arc<TableSchema> {
        let field = |name: &str, data_type| Field {
            name: name.to_owned(),
            data_type,
            source_type: "text".into(),
            nullable: false,
            default: None,
            aliases: Vec::new(),
            kind: SourceKind::Plain,
            key_default: None,
        };
        let texts = ["id", "aggregateid", "aggregatetype"].map(|name| field(name, DataType::Text));
        let fields = texts.into_iter().chain([field("payload", payload)]).collect();
        let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
        Arc::new(TableSchema::new(TableName::new("public", "outbox"), fields, key).unwrap())
    }

    fn row(payload: Value) -> Vec<Value> {
        vec![Value::Text("1".into()), Value::Text("2".into()), Value::Text("t".into()), payload]
    }

    #[tokio::test]
    async fn a_topic_is_made_ready_for_both_payloads_where_a_chunk_has_another_than_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
        let block = SourceBlock {
            connector: "postgresql",
            name: "shop".into(),
            database: "db".into(),
            fields: &[],
        };
        let registry = RegistryClient::new("http://127.0.0.1:9").unwrap();
        let settings = serde_json::json!({"table": "public.outbox"});
        let mut events =
            EventWriter::new(block, EventFormat::default(), TopicConfig::default(), registry)
                .with_outbox(serde_json::from_value(settings).unwrap(), OutboxTopics::default())
                .unwrap();
        let (of_log, of_chunk) = (schema(DataType::Text), schema(DataType::Bytes));
        events.prepare(&log, &of_log).await.unwrap();
        events.prepare(&log, &of_chunk).await.unwrap();
        let mut missing = MissingTopics::new(&events);
        missing.row(&of_log, &row(Value::Text("a".into())));
        missing.row(&of_chunk, &row(Value::Bytes(vec![1])));
        let topic = || "outbox.event.t".to_owned();
        assert_eq!(missing.into_topics(), [(topic(), of_log), (topic(), of_chunk)]);
    }
}
