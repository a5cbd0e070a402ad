//! The roles: which parts a daemon starts, and how they end together.

use super::canary::Canaries;
use super::control::{Control, Endpoints};
use super::metrics::Metrics;
use super::pipelines::{Pipelines, WhenFenced};
use super::signals::{stopped, watch_signals};
use super::sources::Sources;
use super::topics::Topics;
use super::watch::LogWatch;
use crate::config::{ConnectorConfig, LogConfig, RegistryRole, UpConfig};
use crate::telemetry::install_metrics;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tidemesh_controller::{Controller, ControllerConfig, Holder, TopicLog};
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings};
use tidemesh_plan::document::Document;
use tidemesh_processors::sdk::Processors;
use tidemesh_schema_registry::{GroupWatch, Registry, RegistryConfig, Security, StoreConfig};
use tidemesh_source::now_us;
use tidemesh_transport::kafka::{KafkaConfig, KafkaTransport};
use tidemesh_transport::{
    EmbeddedConfig, EmbeddedTransport, RegistryClient, RemoteTransport, Transport, serve_remote,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Runs everything in one process: the log or a cluster, the registry, the sources.
///
/// # Errors
///
/// What keeps it from starting. A source that stops later does not end the others: `/health` says
/// so.
pub(crate) async fn up(mut config: UpConfig, processors: Processors) -> Result<()> {
    let shutdown = watch_signals()?;
    if let Some(kafka) = config.kafka.take() {
        config.controller.topic_prefix.clone_from(&kafka.prefix);
        config.controller.dataset_namespace = dataset_namespace(&kafka.bootstrap_servers);
        let transport = Arc::new(KafkaTransport::new(&kafka)?);
        let watch = watch_cluster(&kafka)?;
        return Box::pin(up_on(config, processors, transport, watch, shutdown)).await;
    }
    let folder = config.data_dir.join("log");
    let opening =
        tokio::task::spawn_blocking(move || EmbeddedTransport::open(&EmbeddedConfig::new(folder)));
    let transport = Arc::new(
        opening
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "open the log").caused_by(error))??,
    );
    let watch = Arc::new(LogWatch(Arc::clone(&transport)));
    Box::pin(up_on(config, processors, transport, watch, shutdown)).await
}

async fn up_on<T: Transport>(
    config: UpConfig,
    processors: Processors,
    transport: Arc<T>,
    watch: Arc<dyn GroupWatch>,
    shutdown: watch::Receiver<bool>,
) -> Result<()> {
    let metrics = install_metrics()?;
    let registry = bind(config.registry.listen, "registry.listen").await?;
    let control = bind(config.control, "control.listen").await?;
    let data = bind(config.data, "data.listen").await?;
    let registry_url = match config.registry_url {
        Some(named) => named,
        None => registry_address(&config.registry, &registry)?,
    };
    let security = Security::open(&config.registry.security)?;
    let endpoints = Endpoints {
        data: Some(format!("tcp://{}", local(&data)?)),
        registry: Some(registry_url.clone()),
    };
    let opened = Arc::new(open_registry(&config.registry)?.watching(watch));
    announce(&local(&control)?, &endpoints);
    let mut parts = JoinSet::new();
    let stopping = stopped(shutdown.clone());
    parts.spawn(tidemesh_schema_registry::serve_secured(registry, opened, security, stopping));
    parts.spawn(serve_remote(Arc::clone(&transport), data.into(), shutdown.clone()));
    if let Some(path) = &config.data_socket {
        let listener = bind_unix(path)?;
        parts.spawn(serve_remote(Arc::clone(&transport), listener.into(), shutdown.clone()));
    }
    let client = RegistryClient::with_access(&registry_url, config.registry_access)?;
    let sources =
        Sources::new(Arc::clone(&transport), client.clone(), config.secrets_dir, shutdown.clone());
    let sources = start_sources(sources, &config.sources, &mut parts)?;
    let listens = format!("http://{}", local(&control)?);
    let url = config.controller.url.clone().unwrap_or(listens);
    let configured =
        config.sources.into_iter().map(|source| Arc::new(Document::configured(source)));
    let controller = ControllerConfig { sources: configured.collect(), ..config.controller };
    let table = sources.table();
    let pipelines = Pipelines::new(transport, client.clone(), processors, WhenFenced::Retries);
    let plane = Plane { registry: client, pipelines, sources };
    let controller = start_controller(controller, url, plane, &shutdown, &mut parts)?;
    let metrics = Metrics::new(metrics, Some(config.data_dir));
    let control_port =
        Control { controller: Some(controller), ..Control::new(endpoints, table, metrics) };
    parts.spawn(control_port.serve(control, shutdown.clone()));
    wait(parts).await
}

/// What a controller has run in this process.
struct Plane<T> {
    registry: RegistryClient,
    pipelines: Pipelines<T>,
    sources: Arc<Sources<T>>,
}

/// Starts the controller, and ends its pipelines with it.
fn start_controller<T: Transport>(
    config: ControllerConfig,
    url: String,
    plane: Plane<T>,
    shutdown: &watch::Receiver<bool>,
    parts: &mut JoinSet<Result<()>>,
) -> Result<Arc<Controller<RegistryClient>>> {
    let Plane { registry, pipelines, sources } = plane;
    let documents = pipelines.processors().documents();
    let keeper = Topics(Arc::clone(pipelines.transport()));
    let log = TopicLog::new(Arc::clone(pipelines.transport()));
    let canary = Canaries {
        transport: Arc::clone(pipelines.transport()),
        registry: registry.clone(),
        processors: pipelines.processors().clone(),
    };
    let pipelines = Arc::new(pipelines);
    let launcher = Arc::clone(&pipelines);
    let controller = Controller::open(config, holder(url), registry, launcher)?;
    let controller = controller.with_processors(&documents)?.keeping(Arc::new(keeper));
    let controller = controller.with_connectors(sources).with_log(Arc::new(log));
    let controller = controller.with_canary(Arc::new(canary));
    let controller = Arc::new(controller);
    let (running, shutdown) = (Arc::clone(&controller), shutdown.clone());
    parts.spawn(async move {
        let ended = tokio::select! {
            ended = running.run(shutdown) => ended,
            // It goes on for ever.
            () = pipelines.watch_lag() => Ok(()),
        };
        pipelines.stop_all().await;
        ended
    });
    Ok(controller)
}

/// This process as a controller. `url` is where others reach it.
pub(super) fn holder(url: String) -> Holder {
    Holder { id: process_id(), url }
}

/// What no other process is called.
pub(super) fn process_id() -> String {
    format!("{}-{:x}", std::process::id(), now_us())
}

/// The namespace of a cluster's topics, as OpenLineage names it.
pub(super) fn dataset_namespace(bootstrap_servers: &str) -> String {
    let first = bootstrap_servers.split(',').next().unwrap_or_default();
    format!("kafka://{}", first.trim())
}

/// Runs sources alone, whose records go to another process or to a cluster.
///
/// # Errors
///
/// As [`up`].
pub(crate) async fn connector(config: ConnectorConfig) -> Result<()> {
    let shutdown = watch_signals()?;
    let mut parts = JoinSet::new();
    match config.log.clone() {
        LogConfig::Daemon(url) => {
            let transport = Arc::new(RemoteTransport::new(&url)?);
            Box::pin(connector_on(config, transport, url, shutdown, parts)).await
        }
        LogConfig::Kafka(kafka, listen) => {
            let transport = Arc::new(KafkaTransport::new(&kafka)?);
            let data = bind(listen, "data.listen").await?;
            let url = format!("tcp://{}", local(&data)?);
            parts.spawn(serve_remote(Arc::clone(&transport), data.into(), shutdown.clone()));
            Box::pin(connector_on(config, transport, url, shutdown, parts)).await
        }
    }
}

async fn connector_on<T: Transport>(
    config: ConnectorConfig,
    transport: Arc<T>,
    data_url: String,
    shutdown: watch::Receiver<bool>,
    mut parts: JoinSet<Result<()>>,
) -> Result<()> {
    let metrics = install_metrics()?;
    let client = RegistryClient::with_access(&config.registry_url, config.registry_access)?;
    let control = bind(config.control, "control.listen").await?;
    let endpoints = Endpoints { data: Some(data_url), registry: Some(config.registry_url.clone()) };
    announce(&local(&control)?, &endpoints);
    // No document names files here.
    let sources = Sources::new(transport, client, PathBuf::new(), shutdown.clone());
    let sources = start_sources(sources, &config.sources, &mut parts)?.table();
    let metrics = Metrics::new(metrics, None);
    let control_port = Control::new(endpoints, sources, metrics);
    parts.spawn(control_port.serve(control, shutdown.clone()));
    wait(parts).await
}

/// Runs the registry alone; with a control port where one is asked for.
///
/// # Errors
///
/// What keeps it from starting.
pub(crate) async fn registry(role: RegistryRole, control: Option<SocketAddr>) -> Result<()> {
    let RegistryRole { config, log } = role;
    let shutdown = watch_signals()?;
    let listener = bind(config.listen, "registry.listen").await?;
    let url = registry_address(&config, &listener)?;
    let security = Security::open(&config.security)?;
    let Some(control) = control else {
        let registry = Arc::new(open_watching(&config, log)?);
        tracing::info!(registry = url, "listening");
        let stopping = stopped(shutdown);
        return tidemesh_schema_registry::serve_secured(listener, registry, security, stopping)
            .await;
    };
    let metrics = Metrics::new(install_metrics()?, None);
    let control = bind(control, "--control").await?;
    let registry = Arc::new(open_watching(&config, log)?);
    let endpoints = Endpoints { data: None, registry: Some(url) };
    announce(&local(&control)?, &endpoints);
    let mut parts = JoinSet::new();
    let stopping = stopped(shutdown.clone());
    parts.spawn(tidemesh_schema_registry::serve_secured(listener, registry, security, stopping));
    let control_port = Control::new(endpoints, Arc::default(), metrics);
    parts.spawn(control_port.serve(control, shutdown));
    wait(parts).await
}

/// Watches a cluster's groups: all of them, by their names there.
fn watch_cluster(kafka: &KafkaConfig) -> Result<Arc<dyn GroupWatch>> {
    let whole = KafkaConfig { prefix: String::new(), ..kafka.clone() };
    Ok(Arc::new(LogWatch(Arc::new(KafkaTransport::new(&whole)?))))
}

/// A registry alone, which asks the log for consumer groups if it is told of one.
fn open_watching(config: &RegistryConfig, log: Option<LogConfig>) -> Result<Registry> {
    let registry = open_registry(config)?;
    Ok(match log {
        None => registry,
        Some(LogConfig::Kafka(kafka, _)) => registry.watching(watch_cluster(&kafka)?),
        Some(LogConfig::Daemon(url)) => {
            registry.watching(Arc::new(LogWatch(Arc::new(RemoteTransport::new(&url)?))))
        }
    })
}

fn registry_address(config: &RegistryConfig, listener: &TcpListener) -> Result<String> {
    let scheme = if config.security.tls.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", local(listener)?))
}

fn open_registry(config: &RegistryConfig) -> Result<Registry> {
    if let StoreConfig::Sqlite(file) = &config.store
        && let Some(folder) = file.parent()
    {
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::new(ErrorKind::Storage, "open the registry's store")
                .because("its folder cannot be made")
                .with("folder", folder.display())
                .caused_by(error)
        })?;
    }
    Registry::open(config)
}

/// Starts the sources of a configuration, which end when the process is told to.
fn start_sources<T: Transport>(
    sources: Sources<T>,
    settings: &[SourceSettings],
    parts: &mut JoinSet<Result<()>>,
) -> Result<Arc<Sources<T>>> {
    let sources = Arc::new(sources);
    sources.start_configured(settings)?;
    parts.spawn(Arc::clone(&sources).end_with());
    Ok(sources)
}

/// Waits for every part; the first error ends the wait.
pub(super) async fn wait(mut parts: JoinSet<Result<()>>) -> Result<()> {
    while let Some(part) = parts.join_next().await {
        part.map_err(|e| Error::new(ErrorKind::Internal, "run the daemon").caused_by(e))??;
    }
    Ok(())
}

pub(super) async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::new(ErrorKind::Conflict, "listen")
            .because(format!("{key} cannot be used"))
            .with("address", address)
            .caused_by(error)
            .help("stop what listens there, or choose another address")
    })
}

fn bind_unix(path: &std::path::Path) -> Result<tokio::net::UnixListener> {
    // One that a killed daemon left behind: the log's lock tells that nobody else serves it.
    let _ = std::fs::remove_file(path);
    tokio::net::UnixListener::bind(path).map_err(|error| {
        Error::new(ErrorKind::Conflict, "listen")
            .because("data.socket cannot be used")
            .with("path", path.display())
            .caused_by(error)
    })
}

pub(super) fn local(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|e| Error::new(ErrorKind::Internal, "listen").caused_by(e))
}

pub(super) fn announce(control: &SocketAddr, endpoints: &Endpoints) {
    let (data, registry) = (endpoints.data.as_deref(), endpoints.registry.as_deref());
    tracing::info!(control = format!("http://{control}"), data, registry, "listening");
}
