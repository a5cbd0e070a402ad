//! A source read as the run loop does: what its batches tell, owned, and each batch held to what every one
//! promises.

use super::bench::{PATIENCE, soon};
use crate::{BatchLimit, Checkpoint, Connector, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, Operation, Origin, Position, Result, RowImage, TableName,
    TableSchema, Value, Values,
};
use tokio::time::Instant;

/// What a start gives its positions.
pub(super) const FIRST_EPOCH: u32 = 3;

/// Batches as large as they come.
pub(super) const LARGE: BatchLimit =
    BatchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(1) };

/// One message a batch.
pub(super) const SINGLE: BatchLimit = BatchLimit { bytes_max: 1, ..LARGE };

/// One change of a row, or a truncate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) position: Position,
    pub(super) transaction: u64,
    pub(super) committed_at_us: i64,
    pub(super) operation: Operation,
    pub(super) schema: Arc<TableSchema>,
    /// None of a truncate.
    pub(super) key: Option<Vec<Value>>,
    /// The key before, if it was another.
    pub(super) old_key: Option<Vec<Value>>,
    pub(super) after: Option<Vec<Value>>,
}

impl Seen {
    /// `a u 1>2: 2 two`: table, operation, key behind the one before, new row.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} {}", self.schema.name.table, self.operation.code());
        if let Some(key) = &self.key {
            let before = self.old_key.as_ref().map(|key| format!("{}>", words(key)));
            line += &format!(" {}{}", before.unwrap_or_default(), words(key));
        }
        if let Some(after) = &self.after {
            line += &format!(": {}", words(after));
        }
        line
    }
}

/// Values as a test writes them.
pub(super) fn words(values: &[Value]) -> String {
    let word = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    values.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub(super) fn lines(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(Seen::line).collect()
}

/// What a batch tells.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Change(Seen),
    Mark(Position, String),
    Commit { transaction: u64 },
}

/// A batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) end: Position,
    pub(super) told: Vec<Told>,
    pub(super) replaced: Vec<Arc<TableSchema>>,
}

impl Batch {
    pub(super) fn changes(&self) -> impl Iterator<Item = &Seen> {
        self.told.iter().filter_map(|told| match told {
            Told::Change(seen) => Some(seen),
            _ => None,
        })
    }

    /// Whether it tells of rows, or of marks.
    pub(super) fn is_empty(&self) -> bool {
        !self.told.iter().any(|told| !matches!(told, Told::Commit { .. }))
    }
}

/// A source, and what is durable of it.
pub(super) struct Reading<S> {
    pub(super) source: S,
    items: BTreeMap<String, Vec<u8>>,
    pub(super) end: Position,
    /// The schemas of changes so far, by their tables.
    schemas: BTreeMap<TableName, Arc<TableSchema>>,
}

impl<S: Source> Reading<S> {
    fn of(source: S, checkpoint: Checkpoint) -> Self {
        let Checkpoint { position: end, items } = checkpoint;
        Self { source, items, end, schemas: BTreeMap::new() }
    }

    /// Of a source that was opened without a checkpoint.
    pub(super) fn new(source: S) -> Self {
        Self::of(source, Checkpoint { position: Position::default(), items: BTreeMap::new() })
    }

    /// Begins at a place of now, which is stated.
    pub(super) async fn start<C: Connector<Source = S>>(connector: &C) -> Self {
        connector.discover().await.unwrap();
        let source = connector.open(None, FIRST_EPOCH).await.unwrap();
        let mut reading = Self::new(source);
        assert!(reading.next(LARGE).await.is_empty(), "the first batch has events");
        reading
    }

    /// Goes on behind a checkpoint, once nobody else reads.
    pub(super) async fn resume<C: Connector<Source = S>>(
        connector: &C,
        checkpoint: &Checkpoint,
    ) -> Self {
        connector.discover().await.unwrap();
        soon("the turn", connector.await_turn(|_| {})).await.unwrap();
        let source = connector.open(Some(checkpoint.clone()), FIRST_EPOCH).await.unwrap();
        Self::of(source, checkpoint.clone())
    }

    /// What is durable once all so far is.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { position: self.end, items: self.items.clone() }
    }

    pub(super) async fn next(&mut self, limit: BatchLimit) -> Batch {
        let batch = self.source.next_batch(limit).await.unwrap();
        self.take(&batch)
    }

    /// The batches up to the first that `holds` says is the last.
    pub(super) async fn until(
        &mut self,
        limit: BatchLimit,
        mut holds: impl FnMut(&Batch) -> bool,
    ) -> Vec<Batch> {
        let deadline = Instant::now() + PATIENCE;
        let mut batches = Vec::new();
        loop {
            let batch = self.next(limit).await;
            let is_last = holds(&batch);
            batches.push(batch);
            if is_last {
                return batches;
            }
            if Instant::now() >= deadline {
                batches.retain(|batch| !batch.is_empty());
                panic!("it does not come; what came: {batches:#?}");
            }
        }
    }

    /// The next changes, so many at least.
    pub(super) async fn changes(&mut self, limit: BatchLimit, count: usize) -> Vec<Seen> {
        let mut left = count;
        let enough = |batch: &Batch| {
            left = left.saturating_sub(batch.changes().count());
            left == 0
        };
        let batches = self.until(limit, enough).await;
        batches.iter().flat_map(Batch::changes).cloned().collect()
    }

    /// Writes a row into `table` and reads up to it; the changes before it, which are all that there are.
    pub(super) async fn rest<B: super::Bench>(
        &mut self,
        bench: &B,
        table: &str,
        id: usize,
    ) -> Vec<Seen> {
        super::bench::write(bench, &[&format!("INSERT INTO {table} VALUES ({id}, 'rest')")]).await;
        let last = format!("{table} c {id}: {id} rest");
        let is_last = |seen: &Seen| seen.line() == last;
        let batches = self.until(LARGE, |batch| batch.changes().any(is_last)).await;
        let mut changes: Vec<Seen> = batches.iter().flat_map(Batch::changes).cloned().collect();
        let last = changes.pop();
        assert!(last.as_ref().is_some_and(is_last), "{last:?} comes behind what was written last");
        changes
    }

    /// Takes in a batch, which must be as every one is.
    pub(super) fn take(&mut self, batch: &S::Batch) -> Batch {
        let mut told = Vec::new();
        batch.visit(&mut Recorder { told: &mut told }).unwrap();
        let (before, end) = (self.end, batch.end());
        let batch_schemas = batch.schemas();
        assert!(end >= before, "the end falls from {before} to {end}");
        let mut last = before;
        for told in &told {
            let position = match told {
                Told::Change(seen) => seen.position,
                Told::Mark(position, _) => *position,
                Told::Commit { .. } => continue,
            };
            assert!(position <= end, "{told:?} is behind the batch's end, {end}");
            if let Told::Change(seen) = told {
                assert!(position > last, "{told:?} is not behind {last}");
                let of_row = |schema: &&Arc<TableSchema>| Arc::ptr_eq(schema, &seen.schema);
                let count = batch_schemas.iter().filter(of_row).count();
                assert_eq!(count, 1, "{told:?}: its schema is so often among the batch's");
                self.note_schema(&seen.schema);
                last = position;
            }
        }
        let replaced = batch.replaced().to_vec();
        for schema in &replaced {
            assert!(told.is_empty(), "a batch that replaces a table has events: {told:?}");
            assert!(batch_schemas.iter().any(|known| Arc::ptr_eq(known, schema)), "{schema:?}");
        }
        for item in batch.state() {
            assert_ne!(item.key, crate::POSITION_KEY, "this item is the run loop's");
            match &item.value {
                Some(value) => drop(self.items.insert(item.key.clone(), value.clone())),
                None => drop(self.items.remove(&item.key)),
            }
        }
        self.end = end;
        Batch { end, told, replaced }
    }

    /// A schema that says the same as the last one of its table is that one.
    fn note_schema(&mut self, schema: &Arc<TableSchema>) {
        let known = self.schemas.insert(schema.name.clone(), Arc::clone(schema));
        let is_other = |known: &Arc<TableSchema>| !Arc::ptr_eq(known, schema) && known == schema;
        assert!(!known.as_ref().is_some_and(is_other), "a second schema that says {schema:?}");
    }
}

/// Records what is told.
struct Recorder<'t> {
    told: &'t mut Vec<Told>,
}

fn key_of(schema: &TableSchema, row: &[Value]) -> Vec<Value> {
    schema.key.columns.iter().map(|column| row[*column].clone()).collect()
}

impl ChangeVisitor for Recorder<'_> {
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        let operation = change.operation();
        let (before, after) = match change {
            Change::Read { after } | Change::Create { after } => (None, Some(after)),
            Change::Update { before, after } => (before, Some(after)),
            Change::Delete { before } => (Some(before), None),
            Change::Truncate => (None, None),
        };
        let before = before.map(|row| Values::of(&row)).transpose()?;
        let after = after.map(|row| Values::of(&row)).transpose()?;
        let key = after.as_ref().or(before.as_ref()).map(|row| key_of(schema, row));
        let old_key =
            before.map(|row| key_of(schema, &row)).filter(|old| Some(old) != key.as_ref());
        self.told.push(Told::Change(Seen {
            position: origin.position,
            transaction: origin.transaction,
            committed_at_us: origin.committed_at_us,
            operation,
            schema: Arc::clone(schema),
            key,
            old_key,
            after,
        }));
        Ok(())
    }

    fn incomplete(
        &mut self,
        schema: &Arc<TableSchema>,
        _: &Origin<'_>,
        key: Vec<String>,
    ) -> Result<()> {
        panic!("the log lacks values of a small row: {} {key:?}", schema.name);
    }

    fn commit(&mut self, origin: &Origin<'_>) -> Result<()> {
        self.told.push(Told::Commit { transaction: origin.transaction });
        Ok(())
    }

    fn mark(&mut self, origin: &Origin<'_>, mark: &str) -> Result<()> {
        self.told.push(Told::Mark(origin.position, mark.to_owned()));
        Ok(())
    }
}
