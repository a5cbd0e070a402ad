//! What a processor needs of a registry.

use std::future::Future;
use std::sync::Arc;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_model::Result;
use tidemesh_transport::RegistryClient;

/// A registry of schemas.
pub trait Schemas: Send + Sync {
    /// The text of the schema with this id.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none; `Unavailable` if the registry cannot be reached.
    fn schema(&self, id: u32) -> impl Future<Output = Result<Arc<str>>> + Send;

    /// Registers the schemas of a topic that is written, as [`RegistryClient::register_topic`].
    ///
    /// # Errors
    ///
    /// `Incompatible` if a subject refuses its schema; `Unavailable`.
    fn register_topic(
        &self,
        topic: &str,
        key: Option<&str>,
        value: &str,
    ) -> impl Future<Output = Result<SchemaIds>> + Send;
}

impl Schemas for RegistryClient {
    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        self.schema(id).await
    }

    async fn register_topic(
        &self,
        topic: &str,
        key: Option<&str>,
        value: &str,
    ) -> Result<SchemaIds> {
        self.register_topic(topic, key, value).await
    }
}
