//! What is asked of the database again and again while its log is read: how far the log has come, and
//! whether every table is still published, since a table that is dropped and made anew, or swapped
//! by its name, is not; and whether composite types are what they were, of which the log tells
//! nothing.

use crate::catalog::Catalog;
use crate::config::{Config, parse_lsn, quoted_table};
use crate::known::KnownTables;
use crate::relation::check_composites;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, TableName};
use tokio::sync::oneshot;

/// How often the database is asked how far its log has come.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// Every so many times it is asked for the tables too.
const ROUNDS_TO_TABLES: u32 = 2;

/// A task that asks, which ends with this.
pub(crate) struct Watch {
    log_end: Arc<AtomicU64>,
    found: oneshot::Receiver<Error>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    pub(crate) fn start(catalog: Arc<Catalog>, config: &Config, known: &Arc<KnownTables>) -> Self {
        let log_end = Arc::new(AtomicU64::new(0));
        let (finding, found) = oneshot::channel();
        let (config, shown) = (config.clone(), Arc::clone(&log_end));
        let known = Arc::clone(known);
        let task = tokio::spawn(async move {
            match watch(&catalog, &config, &known, &shown).await {
                // Who reads the log may have gone.
                Ok(error) => drop(finding.send(error)),
                // The stream says by itself when the server is away.
                Err(error) => tracing::debug!(error = error.report(), "the lag is not known"),
            }
        });
        Self { log_end, found, task }
    }

    /// How far the log reached when that was asked last; 0 before.
    pub(crate) fn log_end(&self) -> u64 {
        self.log_end.load(Ordering::Relaxed)
    }

    /// What was found wrong, once.
    pub(crate) fn found(&mut self) -> Option<Error> {
        self.found.try_recv().ok()
    }
}

/// Watches until something is wrong.
async fn watch(
    catalog: &Catalog,
    config: &Config,
    known: &KnownTables,
    log_end: &AtomicU64,
) -> Result<Error> {
    let mut round = 0;
    loop {
        let row = catalog.client.query_one(LOG_END, &[]).await.map_err(crate::catalog::asking)?;
        if let Some(lsn) = parse_lsn(row.get(0)) {
            log_end.store(lsn, Ordering::Relaxed);
        }
        for relation in known.latest() {
            match check_composites(catalog, &relation).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(error),
                checked => checked?,
            }
        }
        round += 1;
        if round % ROUNDS_TO_TABLES == 0
            && let Some(table) = unpublished(catalog, config).await?
        {
            return Ok(Error::new(ErrorKind::Unavailable, "read the log")
                .because("a table is there that the publication does not have")
                .with("table", quoted_table(&table))
                .with("publication", &config.publication)
                .help("a table that was made anew is added and read anew"));
        }
        tokio::time::sleep(LAG_INTERVAL).await;
    }
}

/// A captured table that is there and not published.
async fn unpublished(catalog: &Catalog, config: &Config) -> Result<Option<TableName>> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) =
        config.tables.iter().map(|table| (table.schema.as_str(), table.table.as_str())).unzip();
    let rows = catalog
        .client
        .query(UNPUBLISHED, &[&config.publication, &schemas, &tables])
        .await
        .map_err(crate::catalog::asking)?;
    Ok(rows.first().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))))
}

const LOG_END: &str = "SELECT pg_current_wal_lsn()::text";

const UNPUBLISHED: &str = "
SELECT n.nspname::text, c.relname::text
FROM unnest($2::text[], $3::text[]) AS wanted(schema_name, table_name)
JOIN pg_namespace n ON n.nspname = wanted.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.table_name AND c.relkind = 'r'
WHERE NOT EXISTS (SELECT FROM pg_publication_tables p WHERE p.pubname = $1
                  AND p.schemaname = n.nspname AND p.tablename = c.relname)
LIMIT 1";
