//! What the controller keeps: items by their names, written by whoever holds the lease.
//!
//! An item is a JSON text under a name such as `document/Pipeline/paid`; what it means is known in
//! `state` alone. A store knows who may write: of several controllers over one store one holds the
//! lease, each lease has an epoch that rises with its holder, and a write carries it, so that a
//! controller that was paused changes nothing any more. Calls wait for the disk or the network.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod postgres;
mod sqlite;

use postgres::PostgresStore;
use serde::{Deserialize, Serialize};
use sqlite::SqliteStore;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_model::Result;
use tidemesh_store::StoreConfig;

/// All items, by their names.
pub(crate) type Items = BTreeMap<String, String>;

/// An item that is written, or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    /// None removes it.
    pub(crate) text: Option<String>,
}

/// A controller, as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What tells it from any other, also from itself before a restart.
    pub id: String,
    /// Where its API is, as `http://127.0.0.1:8090`.
    pub url: String,
}

/// Who may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lease {
    /// Whoever asked, with this epoch.
    Ours { epoch: u64 },
    /// Another one, for now.
    Others(Holder),
}

/// Where the controller's state is kept. Each call is atomic, and durable once it has answered; after an
/// error other than `Fenced` it is unknown whether a write is.
pub(crate) trait Store: Send + std::fmt::Debug {
    /// Takes the lease for so long from now on, or renews it; answers who has it. A holder that takes it
    /// from another, or after it was let go, gets the next epoch.
    fn lease(&mut self, holder: &Holder, time: Duration) -> Result<Lease>;

    /// Lets the lease go, if it is this one's.
    fn release(&mut self, epoch: u64) -> Result<()>;

    /// Reads everything.
    fn load(&mut self) -> Result<Items>;

    /// Makes all of the changes durable, or none of them; of several of one item the last counts.
    /// `Fenced` if the lease went to another since.
    fn write(&mut self, epoch: u64, changes: &[Change]) -> Result<()>;
}

/// Opens a store. A file is made or upgraded; a database is asked for nothing before the first call.
pub(crate) fn open(config: &StoreConfig) -> Result<Box<dyn Store>> {
    Ok(match config {
        StoreConfig::Sqlite(file) => Box::new(SqliteStore::open(file)?),
        StoreConfig::Postgres(url) => Box::new(PostgresStore::new(url.expose())?),
    })
}
