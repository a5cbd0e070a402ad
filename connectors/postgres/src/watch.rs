//! What is asked of the database again and again while its log is read: how far the log has come, what
//! the slot keeps of it, and whether every table is still published, since a table that is dropped
//! and made anew, or swapped by its name, is not; whether one is another than its name stood for, of which
//! the log need not tell; whether a table was made that the settings mean; and
//! whether composite types are what they were, of which the log tells nothing.

use crate::catalog::{Catalog, answered, asking};
use crate::config::{Config, parse_lsn, quoted_table};
use crate::discover;
use crate::known::KnownTables;
use crate::relation::check_composites;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, TableName};
use tidemesh_source::{Newcomer, SlotReport, Vitals, now_us};

/// How often the database is asked how far its log has come and what the slot keeps of it.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// Every so many times it is asked for the tables too.
const ROUNDS_TO_TABLES: u32 = 2;

/// What is asked, and what is known of it.
pub(crate) struct Watch {
    log_end: Arc<AtomicU64>,
    asking: tidemesh_source::Watch,
}

impl Watch {
    pub(crate) fn start(config: &Config, known: &Arc<KnownTables>, vitals: Arc<Vitals>) -> Self {
        let log_end = Arc::new(AtomicU64::new(0));
        let (config, shown) = (Arc::new(config.clone()), Arc::clone(&log_end));
        let known = Arc::clone(known);
        let asking = tidemesh_source::Watch::start(LAG_INTERVAL, move || {
            let (config, known) = (Arc::clone(&config), Arc::clone(&known));
            let (shown, vitals) = (Arc::clone(&shown), Arc::clone(&vitals));
            async move {
                // Not the session's: what is asked of the publication may wait behind who holds a table
                // (PostgreSQL 18, `pg_get_publication_tables` opens each), and the log with it.
                let catalog = Catalog::connect(&config.settings).await?;
                catalog.client.batch_execute(WAIT_BOUNDED).await.map_err(asking)?;
                watch(&catalog, &config, &known, &shown, &vitals).await
            }
        });
        Self { log_end, asking }
    }

    /// How far the log reached when that was asked last; 0 before.
    pub(crate) fn log_end(&self) -> u64 {
        self.log_end.load(Ordering::Relaxed)
    }

    /// What was found wrong, once.
    pub(crate) fn found(&mut self) -> Option<Error> {
        self.asking.found()
    }
}

/// Watches until something is wrong.
async fn watch(
    catalog: &Catalog,
    config: &Config,
    known: &KnownTables,
    log_end: &AtomicU64,
    vitals: &Vitals,
) -> Result<Error> {
    let mut round = 0;
    let mut newcomer = Newcomer::default();
    loop {
        if let Some(lsn) = look(catalog, config, vitals).await? {
            log_end.store(lsn, Ordering::Relaxed);
        }
        for relation in known.latest() {
            match check_composites(catalog, &relation).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(error),
                checked => checked?,
            }
        }
        round += 1;
        if round % ROUNDS_TO_TABLES != 0 {
            tokio::time::sleep(LAG_INTERVAL).await;
            continue;
        }
        let another = discover::another(catalog, &config.wanted, &config.tables).await?;
        if let Some(error) = newcomer.look(another) {
            return Ok(error);
        }
        if let Some(table) = unpublished(catalog, config).await? {
            return Ok(Error::new(ErrorKind::Unavailable, "read the log")
                .because("a table is there that the publication does not have")
                .with("table", quoted_table(&table))
                .with("publication", &config.publication)
                .help("a table that was made anew is added and read anew"));
        }
        if let Some(table) = remade(catalog, known).await? {
            return Ok(Error::new(ErrorKind::Unavailable, "read the log")
                .because("a table is another one than before")
                .with("table", quoted_table(&table))
                .help("its topic's rows are deleted, and it is read anew"));
        }
        tokio::time::sleep(LAG_INTERVAL).await;
    }
}

/// Asks for the clock and the slot, tells `vitals`, and answers where the log ends.
pub(crate) async fn look(
    catalog: &Catalog,
    config: &Config,
    vitals: &Vitals,
) -> Result<Option<u64>> {
    let asked_us = now_us();
    let row = answered(catalog.client.query_one(LOOK, &[&config.slot])).await?;
    // Between the question and the answer.
    vitals.clock(row.get("now_us"), asked_us.midpoint(now_us()));
    let bytes = |name| row.get::<_, Option<i64>>(name).map_or(0, |n| n.max(0).unsigned_abs());
    let slot = row.get::<_, Option<bool>>("active").map(|active| SlotReport {
        kept_bytes: bytes("kept"),
        unconfirmed_bytes: bytes("unconfirmed"),
        safe_bytes: row.get("safe_wal_size"),
        wal_status: row.get::<_, Option<String>>("wal_status").unwrap_or_default(),
        active,
    });
    vitals.tell_slot(slot);
    Ok(parse_lsn(row.get("log_end")))
}

/// A captured table that is there and not published.
async fn unpublished(catalog: &Catalog, config: &Config) -> Result<Option<TableName>> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) =
        config.tables.iter().map(|table| (table.schema.as_str(), table.table.as_str())).unzip();
    let rows = catalog
        .client
        .query(UNPUBLISHED, &[&config.publication, &schemas, &tables])
        .await
        .map_err(asking)?;
    Ok(rows.first().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))))
}

/// A captured table that is another one than its name stands for so far: the log may tell nothing of it.
async fn remade(catalog: &Catalog, known: &KnownTables) -> Result<Option<TableName>> {
    let standing = known.standing();
    let ids: Vec<u32> = standing.values().copied().collect();
    let (schemas, tables): (Vec<&str>, Vec<&str>) =
        standing.keys().map(|table| (table.schema.as_str(), table.table.as_str())).unzip();
    let rows = catalog.client.query(REMADE, &[&schemas, &tables, &ids]).await.map_err(asking)?;
    Ok(rows.first().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))))
}

/// Behind who holds a table nothing is waited for long: it is begun again, and how far the log has come is told.
const WAIT_BOUNDED: &str = "SET lock_timeout = '5s'";

/// A standby has no place to which it writes, but one up to which it has replayed.
const LOOK: &str = "
SELECT log.at::text AS log_end, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us,
       s.active, s.wal_status, s.safe_wal_size,
       pg_wal_lsn_diff(log.at, s.restart_lsn)::bigint AS kept,
       pg_wal_lsn_diff(log.at, s.confirmed_flush_lsn)::bigint AS unconfirmed
FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_lsn() END AS at) log
LEFT JOIN pg_replication_slots s ON s.slot_name = $1";

const REMADE: &str = "
SELECT n.nspname::text, c.relname::text
FROM unnest($1::text[], $2::text[], $3::oid[]) AS known(schema_name, table_name, id)
JOIN pg_namespace n ON n.nspname = known.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = known.table_name
     AND c.relkind IN ('r', 'p')
WHERE c.oid <> known.id LIMIT 1";

const UNPUBLISHED: &str = "
SELECT n.nspname::text, c.relname::text
FROM unnest($2::text[], $3::text[]) AS wanted(schema_name, table_name)
JOIN pg_namespace n ON n.nspname = wanted.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.table_name
     AND c.relkind IN ('r', 'p')
WHERE NOT EXISTS (SELECT FROM pg_publication_tables p WHERE p.pubname = $1
                  AND p.schemaname = n.nspname AND p.tablename = c.relname)
LIMIT 1";
