//! One connection's life: pulls batches, appends them with the checkpoint in one step, and confirms
//! to the database what is durable. While one append is being written the next is decoded, as many
//! batches as come meanwhile: a slow disk makes appends larger, not fewer bytes a second.

use crate::announce::{Notes, TopicCounts, topic_counts};
use crate::checkpoint::{first_epoch, position_item, read_checkpoint};
use crate::clock::now_us;
use crate::discover::discover;
use crate::encode::{Encode, Noted};
use crate::outbox::MissingTopics;
use crate::run::told_to_stop;
use crate::snapshot::{Answer, Chunk, Closed, Command, Engine, MarkBoard, SnapshotCommand};
use crate::status::{SourceState, SourceStatus};
use crate::truncate::{Truncated, live_keys, too_many_keys};
use crate::{BatchLimit, Checkpoint, Connector, Runner, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_avro::side::SideKind;
use tidemesh_model::{
    ChangeBatch, Error, ErrorKind, OnPositionLost, Origin, Position, Result, SourceSettings,
    StateItem, TableName, TableSchema, TruncateMode,
};
use tidemesh_transport::{
    Append, Appended, Counts, EventWriter, Generations, OutboxTopics, SideNames, TopicConfig,
    Transport, WriterEpoch, WrittenSchemas,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long a batch that is being written may take once the process is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Where a batch ends.
#[derive(Debug, Clone, Copy)]
struct End {
    position: Position,
    /// By the source's clock.
    at_us: i64,
}

/// An append that is being made durable.
struct InFlight {
    task: JoinHandle<Result<(Appended, Duration)>>,
    end: End,
    counts: Counts,
    oldest_at_us: Option<i64>,
    /// Marks to be told of once it is durable.
    reached: Vec<(String, Position)>,
    topics: TopicCounts,
}

/// What goes with the records in the event writer once they are sent off.
struct Gathered {
    end: End,
    /// When the oldest batch that has records was committed, by the source's clock.
    oldest_at_us: Option<i64>,
    /// Each key once.
    state: Vec<StateItem>,
    reached: Vec<(String, Position)>,
}

impl Gathered {
    fn new(end: End) -> Self {
        Self { end, oldest_at_us: None, state: Vec::new(), reached: Vec::new() }
    }

    /// Stores an item with the records, in place of an earlier one of its key.
    fn store(&mut self, item: StateItem) {
        self.state.retain(|known| known.key != item.key);
        self.state.push(item);
    }
}

/// What one session of streaming holds.
pub(crate) struct Session<C: Connector, T> {
    source: C::Source,
    transport: Arc<T>,
    writer: WriterEpoch,
    events: EventWriter,
    /// Cells of the source's own in every event.
    block_fields: usize,
    truncate: TruncateMode,
    status: Arc<SourceStatus>,
    marks: Arc<MarkBoard>,
    notes: Arc<Notes>,
    snapshots: Engine<C>,
    in_flight: Option<InFlight>,
    gathered: Option<Gathered>,
    /// Items of a log that is lost, to be removed with the first append.
    forgotten: Vec<StateItem>,
    /// Where the batch ended that was taken last.
    end: Option<End>,
    checkpoint_at: Option<Instant>,
    /// When a heartbeat was written last.
    beaten_at: Option<Instant>,
    limit: BatchLimit,
}

impl<C: Connector, T: Transport> Session<C, T> {
    /// Takes the writer's epoch, then the checkpoint, then the database: from the first on no older
    /// instance can write behind our back.
    pub(crate) async fn open(runner: &Runner<C, T>) -> Result<Self> {
        let settings = &runner.settings;
        let name = &settings.name;
        discover(runner.connector.as_ref(), name).await?;
        let writer = runner.transport.open_writer(name).await?;
        let state = runner.transport.state(name).await?;
        let first_epoch = first_epoch(&state)?;
        let mut checkpoint = read_checkpoint(name, state)?;
        let mut items = checkpoint.as_mut().map(|c| std::mem::take(&mut c.items));
        let mut snapshots =
            Engine::new(&runner.connector, settings, items.get_or_insert_default())?;
        let generations = Generations::take(items.get_or_insert_default())?;
        let outbox_topics = OutboxTopics::take(items.get_or_insert_default())?;
        let emitted_topics = OutboxTopics::take_emitted(items.get_or_insert_default())?;
        let written = WrittenSchemas::take(items.get_or_insert_default())?;
        runner.status.generations(&generations);
        let mut end = checkpoint.as_ref().map(|c| End { position: c.position, at_us: 0 });
        if let (Some(checkpoint), Some(items)) = (&mut checkpoint, items) {
            checkpoint.items = items;
            tracing::info!(source = name, position = %checkpoint.position, "resuming");
        }
        let lost = Lost::of(checkpoint.as_ref());
        let mut forgotten = Vec::new();
        let source = match runner.connector.open(checkpoint, first_epoch).await {
            Err(error) if is_passed_over(&error, settings) => {
                let report = error.report();
                tracing::warn!(source = name, error = report, "every table is read anew");
                runner.connector.drop_log().await?;
                snapshots.read_all_anew(lost.epoch);
                forgotten = lost.forgotten;
                end = None;
                runner.connector.open(None, lost.epoch).await?
            }
            opened => opened?,
        };
        let topics = TopicConfig {
            partitions: settings.topics.partitions,
            cleanup_policy: settings.topics.cleanup_policy,
            retention_ms: settings.topics.retention_ms,
            retention_bytes: settings.topics.retention_bytes,
            ..TopicConfig::default()
        };
        let block = runner.connector.block();
        let block_fields = block.fields.len();
        let events = EventWriter::new(block, settings.format(), topics, runner.registry.clone())
            .with_generations(generations, settings.on_incompatible)
            .with_written(written)
            .with_outbox(settings.outbox.clone(), outbox_topics)?
            .with_emitted(settings.emit.clone(), emitted_topics, &settings.table_patterns()?);
        let wait_max = Duration::from_millis(settings.heartbeat_interval_ms);
        let mut session = Self {
            source,
            transport: Arc::clone(&runner.transport),
            writer,
            events,
            block_fields,
            truncate: settings.truncate(),
            status: Arc::clone(&runner.status),
            marks: Arc::clone(&runner.marks),
            notes: Arc::clone(&runner.notes),
            snapshots,
            in_flight: None,
            gathered: None,
            forgotten,
            end,
            checkpoint_at: None,
            beaten_at: None,
            limit: BatchLimit { bytes_max: settings.batch_bytes_max, wait_max },
        };
        session.events.prepare_sides(session.transport.as_ref(), &side_names(settings)).await?;
        session.refill(runner.connector.tables()).await?;
        session.snapshots.schedule();
        session.status.snapshot(session.snapshots.report());
        Ok(session)
    }

    /// Has tables read anew whose topic was removed after they were read into it.
    async fn refill(&mut self, mut tables: Vec<TableName>) -> Result<()> {
        tables.retain(|table| self.snapshots.has_read(table) && !self.events.is_outbox(table));
        for table in tables {
            let topic = self.events.generations().topic(self.status.name(), &table);
            match self.transport.topic(&topic).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::warn!(topic, "the topic was removed: the table is read anew");
                    self.snapshots.replaced(&table);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Streams until told to stop.
    pub(crate) async fn stream(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        loop {
            let due = self.snapshots.due();
            tokio::select! {
                biased;
                () = told_to_stop(shutdown) => return Ok(()),
                done = finished(&mut self.in_flight) => {
                    self.complete(done?).await?;
                    self.send_gathered()?;
                    self.sweep().await?;
                }
                // Where nothing was read yet, nothing can be stored: the first batch comes at once.
                Some((command, answer)) = commands.recv(), if self.end.is_some() => {
                    self.command(&command, answer).await?;
                }
                () = self.snapshots.told() => {}
                () = until(due) => self.snapshots.schedule(),
                batch = self.source.next_batch(self.limit) => {
                    let batch = batch?;
                    tokio::select! {
                        taken = self.take(&batch) => taken?,
                        () = told_to_stop(shutdown) => return Ok(()),
                    }
                    self.status.enter(SourceState::Streaming);
                    self.status.lag(self.source.lag_bytes());
                }
            }
        }
    }

    /// Carries out a command and answers once it is stored.
    async fn command(&mut self, command: &SnapshotCommand, answer: Answer) -> Result<()> {
        let done = match self.snapshots.command(command) {
            Ok(()) => {
                self.store().await?;
                Ok(self.snapshots.report().clone())
            }
            Err(error) => Err(error),
        };
        self.status.snapshot(self.snapshots.report());
        // Who asked may have gone.
        let _ = answer.send(done);
        Ok(())
    }

    /// Stores snapshots' progress without records, where the last batch ended.
    async fn store(&mut self) -> Result<()> {
        let Some(end) = self.end else { return Ok(()) };
        self.flush().await?;
        if self.snapshots.is_changed() {
            let nothing = Gathered::new(end);
            self.send(Append::default(), Counts::default(), nothing)?;
        }
        self.settle().await
    }

    /// Encodes one batch, and sends it off unless the append before it is still on its way.
    async fn take<B: ChangeBatch>(&mut self, batch: &B) -> Result<()> {
        self.prepare(batch).await?;
        self.events.begin(now_us());
        let counts = self.events.counts_transactions();
        let mut visitor = Encode {
            events: &mut self.events,
            windows: &mut self.snapshots.windows,
            truncate: self.truncate,
            counts,
            noted: Noted::default(),
        };
        batch.visit(&mut visitor)?;
        let Noted { mut truncated, incomplete, closed, reached } = visitor.noted;
        for schema in batch.replaced() {
            // A topic that was just opened has nothing of the table before.
            if !self.events.go_over(schema)? {
                let (end, at_us) = (batch.end(), batch.end_at_us());
                truncated.push(Truncated::by_replacement(schema, end, at_us, self.block_fields));
            }
            self.snapshots.replaced(&schema.name);
        }
        for table in batch.rewritten() {
            self.snapshots.rewritten(table);
        }
        for (table, key) in incomplete {
            self.snapshots.reread(&table, key);
        }
        for (window, event) in closed {
            self.snapshots.closed(window, event);
        }
        let opened = self.events.take_opened();
        for table in &opened {
            // Only so the topic that was opened has the rows that the log does not tell of.
            self.snapshots.rewritten(table);
        }
        self.snapshots.batch_taken();
        if !truncated.is_empty() {
            // What is live is read from the topic, which must have all before the truncate.
            self.flush().await?;
            self.reconcile(&truncated).await?;
        }
        self.gather(batch, reached)?;
        self.note_opened(&opened)?;
        if self.in_flight.is_some() && self.events.bytes() >= self.transport.gathered_bytes() {
            self.settle().await?;
        }
        if self.in_flight.is_none() {
            self.send_gathered()?;
        }
        Ok(())
    }

    /// Notes what goes with a batch whose records are in the event writer.
    fn gather<B: ChangeBatch>(
        &mut self,
        batch: &B,
        reached: Vec<(String, Position)>,
    ) -> Result<()> {
        let end = End { position: batch.end(), at_us: batch.end_at_us() };
        self.end = Some(end);
        let has_records = self.events.bytes() > 0;
        let gathered = self.gathered.get_or_insert_with(|| Gathered::new(end));
        gathered.end = end;
        if has_records && gathered.oldest_at_us.is_none() {
            gathered.oldest_at_us = (end.at_us > 0).then_some(end.at_us);
        }
        gathered.reached.extend(reached);
        for item in batch.state() {
            gathered.store(item.clone());
        }
        for item in self.events.take_items()? {
            gathered.store(item);
        }
        Ok(())
    }

    /// Stores which topics tables go to from here on, with the batch that was gathered last.
    fn note_opened(&mut self, opened: &[TableName]) -> Result<()> {
        let Some(gathered) = &mut self.gathered else { return Ok(()) };
        for table in opened {
            gathered.store(self.events.generations().item(table)?);
        }
        if !opened.is_empty() {
            self.status.generations(self.events.generations());
            self.status.snapshot(self.snapshots.report());
        }
        Ok(())
    }

    /// Sends off what was gathered, if there is something and no append is on its way.
    fn send_gathered(&mut self) -> Result<()> {
        let Some(gathered) = self.gathered.take() else { return Ok(()) };
        self.beat(gathered.end)?;
        let (append, counts) = self.events.finish();
        let nothing_to_store = counts.records == 0
            && gathered.state.is_empty()
            && self.forgotten.is_empty()
            && !self.snapshots.is_changed()
            && !self.checkpoint_is_due();
        if nothing_to_store {
            // All before these marks is durable: no append is on its way.
            self.tell(gathered.reached);
            return Ok(());
        }
        self.send(append, counts, gathered)
    }

    /// Writes a heartbeat if one is due.
    fn beat(&mut self, end: End) -> Result<()> {
        if self.beaten_at.is_some_and(|at| at.elapsed() < self.limit.wait_max) {
            return Ok(());
        }
        self.beaten_at = Some(Instant::now());
        self.events.heartbeat(&Origin {
            position: end.position,
            transaction: 0,
            committed_at_us: if end.at_us > 0 { end.at_us } else { now_us() },
            block: &[],
        })
    }

    /// Makes ready for the schemas of a batch, and of the chunks whose high marks it may hold.
    async fn prepare<B: ChangeBatch>(&mut self, batch: &B) -> Result<()> {
        for schema in batch.schemas() {
            self.events.prepare(self.transport.as_ref(), schema).await?;
        }
        self.snapshots.take_told();
        self.prepare_chunks(batch).await?;
        self.notes.prepared(self.status.name(), self.events.take_prepared());
        self.prepare_outbox(batch).await
    }

    /// Makes ready for the schemas of the chunks that the batch closes, and of no other: a chunk may know
    /// a schema before the log has come to those that lie between, whose topics it would take.
    async fn prepare_chunks<B: ChangeBatch>(&mut self, batch: &B) -> Result<()> {
        let windows = &self.snapshots.windows;
        if windows.chunks().all(|chunk| !self.events.is_closed(chunk.schema())) {
            return Ok(());
        }
        let mut closed = Closed::new(windows);
        batch.visit(&mut closed)?;
        for chunk in closed.into_chunks() {
            self.events.prepare(self.transport.as_ref(), chunk.schema()).await?;
        }
        Ok(())
    }

    /// Makes ready for the topics that rows of an outbox name, and events of applications.
    async fn prepare_outbox<B: ChangeBatch>(&mut self, batch: &B) -> Result<()> {
        let is_outbox = |schema: &Arc<TableSchema>| self.events.is_outbox(&schema.name);
        let mut missing = MissingTopics::new(&self.events);
        let has_emitted = batch.has_emitted() && self.events.takes_emitted();
        if has_emitted || batch.schemas().iter().any(is_outbox) {
            batch.visit(&mut missing)?;
        }
        for chunk in self.snapshots.windows.chunks().filter(|chunk| is_outbox(chunk.schema())) {
            missing.chunk(chunk)?;
        }
        let emitted = missing.take_emitted();
        for (topic, schema) in missing.into_topics() {
            self.events.prepare_outbox_topic(self.transport.as_ref(), &schema, &topic).await?;
        }
        for topic in emitted {
            self.events.prepare_emitted_topic(self.transport.as_ref(), &topic).await?;
        }
        Ok(())
    }

    /// Whether an idle source's position should be written.
    fn checkpoint_is_due(&self) -> bool {
        self.checkpoint_at.is_none_or(|at| at.elapsed() >= self.limit.wait_max)
    }

    /// Writes a delete for every live key of truncated tables.
    async fn reconcile(&mut self, truncated: &[Truncated]) -> Result<()> {
        if !truncated.is_empty() && self.events.bytes() > 0 {
            return Err(Error::new(ErrorKind::Internal, "reconcile a truncate")
                .because("the source gave a truncate together with other events"));
        }
        for truncated in truncated {
            // An outbox has no topic of its own, and its rows are events that nothing makes void.
            if self.events.is_outbox(&truncated.schema.name) {
                continue;
            }
            loop {
                let table = &truncated.schema.name;
                let topic = self.events.generations().topic(self.status.name(), table);
                let below = truncated.below_epoch;
                let live = live_keys(self.transport.as_ref(), &topic, below).await?;
                let (is_all, keys) = (live.is_all, live.into_keys());
                if !is_all && keys.is_empty() {
                    return Err(too_many_keys(table));
                }
                for key in keys {
                    self.events.delete_key(&truncated.schema, &truncated.origin(), &key)?;
                    if self.events.bytes() >= self.transport.gathered_bytes() {
                        self.append_ahead().await?;
                    }
                }
                if is_all {
                    break;
                }
                self.append_ahead().await?;
            }
        }
        Ok(())
    }

    /// Deletes what a lost log told nothing of: keys of tables that were read anew, and that neither
    /// the reading nor the log since has brought again.
    async fn sweep(&mut self) -> Result<()> {
        while let Some((table, epoch)) = self.snapshots.to_sweep() {
            let (Some(end), Some(schema)) = (self.end, self.events.schema_of(&table)) else {
                return Ok(());
            };
            let schema = Arc::clone(schema);
            self.flush().await?;
            let (at_us, fields) = (end.at_us, self.block_fields);
            let mut gone = Truncated::by_replacement(&schema, end.position, at_us, fields);
            gone.below_epoch = Some(epoch);
            self.events.begin(now_us());
            self.reconcile(&[gone]).await?;
            self.append_ahead().await?;
            self.snapshots.swept(&table);
            self.store().await?;
        }
        Ok(())
    }

    /// Appends what is encoded so far while the position stays: after a crash the same deletes are
    /// written again, but for those of keys that are gone.
    async fn append_ahead(&mut self) -> Result<()> {
        let (mut append, counts) = self.events.finish();
        append.writer = Some(self.writer.clone());
        let (appended, took) = append_timed(self.transport.as_ref(), append).await?;
        self.events.recycle(appended.recycled);
        self.status.appended(counts, took);
        Ok(())
    }

    /// Begins an append whose answer [`Session::settle`] awaits.
    fn send(&mut self, mut append: Append, counts: Counts, gathered: Gathered) -> Result<()> {
        let Gathered { end, oldest_at_us, state, reached } = gathered;
        append.writer = Some(self.writer.clone());
        append.state = std::mem::take(&mut self.forgotten);
        append.state.extend(state);
        append.state.extend(self.snapshots.items()?);
        append.state.push(position_item(end.position, end.at_us)?);
        let (transport, topics) = (Arc::clone(&self.transport), topic_counts(&append));
        let task = tokio::spawn(async move { append_timed(transport.as_ref(), append).await });
        self.in_flight = Some(InFlight { task, end, counts, oldest_at_us, reached, topics });
        self.checkpoint_at = Some(Instant::now());
        Ok(())
    }

    /// Waits until all that was taken is durable.
    async fn flush(&mut self) -> Result<()> {
        self.settle().await?;
        self.send_gathered()?;
        self.settle().await
    }

    /// Waits for the append that is on its way, if there is one.
    async fn settle(&mut self) -> Result<()> {
        if self.in_flight.is_some() {
            let done = finished(&mut self.in_flight).await?;
            self.complete(done).await?;
        }
        Ok(())
    }

    /// An append is durable: now, and not before, the database may forget that part of its log.
    async fn complete(&mut self, done: (InFlight, Appended, Duration)) -> Result<()> {
        let (in_flight, appended, took) = done;
        self.events.recycle(appended.recycled);
        self.status.appended(in_flight.counts, took);
        self.notes.appended(&in_flight.topics, in_flight.end.at_us);
        if let Some(at_us) = in_flight.oldest_at_us {
            self.status.durable(at_us);
        }
        self.status.checkpointed(in_flight.end.position, in_flight.end.at_us);
        self.status.snapshot(self.snapshots.report());
        self.tell(in_flight.reached);
        self.source.confirm(in_flight.end.position).await
    }

    fn tell(&self, reached: Vec<(String, Position)>) {
        for (name, position) in reached {
            self.marks.reached(&name, position);
        }
    }

    /// Waits a while for what is on its way, and closes.
    pub(crate) async fn drain(mut self) -> Result<()> {
        match tokio::time::timeout(DRAIN_MAX, self.settle()).await {
            Ok(settled) => settled?,
            Err(_) => tracing::warn!("the last batch is not durable yet; it is read again"),
        }
        self.source.close().await
    }
}

/// The topics beside those of tables that the settings name.
fn side_names(settings: &SourceSettings) -> SideNames {
    let named = [
        (SideKind::Transaction, &settings.transaction_topic),
        (SideKind::Heartbeat, &settings.heartbeat_topic),
        (SideKind::Message, &settings.message_topic),
        (SideKind::DeadLetter, &settings.dead_letter_topic),
    ];
    named.into_iter().filter_map(|(kind, name)| Some((kind, name.clone()?))).collect()
}

/// What remains of a checkpoint whose log is lost.
struct Lost {
    /// The epoch of what follows.
    epoch: u32,
    /// The source's own items, which are of that log.
    forgotten: Vec<StateItem>,
}

impl Lost {
    fn of(checkpoint: Option<&Checkpoint>) -> Self {
        let keys = checkpoint.into_iter().flat_map(|checkpoint| checkpoint.items.keys());
        Self {
            epoch: checkpoint.map_or(0, |checkpoint| checkpoint.position.epoch) + 1,
            forgotten: keys.map(|key| StateItem { key: key.clone(), value: None }).collect(),
        }
    }
}

/// Whether a lost position is passed over by reading every table anew.
pub(crate) fn is_passed_over(error: &Error, settings: &SourceSettings) -> bool {
    error.kind() == ErrorKind::PositionLost
        && settings.on_position_lost == OnPositionLost::Resnapshot
}

/// A topic that is not there was when it was prepared: the next session makes it again.
fn gone(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::new(ErrorKind::Unavailable, "append a batch")
        .because("a topic was removed: it is made again, and its table read anew")
        .caused_by(error)
}

/// Returns at `due`; never, if there is no such time. Cancel-safe.
async fn until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The end of the append that is on its way; never, if there is none. Cancel-safe.
async fn finished(in_flight: &mut Option<InFlight>) -> Result<(InFlight, Appended, Duration)> {
    let Some(current) = in_flight else {
        return std::future::pending().await;
    };
    let joined = (&mut current.task).await;
    let appended = joined.map_err(|error| {
        Error::new(ErrorKind::Internal, "append a batch").because("its task ended").caused_by(error)
    })?;
    let Some(done) = in_flight.take() else { return std::future::pending().await };
    let (appended, took) = appended?;
    Ok((done, appended, took))
}

/// Appends; answers how long it took, too.
async fn append_timed<T: Transport>(transport: &T, append: Append) -> Result<(Appended, Duration)> {
    let began = Instant::now();
    let appended = transport.append(append).await.map_err(gone)?;
    Ok((appended, began.elapsed()))
}
