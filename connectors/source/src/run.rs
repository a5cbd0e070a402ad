//! The run loop's outer part: opens a source and streams it, again and again, until told to stop or
//! until an error comes that will not pass.

use crate::announce::{Announcer, Notes};
use crate::remove::Remover;
use crate::session::{Session, is_passed_over};
use crate::snapshot::{Command, SourceHandle};
use crate::status::SourceState;
use crate::verify::Verifier;
use crate::{Connector, MarkBoard, SourceStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidemesh_model::{ErrorKind, Remedy, Result, SourceSettings};
use tidemesh_transport::{RegistryClient, Transport};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

/// The first pause before a start is tried again; each one after it is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause before a start is tried again.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// The shortest pause of one that was fenced. The instance that did so takes up the log meanwhile; two
/// that start together would fence each other in turn.
const FENCED_PAUSE: Duration = Duration::from_secs(1);

/// Carries one source into its topics until told to stop.
pub struct Runner<C, T> {
    pub(crate) connector: Arc<C>,
    pub(crate) transport: Arc<T>,
    pub(crate) registry: RegistryClient,
    pub(crate) settings: SourceSettings,
    pub(crate) status: Arc<SourceStatus>,
    pub(crate) marks: Arc<MarkBoard>,
    pub(crate) notes: Arc<Notes>,
    /// Another instance may have streamed since the last session of this one.
    relieved: AtomicBool,
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
    /// Closed when the run loop has ended.
    _ended: watch::Sender<()>,
}

impl<C: Connector, T: Transport> Runner<C, T> {
    /// A runner of the source that `connector` opens, whose records go to `transport` and whose
    /// schemas to `registry`; and the handle by which it is looked at and commanded. `settings` are
    /// validated.
    pub fn new(
        connector: Arc<C>,
        transport: Arc<T>,
        registry: RegistryClient,
        settings: SourceSettings,
    ) -> (Self, SourceHandle) {
        let status = Arc::new(SourceStatus::new(&settings.name, connector.vitals()));
        let marks = Arc::new(MarkBoard::default());
        let verifier = Verifier {
            connector: Arc::clone(&connector),
            transport: Arc::clone(&transport),
            registry: registry.clone(),
            settings: settings.clone(),
            status: Arc::clone(&status),
            marks: Arc::clone(&marks),
            running: Mutex::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let (ending, ended) = watch::channel(());
        let remover = Remover {
            connector: Arc::clone(&connector),
            transport: Arc::clone(&transport),
            status: Arc::clone(&status),
            stop: stop.clone(),
            ended,
        };
        let (handle, commands) =
            SourceHandle::new(Arc::clone(&status), Arc::new(verifier), Arc::new(remover), stop);
        let runner = Self {
            connector,
            transport,
            registry,
            settings,
            status,
            marks,
            notes: Arc::default(),
            relieved: AtomicBool::new(false),
            commands,
            stop: stopped,
            _ended: ending,
        };
        (runner, handle)
    }

    /// Does not run: the source is shown as paused.
    pub fn pause(self) {
        self.status.enter(SourceState::Paused);
    }

    /// Runs until the handle says stop, then drains and closes. What will pass is tried again for
    /// ever, with growing pauses.
    ///
    /// # Errors
    ///
    /// What will not pass by itself. Everything that was confirmed to the database is durable.
    pub async fn run(mut self) -> Result<()> {
        // Ends with this run.
        let mut beside = JoinSet::new();
        beside.spawn(self.announcer().keep_announcing());
        let mut shutdown = self.stop.clone();
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
            if error.remedy() == Remedy::Stop && !is_passed_over(&error, &self.settings) {
                tracing::error!(source = self.status.name(), error = error.report(), "stopped");
                let kind = error.kind().name();
                self.status.enter(SourceState::Stopped { error: error.report(), kind });
                return Err(error);
            }
            let progressed = self.status.report().records > began;
            attempt = if progressed { 1 } else { attempt.saturating_add(1) };
            let mut pause = retry_pause(attempt);
            if error.kind() == ErrorKind::Fenced {
                pause = pause.max(FENCED_PAUSE);
                self.relieved.store(true, Ordering::Relaxed);
            }
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

    fn announcer(&self) -> Announcer<C, T> {
        Announcer {
            connector: Arc::clone(&self.connector),
            transport: Arc::clone(&self.transport),
            notes: Arc::clone(&self.notes),
            status: Arc::clone(&self.status),
        }
    }

    /// Waits as a standby while another instance reads the log.
    async fn await_turn(&self) -> Result<()> {
        let held = |holder: String| {
            tracing::info!(source = self.status.name(), holder, "standby");
            self.status.enter(SourceState::Standby { holder });
            self.relieved.store(true, Ordering::Relaxed);
        };
        self.connector.await_turn(held).await?;
        self.status.enter(SourceState::Starting);
        Ok(())
    }

    /// One connection's life: from taking the writer's epoch to the first error or the drain.
    async fn session(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<()> {
        let opening = async {
            self.await_turn().await?;
            Session::open(self).await
        };
        let mut session = tokio::select! {
            opened = opening => opened?,
            () = told_to_stop(shutdown) => return Ok(()),
        };
        if self.relieved.swap(false, Ordering::Relaxed) {
            // The other instance may have passed them.
            self.marks.forget();
        }
        session.stream(&mut self.commands, shutdown).await?;
        session.drain().await
    }
}

/// Returns once `shutdown` says true. A sender that is gone counts as having said it.
pub(crate) async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

fn retry_pause(attempt: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1_u32 << attempt.saturating_sub(1).min(16)).min(RETRY_MAX)
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
