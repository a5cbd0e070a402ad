//! One connection to a store's database, made when it is needed and there is none.

use crate::address::{Address, STATEMENT_MS_MAX};
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio_postgres::Client;

/// The longest that reading everything may take, in milliseconds.
pub const LOAD_MS_MAX: u64 = 120_000;

/// A way to the database, with the connection that it has.
pub struct Session {
    address: Address,
    client: Option<Client>,
    in_transaction: bool,
    /// When connecting failed last, if nothing succeeded since.
    failed_at: Option<Instant>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, client: None, in_transaction: false, failed_at: None }
    }

    /// Whether a transaction is open from one [`Session::run`] to the next.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Says whether a transaction stays open. One whose connection ends is not begun on another one.
    pub fn set_in_transaction(&mut self, open: bool) {
        self.in_transaction = open;
    }

    /// Whether connecting has failed within this time.
    #[must_use]
    pub fn has_failed_within(&self, time: Duration) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < time)
    }

    /// Runs something on the connection, for as long as a statement may take; whatever fails ends the
    /// connection, and with it what it had begun.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Privilege` as the database has it.
    pub async fn run<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        self.run_within(Duration::from_millis(STATEMENT_MS_MAX), doing, work).await
    }

    /// The same, for as long as `limit`.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub async fn run_within<T>(
        &mut self,
        limit: Duration,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            // Another connection has neither the lock nor the transaction.
            None if std::mem::take(&mut self.in_transaction) => {
                return Err(Error::new(ErrorKind::Unavailable, doing)
                    .because("the connection ended within a write"));
            }
            None => self.connect(doing).await?,
        };
        match tokio::time::timeout(limit, work(&client)).await {
            Ok(Ok(value)) => {
                self.client = Some(client);
                Ok(value)
            }
            Ok(Err(error)) => {
                self.in_transaction = false;
                Err(failed(error, doing))
            }
            Err(_) => {
                self.in_transaction = false;
                Err(Error::new(ErrorKind::Timeout, doing).because("the database does not answer"))
            }
        }
    }

    async fn connect(&mut self, doing: &'static str) -> Result<Client> {
        let connected = self.address.connect(|| ()).await;
        self.failed_at = connected.is_err().then(Instant::now);
        connected.map_err(|error| error.unwrap_or_else(|error| failed(error, doing)))
    }
}

/// The database's error as ours.
#[must_use]
pub fn failed(error: tokio_postgres::Error, doing: &'static str) -> Error {
    use tokio_postgres::error::SqlState;
    let kind = match error.code() {
        Some(&(SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION)) => {
            ErrorKind::Authentication
        }
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => ErrorKind::Privilege,
        Some(&(SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE)) => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, doing).caused_by(error)
}
