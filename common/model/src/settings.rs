//! The settings of sources: one type for a `[[source]]` table in TOML and for the `spec:` of a
//! `Source` document. Settings as written are checked by [`SourceSettings::validate`] before use.

use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

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
    /// How tables are read beside the log.
    #[serde(default)]
    pub snapshot: SnapshotSettings,
    /// A PostgreSQL database. Exactly one connector's table must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSettings>,
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
}

/// A table whose inserted rows are events of an application, by the columns of Debezium's outbox
/// event router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxSettings {
    /// The table, as `schema.table`; captured as others are. No default.
    pub table: String,
    /// The column of the event's id, its header `id`. Default `id`.
    #[serde(default = "defaults::outbox_id")]
    pub id: String,
    /// The column of the record's key. Default `aggregateid`.
    #[serde(default = "defaults::outbox_key")]
    pub key: String,
    /// The column of the record's value, a text or bytes; a null is a tombstone. Default `payload`.
    #[serde(default = "defaults::outbox_payload")]
    pub payload: String,
    /// The column whose value names the topic. Default `aggregatetype`.
    #[serde(default = "defaults::outbox_route_by")]
    pub route_by: String,
    /// The topic, in which `${routedByValue}` stands for that value. Default
    /// `outbox.event.${routedByValue}`.
    #[serde(default = "defaults::outbox_topic")]
    pub topic: String,
    /// Columns that become headers of their own names, or of others as `column:header`. Default none.
    #[serde(default)]
    pub headers: Vec<String>,
    /// How keys and values are written. Default `avro`.
    #[serde(default)]
    pub format: OutboxFormat,
}

/// How an outbox's keys and values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxFormat {
    /// As Avro's `string`, a payload of bytes as its `bytes`, in Confluent's frame.
    #[default]
    Avro,
    /// The text's or payload's bytes as they are: applications that serialise by themselves.
    Raw,
}

impl OutboxSettings {
    /// The table's name.
    ///
    /// # Errors
    ///
    /// `Config` if it is not `schema.table`.
    pub fn table_name(&self) -> Result<crate::TableName> {
        match self.table.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(crate::TableName::new(schema, table))
            }
            _ => Err(wrong("outbox.table", "must be schema.table").with("table", &self.table)),
        }
    }
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

/// A PostgreSQL database, 14 to 18.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// A host name or address, or the folder of a unix socket (begins with `/`).
    /// Default 127.0.0.1.
    #[serde(default = "defaults::host")]
    pub host: String,
    /// The port. Default 5432.
    #[serde(default = "defaults::postgres_port")]
    pub port: u16,
    /// The database. No default.
    pub database: String,
    /// The user: needs REPLICATION and SELECT on the tables. No default.
    pub user: String,
    /// The password; or use `password_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How TLS is used. Default `prefer` over TCP; a unix socket has none.
    #[serde(default)]
    pub tls: TlsMode,
    /// PEM certificates that the server's is checked against, for `verify-ca` and `verify-full`;
    /// none takes the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// The tables to capture, each as `schema.table`. At least one. No default.
    pub tables: Vec<String>,
    /// The replication slot, made if it is missing. Default `tidemesh_<source>`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The publication, made if it is missing. Default `tidemesh_<source>`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<String>,
    /// How long making a connection may take, in milliseconds. 100 to 600000; default 10000.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// What becomes of an update that leaves a large (TOASTed) value unchanged, which the log does
    /// not hold unless the table has REPLICA IDENTITY FULL. Default `reread`.
    #[serde(default)]
    pub toast: Toast,
    /// The most bytes one message of the log may have. 1 MiB to 1 GiB; default 64 MiB.
    #[serde(default = "defaults::message_bytes_max")]
    pub message_bytes_max: usize,
    /// What becomes of NaN and infinities in a `numeric(p,s)`, which no decimal can be. Default
    /// `stop`: nothing is lost without being told.
    #[serde(default)]
    pub numeric_special: NumericSpecial,
    /// Which messages go to `message_topic`, by the prefix that `pg_logical_emit_message` was given: a
    /// prefix, or the begin of prefixes and a `*`. Default all.
    #[serde(default = "defaults::message_prefixes")]
    pub message_prefixes: Vec<String>,
    /// Types that are carried as the database's text though they are not known here, each as
    /// `schema.type`; only types without a binary form. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text_types: Vec<String>,
}

/// What becomes of NaN and infinities in a number that is carried as a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumericSpecial {
    /// As any value that cannot be carried: the source stops, with an error that names table and
    /// column; with a `dead_letter_topic` the row goes there.
    #[default]
    Stop,
    /// They are carried as null; in a key, which has no null, the source stops all the same.
    Null,
    /// Their rows go to the source's `dead_letter_topic`, which must be set.
    DeadLetter,
}

/// What becomes of an update whose log record lacks a value that did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toast {
    /// The row is read again by its key, and comes as `r` in the update's place.
    #[default]
    Reread,
    /// The update comes at once; texts and bytes that it lacks are
    /// `__debezium_unavailable_value`, as Debezium has it.
    Placeholder,
}

/// How TLS is used, as libpq's `sslmode` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server offers it; its certificate is not checked.
    #[default]
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; the certificate's chain is checked, not the host name.
    VerifyCa,
    /// Always; chain and host name are checked.
    VerifyFull,
}

/// A text that never shows itself in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret of digits may come as a number, from an environment that has no types. What is no
/// secret is refused without being shown.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl serde::de::Visitor<'_> for AnyText {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, such as a password, as a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Secret, E> {
                Ok(Secret::new(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Secret, E> {
                Ok(Secret::new(number.to_string()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
        }
        deserializer.deserialize_any(AnyText)
    }
}

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for handing to the other side.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

mod defaults {
    pub(super) fn batch_bytes_max() -> usize {
        1024 * 1024
    }
    pub(super) fn heartbeat_interval_ms() -> u64 {
        10_000
    }
    pub(super) fn host() -> String {
        "127.0.0.1".to_owned()
    }
    pub(super) fn postgres_port() -> u16 {
        5432
    }
    pub(super) fn connect_timeout_ms() -> u64 {
        10_000
    }
    pub(super) fn outbox_id() -> String {
        "id".to_owned()
    }
    pub(super) fn outbox_key() -> String {
        "aggregateid".to_owned()
    }
    pub(super) fn outbox_payload() -> String {
        "payload".to_owned()
    }
    pub(super) fn outbox_route_by() -> String {
        "aggregatetype".to_owned()
    }
    pub(super) fn outbox_topic() -> String {
        "outbox.event.${routedByValue}".to_owned()
    }
    pub(super) fn message_prefixes() -> Vec<String> {
        vec!["*".to_owned()]
    }
    pub(super) fn message_bytes_max() -> usize {
        64 * 1024 * 1024
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
        match &self.postgres {
            Some(postgres) => postgres.validate(),
            None => Err(wrong("postgres", "a source needs exactly one connector's table")
                .with("source", &self.name)
                .help("add a [source.postgres] table")),
        }
    }
}

impl PostgresSettings {
    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [("postgres.database", &self.database), ("postgres.user", &self.user)] {
            if value.is_empty() {
                return Err(wrong(key, "must not be empty"));
            }
        }
        if self.tables.is_empty() {
            return Err(wrong("postgres.tables", "names no table")
                .help("list the tables to capture, as tables = [\"public.orders\"]"));
        }
        for (index, table) in self.tables.iter().enumerate() {
            self.table_name(table)?;
            if self.tables[..index].contains(table) {
                return Err(wrong("postgres.tables", "names a table twice").with("table", table));
            }
        }
        for (index, entry) in self.text_types.iter().enumerate() {
            let named = entry.split_once('.').is_some_and(|(s, t)| !s.is_empty() && !t.is_empty());
            if !named {
                let problem = "each must be schema.type";
                return Err(wrong("postgres.text_types", problem).with("type", entry));
            }
            if self.text_types[..index].contains(entry) {
                return Err(wrong("postgres.text_types", "names a type twice").with("type", entry));
            }
        }
        for (key, name) in
            [("postgres.slot", &self.slot), ("postgres.publication", &self.publication)]
        {
            if let Some(name) = name {
                slot_name(key, name)?;
            }
        }
        in_range(("postgres.connect_timeout_ms", self.connect_timeout_ms, 100, 600_000))?;
        let most = 1024 * 1024 * 1024;
        in_range(("postgres.message_bytes_max", self.message_bytes_max as u64, 1024 * 1024, most))?;
        if self.password.is_some() && self.password_file.is_some() {
            return Err(wrong("postgres.password_file", "password is set too; set one of them"));
        }
        Ok(())
    }

    /// Whether a message of this prefix is wanted.
    #[must_use]
    pub fn takes_message(&self, prefix: &str) -> bool {
        self.message_prefixes.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(begin) => prefix.starts_with(begin),
            None => prefix == wanted,
        })
    }

    /// Splits one entry of `tables` at its first point.
    ///
    /// # Errors
    ///
    /// `Config` if it is not `schema.table`.
    pub fn table_name(&self, entry: &str) -> Result<crate::TableName> {
        match entry.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(crate::TableName::new(schema, table))
            }
            _ => Err(wrong("postgres.tables", "each must be schema.table").with("table", entry)),
        }
    }
}

/// PostgreSQL's rule for slot names (documentation 18, 26.2.6.1), which suits publications too.
fn slot_name(key: &'static str, name: &str) -> Result<()> {
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fits {
        return Ok(());
    }
    Err(wrong(key, "must be 1 to 63 of a-z 0-9 _").with("value", name))
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
mod tests {
    use super::*;

    fn settings() -> SourceSettings {
        serde_json::from_value(serde_json::json!({
            "name": "shop",
            "postgres": {"database": "shop", "user": "u", "password": "hush", "tables": ["public.a"]}
        }))
        .unwrap()
    }

    #[test]
    fn the_smallest_settings_are_valid() {
        settings().validate().unwrap();
    }

    #[test]
    fn events_are_written_in_avros_types_and_debeziums_envelope_unless_told_otherwise() {
        assert_eq!(settings().format(), EventFormat::default());
        let mut json = serde_json::json!({"name": "shop", "types": "debezium", "envelope": "flat"});
        let settings: SourceSettings = serde_json::from_value(json.clone()).unwrap();
        let format = EventFormat { types: RowTypes::Debezium, envelope: EnvelopeForm::Flat };
        assert_eq!(settings.format(), format);
        json["types"] = "connect".into();
        let error = serde_json::from_value::<SourceSettings>(json).unwrap_err();
        assert!(error.to_string().contains("expected `avro` or `debezium`"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let text = r#"{"name": "shop", "tabels": []}"#;
        let error = serde_json::from_str::<SourceSettings>(text).unwrap_err();
        assert!(error.to_string().contains("tabels"), "{error}");
    }

    #[test]
    fn a_bound_is_named_with_its_key() {
        let mut settings = settings();
        settings.topics.partitions = 1001;
        let error = settings.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("topics.partitions: must be 1 to 1000"), "{error}");
    }

    #[test]
    fn a_truncates_event_needs_records_without_keys() {
        let mut settings = settings();
        assert_eq!(settings.truncate(), TruncateMode::Reconcile);
        settings.truncate = Some(TruncateMode::Event);
        assert!(settings.validate().unwrap_err().to_string().contains("compacted"));
        settings.topics.cleanup_policy = CleanupPolicy::Delete;
        settings.validate().unwrap();
        settings.truncate = None;
        assert_eq!(settings.truncate(), TruncateMode::Event);
        settings.envelope = EnvelopeForm::Flat;
        assert_eq!(settings.truncate(), TruncateMode::Reconcile);
    }

    #[test]
    fn a_side_topic_is_no_tables_and_no_others() {
        let mut settings = settings();
        settings.transaction_topic = Some("shop.transaction".into());
        settings.heartbeat_topic = Some("__debezium-heartbeat.shop".into());
        settings.validate().unwrap();
        settings.heartbeat_topic = Some("shop.public.a".into());
        assert!(settings.validate().unwrap_err().to_string().contains("heartbeat_topic"));
        settings.heartbeat_topic = Some("shop.transaction".into());
        assert!(settings.validate().unwrap_err().to_string().contains("another's name"));
    }

    #[test]
    fn messages_are_taken_by_their_prefix() {
        let mut settings = settings().postgres.unwrap();
        assert!(settings.takes_message("") && settings.takes_message("any"));
        settings.message_prefixes = vec!["audit".into(), "app.*".into()];
        assert!(settings.takes_message("audit") && settings.takes_message("app.x"));
        assert!(!settings.takes_message("audit2") && !settings.takes_message("other"));
    }

    #[test]
    fn a_password_never_shows() {
        let settings = settings();
        assert!(!format!("{settings:?}").contains("hush"));
        assert!(!serde_json::to_string(&settings).unwrap().contains("hush"));
    }

    #[test]
    fn a_type_without_its_schema_is_refused() {
        let mut settings = settings();
        settings.postgres.as_mut().unwrap().text_types = vec!["seg".into()];
        assert!(settings.validate().unwrap_err().to_string().contains("schema.type"));
    }

    #[test]
    fn specials_of_numerics_need_a_topic_to_be_dead_letters() {
        let mut settings = settings();
        let postgres = settings.postgres.as_mut().unwrap();
        assert_eq!(postgres.numeric_special, NumericSpecial::Stop);
        postgres.numeric_special = serde_json::from_str("\"dead_letter\"").unwrap();
        assert!(settings.validate().unwrap_err().to_string().contains("dead_letter_topic"));
        settings.dead_letter_topic = Some("shop.dead_letters".into());
        settings.validate().unwrap();
    }

    #[test]
    fn a_table_without_its_schema_is_refused() {
        let mut settings = settings();
        settings.postgres.as_mut().unwrap().tables = vec!["orders".into()];
        assert!(settings.validate().unwrap_err().to_string().contains("schema.table"));
    }
}
