//! A schema registry with Confluent's REST contract: the control plane's record of which schemas
//! a topic may hold, and the check that keeps its readers working.
//!
//! Producers register a schema and get an id for their frames; consumers ask for the schema of an
//! id. [`Registry`] is the machine, over one SQLite file and served from memory; [`router`] puts
//! HTTP around it, and [`serve`] a listener. Schemas are Avro's, judged by `tidemesh-avro`.
//!
//! [`Security`] keeps the listener: TLS, log-in, roles, the audit log.

mod access;
mod avro;
mod config;
mod consumer;
mod decide;
mod http;
mod level;
mod measure;
mod metadata;
mod refusal;
mod registry;
mod setting;
mod state;
mod store;
mod subject;
mod tags;
mod text;
mod version;

pub use access::{
    AuditConfig, GRANT_CONTEXT_DEFAULT, Grant, Grantee, KeySource, Rate, Role, Security,
    SecurityConfig, TlsConfig, TokenConfig, hash_password, token_algorithms,
};
pub use config::{IncompatibleCode, Limits, PORT_DEFAULT, RegistryConfig};
pub use consumer::{
    CONSUMER_BYTES_MAX, CONSUMER_FIELDS_MAX, CONSUMER_NAME_BYTES_MAX, CONSUMERS_MAX, Consumer,
    Group, GroupWatch, REGISTRY_CONSUMERS_MAX,
};
pub use http::{router, serve, serve_secured};
pub use level::CompatibilityLevel;
pub use metadata::{Metadata, Rule, RuleKind, RuleMode, RuleSet};
pub use refusal::Refusal;
pub use registry::{
    Explained, Explanation, Page, Registered, RegisteredConsumer, Registry, SCHEMAS_PAGE_MAX,
    SUBJECTS_PAGE_MAX, SubjectVersion, Submission, VERSIONS_PAGE_MAX,
};
pub use setting::{Mode, Setting};
pub use state::{Filter, Guid, Identity, Reference};
pub use tags::TaggedEntity;
pub use tidemesh_store::StoreConfig;
pub use version::VersionSpec;
