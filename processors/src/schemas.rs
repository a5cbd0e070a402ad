//! What a processor needs of a registry.

use std::future::Future;
use std::sync::Arc;
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

    /// Registers a schema under a subject and answers its id; the same schema has the same id.
    ///
    /// # Errors
    ///
    /// `Incompatible` if the subject's level refuses it; `Unavailable`.
    fn register(&self, subject: &str, schema: &str) -> impl Future<Output = Result<u32>> + Send;

    /// Registers the one schema that a subject ever has.
    ///
    /// # Errors
    ///
    /// `Conflict` or `Incompatible` if it has another; `Unavailable`.
    fn register_alone(
        &self,
        subject: &str,
        schema: &str,
    ) -> impl Future<Output = Result<u32>> + Send;

    /// Sets a subject's compatibility level.
    ///
    /// # Errors
    ///
    /// `Unavailable`, and what the registry refuses.
    fn set_level(&self, subject: &str, level: &str) -> impl Future<Output = Result<()>> + Send;
}

impl Schemas for RegistryClient {
    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        self.schema(id).await
    }

    async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        self.register(subject, schema).await
    }

    async fn register_alone(&self, subject: &str, schema: &str) -> Result<u32> {
        self.register_alone(subject, schema).await
    }

    async fn set_level(&self, subject: &str, level: &str) -> Result<()> {
        self.set_level(subject, level).await
    }
}
