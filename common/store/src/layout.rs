//! The version of a store's tables, and how they are brought to it.

use tidemesh_model::{Error, ErrorKind, Result};
use tokio_postgres::Client;

/// The tables of a store, in a schema of their own.
#[derive(Debug)]
pub struct Layout {
    /// The schema's name.
    pub schema: &'static str,
    /// The number of the advisory lock that whoever brings them to another version holds.
    pub lock: i64,
    /// SQL, step by step: step `n` brings tables of version `n` to `n + 1`. A step that has been
    /// released is never edited.
    pub steps: &'static [&'static str],
}

impl Layout {
    /// Begins a transaction that holds the lock.
    ///
    /// # Errors
    ///
    /// The database's own.
    pub async fn lock(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let lock = self.lock;
        client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({lock})")).await
    }

    /// Makes or upgrades the tables, one process at a time; answers their version. What a newer program
    /// made is left as it is.
    ///
    /// # Errors
    ///
    /// The database's own; then nothing has changed.
    pub async fn prepare(&self, client: &Client) -> Result<usize, tokio_postgres::Error> {
        self.lock(client).await?;
        let schema = self.schema;
        client
            .batch_execute(&format!(
                "CREATE SCHEMA IF NOT EXISTS {schema};
                 CREATE TABLE IF NOT EXISTS {schema}.layout (version int NOT NULL)"
            ))
            .await?;
        let version = self.version(client).await?;
        for (step, sql) in self.steps.iter().enumerate().skip(version) {
            client.batch_execute(sql).await?;
            let number = i32::try_from(step + 1).unwrap_or(i32::MAX);
            let sql = format!("INSERT INTO {schema}.layout VALUES ($1)");
            client.execute(&sql, &[&number]).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(version.max(self.steps.len()))
    }

    /// The version of the tables.
    ///
    /// # Errors
    ///
    /// The database's own.
    pub async fn version(&self, client: &Client) -> Result<usize, tokio_postgres::Error> {
        let schema = self.schema;
        let sql = format!("SELECT coalesce(max(version), 0) FROM {schema}.layout");
        let row = client.query_one(&sql, &[]).await?;
        Ok(usize::try_from(row.get::<_, i32>(0)).unwrap_or(0))
    }

    /// Refuses tables that this program does not know.
    ///
    /// # Errors
    ///
    /// `NewerVersion`.
    pub fn check(&self, version: usize, doing: &'static str) -> Result<()> {
        if version <= self.steps.len() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NewerVersion, doing)
            .because("a newer version of this program made its tables")
            .with("version", version)
            .with("version_known", self.steps.len())
            .help("run the newer program; this one would not understand the data"))
    }
}
