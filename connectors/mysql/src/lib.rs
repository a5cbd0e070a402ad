//! The MySQL and MariaDB connector: reads the binary log of MySQL 8.0 to 9 and of MariaDB 10.5 to 11.
//!
//! The data's path: `frame` (events, their checksums) → `decode` (what an event says) → `relation`
//! (rows) → `types` (cells) → the visitor. All of it is pure: any bytes are read or refused. Absent
//! here so far: the client, the source and the snapshot; Avro, topics, checkpoints' storage.
#![allow(dead_code, reason = "the client, the source and the snapshot come next and use all of it")]
#![allow(unused_imports, reason = "what the modules hand out is for those, too")]

#[cfg(test)]
mod allocations;
mod bytes;
mod client;
mod config;
mod decode;
mod discover;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gtid;
mod kind;
mod numeric;
mod precheck;
mod relation;
mod takeup;
mod types;

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
