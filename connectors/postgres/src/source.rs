//! The source: cuts the stream into batches, and asks the catalog where a table is new or changed.

use crate::batch::{BLOCK_FIELDS, PostgresBatch, Relations, Transaction, message_position};
use crate::catalog::Catalog;
use crate::client::stream::{EPOCH_US, Stream};
use crate::config::Config;
use crate::ddl::{Rekeyed, Remade};
use crate::decode::{Message, decode, row_relation};
use crate::frame::{Frame, next_frame};
use crate::identity::TableIds;
use crate::known::KnownTables;
use crate::relation::{Relation, RelationShape};
use crate::storage::Storages;
use crate::watch::Watch;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tidemesh_model::{EMIT_PREFIX, Error, Position, Result, SourceBlock, TableSchema};
use tidemesh_source::{BatchLimit, Pending, Pieces, Source};
use tokio::time::Instant;

/// Batches' ends that are remembered until they are confirmed; the oldest goes first, which only
/// delays what the database may forget.
const ENDS_MAX: usize = 1024;

/// A PostgreSQL log that is being read.
pub struct PostgresSource {
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) stream: Stream,
    pub(crate) epoch: u32,
    /// Events at or before this position are in the topics already.
    pub(crate) resume_after: Position,
    /// A batch that is to come before anything is read: what the start has to store.
    pub(crate) first: Option<PostgresBatch>,
    pub(crate) relations: Arc<Relations>,
    pub(crate) ids: TableIds,
    pub(crate) storages: Storages,
    /// Tables that are others than those that the topics tell of, from a place of the log on.
    pub(crate) remade: Option<Remade>,
    /// Tables whose rows got other keys, by id.
    pub(crate) rekeyed: BTreeMap<u32, Rekeyed>,
    /// At which commit the catalog was asked for a table, by its id.
    pub(crate) asked_at: HashMap<u32, u64>,
    /// The table whose description, which comes next, was taken in already.
    pub(crate) described: Option<u32>,
    /// Shared with those who read tables.
    pub(crate) known: Arc<KnownTables>,
    /// All stored versions of every relation.
    pub(crate) versions: BTreeMap<u32, Vec<Arc<Relation>>>,
    pub(crate) pending: Pending,
    /// An error that came behind buffers which were not yet given out.
    pub(crate) failed: Option<Error>,
    pub(crate) place: Place,
    pub(crate) ends: VecDeque<(Position, u64)>,
    pub(crate) watch: Watch,
    /// Whether it was said that applications' events are left out.
    pub(crate) told_of_emitted: bool,
}

/// Where in the log the next batch begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) transaction: Option<Transaction>,
    pub(crate) end: Position,
    pub(crate) end_at_us: i64,
    /// What the database may forget once all before it is durable.
    pub(crate) flush: u64,
}

/// What a scan of the pending buffers found.
struct Scan {
    /// Bytes that make the batch.
    bytes: usize,
    place: Place,
    /// Ids of the relations that have rows in it.
    relations: Vec<u32>,
    rows: u64,
    /// A table that is new or changed, before which the batch ends.
    changed: Option<RelationShape>,
    /// Whether it has messages that are events for topics.
    has_emitted: bool,
}

/// What to do with a message.
enum Step {
    Take,
    /// The batch ends before it.
    Before,
    /// The batch ends behind it.
    Behind,
}

impl PostgresSource {
    async fn batch(&mut self, limit: BatchLimit) -> Result<PostgresBatch> {
        let deadline = Instant::now() + limit.wait_max;
        loop {
            // What a table's description has to store comes before the rows that follow it.
            if let Some(first) = self.first.take() {
                return Ok(first);
            }
            if self.has_come_to_remade() {
                self.take_remade().await?;
                continue;
            }
            if self.has_come_to_rekeyed() {
                self.take_rekeyed().await?;
                continue;
            }
            while self.pending.bytes() < limit.bytes_max && self.failed.is_none() {
                match self.stream.try_next() {
                    Some(Ok(buffer)) => self.pending.push(buffer),
                    Some(Err(error)) => self.failed = Some(self.located(error)),
                    None => break,
                }
            }
            if self.pending.bytes() > 0 {
                let scan = self.scan(limit.bytes_max)?;
                if scan.bytes > 0 {
                    return Ok(self.cut(scan));
                }
                if let Some(shape) = scan.changed {
                    if !self.is_visible(&shape, deadline).await? {
                        return Ok(self.heartbeat());
                    }
                    self.learn(shape).await?;
                    continue;
                }
            }
            if let Some(error) = self.failed.take().or_else(|| self.watch.found()) {
                return Err(error);
            }
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Ok(buffer) => self.pending.push(buffer.map_err(|error| self.located(error))?),
                Err(_) => return Ok(self.heartbeat()),
            }
        }
    }

    /// Names the table whose row was larger than the limit.
    fn located(&self, error: Error) -> Error {
        let table = self.stream.oversized().and_then(|id| self.relations.get(&id)?.as_ref());
        match table {
            Some(relation) => error.with("table", &relation.shape.name),
            None => error,
        }
    }

    /// Looks how far the next batch reaches, without decoding rows.
    fn scan(&self, bytes_max: usize) -> Result<Scan> {
        let mut scan = Scan {
            bytes: 0,
            place: self.place,
            relations: Vec::new(),
            rows: 0,
            changed: None,
            has_emitted: false,
        };
        'all: for piece in self.pending.pieces() {
            let mut input = piece;
            loop {
                let before = input.len();
                let Some(frame) = next_frame(&mut input)? else {
                    break;
                };
                let bytes = scan.bytes + before - input.len();
                // One that is larger than a batch comes alone.
                if scan.bytes > 0 && bytes > bytes_max {
                    break 'all;
                }
                let step = self.step(frame, &mut scan)?;
                if matches!(step, Step::Before) {
                    break 'all;
                }
                scan.bytes = bytes;
                if matches!(step, Step::Behind) || scan.bytes >= bytes_max {
                    break 'all;
                }
            }
        }
        Ok(scan)
    }

    fn step(&self, frame: Frame<'_>, scan: &mut Scan) -> Result<Step> {
        let message = match frame {
            Frame::Keepalive { end, at_us } => {
                if scan.place.transaction.is_none() {
                    let position = Position::before(self.epoch, end);
                    scan.place.end = scan.place.end.max(position);
                    scan.place.flush = scan.place.flush.max(end);
                    scan.place.end_at_us = at_us.saturating_add(EPOCH_US);
                }
                return Ok(Step::Take);
            }
            Frame::Data { message, .. } => message,
        };
        if let Some(id) = row_relation(message) {
            if scan.relations.last() != Some(&id) && !scan.relations.contains(&id) {
                scan.relations.push(id);
            }
            self.count(scan);
            return Ok(Step::Take);
        }
        match decode(message)? {
            Message::Begin(begin) => {
                scan.place.transaction = Some(Transaction::begin(begin));
                scan.place.end_at_us = begin.committed_at_us;
            }
            Message::Commit(commit) => {
                scan.place.transaction = None;
                // The next commit stands at its end or behind, so this says "all of it", and is
                // what the slot is set to.
                scan.place.end = Position::before(self.epoch, commit.end_lsn);
                scan.place.flush = commit.end_lsn;
            }
            Message::Relation(relation) => {
                let shape = RelationShape::of(&relation);
                let is_described = scan.bytes == 0 && self.described == Some(shape.id);
                if !is_described && self.is_new(&shape, scan.place.transaction) {
                    scan.changed = Some(shape);
                    return Ok(Step::Before);
                }
            }
            // A truncate comes alone: the run loop writes a delete for each live key.
            Message::Truncate(truncate) => {
                if scan.bytes > 0 {
                    return Ok(Step::Before);
                }
                self.count(scan);
                scan.relations.extend(truncate.relations());
                return Ok(Step::Behind);
            }
            // All of them, so that what is carried of them moves no row's place.
            Message::Logical(logical) if logical.transactional => {
                scan.has_emitted |= logical.prefix == EMIT_PREFIX;
                self.count(scan);
            }
            Message::Logical(logical) if scan.place.transaction.is_none() => {
                scan.place.end = scan.place.end.max(message_position(self.epoch, logical.lsn));
            }
            _ => {}
        }
        Ok(Step::Take)
    }

    fn count(&self, scan: &mut Scan) {
        scan.rows += 1;
        if let Some(transaction) = &mut scan.place.transaction {
            transaction.ordinal += 1;
            scan.place.end = scan.place.end.max(transaction.position(self.epoch));
        }
    }

    /// Whether the catalog is to be asked for a table. Also where its shape is the same: another primary key
    /// may not show in it, nor a column that was dropped and made again. Once in a transaction, since the
    /// catalog had all of it by then.
    fn is_new(&self, shape: &RelationShape, transaction: Option<Transaction>) -> bool {
        match self.relations.get(&shape.id) {
            None => true,
            Some(None) => self.config.tables.contains(&shape.name),
            Some(Some(relation)) => {
                let commit_lsn = transaction.map(|transaction| transaction.commit_lsn);
                relation.shape != *shape || self.asked_at.get(&shape.id) != commit_lsn.as_ref()
            }
        }
    }

    /// Makes a batch of what a scan found.
    fn cut(&mut self, scan: Scan) -> PostgresBatch {
        let transaction = self.place.transaction;
        self.place = scan.place;
        self.described = None;
        // Rows that are in the topics already are not encoded again, and their schema may be of a topic
        // that their table has left.
        let is_passed_over = scan.place.end <= self.resume_after;
        let relations = if is_passed_over { &[][..] } else { &scan.relations };
        let schemas: Vec<Arc<TableSchema>> = relations
            .iter()
            .filter_map(|id| self.relations.get(id)?.as_ref())
            .map(|relation| Arc::clone(&relation.schema))
            .collect();
        let has_emitted = scan.has_emitted;
        if has_emitted && !self.config.emits && !self.told_of_emitted {
            self.told_of_emitted = true;
            tracing::warn!(
                source = self.config.source,
                prefix = EMIT_PREFIX,
                "applications write events that are left out: name their topics in source.emit.topics"
            );
        }
        let pieces = self.pending.take(scan.bytes);
        self.remember_end();
        let mut batch = self.empty();
        batch.pieces = pieces.returned_to(self.stream.spare());
        batch.transaction = transaction;
        batch.schemas = schemas;
        batch.has_emitted = has_emitted && self.config.emits;
        batch
    }

    fn heartbeat(&mut self) -> PostgresBatch {
        self.remember_end();
        self.empty()
    }

    pub(crate) fn empty(&self) -> PostgresBatch {
        PostgresBatch {
            pieces: Pieces::default(),
            transaction: None,
            epoch: self.epoch,
            resume_after: self.resume_after,
            relations: Arc::clone(&self.relations),
            config: Arc::clone(&self.config),
            schemas: Vec::new(),
            replaced: Vec::new(),
            rewritten: Vec::new(),
            state: Vec::new(),
            has_emitted: false,
            end: self.place.end.max(self.resume_after),
            end_at_us: self.place.end_at_us,
        }
    }

    fn remember_end(&mut self) {
        let end = self.place.end.max(self.resume_after);
        if self.ends.back().is_some_and(|(last, _)| *last == end) {
            return;
        }
        if self.ends.len() >= ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back((end, self.place.flush));
    }
}

impl Source for PostgresSource {
    type Batch = PostgresBatch;

    async fn next_batch(&mut self, limit: BatchLimit) -> Result<PostgresBatch> {
        self.batch(limit).await
    }

    async fn confirm(&mut self, position: Position) -> Result<()> {
        let mut flush = None;
        while let Some((end, lsn)) = self.ends.front().copied()
            && end <= position
        {
            flush = Some(lsn);
            self.ends.pop_front();
        }
        if let Some(lsn) = flush {
            self.stream.confirm(lsn);
        }
        Ok(())
    }

    fn lag_bytes(&self) -> u64 {
        self.watch.log_end().saturating_sub(self.place.end.commit)
    }

    async fn close(self) -> Result<()> {
        let stream = self.stream;
        tokio::task::spawn_blocking(move || stream.close()).await.map_err(|error| {
            Error::new(tidemesh_model::ErrorKind::Internal, "close the stream").caused_by(error)
        })
    }
}

/// The block that describes a source.
pub(crate) fn block(config: &Config) -> SourceBlock {
    SourceBlock {
        connector: "postgresql",
        name: config.source.clone(),
        database: config.settings.database.clone(),
        fields: BLOCK_FIELDS,
    }
}
