//! The run loop: pulls batches from a source, appends them with the checkpoint in one step, and
//! confirms to the database what is durable. While one batch is being written the next is decoded.

use crate::checkpoint::{position_item, read_checkpoint};
use crate::status::{SourceState, SourceStatus};
use crate::truncate::{Truncated, live_keys};
use crate::{BatchLimit, Connector, Source};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, Error, ErrorKind, Origin, Position, Remedy, Result,
    RowImage, SourceSettings, StateItem, TableSchema,
};
use tidemesh_transport::{
    Append, Appended, Counts, EventWriter, RegistryClient, TopicConfig, Transport, WriterEpoch,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The first pause before a start is tried again; each one after it is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause before a start is tried again.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// How long a batch that is being written may take once the process is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Carries one source into its topics until told to stop.
pub struct Runner<C, T> {
    /// What opens the source.
    pub connector: C,
    /// Where its records go.
    pub transport: Arc<T>,
    /// Where its schemas go.
    pub registry: RegistryClient,
    /// The source's settings, validated.
    pub settings: SourceSettings,
    /// Where its state and figures are kept.
    pub status: Arc<SourceStatus>,
}

/// An append that is being made durable.
struct InFlight {
    task: JoinHandle<Result<Appended>>,
    end: Position,
    end_at_us: i64,
    counts: Counts,
}

/// What one session of streaming holds.
struct Session<'r, S, T> {
    source: S,
    transport: &'r Arc<T>,
    writer: WriterEpoch,
    events: EventWriter,
    status: &'r SourceStatus,
    in_flight: Option<InFlight>,
    checkpoint_at: Option<Instant>,
    heartbeat: Duration,
}

impl<C: Connector, T: Transport> Runner<C, T> {
    /// Runs until `shutdown` says true, then drains and closes. What will pass is tried again for
    /// ever, with growing pauses.
    ///
    /// # Errors
    ///
    /// What will not pass by itself. Everything that was confirmed to the database is durable.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<()> {
        let mut attempt = 0_u32;
        loop {
            self.status.enter(SourceState::Starting);
            let began = self.status.report().records;
            let error = match self.session(&mut shutdown).await {
                Ok(()) => {
                    self.status.enter(SourceState::Drained);
                    return Ok(());
                }
                Err(error) => error.with("source", self.status.name()),
            };
            self.status.failed(&error);
            if error.remedy() == Remedy::Stop {
                tracing::error!(source = self.status.name(), error = error.report(), "stopped");
                let kind = error.kind().name();
                self.status.enter(SourceState::Stopped { error: error.report(), kind });
                return Err(error);
            }
            let progressed = self.status.report().records > began;
            attempt = if progressed { 1 } else { attempt.saturating_add(1) };
            let pause = retry_pause(attempt);
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let report = error.report();
            tracing::warn!(source = self.status.name(), attempt, pause_ms, error = report, "retry");
            self.status.enter(SourceState::Retrying { error: report, attempt });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told_to_stop(&mut shutdown) => {
                    self.status.enter(SourceState::Drained);
                    return Ok(());
                }
            }
        }
    }

    /// One connection's life: from taking the writer's epoch to the first error or the drain.
    async fn session(&self, shutdown: &mut watch::Receiver<bool>) -> Result<()> {
        let name = &self.settings.name;
        let opening = async {
            // The epoch first: from here on no older instance can write behind our back.
            let writer = self.transport.open_writer(name).await?;
            let checkpoint = read_checkpoint(name, self.transport.state(name).await?)?;
            if let Some(checkpoint) = &checkpoint {
                tracing::info!(source = name, position = %checkpoint.position, "resuming");
            }
            Ok::<_, Error>((writer, self.connector.open(checkpoint).await?))
        };
        let (writer, source) = tokio::select! {
            opened = opening => opened?,
            () = told_to_stop(shutdown) => return Ok(()),
        };
        let topics = TopicConfig {
            partitions: self.settings.topics.partitions,
            cleanup_policy: self.settings.topics.cleanup_policy,
            retention_ms: self.settings.topics.retention_ms,
            retention_bytes: self.settings.topics.retention_bytes,
            ..TopicConfig::default()
        };
        let events = EventWriter::new(source.block().clone(), topics, self.registry.clone());
        let mut session = Session {
            source,
            transport: &self.transport,
            writer,
            events,
            status: &self.status,
            in_flight: None,
            checkpoint_at: None,
            heartbeat: Duration::from_millis(self.settings.heartbeat_interval_ms),
        };
        let limit =
            BatchLimit { bytes_max: self.settings.batch_bytes_max, wait_max: session.heartbeat };
        session.stream(limit, shutdown).await?;
        session.drain().await
    }
}

impl<S: Source, T: Transport> Session<'_, S, T> {
    async fn stream(
        &mut self,
        limit: BatchLimit,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(shutdown) => return Ok(()),
                done = finished(&mut self.in_flight) => self.complete(done?).await?,
                batch = self.source.next_batch(limit) => {
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

    /// Encodes one batch, while the one before it may still be on its way, and sends it off.
    async fn take<B: ChangeBatch>(&mut self, batch: &B) -> Result<()> {
        for schema in batch.schemas() {
            self.events.prepare(self.transport.as_ref(), schema).await?;
        }
        self.events.begin(now_us());
        let mut visitor = Encode { events: &mut self.events, truncated: Vec::new() };
        batch.visit(&mut visitor)?;
        let truncated = visitor.truncated;
        self.settle().await?;
        if !truncated.is_empty() && self.events.bytes() > 0 {
            return Err(Error::new(ErrorKind::Internal, "reconcile a truncate")
                .because("the source gave a truncate together with other events"));
        }
        for truncated in &truncated {
            self.reconcile(truncated).await?;
        }
        let (append, counts) = self.events.finish();
        if counts.records == 0 && batch.state().is_empty() && !self.checkpoint_is_due() {
            return Ok(());
        }
        self.send(append, counts, batch.state().to_vec(), batch.end(), batch.end_at_us())
    }

    /// Whether an idle source's position should be written.
    fn checkpoint_is_due(&self) -> bool {
        self.checkpoint_at.is_none_or(|at| at.elapsed() >= self.heartbeat)
    }

    /// Writes a delete for every live key of a truncated table.
    async fn reconcile(&mut self, truncated: &Truncated) -> Result<()> {
        let source = self.status.name();
        for key in live_keys(self.transport.as_ref(), source, &truncated.schema.name).await? {
            self.events.delete_key(&truncated.schema, &truncated.origin(), &key)?;
        }
        Ok(())
    }

    /// Begins an append whose answer [`Session::settle`] awaits.
    fn send(
        &mut self,
        mut append: Append,
        counts: Counts,
        state: Vec<StateItem>,
        end: Position,
        end_at_us: i64,
    ) -> Result<()> {
        append.writer = Some(self.writer.clone());
        append.state = state;
        append.state.push(position_item(end, end_at_us)?);
        let transport = Arc::clone(self.transport);
        let task = tokio::spawn(async move { transport.append(append).await });
        self.in_flight = Some(InFlight { task, end, end_at_us, counts });
        self.checkpoint_at = Some(Instant::now());
        Ok(())
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
    async fn complete(&mut self, (in_flight, appended): (InFlight, Appended)) -> Result<()> {
        self.events.recycle(appended.recycled);
        self.status.appended(in_flight.counts);
        self.status.checkpointed(in_flight.end, in_flight.end_at_us);
        self.source.confirm(in_flight.end).await
    }

    async fn drain(mut self) -> Result<()> {
        match tokio::time::timeout(DRAIN_MAX, self.settle()).await {
            Ok(settled) => settled?,
            Err(_) => tracing::warn!("the last batch is not durable yet; it is read again"),
        }
        self.source.close().await
    }
}

/// The end of the append that is on its way; never, if there is none. Cancel-safe.
async fn finished(in_flight: &mut Option<InFlight>) -> Result<(InFlight, Appended)> {
    let Some(current) = in_flight else {
        return std::future::pending().await;
    };
    let joined = (&mut current.task).await;
    let appended = joined.map_err(|error| {
        Error::new(ErrorKind::Internal, "append a batch").because("its task ended").caused_by(error)
    })?;
    match in_flight.take() {
        Some(done) => Ok((done, appended?)),
        None => std::future::pending().await,
    }
}

/// Returns once `shutdown` says true. A sender that is gone counts as having said it.
async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// The visitor that encodes, and notes what cannot be encoded in passing.
struct Encode<'w> {
    events: &'w mut EventWriter,
    truncated: Vec<Truncated>,
}

impl ChangeVisitor for Encode<'_> {
    #[inline]
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        if matches!(change, Change::Truncate) {
            self.truncated.push(Truncated::new(schema, origin));
            return Ok(());
        }
        self.events.change(schema, origin, &change)
    }

    fn mark(&mut self, _origin: &Origin<'_>, _mark: &str) -> Result<()> {
        Ok(())
    }
}

fn retry_pause(attempt: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1_u32 << attempt.saturating_sub(1).min(16)).min(RETRY_MAX)
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(retry_pause(1), RETRY_FIRST);
        assert_eq!(retry_pause(2), RETRY_FIRST * 2);
        assert_eq!(retry_pause(100), RETRY_MAX);
    }
}
