//! Looks ahead over a batch for the topics that rows of an outbox name, which are made before any of
//! the batch is encoded.

use crate::snapshot::{Chunk, RowVisitor};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Change, ChangeVisitor, Origin, Result, RowImage, TableSchema};
use tidemesh_transport::EventWriter;

/// Topics that are not ready, each with the schema of a row that names it.
pub(crate) struct OutboxTopics<'w> {
    events: &'w EventWriter,
    topics: BTreeMap<String, Arc<TableSchema>>,
}

impl<'w> OutboxTopics<'w> {
    pub(crate) fn new(events: &'w EventWriter) -> Self {
        Self { events, topics: BTreeMap::new() }
    }

    /// Looks at a chunk that waits for its high mark.
    pub(crate) fn chunk<K: Chunk>(&mut self, chunk: &K) -> Result<()> {
        let schema = Arc::clone(chunk.schema());
        chunk.visit(&mut Rows { topics: self, schema: &schema })
    }

    pub(crate) fn into_topics(self) -> BTreeMap<String, Arc<TableSchema>> {
        self.topics
    }

    fn row(&mut self, schema: &Arc<TableSchema>, row: &impl RowImage) {
        if let Some(topic) = self.events.outbox_topic_missing(schema, row) {
            self.topics.insert(topic, Arc::clone(schema));
        }
    }
}

impl ChangeVisitor for OutboxTopics<'_> {
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

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

/// The rows of a chunk.
struct Rows<'r, 'w> {
    topics: &'r mut OutboxTopics<'w>,
    schema: &'r Arc<TableSchema>,
}

impl RowVisitor for Rows<'_, '_> {
    fn row<R: RowImage>(&mut self, row: &R) -> Result<()> {
        self.topics.row(self.schema, row);
        Ok(())
    }
}
