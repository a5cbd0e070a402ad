//! A gateway that is served.

use crate::client::Client;
use crate::mesh::{Mesh, ORDER};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_emit_gateway::{Gateway, GatewayConfig, Limits, Target, Topic, TopicRule, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ORDERS: &str = "shop.orders";

/// A gateway on a port.
pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Arc<Gateway>,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<tidemesh_emitter::Result<()>>,
}

impl Started {
    pub(crate) async fn new(config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway: Arc<Gateway> = Gateway::open(config).unwrap();
        let (end, ended) = oneshot::channel();
        let shutdown = async move { ended.await.unwrap_or_default() };
        let serving = tokio::spawn(serve(listener, Arc::clone(&gateway), shutdown));
        Self { address, gateway, end: Some(end), serving }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Ends it, as a process does that is told to.
    pub(crate) async fn end(mut self) {
        self.end.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

/// A gateway for `shop.orders`, with its schema and a key, and for whatever else begins with `shop.`.
pub(crate) fn config(mesh: &Mesh) -> GatewayConfig {
    let mut config = GatewayConfig::new("edge", Target::Remote(mesh.url()), &mesh.registry);
    let settings = Topic::new().key(["customer"]).partitions(3);
    let orders = TopicRule { name: ORDERS.to_owned(), schema: Some(ORDER.to_owned()), settings };
    config.topics = vec![orders, TopicRule::new("shop.*")];
    config
}

/// The same with bounds that a test comes to.
pub(crate) fn small(mesh: &Mesh) -> GatewayConfig {
    let limits = Limits {
        body_bytes_max: 64 * 1024,
        events_max: 100,
        queue_bytes_max: 64 * 1024,
        answer_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    GatewayConfig { limits, ..config(mesh) }
}

pub(crate) async fn started() -> (Mesh, Started) {
    let mesh = Mesh::new().await;
    let started = Started::new(config(&mesh)).await;
    (mesh, started)
}

pub(crate) fn order(id: i64) -> serde_json::Value {
    serde_json::json!({ "id": id, "customer": format!("c{}", id % 7), "note": null })
}
