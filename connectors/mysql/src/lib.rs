//! The MySQL and MariaDB connector: reads the binary log of MySQL 8.0 to 9 and of MariaDB 10.5 to 11.
//!
//! The data's path: `client` (socket, stream) → `source` (batches, cut by `scan`) → `batch` (events, by
//! the `cursor` over `frame` and `decode`) → `relation` (rows) → `types` (cells) → the visitor. Beside the
//! log, `catalog` has tables as they are today, and `snapshot` reads them. Absent here: Avro, topics,
//! checkpoints' storage.

#[cfg(test)]
mod allocations;
mod batch;
mod bytes;
mod catalog;
mod client;
mod config;
mod cursor;
mod ddl;
mod decode;
mod discover;
mod follow;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gtid;
mod held;
mod history;
mod kind;
mod known;
mod marks;
mod numeric;
mod open;
mod place;
mod precheck;
mod prepared;
mod relation;
mod scan;
mod server;
mod snapshot;
mod source;
mod statement;
mod stored;
mod tables;
mod takeup;
#[cfg(test)]
mod tests;
mod transaction;
mod turn;
mod types;
mod unpacking;
mod versions;
mod watch;
mod xa;

pub use batch::MysqlBatch;
pub use config::parse_place;
pub use open::MysqlConnector;
pub use snapshot::{MysqlChunk, MysqlReader};
pub use source::MysqlSource;
pub use stored::forgotten_place;

/// Finds a source's tables and checks what it needs, as a start does, and makes what is missing: for
/// tests with real servers.
///
/// # Errors
///
/// `Config`; `Prerequisite`, `Privilege` or `Conflict` with all that is wrong.
#[cfg(feature = "conformance")]
pub async fn precheck(settings: &tidemesh_model::SourceSettings) -> tidemesh_model::Result<()> {
    let mut config = config::Config::try_from(settings)?;
    let mut sql = client::Sql::connect(&config.settings).await?;
    config.tables = discover::tables(&mut sql, &config).await?;
    precheck::run(&mut sql, &config).await
}
