//! What a claim needs of a database.

use crate::Connector;
use std::future::Future;
use std::time::Duration;
use tidemesh_model::TableName;
use tokio::time::Instant;

/// How long anything may take to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// As whom a connector logs in, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// As a user who may do all that a source needs.
    Right,
    /// As one whom the server does not let in.
    Refused,
    /// At a port of the server's host where nobody listens.
    Away,
}

/// A database of one test's own, at first without a table. What it cannot do it panics about.
pub trait Bench: Sized {
    /// What is held to the contract.
    type Connector: Connector;

    /// Runs SQL.
    type Session: Session;

    /// The first part of the names of its tables.
    fn schema(&self) -> &str;

    /// A connector of the bench's one source over tables of these names, or patterns. Each is as another
    /// process has it.
    fn connector(&self, tables: &[&str], login: Login) -> Self::Connector;

    /// A session of its own, in which names without a schema are the bench's.
    fn session(&self) -> impl Future<Output = Self::Session>;

    /// Has the database count a table's rows, of which it then knows about how many there are.
    fn analyze(&self, table: &str) -> impl Future<Output = ()>;

    /// Has the log identify the rows of a table without a key by all of their columns.
    fn log_whole_rows(&self, table: &str) -> impl Future<Output = ()>;

    /// Ends every connection that a connector has made.
    fn cut(&self) -> impl Future<Output = ()>;

    /// Has the database discard all of its log that it can, whether a source needs it or not.
    fn discard_log(&self) -> impl Future<Output = ()>;

    /// Gives back what the server has for it.
    fn end(self) -> impl Future<Output = ()>;
}

/// A session of a bench.
pub trait Session {
    /// Runs statements, which `;` separates; several are one transaction, unless they say otherwise.
    fn run(&mut self, sql: &str) -> impl Future<Output = ()>;
}

/// Waits until `holds` gives something; panics with `what` if it never does.
pub async fn eventually<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = holds().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What `future` gives, which comes long before [`PATIENCE`] is over.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE / 2, future).await {
        Ok(done) => done,
        Err(_) => panic!("does not come: {what}"),
    }
}

/// Runs each of these in one session.
pub(super) async fn write<B: Bench>(bench: &B, statements: &[&str]) {
    let mut session = bench.session().await;
    for statement in statements {
        session.run(statement).await;
    }
}

/// A table of a number as the key and a note, and rows.
pub(super) async fn make_table<B: Bench>(bench: &B, table: &str) {
    let sql = format!("CREATE TABLE {table} (id INT PRIMARY KEY, note TEXT)");
    write(bench, &[&sql]).await;
}

/// A table's whole name.
pub(super) fn named<B: Bench>(bench: &B, table: &str) -> TableName {
    TableName::new(bench.schema(), table)
}

/// What reads tables of a bench.
pub(super) type ReaderOf<B> = <<B as Bench>::Connector as Connector>::Reader;

/// A reader of a connector over these tables.
pub(super) async fn reader_of<B: Bench>(bench: &B, tables: &[&str]) -> ReaderOf<B> {
    let connector = bench.connector(tables, Login::Right);
    connector.discover().await.unwrap();
    connector.reader().await.unwrap()
}
