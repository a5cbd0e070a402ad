//! Where the registry is kept: one SQLite file of one process, or a PostgreSQL database of any
//! number of them.
//!
//! A store keeps [`Change`]s and gives them back. It is used by one thread of a process, the one that
//! writes; requests that read are answered from memory.

mod postgres;
pub(crate) mod rows;
mod sqlite;

use tidemesh_model::Result;

use crate::state::{Change, State};
use tidemesh_store::StoreConfig;

pub(crate) use postgres::listen;
pub(crate) use sqlite::SqliteStore;

/// How far a store had come: the number of the last write, and something random that tells it from
/// another of that number, after the store was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) number: i64,
    pub(crate) tag: i64,
}

/// Everything that a store holds.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) mark: Mark,
}

/// What others have written.
#[derive(Debug)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// These changes, in their order.
    Changes(Vec<Change>, Mark),
    /// So much, or in so strange an order, that all is read anew.
    Everything(Loaded),
}

/// Where the registry is kept.
///
/// A write is `begin`, then `commit` or `give_up`. Between them no other process writes, so that what
/// is decided on the state of `begin` holds. After an error of `commit` it is unknown whether the
/// changes are durable: `load` tells. Calls wait for the disk or the network.
pub(crate) trait Store: Send + std::fmt::Debug {
    /// A name for the registry that is made with the store and never changes.
    fn registry_id(&self) -> &str;

    /// Reads everything.
    fn load(&mut self) -> Result<Loaded>;

    /// Keeps all others from writing, and tells what they have written since `known`.
    fn begin(&mut self, known: Mark) -> Result<News>;

    /// Makes all of the changes durable, or none of them, and lets others write.
    fn commit(&mut self, changes: &[Change]) -> Result<Mark>;

    /// Lets others write.
    fn give_up(&mut self);

    /// What others have written since `known`.
    fn news(&mut self, known: Mark) -> Result<News>;

    /// Writes something of no meaning, to learn whether writing works.
    fn probe(&mut self) -> Result<()>;

    /// The connection, for tests that break things.
    #[cfg(test)]
    fn sqlite(&self) -> Option<&rusqlite::Connection> {
        None
    }
}

/// Opens a store, making or upgrading it.
pub(crate) fn open(config: &StoreConfig) -> Result<Box<dyn Store>> {
    Ok(match config {
        StoreConfig::Sqlite(file) => Box::new(SqliteStore::open(file)?),
        StoreConfig::Postgres(url) => Box::new(postgres::PostgresStore::open(url.expose())?),
    })
}
