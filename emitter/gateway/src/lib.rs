//! The emitter over HTTP: applications in any language send events as JSON or Avro, and are answered once
//! each event is durable, or told why it was refused.
//!
//! It stands between applications and [`tidemesh_emitter`], which has the guarantees: schema first,
//! each accepted event once, in order within a partition. A topic is an emitter of its own, named
//! `<gateway>.<topic>`, that is connected when it is first used: so a topic that is fenced or waits holds up
//! no other, and an emitter's topics stay those that it was made with. [`Gateway`] is the machine, [`router`]
//! puts HTTP around it, and [`serve`] a listener. `openapi.json` is the contract.
//!
//! Absent here: connections and TLS, which `tidemesh-http` has, and everything that encodes, queues or tries
//! again.

mod answer;
mod body;
mod clients;
mod config;
mod emit;
mod gateway;
mod http;
mod pattern;
mod places;
mod topics;

pub use config::{GatewayConfig, Limits, PORT_DEFAULT, Target, TopicRule};
pub use gateway::Gateway;
pub use http::{router, serve};
#[cfg(feature = "kafka")]
pub use tidemesh_emitter::KafkaConfig;
pub use tidemesh_emitter::{RegistryAccess, RegistryLogin, Topic, TopicConfig, WhenFull};
pub use tidemesh_http::TlsConfig;
