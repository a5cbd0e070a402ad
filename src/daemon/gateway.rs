//! The role of the emit gateway: applications' events over HTTP, beside a control port with the metrics.

use super::control::{Control, Endpoints};
use super::metrics::Metrics;
use super::roles::{bind, local, wait};
use super::signals::{stopped, watch_signals};
use crate::config::GatewayRole;
use crate::telemetry::install_metrics;
use std::sync::Arc;
use tidemesh_emit_gateway::{Gateway, Target};
use tidemesh_model::Result;
use tokio::task::JoinSet;

/// Serves a gateway until the process is told to stop; what was taken is delivered before it ends.
///
/// # Errors
///
/// What keeps it from starting. Registry and log may be away: requests are answered 503 then.
pub(crate) async fn emit_gateway(role: GatewayRole) -> Result<()> {
    let GatewayRole { control, gateway: config } = role;
    let shutdown = watch_signals()?;
    let metrics = Metrics::new(install_metrics()?, None);
    let listener = bind(config.listen, "gateway.listen").await?;
    let control = bind(control, "control.listen").await?;
    let data = match &config.target {
        Target::Remote(url) => Some(url.clone()),
        Target::Kafka(_) => None,
    };
    let endpoints = Endpoints { data, registry: Some(config.registry_url.clone()) };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let gateway = Gateway::open(config)?;
    tracing::info!(
        gateway = format!("{scheme}://{}", local(&listener)?),
        control = format!("http://{}", local(&control)?),
        data = endpoints.data.as_deref(),
        registry = endpoints.registry.as_deref(),
        "listening"
    );
    let mut parts = JoinSet::new();
    let stopping = stopped(shutdown.clone());
    parts.spawn(tidemesh_emit_gateway::serve(listener, gateway, stopping));
    let control_port = Control::new(endpoints, Arc::default(), metrics);
    parts.spawn(control_port.serve(control, shutdown));
    wait(parts).await
}
