//! Opening a source: every prerequisite is checked, what is missing is made, and the log is taken
//! up behind the checkpoint, or told to be lost.

use crate::catalog::{Catalog, asking};
use crate::client::Client;
use crate::client::stream::Stream;
use crate::config::{Config, lsn_text, parse_lsn};
use crate::ddl::{Rekeyed, Remade, is_of_key};
use crate::discover;
use crate::identity::{Identity, TableIds};
use crate::known::KnownTables;
use crate::precheck;
use crate::relation;
use crate::snapshot::PostgresReader;
use crate::source::{Place, PostgresSource, block};
use crate::storage::{Storage, Storages};
use crate::turn;
use crate::watch::{Watch, look};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tidemesh_model::{
    Error, ErrorKind, NumericSpecial, Position, Result, SourceBlock, SourceSettings, TableName,
};
use tidemesh_source::{
    Checkpoint, Connector, FoundTables, Pending, Selection, Vitals, position_lost,
};

/// How long a command of the replication connection may take: making a slot waits for running
/// transactions to end.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a slot may stay in use that is to be dropped.
const SLOT_FREE_MAX: Duration = Duration::from_secs(10);

/// Opens PostgreSQL sources.
pub struct PostgresConnector {
    config: Config,
    tables: FoundTables,
    known: Arc<KnownTables>,
    vitals: Arc<Vitals>,
    /// The server's process that streamed for this process last; 0 before there was one.
    streamed_by: AtomicI32,
}

impl PostgresConnector {
    /// The connector for these settings.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn new(settings: &SourceSettings) -> Result<Self> {
        let config = Config::try_from(settings)?;
        Ok(Self {
            tables: FoundTables::new(config.tables.clone()),
            config,
            known: Arc::default(),
            vitals: Arc::default(),
            streamed_by: AtomicI32::new(0),
        })
    }
}

impl Connector for PostgresConnector {
    type Source = PostgresSource;
    type Reader = PostgresReader;

    fn block(&self) -> SourceBlock {
        block(&self.config)
    }

    async fn discover(&self) -> Result<()> {
        let catalog = Catalog::connect(&self.config.settings).await?;
        let tables = discover::tables(&catalog, &self.config.wanted).await?;
        self.tables.set(tables);
        Ok(())
    }

    fn tables(&self) -> Vec<TableName> {
        self.tables.get()
    }

    fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    async fn look(&self) -> Result<()> {
        let catalog = Catalog::connect(&self.config.settings).await?;
        look(&catalog, &self.config, &self.vitals).await?;
        Ok(())
    }

    async fn reader(&self) -> Result<PostgresReader> {
        PostgresReader::connect(&self.config, Arc::clone(&self.known)).await
    }

    async fn drop_log(&self) -> Result<Option<String>> {
        let catalog = Catalog::connect(&self.config.settings).await?;
        let slot = &self.config.slot;
        let deadline = tokio::time::Instant::now() + SLOT_FREE_MAX;
        loop {
            match catalog.client.execute(DROP_SLOT, &[slot]).await.map_err(asking) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(slot.clone())),
                // The server may not have seen the end of our own connection yet.
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error.with("slot", slot)),
            }
        }
    }

    async fn await_turn(&self, held: impl FnMut(String) + Send) -> Result<()> {
        turn::await_turn(&self.config, self.streamed_by.load(Ordering::Relaxed), held).await
    }

    async fn open(
        &self,
        checkpoint: Option<Checkpoint>,
        first_epoch: u32,
    ) -> Result<PostgresSource> {
        let config = &Config { tables: self.tables(), ..self.config.clone() };
        let catalog = Arc::new(Catalog::connect(&config.settings).await?);
        refuse_standby(&catalog).await?;
        let tables = precheck::run(&catalog, config).await?;
        let slot = find_slot(&catalog, config).await?;
        let (mut client, identity, log) = identify(config).await?;
        let stored = checkpoint.as_ref().map(|c| Identity::read(&c.items)).transpose()?.flatten();
        let start = match (&checkpoint, slot) {
            (Some(checkpoint), slot) => {
                check_position(config, checkpoint, stored.as_ref(), &identity, slot.as_ref())?;
                let commit = checkpoint.position.commit;
                let before = stored.as_ref().map_or(identity.timeline, |stored| stored.timeline);
                client = check_history(client, config, commit, before, &identity, log).await?;
                commit
            }
            (None, Some(slot)) => {
                let lsn = lsn_text(slot.confirmed);
                tracing::info!(slot = config.slot, lsn, "takes up a slot that is there already");
                slot.confirmed
            }
            (None, None) => {
                let (made, lsn) = make_slot(client, config.slot.clone()).await?;
                client = made;
                tracing::info!(slot = config.slot, lsn = lsn_text(lsn), "made the slot");
                lsn
            }
        };
        let (epoch, resume_after) = match (&checkpoint, &stored) {
            (None, _) => (first_epoch, Position::before(first_epoch, start)),
            // A promoted standby goes on with the same history, but its positions may overlap
            // with ones that the old primary wrote and lost: a higher epoch keeps the order.
            (Some(checkpoint), Some(stored)) if stored.timeline != identity.timeline => {
                let epoch = checkpoint.position.epoch + 1;
                (epoch, Position { epoch, ..checkpoint.position })
            }
            (Some(checkpoint), _) => (checkpoint.position.epoch, checkpoint.position),
        };
        let special = config.settings.numeric_special;
        let versions = stored_relations(checkpoint.as_ref(), special, &catalog.selection)?;
        let known_ids = checkpoint.as_ref().map(|c| TableIds::read(&c.items)).transpose()?;
        let mut ids = known_ids.clone().unwrap_or_default();
        ids.update(&tables, |name| config.wanted.means(name));
        let remade = remade(&catalog, &ids, &tables).await?;
        let mut storages =
            checkpoint.as_ref().map(|c| Storages::read(&c.items)).transpose()?.unwrap_or_default();
        let all: Vec<u32> = tables.values().copied().collect();
        let today = catalog.storages(&all).await?;
        let rekeyed = rekeyed(&catalog, &storages, &versions, &today).await?;
        let storage_items = storages.update(today)?;
        self.known.set_standing(tables);
        for relation in versions.values().flatten() {
            self.known.add(Arc::clone(relation));
        }
        self.streamed_by.store(client.process, Ordering::Relaxed);
        let stream = start_stream(client, config, start, self.vitals()).await?;
        let watch = Watch::start(config, &self.known, self.vitals());
        let mut source = PostgresSource {
            config: Arc::new(config.clone()),
            catalog,
            stream,
            epoch,
            resume_after,
            first: None,
            relations: Arc::default(),
            ids,
            storages,
            remade,
            rekeyed,
            asked_at: HashMap::new(),
            described: None,
            known: Arc::clone(&self.known),
            versions,
            pending: Pending::default(),
            failed: None,
            place: Place { transaction: None, end: resume_after, end_at_us: 0, flush: 0 },
            ends: VecDeque::new(),
            watch,
            told_of_emitted: false,
        };
        let is_known =
            stored.as_ref() == Some(&identity) && known_ids.as_ref() == Some(&source.ids);
        if !is_known || !storage_items.is_empty() {
            let mut first = source.empty();
            first.state = vec![identity.item()?, source.ids.item()?];
            first.state.extend(storage_items);
            source.first = Some(first);
        }
        Ok(source)
    }
}

/// The captured tables that are others than those that the topics tell of. Which rows of those before are in
/// the log is told by the place that it is at now: they went before.
async fn remade(
    catalog: &Catalog,
    told: &TableIds,
    today: &BTreeMap<TableName, u32>,
) -> Result<Option<Remade>> {
    let others = today.iter().filter(|(name, id)| told.had_other(name, **id));
    let tables: Vec<TableName> = others.map(|(name, _)| name.clone()).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    Ok(Some(Remade { until_lsn: catalog.place().await?, tables }))
}

/// The tables whose rows got other keys while nothing was read, or before it was stored that they did. The
/// log may tell nothing of them from here on.
async fn rekeyed(
    catalog: &Catalog,
    told: &Storages,
    versions: &BTreeMap<u32, Vec<Arc<relation::Relation>>>,
    today: &HashMap<u32, Storage>,
) -> Result<BTreeMap<u32, Rekeyed>> {
    let has_others = |(id, now): &(&u32, &Storage)| {
        let latest = versions.get(*id).and_then(|versions| versions.last());
        latest.is_some_and(|latest| {
            told.has_other_keys(**id, now, |name| is_of_key(&latest.schema, name))
        })
    };
    let others: Vec<_> = today.iter().filter(has_others).collect();
    if others.is_empty() {
        return Ok(BTreeMap::new());
    }
    let until_lsn = catalog.place().await?;
    let rekeyed = |(id, now): (&u32, &Storage)| (*id, Rekeyed { until_lsn, storage: now.clone() });
    Ok(others.into_iter().map(rekeyed).collect())
}

/// A slot as it is.
struct Slot {
    confirmed: u64,
}

async fn find_slot(catalog: &Catalog, config: &Config) -> Result<Option<Slot>> {
    let rows = catalog.client.query(SLOT, &[&config.slot]).await.map_err(asking)?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let conflict = |message: &str| {
        Err(Error::new(ErrorKind::Conflict, "use the replication slot")
            .because(message)
            .with("slot", &config.slot)
            .help("set postgres.slot to another name"))
    };
    let plugin: Option<String> = row.get("plugin");
    let database: Option<String> = row.get("database");
    if plugin.as_deref() != Some("pgoutput") {
        return conflict("a slot of this name has another plugin");
    }
    if database.as_deref() != Some(&config.settings.database) {
        return conflict("a slot of this name belongs to another database");
    }
    let status: Option<String> = row.get("wal_status");
    if status.as_deref() == Some("lost") {
        return Err(lost(config, "the database has discarded the log that the slot needs"));
    }
    let confirmed: Option<String> = row.get("confirmed");
    let confirmed = confirmed.as_deref().and_then(parse_lsn).unwrap_or(0);
    Ok(Some(Slot { confirmed }))
}

fn lost(config: &Config, reason: &str) -> Error {
    position_lost(reason).with("slot", &config.slot)
}

/// The checkpoint must be of this log, and the slot must not be ahead of it.
fn check_position(
    config: &Config,
    checkpoint: &Checkpoint,
    stored: Option<&Identity>,
    identity: &Identity,
    slot: Option<&Slot>,
) -> Result<()> {
    if let Some(stored) = stored {
        if stored.system_identifier != identity.system_identifier {
            return Err(lost(config, "the checkpoint is of another database system")
                .with("system_identifier", &identity.system_identifier)
                .with("checkpoint_of", &stored.system_identifier));
        }
        if stored.database != identity.database || stored.slot != identity.slot {
            return Err(lost(config, "the checkpoint is of another database or slot")
                .with("checkpoint_slot", &stored.slot)
                .with("checkpoint_database", &stored.database));
        }
    }
    let Some(slot) = slot else {
        return Err(lost(config, "there is a checkpoint, but the replication slot is gone"));
    };
    // A checkpoint within a transaction has that transaction's commit, which the slot has not
    // passed; any other has the place that was confirmed.
    if slot.confirmed <= checkpoint.position.commit {
        return Ok(());
    }
    Err(lost(config, "the slot is ahead of the checkpoint")
        .with("slot_at", lsn_text(slot.confirmed))
        .with("checkpoint_at", lsn_text(checkpoint.position.commit)))
}

fn stored_relations(
    checkpoint: Option<&Checkpoint>,
    special: NumericSpecial,
    selection: &Selection,
) -> Result<BTreeMap<u32, Vec<Arc<relation::Relation>>>> {
    let mut versions = BTreeMap::new();
    for (key, value) in checkpoint.iter().flat_map(|checkpoint| &checkpoint.items) {
        if let Some(id) = key.strip_prefix("relation/").and_then(|id| id.parse().ok()) {
            versions.insert(id, relation::read_state(key, value, special, selection)?);
        }
    }
    Ok(versions)
}

/// Runs blocking work of the replication connection on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, "talk to PostgreSQL").caused_by(e))?
}

/// Connects for replication and asks which log this is, and how far it reaches.
async fn identify(config: &Config) -> Result<(Client, Identity, u64)> {
    let config = config.clone();
    blocking(move || {
        let mut client = Client::connect(&config.settings)?;
        let row = client.command("IDENTIFY_SYSTEM", COMMAND_TIMEOUT)?;
        let cell = |index: usize| {
            row.get(index)
                .and_then(Option::as_deref)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .ok_or_else(crate::client::malformed)
        };
        let identity = Identity {
            version: Identity::VERSION,
            system_identifier: cell(0)?,
            timeline: cell(1)?.parse().map_err(|_| crate::client::malformed())?,
            database: config.settings.database.clone(),
            slot: config.slot.clone(),
        };
        let end = parse_lsn(&cell(2)?).ok_or_else(crate::client::malformed)?;
        Ok((client, identity, end))
    })
    .await
}

/// A standby has no log of its own to put marks into; while a failover is under way its slots and
/// its timeline say nothing yet.
async fn refuse_standby(catalog: &Catalog) -> Result<()> {
    let row = catalog.client.query_one("SELECT pg_is_in_recovery()", &[]).await.map_err(asking)?;
    if !row.get::<_, bool>(0) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, "take up the log")
        .because("the server is a standby")
        .help("it is taken up once it is promoted; else set postgres.host to the primary"))
}

/// The checkpoint must lie in the history of this log: a standby that was promoted, or a server
/// that was restored, may not have what the topics have, and its new commits stand at the same
/// places.
async fn check_history(
    mut client: Client,
    config: &Config,
    commit: u64,
    before: u32,
    identity: &Identity,
    log_end: u64,
) -> Result<Client> {
    let ahead = |of: &'static str, place: u64| {
        let message = "the topics are ahead of the server's log: events of the server that was lost \
                       are in them, and this one's own may be missing";
        let error = lost(config, message).with("checkpoint_at", lsn_text(commit));
        Err(error.with(of, lsn_text(place)))
    };
    if commit > log_end {
        return ahead("log_end", log_end);
    }
    if before == identity.timeline {
        return Ok(client);
    }
    let timeline = identity.timeline;
    let (client, row) = blocking(move || {
        let row = client.command(&format!("TIMELINE_HISTORY {timeline}"), COMMAND_TIMEOUT)?;
        Ok((client, row))
    })
    .await?;
    let history = row.get(1).and_then(Option::as_deref).ok_or_else(crate::client::malformed)?;
    match left_at(&String::from_utf8_lossy(history), before) {
        Some(left) if commit <= left => Ok(client),
        Some(left) => ahead("timeline_left_at", left),
        None => Err(lost(config, "the checkpoint's timeline is not in the server's history")
            .with("checkpoint_timeline", before)
            .with("timeline", timeline)),
    }
}

/// Where a history file says that a timeline was left: lines of its id, a tab, the place, a tab,
/// the reason (PostgreSQL 18, `timeline.c`, `readTimeLineHistory`).
fn left_at(history: &str, timeline: u32) -> Option<u64> {
    history.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let id: u32 = words.next()?.parse().ok()?;
        (id == timeline).then(|| words.next().and_then(parse_lsn))?
    })
}

async fn make_slot(mut client: Client, slot: String) -> Result<(Client, u64)> {
    blocking(move || {
        let command = format!(
            "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput NOEXPORT_SNAPSHOT",
            crate::config::quoted(&slot)
        );
        let row = client.command(&command, COMMAND_TIMEOUT)?;
        let lsn = row
            .get(1)
            .and_then(Option::as_deref)
            .and_then(|bytes| parse_lsn(&String::from_utf8_lossy(bytes)))
            .ok_or_else(crate::client::malformed)?;
        Ok((client, lsn))
    })
    .await
}

async fn start_stream(
    mut client: Client,
    config: &Config,
    start: u64,
    vitals: Arc<Vitals>,
) -> Result<Stream> {
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names '{}', \
         binary 'true', messages 'true')",
        crate::config::quoted(&config.slot),
        lsn_text(start),
        crate::config::quoted(&config.publication).replace('\'', "''"),
    );
    let message_bytes_max = config.settings.message_bytes_max;
    let slot = config.slot.clone();
    blocking(move || {
        client.command(&command, COMMAND_TIMEOUT).map_err(|error| error.with("slot", slot))?;
        Stream::start(client, 0, message_bytes_max, vitals)
    })
    .await
}

const DROP_SLOT: &str = "
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = $1 AND database = current_database()";

const SLOT: &str = "
SELECT plugin::text, database::text, wal_status, confirmed_flush_lsn::text AS confirmed
FROM pg_replication_slots WHERE slot_name = $1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_tells_where_a_timeline_was_left() {
        let history = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tx\n";
        assert_eq!(left_at(history, 1), Some(0x300_0148));
        assert_eq!(left_at(history, 2), Some(0x500_0000));
        assert_eq!(left_at(history, 3), None);
        assert_eq!(left_at("# nothing", 1), None);
    }
}
