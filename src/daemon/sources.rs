//! Sources in this process: those of its configuration, and those that documents declare, which the
//! controller starts and ends. Each has a task that runs it and one that looks after what its database
//! keeps for it.

use crate::config::declared;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemesh_controller::{Connectors, ManagedBy, SourceJob, StartSource};
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings};
use tidemesh_mysql::MysqlConnector;
use tidemesh_postgres::PostgresConnector;
use tidemesh_source::{Connector, Runner, SourceHandle, SourceState, SourceStatus, observe};
use tidemesh_transport::{RegistryClient, Transport};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long a source may take to end between two appends; after that it is dropped within one, which is
/// then there or not, and the next run goes on from there.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Starts and ends the sources of this process.
pub(super) struct Sources<T> {
    transport: Arc<T>,
    registry: RegistryClient,
    /// The files that documents may name.
    secrets_dir: PathBuf,
    there: Arc<SourceTable>,
    shutdown: watch::Receiver<bool>,
}

/// The sources of a process, for whoever looks at them.
#[derive(Default)]
pub(crate) struct SourceTable {
    running: Mutex<BTreeMap<String, Running>>,
    /// What sources that are gone had counted, by their names.
    counted: Mutex<BTreeMap<String, Arc<SourceStatus>>>,
}

struct Running {
    managed_by: ManagedBy,
    start: StartSource,
    handle: SourceHandle,
    run: JoinHandle<()>,
    observer: JoinHandle<()>,
}

impl SourceTable {
    /// A source, by its name.
    pub(super) fn source(&self, name: &str) -> Option<SourceHandle> {
        self.running().get(name).map(|running| running.handle.clone())
    }

    /// All sources, by their names, with who brings them.
    pub(super) fn handles(&self) -> Vec<(ManagedBy, SourceHandle)> {
        self.running().values().map(|one| (one.managed_by, one.handle.clone())).collect()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a source count on from its last run, so that no counter goes back.
    fn count(&self, status: &Arc<SourceStatus>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.insert(status.name().to_owned(), Arc::clone(status));
        before.iter().for_each(|before| status.count_on(before));
    }

    async fn stop(&self, name: &str) {
        let running = self.running().remove(name);
        if let Some(running) = running {
            end(running).await;
        }
    }

    async fn stop_all(&self) {
        let running = std::mem::take(&mut *self.running());
        join_all(running.into_values().map(end)).await;
    }
}

impl<T: Transport> Sources<T> {
    pub(super) fn new(
        transport: Arc<T>,
        registry: RegistryClient,
        secrets_dir: PathBuf,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self { transport, registry, secrets_dir, there: Arc::default(), shutdown }
    }

    /// What there is.
    pub(super) fn table(&self) -> Arc<SourceTable> {
        Arc::clone(&self.there)
    }

    /// Starts the sources of the configuration, whose secrets are read.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key.
    pub(super) fn start_configured(&self, settings: &[SourceSettings]) -> Result<()> {
        for source in settings {
            let start = StartSource { settings: Arc::new(source.clone()), paused: false };
            self.run(start, source, ManagedBy::File)?;
        }
        Ok(())
    }

    /// Ends all sources once the process is told to stop.
    pub(super) async fn end_with(self: Arc<Self>) -> Result<()> {
        super::signals::stopped(self.shutdown.clone()).await;
        self.there.stop_all().await;
        Ok(())
    }

    fn run(
        &self,
        start: StartSource,
        settings: &SourceSettings,
        managed_by: ManagedBy,
    ) -> Result<()> {
        match &settings.mysql {
            Some(_) => self.run_by(MysqlConnector::new(settings)?, start, settings, managed_by),
            None => self.run_by(PostgresConnector::new(settings)?, start, settings, managed_by),
        }
        Ok(())
    }

    fn run_by<C: Connector>(
        &self,
        connector: C,
        start: StartSource,
        settings: &SourceSettings,
        managed_by: ManagedBy,
    ) {
        let connector = Arc::new(connector);
        let (transport, registry) = (Arc::clone(&self.transport), self.registry.clone());
        let (runner, handle) =
            Runner::new(Arc::clone(&connector), transport, registry, settings.clone());
        let status = Arc::clone(&handle.status);
        self.there.count(&status);
        // Beyond the source's own end: a slot that nobody reads fills the database's disk.
        let observer = tokio::spawn(observe(connector, Arc::clone(&status)));
        let run = if start.paused {
            runner.pause();
            tokio::spawn(async {})
        } else {
            tokio::spawn(keep_running(runner, status))
        };
        let running = Running { managed_by, start, handle, run, observer };
        self.there.running().insert(settings.name.clone(), running);
    }
}

impl<T: Transport> Connectors for Sources<T> {
    fn check(&self, settings: &SourceSettings) -> Result<()> {
        let settings = declared(settings.clone(), &self.secrets_dir)?;
        match &settings.mysql {
            Some(_) => MysqlConnector::new(&settings).map(drop),
            None => PostgresConnector::new(&settings).map(drop),
        }
    }

    fn start(&self, source: StartSource) -> BoxFuture<'_, Result<()>> {
        async move {
            self.there.stop(&source.settings.name).await;
            if *self.shutdown.borrow() {
                return Err(Error::new(ErrorKind::Unavailable, "start a source")
                    .because("the process is told to stop"));
            }
            let settings = declared(source.settings.as_ref().clone(), &self.secrets_dir)?;
            self.run(source, &settings, ManagedBy::User)
        }
        .boxed()
    }

    fn stop<'c>(&'c self, source: &'c str) -> BoxFuture<'c, ()> {
        self.there.stop(source).boxed()
    }

    fn sources(&self) -> BTreeMap<String, SourceJob> {
        let running = self.there.running();
        let ours = running.iter().filter(|(_, one)| one.managed_by == ManagedBy::User);
        let job = |running: &Running| SourceJob {
            start: running.start.clone(),
            state: state_name(&running.handle.status.report().state).to_owned(),
        };
        ours.map(|(name, running)| (name.clone(), job(running))).collect()
    }
}

/// Runs a source to its end, in a task of its own: what panics ends this source and nothing else.
async fn keep_running<C: Connector, T: Transport>(runner: Runner<C, T>, status: Arc<SourceStatus>) {
    let mut running = JoinSet::new();
    running.spawn(runner.run());
    // Its status tells of its own errors, and its log has them; the daemon goes on.
    if let Some(Err(error)) = running.join_next().await {
        status.broke(&Error::new(ErrorKind::Internal, "run a source").caused_by(error));
    }
}

async fn end(running: Running) {
    let Running { handle, mut run, observer, .. } = running;
    observer.abort();
    handle.stop();
    if tokio::time::timeout(STOP_MAX, &mut run).await.is_err() {
        run.abort();
        // Whether it ended by itself meanwhile is all the same.
        let _ = run.await;
    }
}

/// The name by which a state is reported.
pub(super) fn state_name(state: &SourceState) -> &'static str {
    match state {
        SourceState::Starting => "starting",
        SourceState::Standby { .. } => "standby",
        SourceState::Streaming => "streaming",
        SourceState::Retrying { .. } => "retrying",
        SourceState::Stopped { .. } => "stopped",
        SourceState::Drained => "drained",
        SourceState::Paused => "paused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_source::Remove;
    use tidemesh_transport::RemoteTransport;

    impl SourceTable {
        /// A source that does not run, and is removed so.
        pub(in crate::daemon) fn of_one(name: &str, remover: Arc<dyn Remove>) -> Arc<Self> {
            let settings = serde_json::json!({"name": name, "postgres": {
                "host": "127.0.0.1", "port": 1, "database": "d", "user": "u", "tables": ["s.t"],
            }});
            let settings: SourceSettings = serde_json::from_value(settings).unwrap();
            let transport = Arc::new(RemoteTransport::new("tcp://127.0.0.1:1").unwrap());
            let registry = RegistryClient::new("http://127.0.0.1:1").unwrap();
            let (_, shutdown) = watch::channel(false);
            let sources = Sources::new(transport, registry, PathBuf::new(), shutdown);
            let start = StartSource { settings: Arc::new(settings.clone()), paused: true };
            sources.run(start, &settings, ManagedBy::User).unwrap();
            let table = sources.table();
            table.running().get_mut(name).unwrap().handle.remover = remover;
            table
        }
    }
}
