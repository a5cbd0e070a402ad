//! Removal of a source: its run loop ends, then what is durable of it goes. The database's part (a
//! slot) and the topics go only if that is asked for.

use crate::checkpoint::{epoch_item, first_epoch, read_checkpoint};
use crate::clock::now_us;
use crate::{Connector, SourceStatus};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};
use tidemesh_transport::{Append, Generations, Transport, announced_by, withdraw};
use tokio::sync::watch;

/// How long the run loop may take to end.
const END_MAX: Duration = Duration::from_secs(15);

/// What goes with a source beside its checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoveRequest {
    /// What the connector made in the database for reading its log: the slot.
    pub drop_slot: bool,
    /// The topics.
    pub delete_topics: bool,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Items of the checkpoint.
    pub items: usize,
    /// What was dropped in the database; none if that was not asked for or there was nothing.
    pub slot: Option<String>,
    /// The topics that were deleted.
    pub topics: Vec<String>,
}

/// Removes a source, whatever its database and transport.
pub trait Remove: fmt::Debug + Send + Sync {
    /// Ends the source's run loop, then removes what is durable of it.
    ///
    /// # Errors
    ///
    /// `Timeout` if the run loop does not end; what the database and the transport answer: then
    /// call it again.
    fn remove<'a>(
        &'a self,
        request: RemoveRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Removed>> + Send + 'a>>;
}

/// What a removal needs of a source.
pub(crate) struct Remover<C, T> {
    pub(crate) connector: Arc<C>,
    pub(crate) transport: Arc<T>,
    pub(crate) status: Arc<SourceStatus>,
    /// Ends the run loop.
    pub(crate) stop: watch::Sender<bool>,
    /// Closed when the run loop has ended.
    pub(crate) ended: watch::Receiver<()>,
}

impl<C, T> fmt::Debug for Remover<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remover").field("source", &self.status.name()).finish_non_exhaustive()
    }
}

impl<C: Connector, T: Transport> Remove for Remover<C, T> {
    fn remove<'a>(
        &'a self,
        request: RemoveRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Removed>> + Send + 'a>> {
        Box::pin(self.run(request))
    }
}

impl<C: Connector, T: Transport> Remover<C, T> {
    async fn run(&self, request: RemoveRequest) -> Result<Removed> {
        let source = self.status.name();
        // Who runs watches it; one that has ended does not.
        let _ = self.stop.send(true);
        let mut ended = self.ended.clone();
        let end = async { while ended.changed().await.is_ok() {} };
        tokio::time::timeout(END_MAX, end).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "remove a source")
                .because("its run loop does not end")
                .with("source", source)
        })?;
        let slot = if request.drop_slot { self.connector.drop_log().await? } else { None };
        let mut topics = Vec::new();
        if request.delete_topics {
            // What was found last is the most that is known where the database is away.
            if let Err(error) = self.connector.discover().await {
                tracing::warn!(source, error = error.report(), "the tables are those known so far");
            }
            let generations = Generations::take(&mut self.transport.state(source).await?)?;
            let tables = self.connector.tables();
            for topic in tables.iter().flat_map(|table| generations.topics(source, table)) {
                match self.transport.delete_topic(&topic).await {
                    Ok(()) => topics.push(topic),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let announced = announced_by(self.transport.as_ref(), source).await?;
        withdraw(self.transport.as_ref(), &announced, now_us() / 1000).await?;
        let items = remove_state(self.transport.as_ref(), source).await?;
        tracing::info!(source, items, slot, topics = topics.len(), "removed");
        Ok(Removed { items, slot, topics })
    }
}

/// Removes what is durable of a source that does not run: all but its epoch, which a source of the
/// same name goes on from, so that its events stand behind those that the topics have. Answers how
/// many items there were.
///
/// # Errors
///
/// What the transport answers.
pub async fn remove_state<T: Transport>(transport: &T, source: &str) -> Result<usize> {
    // An instance that runs elsewhere is fenced by this.
    let writer = transport.open_writer(source).await?;
    let items = transport.state(source).await?;
    let count = items.len();
    let next = match read_checkpoint(source, items.clone())? {
        Some(checkpoint) => checkpoint.position.epoch + 1,
        None => first_epoch(&items)?,
    };
    let mut state: Vec<StateItem> =
        items.into_keys().map(|key| StateItem { key, value: None }).collect();
    let epoch = epoch_item(next);
    state.retain(|item| item.key != epoch.key);
    state.push(epoch);
    transport.append(Append { writer: Some(writer), state, ..Append::default() }).await?;
    Ok(count)
}
