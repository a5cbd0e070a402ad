//! The settings of sources: one type for a `[[source]]` table in TOML and for the `spec:` of a
//! `Source` document. Settings as written are checked by [`SourceSettings::validate`] before use.

mod connector;
mod emit;
mod mysql;
mod outbox;
mod postgres;
mod secret;

pub use connector::{CONNECTORS, SecretsMut};
pub use emit::{EMIT_PREFIX, EmitSettings};
pub use mysql::{MysqlSettings, MysqlTime, MysqlTypes, UnsignedBigint, ZeroDates};
pub use outbox::{OutboxFormat, OutboxSettings};
pub use postgres::{NumericSpecial, PostgresSettings, TlsMode, Toast};
pub use secret::Secret;

use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// One source: its name, what it shares with every other kind, and one connector's own table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// The source's name: it begins its topics' names and is its writer's identity.
    /// 1 to 64 of `a-z A-Z 0-9 _ -`. No default.
    pub name: String,
    /// How its topics are made.
    #[serde(default)]
    pub topics: TopicSettings,
    /// By which conventions values are written. Default `avro`.
    #[serde(default)]
    pub types: RowTypes,
    /// What a record holds beside the row. Default `debezium`.
    #[serde(default)]
    pub envelope: EnvelopeForm,
    /// The most log bytes that are decoded and appended as one batch. 16 KiB to 64 MiB;
    /// default 1 MiB: large enough that an fsync a batch is cheap, small enough for 128 MiB in all.
    #[serde(default = "defaults::batch_bytes_max")]
    pub batch_bytes_max: usize,
    /// How often an idle source writes its position, in milliseconds. 100 to 600000;
    /// default 10000, PostgreSQL's own interval for status messages.
    #[serde(default = "defaults::heartbeat_interval_ms")]
    pub heartbeat_interval_ms: u64,
    /// What happens when the database no longer has the log that follows what is in the topics: the
    /// slot was lost or moved, or it is another database. Default `stop`.
    #[serde(default)]
    pub on_position_lost: OnPositionLost,
    /// What becomes of a table whose schema was changed so that readers of its topic cannot follow.
    /// Default `topic`.
    #[serde(default)]
    pub on_incompatible: OnIncompatible,
    /// What a truncate becomes. Default `reconcile` for compacted topics, else `event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<TruncateMode>,
    /// The topic that is told of each transaction's begin and end, with how many events it has of
    /// each table; Debezium's is `<source>.transaction`. Its events then carry its id, and their
    /// places in it. None: no such topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_topic: Option<String>,
    /// The topic that is told every `heartbeat_interval_ms` how far the log has come; Debezium's is
    /// `__debezium-heartbeat.<source>`. None: no such topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_topic: Option<String>,
    /// The topic of messages that applications write into the log beside rows; Debezium's is
    /// `<source>.message`. None: they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_topic: Option<String>,
    /// The topic of rows that cannot be encoded: a value that its type cannot hold, a record that is
    /// larger than the transport takes. Each is told there with its place and why, and the table's
    /// topic lacks it. None: such a row stops the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// A table whose inserted rows are events of an application. None: no table is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<OutboxSettings>,
    /// Events that applications write in their transactions, made by the emitter's outbox. None: none is
    /// taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<EmitSettings>,
    /// How tables are read beside the log.
    #[serde(default)]
    pub snapshot: SnapshotSettings,
    /// A PostgreSQL database. Exactly one connector's table must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSettings>,
    /// A MySQL or MariaDB server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MysqlSettings>,
}

/// What happens when the log that follows the checkpoint is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPositionLost {
    /// The source stops and says so.
    #[default]
    Stop,
    /// The log is taken up where it is now, every table is read anew, and what is no longer in it is
    /// deleted from its topic. What happened in between is lost; the state is not.
    Resnapshot,
}

/// What becomes of a table whose schema was changed so that readers of its topic cannot follow:
/// another type of a column, another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnIncompatible {
    /// Its topic is closed as it is, complete up to the change. The table goes on in the next one,
    /// `<topic>.g2`, with subjects of its own, and is read anew into it.
    #[default]
    Topic,
    /// The source stops and says so.
    Stop,
}

/// What a truncate becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncateMode {
    /// A delete and a tombstone for each key of the topic that is live.
    Reconcile,
    /// One `t` event without a key in every partition, as Debezium writes it. A compacted topic
    /// takes no record without a key.
    Event,
    /// Nothing: the topic keeps rows that the table has no more.
    Skip,
}

/// By which conventions a row's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowTypes {
    /// Avro's own logical types.
    #[default]
    Avro,
    /// What Debezium 3's connector writes through Confluent's `AvroConverter` under its default
    /// modes: for readers that know its types, and in place of it.
    Debezium,
}

/// What a record holds beside the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvelopeForm {
    /// Debezium's envelope: the row before and after, the source, the operation.
    #[default]
    Debezium,
    /// The row's columns, then `__deleted`, `__op`, `__source_ts_us`, `__position`; a delete is a
    /// tombstone.
    Flat,
}

/// How a source's events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EventFormat {
    /// By which conventions values are written.
    pub types: RowTypes,
    /// What a record holds beside the row.
    pub envelope: EnvelopeForm,
}

/// How tables are read beside the log: in chunks, each between two watermarks in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotSettings {
    /// Which tables are read without being asked for. Default `initial`.
    pub mode: SnapshotMode,
    /// Chunks that are read at the same time, each over a connection of its own. 1 to 16;
    /// default 2.
    pub parallel: u32,
    /// The most rows of a chunk. 1 to 1000000; default 20000.
    pub chunk_rows: u32,
    /// The most bytes of a chunk; one row that is larger comes alone. 64 KiB to 64 MiB; default
    /// 2 MiB. Memory holds up to twice `parallel` of them.
    pub chunk_bytes_max: usize,
    /// The most rows that are read in a second, 1 or more; none reads as fast as it can.
    pub rows_per_second_max: Option<u32>,
    /// Whether nothing may be written into the database: a MySQL or MariaDB server's snapshots then find
    /// their place in the log by its positions, not by a table of watermarks. Default false.
    pub read_only: bool,
}

/// Which tables are read without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// Every table that never was: all at the first start, later each one that is added.
    Initial,
    /// None; `tidemesh snapshot start` reads one.
    Never,
}

/// How a source's topics are made. Existing topics are left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSettings {
    /// Partitions of each topic. 1 to 1000; default 1, which keeps the table's whole order.
    pub partitions: u32,
    /// What happens to old records. Default `compact`: the topic always holds the latest state.
    pub cleanup_policy: CleanupPolicy,
    /// With `delete`: how long records are kept, in milliseconds; none keeps them for ever.
    pub retention_ms: Option<u64>,
    /// With `delete`: how many bytes a partition keeps; none keeps all.
    pub retention_bytes: Option<u64>,
}

/// What happens to old records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupPolicy {
    /// The last record of each key stays.
    Compact,
    /// Records go by age and size.
    Delete,
}

mod defaults {
    pub(super) fn batch_bytes_max() -> usize {
        1024 * 1024
    }
    pub(super) fn heartbeat_interval_ms() -> u64 {
        10_000
    }
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::Initial,
            parallel: 2,
            chunk_rows: 20_000,
            chunk_bytes_max: 2 * 1024 * 1024,
            rows_per_second_max: None,
            read_only: false,
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            cleanup_policy: CleanupPolicy::Compact,
            retention_ms: None,
            retention_bytes: None,
        }
    }
}

impl SourceSettings {
    /// How its events are written.
    #[must_use]
    pub fn format(&self) -> EventFormat {
        EventFormat { types: self.types, envelope: self.envelope }
    }

    /// Topics beside those of tables must not be a table's or each other's.
    fn validate_topics(&self) -> Result<()> {
        let named = [
            ("transaction_topic", &self.transaction_topic),
            ("heartbeat_topic", &self.heartbeat_topic),
            ("message_topic", &self.message_topic),
            ("dead_letter_topic", &self.dead_letter_topic),
        ];
        for (index, (key, topic)) in named.iter().enumerate() {
            let Some(topic) = topic else { continue };
            let of_table = topic
                .strip_prefix(&self.name)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest.contains('.'));
            if of_table {
                return Err(wrong(key, "could be a table's topic").with("topic", topic));
            }
            if named[..index].iter().any(|(_, other)| other.as_ref() == Some(topic)) {
                return Err(wrong(key, "is another's name too").with("topic", topic));
            }
        }
        Ok(())
    }

    /// Events of applications need a way on which they come, and topics that they may be for.
    fn validate_emit(&self) -> Result<()> {
        let outbox = self.outbox.as_ref().filter(|o| o.format == OutboxFormat::Tidemesh);
        match (&self.emit, outbox) {
            (Some(_), None) if self.postgres.is_none() => {
                Err(wrong("emit", "events come from this database by an outbox's rows alone")
                    .help("add a [source.outbox] with format = \"tidemesh\", or leave emit out"))
            }
            (None, Some(_)) => Err(wrong("outbox.format", "tidemesh needs emit.topics")
                .help("name the topics that its rows may be for: emit = {topics = [\"…\"]}")),
            (emit, outbox) => {
                outbox.map_or(Ok(()), OutboxSettings::validate_emitted)?;
                emit.as_ref().map_or(Ok(()), EmitSettings::validate)
            }
        }
    }

    /// What a truncate becomes.
    #[must_use]
    pub fn truncate(&self) -> TruncateMode {
        self.truncate.unwrap_or(match (self.topics.cleanup_policy, self.envelope) {
            (CleanupPolicy::Delete, EnvelopeForm::Debezium) => TruncateMode::Event,
            _ => TruncateMode::Reconcile,
        })
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn validate(&self) -> Result<()> {
        let name_fits = (1..=64).contains(&self.name.len())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !name_fits {
            return Err(
                wrong("name", "must be 1 to 64 of a-z A-Z 0-9 _ -").with("name", &self.name)
            );
        }
        let ranges = [
            ("topics.partitions", u64::from(self.topics.partitions), 1, 1000),
            ("batch_bytes_max", self.batch_bytes_max as u64, 16 * 1024, 64 * 1024 * 1024),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms, 100, 600_000),
            ("snapshot.parallel", u64::from(self.snapshot.parallel), 1, 16),
            ("snapshot.chunk_rows", u64::from(self.snapshot.chunk_rows), 1, 1_000_000),
            (
                "snapshot.chunk_bytes_max",
                self.snapshot.chunk_bytes_max as u64,
                64 * 1024,
                64 * 1024 * 1024,
            ),
            (
                "snapshot.rows_per_second_max",
                u64::from(self.snapshot.rows_per_second_max.unwrap_or(1)),
                1,
                u64::from(u32::MAX),
            ),
        ];
        ranges.iter().try_for_each(|range| in_range(*range))?;
        self.validate_topics()?;
        if let Some(outbox) = &self.outbox {
            outbox.table_name()?;
        }
        self.validate_emit()?;
        let special = self.postgres.as_ref().map(|postgres| postgres.numeric_special);
        if special == Some(NumericSpecial::DeadLetter) && self.dead_letter_topic.is_none() {
            return Err(wrong("postgres.numeric_special", "dead_letter needs a dead_letter_topic")
                .help("set dead_letter_topic for the source"));
        }
        if self.truncate == Some(TruncateMode::Event) {
            if self.topics.cleanup_policy == CleanupPolicy::Compact {
                return Err(wrong("truncate", "event has no key, which a compacted topic needs")
                    .help("set topics.cleanup_policy = \"delete\", or truncate = \"reconcile\""));
            }
            if self.envelope == EnvelopeForm::Flat {
                return Err(wrong("truncate", "event has no form in flat records")
                    .help("set envelope = \"debezium\", or truncate = \"reconcile\""));
            }
        }
        if self.snapshot.read_only && self.mysql.is_none() {
            return Err(wrong("snapshot.read_only", "is for mysql alone")
                .help("leave it out: no other database's snapshots write into a table"));
        }
        match (&self.postgres, &self.mysql) {
            (Some(postgres), None) => postgres.validate(),
            (None, Some(mysql)) => mysql.validate(),
            (Some(_), Some(_)) => {
                Err(wrong("mysql", "postgres is there too; a source has one of them")
                    .with("source", &self.name))
            }
            (None, None) => Err(wrong("postgres", "a source needs exactly one connector's table")
                .with("source", &self.name)
                .help("add a [source.postgres] or a [source.mysql] table")),
        }
    }
}

fn in_range((key, value, least, most): (&'static str, u64, u64, u64)) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(key, &format!("must be {least} to {most}")).with("value", value))
}

fn wrong(key: &'static str, problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration").because(format!("{key}: {problem}"))
}

#[cfg(test)]
mod tests;
