//! MySQL and MariaDB as a source: what PostgreSQL's tests show, of this connector.
//!
//! They run against the server that `scripts/test` has started, or against the one of
//! `scripts/test --mysql URL`; those that stop a server, or need two, start MariaDB.

mod bad_input;
mod distributed;
mod failover;
mod faults;
mod kafka;
mod network;
mod schemas;
mod snapshot;
mod streaming;
mod values;

use crate::support::mysql::Database;

/// The table that the writer writes, and its topic.
const TABLE: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY, n BIGINT, note TEXT)";

/// Configuration of a source of this table.
fn of_orders(database: &Database) -> String {
    database.configuration(&["orders"], "")
}
