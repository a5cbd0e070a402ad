//! A truncated table: its topic's live keys, for which deletes are written.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    BlockCell, Error, ErrorKind, Origin, Position, Result, TableName, TableSchema,
};
use tidemesh_transport::{
    FetchLimit, POSITION_HEADER, Reader, RecordRef, Start, Subscription, Transport,
};

/// The most bytes of keys that are held to reconcile one truncate.
const KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that one fetch of the topic's records asks for.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a fetch may wait for records that the topic says it has.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// A truncate as the log had it, owned.
#[derive(Debug, Clone)]
pub(crate) struct Truncated {
    pub(crate) schema: Arc<TableSchema>,
    position: Position,
    transaction: u64,
    committed_at_us: i64,
    block: Vec<BlockCell<'static>>,
    /// Only keys whose last record is of an older epoch; none: all.
    pub(crate) below_epoch: Option<u32>,
}

impl Truncated {
    pub(crate) fn new(schema: &Arc<TableSchema>, origin: &Origin<'_>) -> Self {
        let own = |cell: &BlockCell<'_>| match cell {
            BlockCell::Long(value) => BlockCell::Long(*value),
            // A truncate's text cells are not kept: the deletes say null there.
            BlockCell::Null | BlockCell::Text(_) => BlockCell::Null,
        };
        Self {
            schema: Arc::clone(schema),
            position: origin.position,
            transaction: origin.transaction,
            committed_at_us: origin.committed_at_us,
            block: origin.block.iter().map(own).collect(),
            below_epoch: None,
        }
    }

    /// All rows of a table that is another one by `position`.
    pub(crate) fn by_replacement(
        schema: &Arc<TableSchema>,
        position: Position,
        committed_at_us: i64,
        fields: usize,
    ) -> Self {
        let block = vec![BlockCell::Null; fields];
        Self {
            schema: Arc::clone(schema),
            position,
            transaction: 0,
            committed_at_us,
            block,
            below_epoch: None,
        }
    }

    pub(crate) fn origin(&self) -> Origin<'_> {
        Origin {
            position: self.position,
            transaction: self.transaction,
            committed_at_us: self.committed_at_us,
            block: &self.block,
        }
    }
}

/// Keys whose last record in a topic is no tombstone.
#[derive(Debug, Default)]
pub(crate) struct LiveKeys {
    keys: HashSet<Vec<u8>>,
    bytes: usize,
    /// Whether there are no others.
    pub(crate) is_all: bool,
}

impl LiveKeys {
    pub(crate) fn into_keys(self) -> HashSet<Vec<u8>> {
        self.keys
    }

    fn lives(&mut self, key: &[u8]) {
        if self.keys.contains(key) {
            return;
        }
        if self.bytes + key.len() > KEYS_BYTES_MAX {
            self.is_all = false;
            return;
        }
        self.bytes += key.len();
        self.keys.insert(key.to_vec());
    }

    fn is_gone(&mut self, key: &[u8]) {
        if self.keys.remove(key) {
            self.bytes -= key.len();
        }
    }
}

/// A truncate that cannot be carried out: nothing that is held at once is live.
pub(crate) fn too_many_keys(table: &TableName) -> Error {
    Error::new(ErrorKind::TooLarge, "reconcile a truncate")
        .because("the topic has too many keys that came and went")
        .with("table", table)
        .with("keys_bytes_max", KEYS_BYTES_MAX)
        .help("remove the source with its topic, and let it snapshot anew")
}

/// The keys, framed, whose last record in the topic is no tombstone, and of an epoch below
/// `below` if there is one: all of them, or as many as [`KEYS_BYTES_MAX`] holds.
///
/// # Errors
///
/// What reading the topic answers.
pub(crate) async fn live_keys<T: Transport>(
    transport: &T,
    topic: &str,
    below: Option<u32>,
) -> Result<LiveKeys> {
    let info = transport.topic(topic).await?;
    let mut left: u64 = info.partitions.iter().map(|p| p.end - p.begin).sum();
    let ends: Vec<u64> = info.partitions.iter().map(|p| p.end).collect();
    let mut live = LiveKeys { is_all: true, ..LiveKeys::default() };
    if left == 0 {
        return Ok(live);
    }
    let subscription =
        Subscription { topics: vec![topic.to_owned()], group: None, start: Start::Earliest };
    let mut reader = transport.subscribe(subscription).await?;
    let limit = FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max: FETCH_WAIT_MAX };
    while left > 0 {
        for batch in reader.poll(limit).await? {
            for record in batch.iter() {
                let (_, record) = record?;
                let Some(key) = record.key else { continue };
                match record.value {
                    Some(_) if is_below(&record, below)? => live.lives(key),
                    _ => live.is_gone(key),
                }
            }
        }
        left = behind(&ends, &reader.positions());
    }
    Ok(live)
}

/// Whether a record's position is of an older epoch; any is where no epoch is given.
fn is_below(record: &RecordRef<'_>, below: Option<u32>) -> Result<bool> {
    let Some(below) = below else { return Ok(true) };
    match record.header(POSITION_HEADER) {
        Some(position) => Ok(Position::from_bytes(position)?.epoch < below),
        // Of somebody else: none of this source's rows.
        None => Ok(false),
    }
}

/// How many offsets lie between where a reader stands and `ends`.
fn behind(ends: &[u64], positions: &std::collections::BTreeMap<(String, u32), u64>) -> u64 {
    positions
        .iter()
        .map(|((_, partition), offset)| {
            ends.get(*partition as usize).copied().unwrap_or(0).saturating_sub(*offset)
        })
        .sum()
}
