//! The PostgreSQL connector: reads the log of PostgreSQL 14 to 18 by `pgoutput`, over a replication
//! connection of its own, and asks the catalog for what the log does not carry.
//!
//! The data's path: `client` (socket, stream) → `source` (batches) → `batch` (events) → `relation`
//! (rows) → `types` (cells) → the visitor; beside the log, `snapshot` reads tables. Absent here:
//! Avro, topics, checkpoints' storage.

mod batch;
mod catalog;
mod client;
mod config;
mod ddl;
mod decode;
mod discover;
mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod identity;
mod kind;
mod known;
mod numeric;
mod open;
mod precheck;
mod relation;
mod snapshot;
mod source;
mod storage;
mod turn;
mod types;
mod watch;

pub use batch::PostgresBatch;
pub use config::parse_lsn;
pub use open::PostgresConnector;
pub use snapshot::{PostgresChunk, PostgresReader};
pub use source::PostgresSource;
