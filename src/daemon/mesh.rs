//! The control plane alone, and a pipeline alone: processes beside that which holds the log.

use super::canary::Canaries;
use super::control::{Control, Endpoints};
use super::metrics::Metrics;
use super::pipelines::{Pipelines, WhenFenced};
use super::roles::{announce, bind, dataset_namespace, holder, local, process_id, wait};
use super::signals::watch_signals;
use super::topics::Topics;
use super::workers::{self, Command, Hub, Station, Worker};
use crate::config::{ControllerRole, LogConfig, PipelineRole, Runtime};
use crate::telemetry::install_metrics;
use std::path::PathBuf;
use std::sync::Arc;
use tidemesh_controller::{Canary, Controller, ControllerConfig, TopicKeeper, TopicLog, TopicsOf};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_processors::sdk::Processors;
use tidemesh_transport::kafka::KafkaTransport;
use tidemesh_transport::{RegistryClient, RemoteTransport, Transport, serve_remote};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Runs a controller whose pipelines are in other processes. `file` is its configuration, which the
/// processes that it starts have too.
///
/// # Errors
///
/// What keeps it from starting.
pub(crate) async fn controller(
    mut role: ControllerRole,
    file: PathBuf,
    processors: Processors,
) -> Result<()> {
    let (shutdown, metrics) = (watch_signals()?, install_metrics()?);
    let mut parts = JoinSet::new();
    let registry = RegistryClient::with_access(&role.registry_url, role.registry_access)?;
    let tried_by = (registry.clone(), processors.clone());
    let LogSide { data, keeper, topics, canary } =
        log(&role.log, tried_by, &mut role.controller, &shutdown, &mut parts).await?;
    let control = bind(role.control, "control.listen").await?;
    let address = local(&control)?;
    let url = role.url.unwrap_or_else(|| format!("http://{address}"));
    make_folder(&role.data_dir)?;
    let hub = Arc::new(Hub::new());
    let launcher = Arc::clone(&hub);
    let controller = Controller::open(role.controller, holder(url.clone()), registry, launcher)?;
    let controller = controller.with_processors(&processors.documents())?.keeping(keeper);
    let controller = controller.with_log(topics).with_canary(canary);
    let controller = Arc::new(controller);
    let endpoints = Endpoints { data: Some(data), registry: Some(role.registry_url) };
    announce(&address, &endpoints);
    let (running, stopping) = (Arc::clone(&controller), shutdown.clone());
    parts.spawn(async move { running.run(stopping).await });
    if role.runtime == Runtime::Process {
        let command = Command { program: program()?, config: absolute(file)?, controller: url };
        parts.spawn(workers::spawn(Arc::clone(&hub), command, shutdown.clone()));
    }
    let control_port = Control {
        routes: workers::routes(hub, Arc::clone(&controller)),
        controller: Some(controller),
        ..Control::new(endpoints, Arc::default(), Metrics::new(metrics, Some(role.data_dir)))
    };
    parts.spawn(control_port.serve(control, shutdown));
    wait(parts).await
}

/// What a controller has of the log.
struct LogSide {
    /// Where topics are read.
    data: String,
    keeper: Arc<dyn TopicKeeper>,
    topics: Arc<dyn TopicsOf>,
    canary: Arc<dyn Canary>,
}

impl LogSide {
    fn new<T: Transport>(
        data: String,
        transport: Arc<T>,
        (registry, processors): (RegistryClient, Processors),
    ) -> Self {
        Self {
            data,
            keeper: Arc::new(Topics(Arc::clone(&transport))),
            topics: Arc::new(TopicLog::new(Arc::clone(&transport))),
            canary: Arc::new(Canaries { transport, registry, processors }),
        }
    }
}

/// Opens the log. Of a cluster this process has a data port of its own.
async fn log(
    log: &LogConfig,
    tried_by: (RegistryClient, Processors),
    controller: &mut ControllerConfig,
    shutdown: &watch::Receiver<bool>,
    parts: &mut JoinSet<Result<()>>,
) -> Result<LogSide> {
    match log {
        LogConfig::Daemon(url) => {
            let transport = Arc::new(RemoteTransport::new(url)?);
            Ok(LogSide::new(url.clone(), transport, tried_by))
        }
        LogConfig::Kafka(kafka, listen) => {
            controller.topic_prefix.clone_from(&kafka.prefix);
            controller.dataset_namespace = dataset_namespace(&kafka.bootstrap_servers);
            let transport = Arc::new(KafkaTransport::new(kafka)?);
            let data = bind(*listen, "data.listen").await?;
            let url = format!("tcp://{}", local(&data)?);
            parts.spawn(serve_remote(Arc::clone(&transport), data.into(), shutdown.clone()));
            Ok(LogSide::new(url, transport, tried_by))
        }
    }
}

/// Runs a pipeline for a controller elsewhere.
///
/// # Errors
///
/// What keeps it from starting. A pipeline that fails does not end it: `/health` and the controller say
/// so.
pub(crate) async fn pipeline(
    role: PipelineRole,
    name: String,
    spawned: bool,
    processors: Processors,
) -> Result<()> {
    match role.log.clone() {
        LogConfig::Daemon(url) => {
            let transport = RemoteTransport::new(&url)?;
            Box::pin(pipeline_on(role, name, spawned, processors, transport, Some(url))).await
        }
        LogConfig::Kafka(kafka, _) => {
            let transport = KafkaTransport::new(&kafka)?;
            Box::pin(pipeline_on(role, name, spawned, processors, transport, None)).await
        }
    }
}

async fn pipeline_on<T: Transport>(
    role: PipelineRole,
    name: String,
    spawned: bool,
    processors: Processors,
    transport: T,
    data: Option<String>,
) -> Result<()> {
    let (shutdown, metrics) = (watch_signals()?, install_metrics()?);
    let registry = RegistryClient::with_access(&role.registry_url, role.registry_access)?;
    let control = bind(role.control, "control.listen").await?;
    let address = local(&control)?;
    let endpoints = Endpoints { data, registry: Some(role.registry_url) };
    announce(&address, &endpoints);
    let transport = Arc::new(transport);
    let pipelines = Pipelines::new(transport, registry, processors, WhenFenced::Ends);
    let (pid, url) = (std::process::id(), format!("http://{address}"));
    let worker = Worker { id: process_id(), pid, url, spawned };
    let station = Arc::new(Station::new(name, worker, pipelines, &role.controller_url)?);
    let told = Arc::clone(&station);
    let control_port = Control {
        job: Some(Box::new(move || told.report())),
        ..Control::new(endpoints, Arc::default(), Metrics::new(metrics, None))
    };
    // The port goes on until the job has ended, and no longer.
    let (end, ended) = watch::channel(false);
    let mut parts = JoinSet::new();
    parts.spawn(control_port.serve(control, ended));
    parts.spawn(async move {
        workers::run(station, shutdown).await;
        end.send_replace(true);
        Ok(())
    });
    wait(parts).await
}

fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| {
        Error::new(ErrorKind::Internal, "find this program's file").caused_by(error)
    })
}

fn absolute(file: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&file).map_err(|error| {
        Error::new(ErrorKind::Config, "find the configuration")
            .with("file", file.display())
            .caused_by(error)
    })
}

fn make_folder(folder: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::new(ErrorKind::Storage, "open the controller's store")
            .because("its folder cannot be made")
            .with("folder", folder.display())
            .caused_by(error)
    })
}
