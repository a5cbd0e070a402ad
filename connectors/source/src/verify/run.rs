//! A source's verifier: one at a time, table after table.

use super::table::TableCheck;
use super::{
    Comparison, DIFFERENCES_LISTED, OutputRequest, OutputVerdict, TableVerdict, VerifyEvent,
    VerifyRequest,
};
use crate::snapshot::{TableState, captured};
use crate::{Connector, MarkBoard, SourceState, SourceStatus};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    Error, ErrorKind, OutboxSettings, Position, Result, SourceSettings, TableName,
};
use tidemesh_transport::{RegistryClient, Transport};
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};

/// How often a table is begun anew because its schema changed.
const SCHEMA_ATTEMPTS: u32 = 3;

/// How long a mark may take from the log to the topics without any progress of the source.
const MARK_WAIT_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether the source still runs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Verifies a source, whatever its database and transport.
pub trait Verify: fmt::Debug + Send + Sync {
    /// Verifies the tables one after the other and tells what comes of each to `events`. Dropping
    /// the future ends it.
    ///
    /// # Errors
    ///
    /// `NotFound` for a table that is not captured; `Conflict` while another verification runs.
    fn verify<'a>(
        &'a self,
        request: VerifyRequest,
        events: mpsc::Sender<VerifyEvent>,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

    /// Verifies a pipeline's output whose tables are all this source's. Dropping the future ends it.
    ///
    /// # Errors
    ///
    /// `Unsupported` for what the database cannot say; `Conflict` while another verification runs;
    /// `Unavailable` if the source or a pipeline does not come on.
    fn verify_output(
        &self,
        request: OutputRequest,
    ) -> Pin<Box<dyn Future<Output = Result<OutputVerdict>> + Send + '_>>;
}

/// What a verification needs of a source.
pub(crate) struct Verifier<C, T> {
    pub(crate) connector: Arc<C>,
    pub(crate) transport: Arc<T>,
    pub(crate) registry: RegistryClient,
    pub(crate) settings: SourceSettings,
    pub(crate) status: Arc<SourceStatus>,
    pub(crate) marks: Arc<MarkBoard>,
    pub(crate) running: Mutex<()>,
}

impl<C, T> fmt::Debug for Verifier<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("source", &self.settings.name).finish_non_exhaustive()
    }
}

impl<C: Connector, T: Transport> Verify for Verifier<C, T> {
    fn verify<'a>(
        &'a self,
        request: VerifyRequest,
        events: mpsc::Sender<VerifyEvent>,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(self.tables(request, events))
    }

    fn verify_output(
        &self,
        request: OutputRequest,
    ) -> Pin<Box<dyn Future<Output = Result<OutputVerdict>> + Send + '_>> {
        Box::pin(async {
            let _running = self.turn()?;
            self.output(request).await
        })
    }
}

impl<C: Connector, T: Transport> Verifier<C, T> {
    async fn tables(
        &self,
        request: VerifyRequest,
        events: mpsc::Sender<VerifyEvent>,
    ) -> Result<()> {
        let mut tables = captured("verify", &self.connector.tables(), &request.tables)?;
        // Its rows go to topics that they name, as they are inserted.
        let outbox = self.settings.outbox.as_ref().map(OutboxSettings::table_name).transpose()?;
        tables.retain(|table| outbox.as_ref() != Some(table));
        let _running = self.turn()?;
        let listed_max = if request.all { usize::MAX } else { DIFFERENCES_LISTED };
        for table in &tables {
            let verdict = match self.table(table, &events, listed_max).await {
                Ok(verdict) => verdict,
                Err(error) => self.unknown(table, error.report()),
            };
            if events.send(VerifyEvent::Table(verdict)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Held while a verification runs.
    fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        self.running.try_lock().map_err(|_| {
            Error::new(ErrorKind::Conflict, "verify")
                .because("a verification of this source is running")
                .with("source", &self.settings.name)
        })
    }

    async fn table(
        &self,
        table: &TableName,
        events: &mpsc::Sender<VerifyEvent>,
        listed_max: usize,
    ) -> Result<TableVerdict> {
        let mut attempt = 1;
        loop {
            if let Some(reason) = self.unread(table) {
                return Ok(self.unknown(table, reason));
            }
            let mut check = TableCheck::new(self, table, events, listed_max).await?;
            let done = Box::pin(check.run()).await;
            // A snapshot that has begun meanwhile: a part of the topic was compared.
            if let Some(reason) = self.unread(table) {
                return Ok(self.unknown(table, reason));
            }
            let is_moved = check.schema_changed || check.topic != self.status.topic(table);
            if !is_moved || attempt == SCHEMA_ATTEMPTS {
                return done;
            }
            attempt += 1;
        }
    }

    /// Why a table is not all in its topic yet, if it is not.
    pub(super) fn unread(&self, table: &TableName) -> Option<String> {
        let report = self.status.report().snapshot;
        let snapshot = report.tables.iter().find(|snapshot| snapshot.table == *table)?;
        match snapshot.state {
            TableState::Running => Some(
                "its snapshot is running; wait by `tidemesh snapshot status --wait`".to_owned(),
            ),
            TableState::Failed => {
                let error = snapshot.error.clone().unwrap_or_default();
                Some(format!("its snapshot has failed: {error}"))
            }
            TableState::Done => None,
        }
    }

    fn unknown(&self, table: &TableName, reason: String) -> TableVerdict {
        TableVerdict {
            table: table.clone(),
            topic: self.status.topic(table),
            found: Comparison::unknown(reason),
        }
    }

    /// The position of a mark, once all before it is in the topics.
    pub(super) async fn reached(&self, mut mark: oneshot::Receiver<Position>) -> Result<Position> {
        let away = |message: String| {
            Error::new(ErrorKind::Unavailable, "wait for the source")
                .because(message)
                .with("source", &self.settings.name)
        };
        let (mut idle, mut stood_at) = (Duration::ZERO, None);
        loop {
            match tokio::time::timeout(LOOK_INTERVAL, &mut mark).await {
                Ok(Ok(position)) => return Ok(position),
                Ok(Err(_)) => {
                    return Err(away("another instance has streamed meanwhile".to_owned())
                        .help("ask again the daemon of the instance that streams"));
                }
                Err(_) => {}
            }
            let report = self.status.report();
            match report.state {
                SourceState::Stopped { error, .. } => {
                    return Err(away(format!("it has stopped: {error}")));
                }
                SourceState::Standby { holder } => {
                    return Err(away(format!("it is the standby of another instance: {holder}"))
                        .help("ask the daemon of the instance that streams"));
                }
                SourceState::Drained => return Err(away("it was told to stop".to_owned())),
                SourceState::Paused => return Err(away("it is paused".to_owned())),
                _ => {}
            }
            idle = if report.position == stood_at { idle + LOOK_INTERVAL } else { Duration::ZERO };
            stood_at = report.position;
            if idle >= MARK_WAIT_MAX {
                return Err(away("it does not come on: see `tidemesh source describe`".to_owned()));
            }
        }
    }
}
