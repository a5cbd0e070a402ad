//! The run loop's part of snapshots: which chunk is read next, and what its end means.

use super::command::{SnapshotCommand, captured};
use super::mark::unique_name;
use super::progress::{Progress, Range, TableSnapshot, TableState};
use super::reread::{Rereads, Wanted};
use super::trouble::{Trouble, pause};
use super::work::{ChunkJob, Job, Told, Workers};
use super::{
    Again, Chunk, ChunkRequest, Part, SnapshotReport, SnapshotRequest, TableReader, Windows,
};
use crate::Connector;
use crate::clock::now_us;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    Error, ErrorKind, OutboxSettings, Remedy, Result, SnapshotMode, SnapshotSettings,
    SourceSettings, StateItem, TableName,
};
use tokio::time::Instant;

/// Chunks that are read or wait for their high marks at a time, for each connection: the log may be
/// far behind the marks.
const CHUNKS_PER_CONNECTION_MAX: usize = 2;

/// The chunk type of a connector.
type ChunkOf<C> = <<C as Connector>::Reader as TableReader>::Chunk;

/// A chunk that was asked for.
#[derive(Debug, Clone)]
struct Asked {
    table: TableName,
    target: Target,
    worker: usize,
}

/// Of what a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// Of this range of the table's snapshot.
    Range(usize),
    /// Of rows that are read again.
    Keys,
}

/// What a worker is busy with.
#[derive(Debug, Clone)]
enum Busy {
    Settling,
    Planning(TableName),
    /// The window's number.
    Reading(u64),
}

/// What happens to a chunk at its high mark, as the run loop saw it.
#[derive(Debug)]
pub(crate) enum Event {
    /// Its rows are in the batch under construction.
    Emitted(Emitted),
    /// It has to be read again.
    Again(Again),
}

/// A chunk whose rows are in the batch under construction.
#[derive(Debug)]
pub(crate) struct Emitted {
    /// Rows of the chunk, those that were dropped included.
    pub(crate) rows: u64,
    /// Bytes of the records that were made of them.
    pub(crate) bytes: u64,
    /// Its last key.
    pub(crate) at: Option<super::Key>,
    /// Whether its part ends there.
    pub(crate) last: bool,
    /// See [`Chunk::generation`].
    pub(crate) generation: Option<String>,
}

/// The snapshots of a session.
pub(crate) struct Engine<C: Connector> {
    connector: Arc<C>,
    settings: SnapshotSettings,
    /// A table that is read only if that is asked for: its rows are events, and would be told twice.
    outbox: Option<TableName>,
    progress: Progress,
    rereads: Rereads,
    pub(crate) windows: Windows<ChunkOf<C>>,
    workers: Option<Workers<ChunkOf<C>>>,
    busy: Vec<Option<Busy>>,
    asked: BTreeMap<u64, Asked>,
    trouble: BTreeMap<(TableName, Target), Trouble>,
    settled: bool,
    /// How often in a row no chunk could be asked for: connections fail.
    starts_failed: u32,
    /// When the next chunk may be asked for, at the rate that was set.
    due: Instant,
}

impl<C: Connector> Engine<C> {
    /// Takes up what the checkpoint's items tell, which it takes out of them.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub(crate) fn new(
        connector: &Arc<C>,
        settings: &SourceSettings,
        items: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let outbox = settings.outbox.as_ref().map(OutboxSettings::table_name).transpose()?;
        let mut engine = Self {
            connector: Arc::clone(connector),
            settings: settings.snapshot.clone(),
            outbox,
            progress: Progress::take(items)?,
            rereads: Rereads::take(items)?,
            windows: Windows::new(unique_name()),
            workers: None,
            busy: Vec::new(),
            asked: BTreeMap::new(),
            trouble: BTreeMap::new(),
            settled: false,
            starts_failed: 0,
            due: Instant::now(),
        };
        let captured = engine.connector.tables();
        if engine.settings.mode == SnapshotMode::Initial {
            for table in &captured {
                if engine.progress.table(table).is_none() && !engine.is_outbox(table) {
                    engine.progress.begin(table.clone(), None);
                }
            }
        }
        engine.progress.forget_others(&captured);
        engine.rereads.retain(&captured);
        engine.read_unswept();
        // One that failed is tried again by every start.
        for snapshot in &mut engine.progress.report.tables {
            if snapshot.state == TableState::Failed {
                snapshot.state = TableState::Running;
                snapshot.error = None;
            }
        }
        engine.schedule();
        Ok(engine)
    }

    /// A table that was read anew, but whose topic could not be swept before the end of its process,
    /// is read anew again: only so its schema is known.
    fn read_unswept(&mut self) {
        while let Some((table, _)) = self.to_sweep() {
            self.progress.begin(table, None);
        }
    }

    pub(crate) fn report(&self) -> &SnapshotReport {
        &self.progress.report
    }

    /// Whether something has to be stored.
    pub(crate) fn is_changed(&self) -> bool {
        self.progress.is_changed() || self.rereads.is_changed()
    }

    /// What has to be stored, in one step with the records of the batch under construction.
    ///
    /// # Errors
    ///
    /// `Internal` if it cannot be written as JSON, which does not happen.
    pub(crate) fn items(&mut self) -> Result<Vec<StateItem>> {
        let mut items = self.progress.items()?;
        items.extend(self.rereads.items()?);
        Ok(items)
    }

    /// Carries out a command.
    ///
    /// # Errors
    ///
    /// `Config`, `NotFound` and `Conflict`: what cannot be done.
    pub(crate) fn command(&mut self, command: &SnapshotCommand) -> Result<()> {
        match command {
            SnapshotCommand::Start(request) => self.start(request)?,
            SnapshotCommand::Pause => self.progress.pause(true),
            SnapshotCommand::Resume => self.progress.pause(false),
        }
        self.schedule();
        Ok(())
    }

    fn start(&mut self, request: &SnapshotRequest) -> Result<()> {
        let part = request.part()?;
        let tables = captured("start a snapshot", &self.connector.tables(), &request.tables)?;
        let running = |table: &&TableName| {
            self.progress.table(table).is_some_and(|s| s.state == TableState::Running)
        };
        if let Some(table) = tables.iter().find(running) {
            return Err(Error::new(ErrorKind::Conflict, "start a snapshot")
                .because("a snapshot of this table is running")
                .with("table", table)
                .help("wait until `tidemesh snapshot status` says that it is done"));
        }
        for table in tables {
            self.progress.begin(table, part.clone());
        }
        Ok(())
    }

    /// When [`Engine::schedule`] is to be called even if nothing happens; none, if no chunk waits
    /// for its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.windows.is_active() && self.due > Instant::now()).then_some(self.due)
    }

    /// Gives every free worker what is to be done next.
    pub(crate) fn schedule(&mut self) {
        self.read_wholes();
        self.progress.report.rereads = self.rereads.count();
        if !self.progress.is_running() && !self.rereads.is_waiting() {
            self.rest();
            return;
        }
        if self.progress.report.paused && !self.rereads.is_waiting() {
            return;
        }
        if self.workers.is_none() {
            let workers = Workers::start(&self.connector, self.settings.parallel);
            self.busy = vec![None; workers.count()];
            self.workers = Some(workers);
            self.windows.follow(true);
        }
        for worker in 0..self.busy.len() {
            if self.busy[worker].is_some() {
                continue;
            }
            let Some((busy, pause, job)) = self.next_job(worker) else { return };
            self.busy[worker] = Some(busy);
            if let Some(workers) = &self.workers {
                workers.give(worker, pause, job);
            }
        }
    }

    /// Nothing is left to be read: the connections go, and the log is no longer followed.
    fn rest(&mut self) {
        self.workers = None;
        self.busy.clear();
        self.asked.clear();
        self.trouble.clear();
        self.settled = false;
        self.rereads.put_all_back();
        self.windows.follow(false);
    }

    /// Begins to read the tables of which too many rows were to be read again. One that is being
    /// read already is begun anew once it ends: what was read of it may be older.
    fn read_wholes(&mut self) {
        for table in self.rereads.wholes() {
            let is_running = |s: &TableSnapshot| s.state == TableState::Running;
            if !self.progress.table(&table).is_some_and(is_running) {
                tracing::info!(%table, "too many rows lack values in the log: it is read whole");
                self.rereads.begun(&table);
                self.progress.begin(table, None);
            }
        }
    }

    /// The log told a change of the row that has this key, but not every value.
    pub(crate) fn reread(&mut self, table: &TableName, key: super::Key) {
        self.rereads.add(table, key);
    }

    fn next_job(&mut self, worker: usize) -> Option<(Busy, Duration, Job)> {
        // The log was followed since rows of this session were asked for: they need not settle.
        if (self.settled || !self.rereads.is_restored())
            && let Some(job) = self.next_reread(worker)
        {
            return Some(job);
        }
        let is_needed = self.progress.is_running() || self.rereads.is_restored();
        if !self.settled && is_needed {
            let settling = self.busy.iter().flatten().any(|busy| matches!(busy, Busy::Settling));
            let pause = pause(self.starts_failed);
            return (!settling).then_some((Busy::Settling, pause, Job::Settle));
        }
        if self.progress.report.paused {
            return None;
        }
        let running: Vec<TableName> = self
            .progress
            .report
            .tables
            .iter()
            .filter(|snapshot| snapshot.state == TableState::Running)
            .map(|snapshot| snapshot.table.clone())
            .collect();
        running.iter().find_map(|table| self.next_of(table, worker))
    }

    /// The next chunk of rows that are read again, whatever rate and pause are set for tables.
    fn next_reread(&mut self, worker: usize) -> Option<(Busy, Duration, Job)> {
        if self.asked.len() >= self.chunks_max() {
            return None;
        }
        let Wanted { table, keys, after } = self.rereads.next()?;
        let request = ChunkRequest {
            table: table.clone(),
            rows_max: u32::try_from(keys.len() + 1).unwrap_or(u32::MAX),
            part: Part::Keys(keys),
            after,
            bytes_max: self.settings.chunk_bytes_max,
        };
        Some(self.ask(table, Target::Keys, worker, request))
    }

    /// Opens a window for a chunk.
    fn ask(
        &mut self,
        table: TableName,
        target: Target,
        worker: usize,
        request: ChunkRequest,
    ) -> (Busy, Duration, Job) {
        let trouble = self.trouble.get(&(table.clone(), target)).cloned().unwrap_or_default();
        let (window, marks) = self.windows.begin(&table);
        self.asked.insert(window, Asked { table, target, worker });
        let pause = trouble.pause();
        let job = ChunkJob { window, marks, request, wait_for: trouble.wait_for };
        (Busy::Reading(window), pause, Job::Chunk(job))
    }

    /// The next thing to do for a table, if there is one that nobody does yet.
    fn next_of(&mut self, table: &TableName, worker: usize) -> Option<(Busy, Duration, Job)> {
        let snapshot = self.progress.table(table)?;
        let Some(ranges) = &snapshot.ranges else {
            let planning =
                |busy: &Busy| matches!(busy, Busy::Planning(planned) if planned == table);
            if self.busy.iter().flatten().any(planning) {
                return None;
            }
            let job = Job::Plan(table.clone(), self.settings.parallel);
            return Some((Busy::Planning(table.clone()), pause(self.starts_failed), job));
        };
        if self.due > Instant::now() || self.asked.len() >= self.chunks_max() {
            return None;
        }
        let asked = |range: usize| {
            let target = Target::Range(range);
            self.asked.values().any(|asked| asked.table == *table && asked.target == target)
        };
        let free = |(index, range): &(usize, &Range)| !range.done && !asked(*index);
        let (index, range) = ranges.iter().enumerate().find(free)?;
        let target = Target::Range(index);
        let shrink = self.trouble.get(&(table.clone(), target)).map_or(0, |t| t.shrink);
        let request = ChunkRequest {
            table: table.clone(),
            part: range.part.clone(),
            after: range.at.clone(),
            rows_max: (self.settings.chunk_rows >> shrink.min(31)).max(1),
            bytes_max: self.settings.chunk_bytes_max,
        };
        Some(self.ask(table.clone(), target, worker, request))
    }

    /// How many chunks memory holds at most.
    fn chunks_max(&self) -> usize {
        CHUNKS_PER_CONNECTION_MAX * self.busy.len().max(1)
    }

    /// Waits until a worker tells something, and takes it in. Cancel-safe.
    pub(crate) async fn told(&mut self) {
        let Some(workers) = &mut self.workers else {
            return std::future::pending().await;
        };
        let (worker, told) = workers.told().await;
        self.take(worker, told);
    }

    /// Takes in what workers have told: a chunk is here before its high mark is decoded.
    pub(crate) fn take_told(&mut self) {
        while let Some((worker, told)) = self.workers.as_mut().and_then(Workers::try_told) {
            self.take(worker, told);
        }
    }

    fn take(&mut self, worker: usize, told: Told<ChunkOf<C>>) {
        match told {
            Told::Settled => {
                self.settled = true;
                self.starts_failed = 0;
            }
            Told::Planned(table, plan) => {
                self.starts_failed = 0;
                if let Some(snapshot) = self.progress.change(&table) {
                    tracing::info!(%table, rows_estimate = plan.rows_estimate, "snapshot begins");
                    snapshot.planned(plan);
                }
            }
            Told::Chunk(window, chunk) => self.windows.deliver(window, chunk),
            Told::Free => self.busy[worker] = None,
            Told::Failed(error) => {
                if let Some(busy) = self.busy[worker].take() {
                    self.failed(&busy, &error);
                }
            }
        }
        self.schedule();
    }

    /// A job came to an error: what passes is tried again, what does not ends the table's snapshot.
    fn failed(&mut self, busy: &Busy, error: &Error) {
        let (table, target) = match busy {
            Busy::Settling => {
                tracing::warn!(error = error.report(), "a snapshot could not begin; retry");
                self.starts_failed += 1;
                return;
            }
            Busy::Planning(table) => {
                self.starts_failed += 1;
                (table.clone(), Target::Range(0))
            }
            Busy::Reading(window) => {
                self.windows.abandon(*window);
                match self.asked.remove(window) {
                    Some(asked) => (asked.table, asked.target),
                    // Its high mark was decoded before the error came.
                    None => return,
                }
            }
        };
        if error.remedy() == Remedy::Stop {
            self.give_up(&table, error);
            return;
        }
        tracing::warn!(%table, error = error.report(), "a chunk could not be read; retry");
        if target == Target::Keys {
            self.rereads.put_back(&table);
        }
        self.trouble.entry((table, target)).or_default().failed();
    }

    /// A table cannot be read.
    fn give_up(&mut self, table: &TableName, error: &Error) {
        tracing::error!(%table, error = error.report(), "snapshot failed");
        // With rows that were to be read again, the next start reads all of it.
        if self.rereads.forget(table) {
            self.progress.begin(table.clone(), None);
        }
        if let Some(snapshot) = self.progress.change(table) {
            snapshot.end(TableState::Failed, Some(error.report()), now_us());
        }
        self.abandon(table);
    }

    /// A high mark was decoded.
    pub(crate) fn closed(&mut self, window: u64, event: Event) {
        let Some(asked) = self.asked.remove(&window) else { return };
        let key = (asked.table.clone(), asked.target);
        match event {
            Event::Again(again) => {
                tracing::debug!(table = %asked.table, ?again, "a chunk is read again");
                if asked.target == Target::Keys {
                    self.rereads.put_back(&asked.table);
                } else if let Some(snapshot) = self.progress.change(&asked.table) {
                    snapshot.repeats += 1;
                }
                if !self.trouble.entry(key).or_default().again(again) {
                    self.give_up(&asked.table, &never_the_logs_schema(&asked.table));
                }
            }
            Event::Emitted(chunk) => {
                self.trouble.remove(&key);
                match asked.target {
                    Target::Keys => {
                        self.rereads.emitted(&asked.table, chunk.at, chunk.last);
                    }
                    Target::Range(range) => {
                        self.throttle(chunk.rows);
                        self.emitted(&asked.table, range, chunk);
                    }
                }
            }
        }
        tracing::trace!(worker = asked.worker, window, "window closed");
    }

    /// To be called when the marks of a batch have been told.
    pub(crate) fn batch_taken(&mut self) {
        if self.windows.take_overflow() {
            tracing::warn!("too many transactions in one chunk's time: its reading begins anew");
            self.rest();
        }
        self.schedule();
    }

    fn emitted(&mut self, table: &TableName, range: usize, chunk: Emitted) {
        let Some(snapshot) = self.progress.change(table) else { return };
        if snapshot.ranges.is_none() {
            return;
        }
        if snapshot.generation.is_some() && snapshot.generation != chunk.generation {
            tracing::info!(%table, "its storage was rewritten: the snapshot begins anew");
            snapshot.unplan();
            self.abandon(table);
            return;
        }
        snapshot.advanced(range, chunk);
        if snapshot.is_complete() {
            snapshot.end(TableState::Done, None, now_us());
            let (rows, chunks, repeats) = (snapshot.rows, snapshot.chunks, snapshot.repeats);
            tracing::info!(%table, rows, chunks, repeats, "snapshot done");
        }
    }

    fn is_outbox(&self, table: &TableName) -> bool {
        self.outbox.as_ref() == Some(table)
    }

    /// Whether something was read of a table.
    pub(crate) fn has_read(&self, table: &TableName) -> bool {
        self.progress.table(table).is_some_and(|snapshot| snapshot.chunks > 0)
    }

    /// The log since the last position is lost: every table is read anew, from `epoch` on.
    pub(crate) fn read_all_anew(&mut self, epoch: u32) {
        for table in self.connector.tables() {
            self.abandon(&table);
            self.rereads.forget(&table);
            if self.is_outbox(&table) {
                continue;
            }
            self.progress.begin_anew(table, Some(epoch));
        }
    }

    /// A table that was read anew and whose topic may have keys that are gone, with the epoch.
    pub(crate) fn to_sweep(&self) -> Option<(TableName, u32)> {
        let done = |s: &&TableSnapshot| s.state == TableState::Done && s.sweep_below.is_some();
        let snapshot = self.progress.report.tables.iter().find(done)?;
        Some((snapshot.table.clone(), snapshot.sweep_below?))
    }

    /// No key is left that is gone.
    pub(crate) fn swept(&mut self, table: &TableName) {
        if let Some(snapshot) = self.progress.change(table) {
            snapshot.sweep_below = None;
        }
    }

    /// The table's rows were changed without a word in the log: all of them are read anew.
    pub(crate) fn rewritten(&mut self, table: &TableName) {
        self.abandon(table);
        if !self.is_outbox(table) {
            self.progress.begin(table.clone(), None);
        }
    }

    /// The table is another one than before: what was read of it is void.
    pub(crate) fn replaced(&mut self, table: &TableName) {
        self.abandon(table);
        self.rereads.forget(table);
        if self.settings.mode == SnapshotMode::Initial && !self.is_outbox(table) {
            self.progress.begin_anew(table.clone(), None);
        }
    }

    /// Forgets every chunk of a table that was asked for.
    fn abandon(&mut self, table: &TableName) {
        let windows = &mut self.windows;
        self.asked.retain(|window, asked| {
            let of_table = asked.table == *table;
            if of_table {
                windows.abandon(*window);
            }
            !of_table
        });
        self.trouble.retain(|(of, _), _| of != table);
        self.rereads.put_back(table);
    }

    fn throttle(&mut self, rows: u64) {
        if let Some(rate) = self.settings.rows_per_second_max {
            let nanos = u128::from(rows) * 1_000_000_000 / u128::from(rate);
            let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.due = self.due.max(Instant::now()) + pause;
        }
    }
}

#[cold]
fn never_the_logs_schema(table: &TableName) -> Error {
    Error::new(ErrorKind::Conflict, "read a table")
        .because("whenever it is read it has other columns than the log tells of")
        .with("table", table)
        .help("see that nobody alters it all the time; then read it with `tidemesh snapshot start`")
}

/// What the visitor tells of an emitted chunk, whose records have so many bytes.
pub(crate) fn emitted<K: Chunk>(chunk: &K, bytes: u64) -> Event {
    Event::Emitted(Emitted {
        rows: chunk.rows(),
        bytes,
        at: chunk.last_key().cloned(),
        last: chunk.is_last(),
        generation: chunk.generation().map(str::to_owned),
    })
}
